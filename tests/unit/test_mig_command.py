"""`gpudeck mig plan` in its own process: output, messages, exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.mig_table import TABLE
from tests.unit.test_cli import run
from tests.unit.test_import_hygiene import loaded_after

A100 = "NVIDIA A100-SXM4-80GB"


def planned(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = run("mig", "plan", *arguments, "--json")
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["schema"] == "gpudeck/mig-plan/1"
    return done.returncode, document


def test_a_profile_of_the_40gb_board_is_refused_on_the_80gb_board_with_the_right_ones() -> None:
    code, document = planned("--gpu-model", A100, "--want", "1g.5gb")
    assert code == 1
    assert document["possible"] is False
    assert "1g.10gb" in document["reason"]
    assert "3g.40gb" in document["reason"]
    nearest = {each["wish"]: each for each in document["nearest"]}
    assert list(nearest) == ["1g.10gb", "2x 3g.40gb", "4g.40gb + 3g.40gb"]
    halves = nearest["2x 3g.40gb"]
    assert [each["placement"] for each in halves["placements"]] == ["0:4", "4:4"]
    assert "sudo nvidia-smi mig -i 0 -cgi 3g.40gb,3g.40gb -C" in halves["commands"]
    assert {each["profile"] for each in document["profiles"]} == {
        profile["name"] for profile in TABLE["A100-80GB"]["profiles"]
    }


def test_two_halves_of_an_80gb_board() -> None:
    code, document = planned("--gpu-model", A100, "--want", "3g.40gb,3g.40gb")
    assert code == 0
    assert document["possible"] is True
    assert [(each["start"], each["size"]) for each in document["placements"]] == [(0, 4), (4, 4)]
    assert document["stranded"]["compute_slices"] == 1
    assert document["stranded"]["memory_slices"] == 0
    assert "1 compute slice is stranded" in document["stranded"]["text"]
    assert document["commands"] == [
        "sudo nvidia-smi -i 0 -mig 1",
        "nvidia-smi -i 0 --query-gpu=mig.mode.current,mig.mode.pending --format=csv,noheader",
        "sudo nvidia-smi mig -i 0 -cgi 3g.40gb,3g.40gb -C",
        "sudo nvidia-smi mig -i 0 -lgi",
        "nvidia-smi -L",
    ]
    assert "gpu-reset" in {each["code"] for each in document["costs"]}
    for field in ("reason", "nearest", "costs", "blockers", "keeps", "destroys"):
        assert field in document


def test_the_text_says_the_same_to_people() -> None:
    done = run("mig", "plan", "--gpu-model", A100, "--want", "3g.40gb,3g.40gb")
    assert done.returncode == 0
    for each in ("possible: 2x 3g.40gb", "new    3g.40gb 0:4 4:4", "1 compute slice is stranded", "nothing is applied"):
        assert each in done.stdout
    assert "    sudo nvidia-smi mig -i 0 -cgi 3g.40gb,3g.40gb -C\n" in done.stdout
    assert "\x1b" not in done.stdout
    refused = run("mig", "plan", "--gpu-model", A100, "--want", "1g.5gb")
    assert refused.returncode == 1
    assert refused.stderr == ""
    for each in ("not possible: 1g.5gb", "NEAREST", "2x 3g.40gb", "PROFILES OF THE A100-80GB"):
        assert each in refused.stdout


def test_ascii_is_ascii() -> None:
    done = run("--ascii", "mig", "plan", "--gpu-model", "H200", "--want", "all-balanced")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert run("mig", "plan", "--gpu-model", "H200", "--want", "all-balanced", env={"LC_ALL": "C"}).stdout.isascii()


def test_the_gpu_of_the_commands_may_be_named() -> None:
    for arguments in (("--gpu", "5", "--want", "3g.40gb"), ("--want", "3g.40gb on gpu 5")):
        _, document = planned("--gpu-model", A100, *arguments)
        assert document["commands"][0] == "sudo nvidia-smi -i 5 -mig 1"


@pytest.mark.parametrize("key", TABLE)
def test_every_board_of_the_table_is_answered_for(key: str) -> None:
    code, document = planned("--gpu-model", key, "--want", "all-enabled")
    assert code == 0
    assert document["gpu"]["board"] == key


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--gpu-model", "L41S", "--want", "3g.40gb"), "the MIG table has no GPU called 'L41S'", "A100-80GB"),
        (("--gpu-model", "A100", "--want", "3g.40gb"), "may mean A100-40GB or A100-80GB", ""),
        (("--gpu-model", "A100-SXM-80", "--want", "3g.40gb"), "no GPU called", "did you mean A100-SXM4-80GB"),
        (("--gpu-model", A100, "--want", "banana"), "cannot be read at 'banana'", "a wish is like"),
        (("--gpu-model", A100, "--want", ""), "the wish is empty", ""),
        (("--gpu-model", A100, "--want", "all-what"), "no configuration", "all-balanced"),
        (("--gpu-model", A100, "--gpu", "1", "--want", "3g.40gb on gpu 2"), "--gpu says 1", ""),
        (("--gpu-model", A100, "--gpu", "-1", "--want", "3g.40gb"), "must not be negative", ""),
        (("--gpu-model", A100), "--want", ""),
        (("--want", "3g.40gb"), "--node --gpu-model", ""),
        (("--gpu-model", A100, "--node", "a", "--want", "3g.40gb"), "not allowed with", ""),
        (("--node", "a", "--want", "3g.40gb"), "no configuration and no NVIDIA driver", ""),
        (("--gpu-model", A100, "--want", "3g.40gb", "--timeout", "0"), "--timeout must be", ""),
    ],
)
def test_wrong_usage_is_exit_2_with_words(arguments: tuple[str, ...], message: str, hint: str) -> None:
    done = run("mig", "plan", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_two_gpus_in_one_wish_are_refused_before_anything_is_read(verb: str) -> None:
    done = run("mig", verb, "--node", "a", "--gpu", "3", "--want", "3g.40gb on gpu 4")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--gpu says 3, the wish says on gpu 4" in done.stderr


@pytest.mark.parametrize("model", ["NVIDIA L40S", "L4", "Tesla V100-SXM2-32GB", "NVIDIA GeForce RTX 4090"])
def test_a_model_without_mig_is_answered_like_a_gpu_without_it(model: str) -> None:
    code, document = planned("--gpu-model", model, "--want", "1g.5gb")
    assert code == 1
    assert document["possible"] is False
    assert document["reason"] == f"{model} has no MIG"
    assert (document["commands"], document["profiles"], document["before"]["mig"]) == ([], [], None)
    said = run("mig", "plan", "--gpu-model", model, "--want", "1g.5gb")
    assert (said.returncode, said.stderr) == (1, "")
    assert "not possible: 1g.5gb" in said.stdout


def test_a_verb_is_needed() -> None:
    done = run("mig")
    assert done.returncode == 2
    assert "VERB" in done.stderr


def test_a_node_that_cannot_be_reached_is_exit_3_and_an_unknown_one_exit_2(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text('[site.a]\nnodes = [{ name = "gone", address = "127.0.0.1:1" }]\n')
    done = run("--config", str(config), "mig", "plan", "--node", "gone", "--gpu", "0", "--want", "3g.40gb")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("gpudeck: gone: ")
    assert "hint: " in done.stderr
    done = run("mig", "plan", "--config", str(config), "--node", "gon", "--gpu", "0", "--want", "3g.40gb")
    assert done.returncode == 2
    assert "the site a has no node 'gon'" in done.stderr
    assert "did you mean gone?" in done.stderr


def test_the_plan_of_a_model_imports_nothing_heavy() -> None:
    for extra in ("", ", '--json'"):
        arguments = f"['mig', 'plan', '--gpu-model', 'H200', '--want', 'all-balanced'{extra}]"
        assert loaded_after(f"from tui.cli import main\nmain({arguments})") == set()
    assert loaded_after("from tui.cli import main\nmain(['mig', 'plan', '--help'])") == set()


def test_bash_completes_the_verb_and_its_options() -> None:
    script = (
        'source <(gpudeck completion bash); complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gpudeck;'
        ' echo "${COMPREPLY[@]}"; }; complete_words gpudeck mig p; complete_words gpudeck mig plan --w'
    )
    from tests.unit.test_cli import GPUDECK

    done = subprocess.run(
        ["bash", "-c", script.replace("gpudeck completion", f"{GPUDECK} completion")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["plan", "--want"]
