"""`gpudeck stack restart|drain|...` as it is typed: another process on the lab's API, and kill -9 in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backends.lab.kube.cluster import KINDS
from tests.changes.platforms import NODE, Bench, bench, site_file
from tests.changes.test_platform_lab import held_moment, make_room, uid_of, without_budgets

GPUDECK = str(Path(sys.executable).with_name("gpudeck"))
PATIENCE_SECONDS = 60.0


@pytest.fixture
async def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    async with bench(tmp_path) as made:
        yield made


async def start(*arguments: object) -> Process:
    return await asyncio.create_subprocess_exec(
        GPUDECK, *map(str, arguments), stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, cwd="/"
    )


async def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    process = await start(*arguments)
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def document(*arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, err = await run(*arguments)
    assert out, err
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == "gpudeck/changes/1"
    return code, found


async def test_a_dry_run_prints_steps_and_blast_radius_and_changes_nothing(on: Bench, tmp_path: Path) -> None:
    before = on.versions
    site = site_file(tmp_path, "admin")
    code, found = await document(
        "--config", site, "stack", "restart", "driver", "--node", NODE, "--dry-run", "--json", "--reason", "INC-1"
    )
    assert on.versions == before
    assert code == 0
    assert (found["dry_run"], found["changed"], found["possible"]) == (True, False, True)
    change = found["change"]
    assert change["targets"] == [
        {"kind": "operand", "name": f"{NODE} driver", "node": NODE, "gpu_key": None, "gpu_index": None}
    ]
    (step,) = change["steps"]
    assert step["what"].startswith("DELETE /api/v1/namespaces/gpu-operator/pods/nvidia-driver-daemonset-")
    assert "dry run accepts it" in step["effects"][0]
    assert "evict" in step["warnings"][0]
    assert sorted(change["blast_radius"]["pods"]) == sorted(
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in on.pods()
    )
    assert change["blast_radius"]["owners"]
    assert change["blast_radius"]["gpu_count"] > 0
    rights = [each["what"] for each in change["permissions"] if each["granted"]]
    assert rights[0].startswith("delete pods nvidia-driver-daemonset-")
    assert rights[1:] == ["list pods in gpu-operator", "watch pods in gpu-operator"]
    assert (tmp_path / "xdg" / "gpudeck" / "changes").exists() is False


async def test_without_the_right_it_names_the_right_and_fails(on: Bench, tmp_path: Path) -> None:
    before = on.versions
    site = site_file(tmp_path, "viewer")
    command = ("--config", site, "stack", "restart", "driver", "--node", NODE)
    code, found = await document(*command, "--dry-run", "--json")
    assert code == 1
    assert found["possible"] is False
    (obstacle,) = [each for each in found["change"]["obstacles"] if "SelfSubjectAccessReview" in each]
    assert obstacle.startswith("delete pods nvidia-driver-daemonset-")
    assert f"in gpu-operator is not granted: SelfSubjectAccessReview, for driver on {NODE}" in obstacle
    code, out, err = await run(*command, "--yes", "--reason", "INC-1")
    assert (code, out) == (1, "")
    assert "in gpu-operator is not granted" in err
    assert on.versions == before


async def test_wrong_names_are_told_with_the_nearest_ones(on: Bench, tmp_path: Path) -> None:
    del on
    site = site_file(tmp_path, "admin")
    code, _, err = await run("--config", site, "stack", "restart", "drivre", "--node", NODE, "--dry-run")
    assert code == 2
    assert "no operand is called 'drivre'" in err
    assert "did you mean driver?" in err
    code, _, err = await run("--config", site, "stack", "cordon", "--node", "nope", "--dry-run")
    assert code == 2
    assert "has no node 'nope'" in err
    code, _, err = await run("--config", site, "stack", "upgrade", "stop", "--node", NODE)
    assert code == 2


async def test_what_ends_workloads_takes_the_name_too(on: Bench, tmp_path: Path) -> None:
    without_budgets(on)
    before = on.versions
    command = ("--config", site_file(tmp_path, "admin"), "stack", "drain", "--node", NODE)
    code, out, _ = await run(*command, "--dry-run")
    assert code == 0
    assert f"--confirm {NODE}" in out
    for more in ((), ("--confirm", "another")):
        code, _, err = await run(*command, "--yes", "--reason", "INC-1", *more)
        assert code == 2
        assert f"it needs the name of {NODE}" in err
    assert on.versions == before


async def test_nothing_is_done_without_yes(on: Bench, tmp_path: Path) -> None:
    before = on.versions
    code, _, err = await run("--config", site_file(tmp_path, "admin"), "stack", "cordon", "--node", NODE)
    assert code == 2
    assert "needs --yes" in err
    assert on.versions == before


@pytest.mark.parametrize("words", [("upgrade", "pause"), ("cordon",), ("mig", "all-1g.10gb"), ("drain",)])
async def test_it_is_done_and_undone(on: Bench, tmp_path: Path, words: tuple[str, ...]) -> None:
    without_budgets(on)
    if words[0] == "mig":
        make_room(on)
    before = (on.node["spec"].get("unschedulable"), on.labels.get("nvidia.com/mig.config"))
    site = site_file(tmp_path, "admin")
    said = ("--yes", "--confirm", NODE, "--reason", "INC-1")
    command = ("--config", site, "stack", *words, "--node", NODE, *said, "--json")
    code, found = await on.running(document(*command))
    assert code == 0
    (change,) = found["changes"]
    assert change["status"] == "done"
    assert change["offers"] == ["undo"]
    code, found = await on.running(document("--config", site, "changes", "undo", change["id"], *said, "--json"))
    assert (code, found["changes"][0]["status"]) == (0, "undone")
    assert (on.node["spec"].get("unschedulable"), on.labels.get("nvidia.com/mig.config")) == before


async def test_of_several_who_cordon_at_once_one_does_and_its_undo_is_the_end_of_it(on: Bench, tmp_path: Path) -> None:
    site = site_file(tmp_path, "admin")
    command = ("--config", site, "stack", "cordon", "--node", NODE, "--yes", "--reason", "INC-1")
    ended = await asyncio.gather(*(run(*command) for _ in range(3)))
    assert sorted(code for code, _, _ in ended) == [0, 1, 1], ended
    _, found = await document("--config", site, "changes", "--json")
    (change,) = found["changes"]
    code, _, err = await run("--config", site, "changes", "undo", change["id"], "--yes")
    assert code == 0, err
    assert "unschedulable" not in on.node["spec"]


@pytest.fixture
async def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """At a time when several pods run on the node."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    async with bench(tmp_path, when=held_moment) as made:
        yield made


async def test_killed_in_the_middle_of_a_drain_the_journal_tells_the_step_and_the_undo_works(
    mixed: Bench, tmp_path: Path
) -> None:
    on = mixed
    without_budgets(on)
    pods = on.pods()
    assert len(pods) > 1
    held = pods[-1]
    labels = {"kept": "yes"}
    on.store.update(
        KINDS["pods"],
        held["metadata"]["namespace"],
        held["metadata"]["name"],
        lambda pod: pod["metadata"]["labels"].update(labels),
    )
    budget = {
        "metadata": {"name": "kept", "namespace": held["metadata"]["namespace"]},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": labels}},
        "status": {"disruptionsAllowed": 0},
    }
    on.store.create(KINDS["poddisruptionbudgets"], budget)
    site = site_file(tmp_path, "admin")
    said = ("--yes", "--confirm", NODE, "--reason", "INC-1")
    process = await start("--config", site, "stack", "drain", "--node", NODE, *said)
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while f"/pods/{held['metadata']['name']}/eviction" not in (await process.stderr.readline()).decode():
            pass
        line = (await process.stderr.readline()).decode()
        assert line.startswith("  held by budget kept (needs "), line
        assert re.search(r"\): asked again for 3 min, [23]:\d\d left$", line), line
        process.send_signal(signal.SIGKILL)
        await process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [uid_of(pod) for pod in on.pods()] == [uid_of(held)]
    assert on.node["spec"]["unschedulable"] is True

    code, found = await document("--config", site, "changes", "--json")
    assert code == 0
    (change,) = found["changes"]
    reached = change["step_reached"]
    assert change["status"] == "interrupted"
    assert (reached["number"], reached["of"]) == (len(pods) + 1, len(pods) + 2)
    assert (reached["state"], reached["effect"]) == ("applying", "unknown")
    assert f"/pods/{held['metadata']['name']}/eviction" in reached["what"]
    assert "undo" in change["offers"]

    again = ("--config", site, "changes", "undo", change["id"])
    code, looked = await document(*again, "--dry-run", "--json")
    assert code == 0
    assert [step["what"] for step in looked["change"]["steps"]] == [
        f'PATCH /api/v1/nodes/{NODE} {{"spec":{{"unschedulable":null}}}}, at the resourceVersion just read'
    ]
    code, found = await document(*again, *said, "--json")
    assert (code, found["changes"][0]["status"]) == (0, "undone")
    assert "unschedulable" not in on.node["spec"]
    assert [uid_of(pod) for pod in on.pods()] == [uid_of(held)]


async def test_a_killed_and_abandoned_change_leaves_the_former_one_to_be_undone(on: Bench, tmp_path: Path) -> None:
    make_room(on)
    site = site_file(tmp_path, "admin")
    said = ("--yes", "--confirm", f"{NODE} mig", "--reason", "INC-1")
    command = ("--config", site, "stack", "mig")
    code, found = await on.running(document(*command, "all-1g.10gb", "--node", NODE, *said, "--json"))
    assert code == 0
    (first,) = found["changes"]

    process = await start(*command, "all-2g.20gb", "--node", NODE, *said)
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "step 1 of 1, applied" not in (await process.stderr.readline()).decode():
            pass  # the label is set, and the MIG manager has not said yet that it is done
        process.send_signal(signal.SIGKILL)
        await process.communicate()
    _, found = await document("changes", "--json")
    cut_off = found["changes"][0]
    assert cut_off["status"] == "interrupted"
    code, out, _ = await run("--config", site, "changes", "abandon", cut_off["id"], "--yes", "--reason", "by hand")
    assert code == 0, out

    undo = ("--config", site, "changes", "undo", first["id"])
    code, looked = await document(*undo, "--dry-run", "--json")
    assert code == 0
    assert looked["change"]["warnings"][0].startswith(f"the later change {cut_off['id']} (MIG layout of {NODE}: all-2g")
    assert "all-2g.20gb -> all-disabled" in looked["change"]["steps"][0]["effects"]
    code, out, err = await on.running(run(*undo, *said))
    assert code == 0, err
    assert f"warning: the later change {cut_off['id']} " in err
    assert on.labels["nvidia.com/mig.config"] == "all-disabled"


def test_every_word_is_in_the_help_and_in_the_completion() -> None:
    text = subprocess.run([GPUDECK, "stack", "--help"], capture_output=True, text=True, check=True).stdout
    script = subprocess.run([GPUDECK, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    for word in ("restart", "cordon", "uncordon", "drain", "mig", "upgrade"):
        assert word in text
        assert word in script
    environment = {**os.environ, "COLUMNS": "100"}
    drain = subprocess.run([GPUDECK, "stack", "drain", "--help"], capture_output=True, text=True, env=environment)
    for option in ("--node", "--force", "--dry-run", "--yes", "--confirm", "--reason", "--json", "Exit codes"):
        assert option in drain.stdout
