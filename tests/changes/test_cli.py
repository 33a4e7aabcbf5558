"""`gpudeck changes` as it is typed: another process, a lab behind SSH, and kill -9 in the middle."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backends.changes.change import BlastRadius, Change
from backends.changes.journal import Journal
from backends.changes.radius import HitsMore
from backends.changes.step import Reach, Step
from backends.contract import ConfigError
from backends.domain import ChangeSpec, Identity, SiteSpec
from backends.site import Site
from tests.changes.steps import NOW, FileStep, change_of
from tests.changes.test_journal import ACTOR
from tui.commands.changes import change_site

GPUDECK = str(Path(sys.executable).with_name("gpudeck"))
NODE = "dgx-h100-02"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("lab")
    process = subprocess.Popen(
        [GPUDECK, "lab", "--out", str(out), "--nodes", "12"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().endswith("site.toml")
    yield out / "site.toml"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0
    process.stdout.close()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "gpudeck"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GPUDECK, *map(str, arguments)], capture_output=True, text=True, timeout=90, check=False, cwd="/"
    )


def documents(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["schema"] == "gpudeck/changes/1"
    return document


def idle_gpu(lab: Path) -> tuple[str, str]:
    """A GPU of the lab with an 80 GB board and without MIG on which nothing runs, by its snapshot: node and index."""
    snapshot = json.loads(run("--config", lab, "snapshot", "--json").stdout)
    idle = [
        (node["name"], str(gpu["index"]))
        for node in snapshot["nodes"]
        for gpu in node["gpus"]
        if gpu["processes"] == [] and gpu["mig"]["enabled"] is False and "80GB" in gpu["name"]
    ]
    if not idle:
        pytest.skip("every GPU of the lab is at work just now")
    return idle[0]


class GrowingStep(FileStep):
    """Hits one pod more with each look."""

    looks: ClassVar[list[str]] = []

    @classmethod
    async def hits(cls, steps: Sequence[Step], reach: Reach) -> BlastRadius:
        cls.looks.append(f"a/{len(cls.looks)}")
        return BlastRadius(pods=tuple(cls.looks))


async def test_who_comes_after_the_look_is_not_hit(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GrowingStep, "looks", [])
    change = change_of(GrowingStep(str(tmp_path / "a")), radius=BlastRadius())

    async def planned(_site: Site) -> Change:
        return change

    arguments = argparse.Namespace(
        dry_run=False, json=False, read_only=False, yes=True, confirm=change.targets[0].name, reason="INC-1"
    )
    spec = SiteSpec(name="prod", nodes=(), changes=ChangeSpec())
    with pytest.raises(HitsMore, match="more than was asked about: pod a/1"):
        await change_site(arguments, spec, planned, None, "done")
    arguments.confirm = None
    with pytest.raises(ConfigError, match="it needs the name of"):
        await change_site(arguments, spec, planned, None, "done")
    assert not (tmp_path / "a").exists()


def test_nothing_yet_is_an_empty_list(state: Path) -> None:
    assert documents("changes")["changes"] == []
    assert run("changes").stdout == "no change was made yet\n"


def test_killed_in_the_middle_it_names_the_step_and_offers_the_undo(state: Path, lab: Path) -> None:
    node, gpu = idle_gpu(lab)
    wish = ("mig", "apply", "--node", node, "--gpu", gpu, "--want", "3g.40gb,2g.20gb,1g.10gb")
    dry = run("--config", lab, *wish, "--dry-run", "--json")
    plan = json.loads(dry.stdout)
    assert (dry.returncode, plan["dry_run"], plan["possible"]) == (0, True, True)
    stop, mode, create, start = [step["what"].partition(": ")[2] for step in plan["change"]["steps"]]
    named = re.fullmatch(r"nvidia-smi -i (0{8}:[0-9A-F]{2}:00\.0) -mig 1", mode)
    assert named is not None, mode
    assert create.startswith(f"nvidia-smi mig -i {named[1]} -cgi 9")
    assert (stop.split()[:2], start.split()[:2]) == (["systemctl", "stop"], ["systemctl", "start"])
    assert plan["change"]["blast_radius"]["gpus"] == [f"{node} gpu{gpu}"]
    assert list(state.iterdir()) == []

    process = subprocess.Popen(
        [GPUDECK, "--config", str(lab), *map(str, wish), "--yes", "--reason", "INC-1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step 3 of 4, applying" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()

    (change,) = documents("changes")["changes"]
    assert change["status"] == "interrupted"
    assert (change["step_reached"]["state"], change["step_reached"]["effect"]) == ("applying", "unknown")
    assert change["step_reached"]["number"] == 3
    assert change["step_reached"]["what"].endswith(create)
    assert "undo" in change["offers"]
    assert change["reason"] == "INC-1"
    (told,) = [line for line in run("changes", "--config", lab).stdout.splitlines() if "gpudeck changes undo" in line]
    assert told.strip() == f"gpudeck changes undo {change['id']} --yes --config {lab}"

    undo = run(*shlex.split(told)[1:], "--json")
    assert undo.returncode == 0, undo.stderr
    (undone,) = json.loads(undo.stdout)["changes"]
    assert (undone["status"], undone["offers"]) == ("undone", [])
    again = run("--config", lab, *wish, "--dry-run")
    assert "effect  MIG off -> MIG on, no instances" in again.stdout
    assert "systemctl stop" in again.stdout  # they run again


def test_a_change_needs_yes_a_reason_and_a_process_that_may(state: Path, lab: Path) -> None:
    node, gpu = idle_gpu(lab)
    wish = ("mig", "apply", "--node", node, "--gpu", gpu, "--want", "7g.80gb")
    without = run("--config", lab, *wish)
    assert (without.returncode, without.stdout) == (2, "")
    assert "needs --yes" in without.stderr
    forbidden = run("--config", lab, "--read-only", *wish, "--yes", "--reason", "x")
    assert forbidden.returncode == 1
    assert "--read-only" in forbidden.stderr
    assert "needs a reason" in run("--config", lab, *wish, "--yes").stderr
    assert documents("changes")["changes"] == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--node", "nowhere", "--gpu", "0", "--want", "7g.80gb"), 2, "has no node 'nowhere'"),
        (("--node", NODE, "--gpu", "99", "--want", "7g.80gb"), 2, "has no GPU 99"),
        (("--node", NODE, "--gpu", "0", "--want", "4g.40gb,4g.40gb"), 1, "near: "),
        (("--node", "l40s-01", "--gpu", "0", "--want", "7g.80gb"), 1, "MIG"),
    ],
)
def test_wrong_wishes_are_told_in_words(
    state: Path, lab: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = run("--config", lab, "mig", "apply", *arguments, "--dry-run")
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def written(state: Path, files: Path, *events: tuple[str, dict[str, Any]]) -> str:
    """A journal that a dead process has left."""
    journal = Journal.create(state / "changes", change_of(FileStep(str(files / "a")), site="lab"), ACTOR, NOW)
    for event, values in events:
        journal.write(event, NOW, **values)
    journal.close()
    return journal.record.id


def test_show_tells_everything_and_the_unreadable_are_named(state: Path, tmp_path: Path) -> None:
    change_id = written(state, tmp_path, ("applying", {"step": 0}))
    (state / "changes" / "broken.journal").write_text("{")
    document = documents("changes", "list")
    assert document["unreadable"][0]["file"].endswith("broken.journal")
    assert document["changes"][0]["step_reached"]["effect"] == "unknown"
    said = run("changes", "show", change_id).stdout
    for words in ("interrupted", "INC-1", "alice@head01", "applying, its effect is not known", "1 process", "undo"):
        assert words in said, words
    assert documents("changes", "show", change_id)["changes"][0]["id"] == change_id
    missing = run("changes", "show", "nothing")
    assert (missing.returncode, missing.stderr) == (
        1,
        "gpudeck: no change is called nothing\nhint: the names are in: gpudeck changes\n",
    )
    assert "is no change" in run("changes", "show", "../../etc/passwd").stderr


def test_abandon_needs_a_reason_and_closes_it(state: Path, tmp_path: Path, lab: Path) -> None:
    change_id = written(state, tmp_path, ("applying", {"step": 0}))
    abandon = ("--config", lab, "changes", "abandon", change_id)
    assert "why is it abandoned" in run(*abandon, "--yes").stderr
    assert "would abandon" in run(*abandon, "--reason", "by hand", "--dry-run").stdout
    assert run("--config", lab, "--read-only", *abandon[2:], "--reason", "x", "--yes").returncode == 1
    done = run(*abandon, "--reason", "by hand", "--yes")
    assert done.returncode == 0, done.stderr
    assert "abandoned" in done.stdout
    assert documents("changes")["changes"][0]["offers"] == []
    assert "undo is not possible" in run("--config", lab, "changes", "undo", change_id, "--yes").stderr
    audit = [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]
    assert [(line["event"], line["reason"]) for line in audit] == [("abandoned", "by hand")]


def test_on_a_terminal_abandon_asks_why(state: Path, tmp_path: Path, lab: Path) -> None:
    change_id = written(state, tmp_path, ("applying", {"step": 0}))
    (told,) = [line for line in run("--config", lab, "changes").stdout.splitlines() if " abandon " in line]
    ours, theirs = os.openpty()
    os.write(ours, b"done by hand\n")
    words = [GPUDECK, *shlex.split(told)[1:]]
    done = subprocess.run(words, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, timeout=90, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    (change,) = documents("changes")["changes"]
    assert (change["id"], change["status"], change["why"]) == (change_id, "abandoned", "done by hand")


def test_a_step_that_this_version_does_not_know_is_still_listed(state: Path, tmp_path: Path, lab: Path) -> None:
    change_id = written(state, tmp_path, ("applying", {"step": 0}))
    done = run("--config", lab, "changes", "undo", change_id, "--yes")  # test-file is a kind of the tests
    assert done.returncode == 1
    assert "no step is of the kind 'test-file'" in done.stderr
    assert documents("changes")["changes"][0]["step_reached"]["what"].startswith("write 'done' into ")


def test_the_list_tells_where_what_is_left_open_was_made(state: Path, tmp_path: Path) -> None:
    change = change_of(FileStep(str(tmp_path / "a")), site="lab")
    Journal.create(state / "changes", change, ACTOR, NOW, {"platform": Identity("https://east:6443", "1111")}).close()
    assert "  at platform: https://east:6443 (uid 1111)" in run("changes").stdout.splitlines()


def test_a_configuration_without_its_site_is_told_to_end_nothing(state: Path, tmp_path: Path) -> None:
    change_id = written(state, tmp_path, ("applying", {"step": 0}))
    other = tmp_path / "other.toml"
    other.write_text('[site.real]\nnodes = ["dgx01"]\n')
    for words in ((), ("show", change_id)):
        told = run("--config", other, "changes", *words).stdout
        assert f"{other} has no site lab: name the one that has, with --config, to end it" in told
        assert "gpudeck changes undo" not in told


def test_without_a_configuration_the_list_is_still_there(state: Path, tmp_path: Path) -> None:
    change_id = written(state, tmp_path)
    assert documents("changes", "list", "--site", "lab")["changes"][0]["id"] == change_id
    assert documents("changes", "--site", "other")["changes"] == []
    assert "no configuration" in run("changes", "undo", change_id, "--yes").stderr


def test_changes_that_a_group_shares_are_listed_and_ended(state: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[site.lab]\nnodes = ["127.0.0.1:1"]\nchanges_directory = "shared"\n')
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2770)
    change = change_of(FileStep("/a"), site="lab", change_id="20260101T000000.000-bbbb")
    Journal.create(shared, change, ACTOR, NOW, shared=True).close()
    own = written(state, tmp_path)
    (theirs,) = [each["id"] for each in documents("--config", site, "changes")["changes"] if each["id"] != own]
    assert theirs == change.id
    assert run("changes", "show", theirs).returncode == 1
    abandon = ("--config", site, "changes", "abandon", "--yes", "--reason", "by hand")
    done = run(*abandon, theirs)
    assert done.returncode == 0, done.stderr
    assert documents("--config", site, "changes", "show", theirs)["changes"][0]["status"] == "abandoned"
    refused = run(*abandon, own)
    assert refused.returncode == 1
    assert f"{own} is not in {shared}, where lab keeps its changes" in refused.stderr


def test_settings_that_cannot_be_read_keep_nobody_from_the_list(state: Path, tmp_path: Path) -> None:
    change_id = written(state, tmp_path)
    site = tmp_path / "site.toml"
    site.write_text("[site.lab\n")
    done = run("--config", site, "changes")
    assert done.returncode == 0
    assert change_id in done.stdout
    assert "changes that are shared with others are not looked at: " in done.stderr


def test_a_first_interrupt_stops_before_the_next_step(state: Path, lab: Path) -> None:
    node, gpu = idle_gpu(lab)
    wish = ("mig", "apply", "--node", node, "--gpu", gpu, "--want", "1g.10gb", "--yes", "--reason", "INC-1")
    process = subprocess.Popen(
        [GPUDECK, "--config", str(lab), *wish],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step 2 of 4, applying" in line:
            process.send_signal(signal.SIGHUP)
            break
    _, error = process.communicate(timeout=60)
    (change,) = documents("changes")["changes"]
    if change["status"] == "stopped":  # a quick machine may have done it all before the signal came
        assert process.returncode == 128 + signal.SIGHUP
        assert "SIGHUP" in change["why"]
        assert [step["state"] for step in change["steps"]] == ["verified"] * 2 + ["pending"] * 2
    assert "Traceback" not in error
    assert run("--config", lab, "changes", "undo", change["id"], "--yes").returncode == 0


def test_the_state_directory_may_move(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_id = written(state, tmp_path)
    shutil.move(state, tmp_path / "moved" / "gpudeck")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "moved"))
    assert documents("changes")["changes"][0]["id"] == change_id


def busy_gpus(lab: Path) -> list[tuple[str, str]]:
    """GPUs of the lab with an 80 GB board and without MIG on which something runs: node and index."""
    snapshot = json.loads(run("--config", lab, "snapshot", "--json").stdout)
    return [
        (node["name"], str(gpu["index"]))
        for node in snapshot["nodes"]
        for gpu in node["gpus"]
        if gpu["processes"] and gpu["mig"]["enabled"] is False and "80GB" in gpu["name"]
    ]


def test_a_gpu_at_work_is_refused_before_anything_is_stopped(state: Path, lab: Path) -> None:
    for node, gpu in busy_gpus(lab):
        wish = ("--config", lab, "mig", "apply", "--node", node, "--gpu", gpu, "--want", "7g.80gb")
        dry = run(*wish, "--dry-run")
        if dry.returncode == 1:
            break
        assert (node, gpu) not in busy_gpus(lab), "only what has ended since is in nobody's way"
    else:
        pytest.skip("every GPU of the lab is idle just now")
    assert "refused  " in dry.stdout
    assert "the driver refuses while there is any" in dry.stdout
    done = run(*wish, "--yes", "--confirm", f"{node} gpu{gpu}", "--reason", "INC-1")
    assert done.returncode == 1
    assert "the driver refuses while there is any" in done.stderr
    assert documents("changes")["changes"] == []
    audit = [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]
    assert [line["event"] for line in audit if line["event"] != "window-closed"] == ["refused"]


@pytest.mark.parametrize("where", ["/dev/null/x", "file", "closed"])
@pytest.mark.parametrize("command", [("changes",), ("changes", "show", "x"), ("mig", "apply")])
def test_a_state_directory_that_cannot_be_used_is_told_in_words(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "closed" / "gpudeck").mkdir(parents=True)
    (tmp_path / "closed" / "gpudeck" / "changes").symlink_to("changes")
    path = str(tmp_path / where)
    monkeypatch.setenv("XDG_STATE_HOME", path)
    words = list(command)
    if command[0] == "mig":
        node, gpu = idle_gpu(lab)
        words += ["--node", node, "--gpu", gpu, "--want", "7g.80gb", "--yes", "--reason", "INC-1"]
    done = run("--config", lab, *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"gpudeck: {path}/gpudeck")
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
