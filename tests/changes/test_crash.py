"""A real process, really killed: whatever it was doing, its journal tells the truth, and resume and undo work."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.changes.journals import read_all
from backends.changes.lock import lock_path, look
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from tests.changes.steps import open_desk
from tests.changes.worker import CHANGE, steps

ROOT = Path(__file__).parents[2]
LINES = 11
"""begin; applying, applied and verified of three steps; finished."""
UNDO_LINES = 8
"""undo; undoing and undone of three steps; undo-finished."""


def crash(tmp_path: Path, plan: str, number: int, place: str) -> str | None:
    """Runs the worker; None when it was killed, else what it printed."""
    (tmp_path / "files").mkdir(exist_ok=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.changes.worker",
            *map(str, (tmp_path / "state", tmp_path / "files", plan, number, place)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def the_record(tmp_path: Path) -> ChangeRecord:
    records, unreadable = read_all(tmp_path / "state" / "changes")
    assert unreadable == []
    (record,) = records
    return record


def tells_the_truth(record: ChangeRecord, tmp_path: Path) -> None:
    """Nothing is said to be done that is not, nothing is said to be untouched that is not, one step is in doubt."""
    for step, told in zip(steps(tmp_path / "files"), record.steps, strict=True):
        path = Path(step.path)
        if told.effect is Effect.NONE:
            assert not path.exists()
        elif told.effect is Effect.DONE:
            assert path.read_text() == step.content
        else:
            assert told.state in (StepState.APPLYING, StepState.UNDOING)
            assert record.reached is not None
            assert record.steps[record.reached] is told
    assert sum(told.effect is Effect.UNKNOWN for told in record.steps) <= 1


async def can_be_mended(tmp_path: Path) -> None:
    """From the same crash: resumed to the end in one copy, undone to nothing in another."""
    record = the_record(tmp_path)
    for offer, status, there in (("resume", Status.DONE, 3), ("undo", Status.UNDONE, 0)):
        if offer not in record.offers:
            continue
        kept = tmp_path / f"before-{offer}"
        shutil.copytree(tmp_path / "files", kept)
        shutil.copytree(tmp_path / "state", tmp_path / offer)
        desk = await open_desk(tmp_path / offer)
        mended = await getattr(desk, offer)(CHANGE)
        await desk.close()
        assert mended.status is status, mended
        assert len(list((tmp_path / "files").iterdir())) == there
        shutil.rmtree(tmp_path / "files")
        shutil.copytree(kept, tmp_path / "files")


@pytest.mark.parametrize("place", ["before", "torn", "after"])
@pytest.mark.parametrize("number", range(1, LINES + 1))
async def test_killed_at_any_line_of_the_journal(tmp_path: Path, number: int, place: str) -> None:
    assert crash(tmp_path, "run", number, place) is None
    if number == 1 and place != "after":
        records, unreadable = read_all(tmp_path / "state" / "changes")
        assert records == []
        assert list((tmp_path / "files").iterdir()) == []
        assert [each.why for each in unreadable if "no step had been started" not in each.why] == []
        return
    record = the_record(tmp_path)
    tells_the_truth(record, tmp_path)
    assert (record.torn_bytes > 0) == (place == "torn")
    assert record.ended == (number == LINES and place == "after")
    if not record.ended:
        assert {"resume", "abandon"} <= set(record.offers)
        assert ("undo" in record.offers) == (record.events > 1)
    await can_be_mended(tmp_path)


@pytest.mark.parametrize("place", ["before", "half", "after"])
async def test_killed_inside_a_step(tmp_path: Path, place: str) -> None:
    assert crash(tmp_path, f"run-{place}", 0, "") is None
    record = the_record(tmp_path)
    tells_the_truth(record, tmp_path)
    assert (record.status, record.reached, record.in_doubt) == (Status.OPEN, 1, 1)
    assert record.summary == "open at step 2 of 3, applying, its effect is not known"
    if place == "half":
        # Half a file is neither the old state nor the new one: only undo is sure what to do.
        desk = await open_desk(tmp_path / "state")
        assert "cannot be repeated safely" in (await desk.resume(CHANGE)).why
        assert (await desk.undo(CHANGE)).status is Status.UNDONE
        await desk.close()
        assert list((tmp_path / "files").iterdir()) == []
    else:
        await can_be_mended(tmp_path)


@pytest.mark.parametrize("place", ["before", "torn", "after"])
@pytest.mark.parametrize("number", range(1, UNDO_LINES + 1))
async def test_killed_at_any_line_of_an_undo(tmp_path: Path, number: int, place: str) -> None:
    assert crash(tmp_path, "run", 0, "") == "done"
    assert crash(tmp_path, "undo", number, place) is None
    record = the_record(tmp_path)
    tells_the_truth(record, tmp_path)
    assert (record.status is Status.DONE) == (number == 1 and place != "after")
    if record.status is not Status.UNDONE:
        assert crash(tmp_path, "undo", 0, "") == "undone"
    assert the_record(tmp_path).status is Status.UNDONE
    assert list((tmp_path / "files").iterdir()) == []


async def test_a_resume_that_is_killed_is_resumed_again(tmp_path: Path) -> None:
    assert crash(tmp_path, "run-after", 0, "") is None
    for number in (1, 2, 3, 4):
        assert crash(tmp_path, "resume", number, "torn") is None
        tells_the_truth(the_record(tmp_path), tmp_path)
    assert crash(tmp_path, "resume", 0, "") == "done"
    tells_the_truth(the_record(tmp_path), tmp_path)


def test_a_dead_owner_is_told_from_a_live_one(tmp_path: Path) -> None:
    assert crash(tmp_path, "run-half", 0, "") is None
    held = look(lock_path(tmp_path / "state" / "changes", "prod"), time.time(), "elsewhere")
    assert held.owner is not None
    assert held.owner.change == CHANGE
    assert held.alive  # from another host its last heartbeat is all there is to go by
    later = look(lock_path(tmp_path / "state" / "changes", "prod"), time.time() + 60, "elsewhere")
    assert not later.alive
    here = look(lock_path(tmp_path / "state" / "changes", "prod"), time.time(), held.owner.host)
    assert not here.alive
