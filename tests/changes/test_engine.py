"""A change from its first line to its last: done, failed, stopped, undone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.changes.change import BlastRadius, Undetermined
from backends.changes.desk import ChangeDesk
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from backends.changes.step import Reach, Step
from backends.contract import ChangeRefused
from backends.feed import ManualClock
from tests.changes.steps import GATES, NOW, FileStep, GatedStep, change_of, desk_on, open_desk


def files(tmp_path: Path, *names: str) -> list[FileStep]:
    return [FileStep(str(tmp_path / name)) for name in names]


def states(record: ChangeRecord) -> list[StepState]:
    return [step.state for step in record.steps]


def audit(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]


async def test_a_change_is_done_step_by_step_and_told_everywhere(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    heard: list[str] = []
    desk.running.watch(lambda reading: heard.append(reading.value.steps[0].state if reading.value else ""))
    record = await desk.run(change_of(*files(tmp_path, "a", "b")))
    assert (record.status, states(record)) == (Status.DONE, [StepState.VERIFIED] * 2)
    assert record.steps[0].said == "it holds 'done'"
    assert (tmp_path / "b").read_text() == "done"
    assert list(dict.fromkeys(heard)) == ["pending", "applying", "applied", "verified"]
    view = await desk.look()
    assert [each.id for each in view.records] == [record.id]
    assert view.records[0] == replace(record, progress="")
    lines = audit(tmp_path / "state")
    assert [(line["event"], line["outcome"]) for line in lines] == [
        ("window-opened", "open for 30 min"),
        ("begun", "begun"),
        ("step", "verified"),
        ("step", "verified"),
        ("ended", "done"),
    ]
    assert lines[2]["what"].startswith("write 'done' into ")
    assert {line["reason"] for line in lines} == {"INC-1"}
    assert {line["site"] for line in lines} == {"prod"}
    await desk.close()


async def test_nothing_begins_while_the_window_is_closed(tmp_path: Path) -> None:
    desk = desk_on(tmp_path / "state")
    with pytest.raises(ChangeRefused, match="window of prod is closed"):
        await desk.run(change_of(*files(tmp_path, "a")))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "state" / "changes").exists()
    assert [line["event"] for line in audit(tmp_path / "state")] == ["refused"]
    await desk.close()


async def test_read_only_forbids_everything_for_the_whole_process(tmp_path: Path) -> None:
    desk = desk_on(tmp_path / "state", read_only=True)
    with pytest.raises(ChangeRefused, match="--read-only"):
        await desk.open_window(5, "please")
    for attempt in (
        desk.run(change_of(*files(tmp_path, "a"))),
        desk.abandon("x", "because"),
    ):
        with pytest.raises(ChangeRefused, match="--read-only"):
            await attempt
    await desk.close()


async def test_the_limit_refuses_with_the_numbers(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state", limit=2)
    wide = BlastRadius(pods=("a/b", "a/c"), containers=("x",), gpus=("g0", "g1", "g2", "g3"))
    with pytest.raises(ChangeRefused, match="3 workloads and 4 GPUs; the limit of this site is 2"):
        await desk.run(change_of(*files(tmp_path, "a"), radius=wide))
    unknown = BlastRadius(undetermined=(Undetermined("the pods of dgx07", "403", uncounted=True),))
    with pytest.raises(ChangeRefused, match="cannot be told whether it stays within the limit of 2: the pods of dgx07"):
        await desk.run(change_of(*files(tmp_path, "a"), radius=unknown))
    with pytest.raises(ChangeRefused, match="the limit of this site is 1"):
        await desk.run(change_of(*files(tmp_path, "a"), radius=BlastRadius(pods=("a/b", "a/c")), limit=1))
    assert (await desk.run(change_of(*files(tmp_path, "a")))).status is Status.DONE
    await desk.close()


class Crowded(FileStep):
    @classmethod
    async def hits(cls, steps: Sequence[Step], reach: Reach) -> BlastRadius:
        return BlastRadius(pods=("a/b", "a/c", "a/d"))


async def test_the_limit_holds_for_whom_is_found_just_now_too(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state", limit=2)
    change = change_of(Crowded(str(tmp_path / "a")), radius=BlastRadius())
    found = await desk.preflight(change)
    assert found.obstacles == ("it touches 3 workloads; the limit of this site is 2",)
    assert found.news(change) == ("pod a/b", "pod a/c", "pod a/d")
    assert (change.typed_name, found.typed_name(change)) == (None, change.targets[0].name)
    with pytest.raises(ChangeRefused, match="3 workloads"):
        await desk.run(change)
    await desk.close()


async def test_a_missing_permission_is_named_and_one_that_cannot_be_asked_is_a_warning(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    with pytest.raises(ChangeRefused, match="write files is not granted: the test says so"):
        await desk.run(change_of(FileStep(str(tmp_path / "a"), granted=False)))
    unknown = change_of(FileStep(str(tmp_path / "a"), granted=None))
    found = await desk.preflight(unknown)
    assert found.obstacles == ()
    assert any("write files is granted could not be asked" in warning for warning in found.warnings)
    assert found.previews[0].effects == ("a appears",)
    await desk.close()


async def test_a_refused_step_has_done_nothing_and_is_tried_again_on_resume(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first, second = files(tmp_path, "a", "b")
    record = await desk.run(change_of(first, replace(second, fails="refused")))
    assert (record.status, record.steps[1].effect) == (Status.FAILED, Effect.NONE)
    assert record.why == "the file is not wanted (ask for another)"
    assert record.offers == ("resume", "undo", "abandon")
    again = await desk.resume(record.id)
    assert again.status is Status.FAILED
    undone = await desk.undo(record.id)
    assert (undone.status, states(undone)) == (Status.UNDONE, [StepState.UNDONE, StepState.FAILED])
    assert not (tmp_path / "a").exists()
    assert undone.offers == ()
    await desk.close()


async def test_a_half_done_step_has_an_unknown_effect_and_undo_takes_it_back(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first, second = files(tmp_path, "a", "b")
    record = await desk.run(change_of(first, replace(second, fails="half")))
    assert (record.status, record.in_doubt) == (Status.FAILED, 1)
    assert "RuntimeError: the pen broke" in record.why
    with_doubt = await desk.resume(record.id)
    assert with_doubt.status is Status.FAILED
    assert "cannot be repeated safely: it holds 'do'" in with_doubt.why
    assert (tmp_path / "b").read_text() == "do"
    undone = await desk.undo(record.id)
    assert undone.status is Status.UNDONE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
    await desk.close()


async def test_a_step_that_says_failed_but_is_there_is_found_so_on_resume(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first, second = files(tmp_path, "a", "b")
    record = await desk.run(change_of(replace(first, fails="lost"), second))
    assert (record.status, record.in_doubt) == (Status.FAILED, 0)
    again = await desk.resume(record.id)
    assert (again.status, states(again)) == (Status.DONE, [StepState.VERIFIED] * 2)
    await desk.close()


async def test_a_repeatable_step_in_doubt_is_done_again(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    gated = GatedStep(str(tmp_path / "a"), repeatable=True)
    task = desk.launch(desk.run(change_of(gated)))
    reached, go_on = GATES.setdefault(gated.path, (asyncio.Event(), asyncio.Event()))
    await reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    (tmp_path / "a").write_text("half")
    view = await desk.look()
    assert (view.records[0].status, view.records[0].in_doubt) == (Status.OPEN, 0)
    assert not view.held.alive
    again = await desk.resume(view.records[0].id)  # rebuilt from the journal: a plain file step
    assert again.status is Status.DONE
    assert "interrupted" in [line["event"] for line in audit(tmp_path / "state")]
    go_on.set()
    await desk.close()


async def test_what_cannot_be_undone_is_kept_and_said(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first, second = files(tmp_path, "a", "b")
    record = await desk.run(change_of(first, replace(second, undoable=False)))
    assert record.offers == ("undo",)
    undone = await desk.undo(record.id)
    assert states(undone) == [StepState.UNDONE, StepState.KEPT]
    assert undone.summary == "undone, 2 steps (1 cannot be undone)"
    assert undone.steps[1].said == "it has no undo"
    assert [path.name for path in tmp_path.glob("?")] == ["b"]
    await desk.close()


async def test_an_undo_that_fails_is_offered_again(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(*files(tmp_path, "a", "b")))
    (tmp_path / "b").unlink()
    (tmp_path / "b").mkdir()
    failed = await desk.undo(record.id)
    assert (failed.status, failed.steps[1].state) == (Status.UNDO_FAILED, StepState.UNDO_FAILED)
    assert failed.offers == ("undo", "abandon")
    assert failed.reached == 1
    (tmp_path / "b").rmdir()
    assert (await desk.undo(record.id)).status is Status.UNDONE
    await desk.close()


async def test_stopping_lets_the_running_step_finish(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    gated, other = GatedStep(str(tmp_path / "a")), FileStep(str(tmp_path / "b"))
    reached, go_on = GATES.setdefault(gated.path, (asyncio.Event(), asyncio.Event()))
    task = desk.launch(desk.run(change_of(gated, other)))
    await reached.wait()
    busy = desk.busy
    assert busy
    desk.stop()
    go_on.set()
    record = await task
    assert (record.status, states(record)) == (Status.STOPPED, [StepState.VERIFIED, StepState.PENDING])
    assert record.why == "it was asked to stop"
    assert not (tmp_path / "b").exists()
    assert not desk.busy
    assert (await desk.resume(record.id)).status is Status.DONE
    await desk.close()


async def test_what_is_asked_to_stop_before_it_begins_stops_at_its_first_step(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    desk.stop("it was asked to stop (SIGINT)")
    record = await desk.run(change_of(*files(tmp_path, "a")))
    assert (record.status, record.reached, record.why) == (Status.STOPPED, None, "it was asked to stop (SIGINT)")
    assert not (tmp_path / "a").exists()
    assert (await desk.resume(record.id)).status is Status.DONE
    await desk.close()


async def test_a_change_that_holds_a_secret_leaves_nothing_but_a_line_in_the_audit_log(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    with pytest.raises(ChangeRefused, match="looks like a secret"):
        await desk.run(change_of(FileStep(str(tmp_path / "a"), secret="hunter2")))
    assert [line["outcome"] for line in audit(tmp_path / "state")] == ["open for 30 min", "begun", "not begun"]
    assert list((tmp_path / "state" / "changes").glob("*.journal")) == []
    assert "hunter2" not in (tmp_path / "state" / "audit.jsonl").read_text()
    await desk.close()


async def test_the_end_of_the_window_lets_the_running_step_finish_and_stops_before_the_next(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    desk = await open_desk(tmp_path / "state", clock)
    gated, other = GatedStep(str(tmp_path / "a")), FileStep(str(tmp_path / "b"))
    reached, go_on = GATES.setdefault(gated.path, (asyncio.Event(), asyncio.Event()))
    task = desk.launch(desk.run(change_of(gated, other)))
    await reached.wait()
    await clock.advance(30 * 60)
    assert not desk.window.is_open
    go_on.set()
    record = await task
    assert (record.status, states(record)) == (Status.STOPPED, [StepState.VERIFIED, StepState.PENDING])
    assert "write window of prod is closed" in record.why
    with pytest.raises(ChangeRefused, match="closed"):
        await desk.resume(record.id)
    await desk.open_window(5, "again")
    assert (await desk.resume(record.id)).status is Status.DONE
    await desk.close()


async def test_the_end_of_the_window_stops_an_undo_as_well(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    desk = await open_desk(tmp_path / "state", clock)
    record = await desk.run(change_of(*files(tmp_path, "a", "b")))
    closing = desk.running.watch(
        lambda reading: desk.close_window() if reading.value and reading.value.steps[1].state == "undone" else None
    )
    stopped = await desk.undo(record.id)
    closing()
    assert (stopped.status, states(stopped)) == (Status.UNDOING, [StepState.VERIFIED, StepState.UNDONE])
    assert stopped.offers == ("undo", "abandon")
    await desk.open_window(5, "again")
    assert (await desk.undo(record.id)).status is Status.UNDONE
    await desk.close()


async def test_an_unfinished_change_of_the_same_target_comes_first(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    failed = await desk.run(change_of(FileStep(str(tmp_path / "a"), fails="refused")))
    later = change_of(*files(tmp_path, "c"), change_id="20231114T221321-bbbbbb")
    with pytest.raises(ChangeRefused, match=f"the change {failed.id} of the files was left unfinished"):
        await desk.run(later)
    abandoned = await desk.abandon(failed.id, "a colleague does it by hand")
    assert (abandoned.status, abandoned.offers) == (Status.ABANDONED, ())
    assert (await desk.run(later)).status is Status.DONE
    await desk.close()


async def test_a_change_that_others_build_upon_is_not_undone_first(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first = await desk.run(change_of(*files(tmp_path, "a")))
    second = await desk.run(change_of(*files(tmp_path, "b"), change_id="20231114T221321-bbbbbb"))
    with pytest.raises(ChangeRefused, match=f"later change {second.id}") as caught:
        await desk.undo(first.id)
    assert f"gpudeck changes undo {second.id} --yes" in caught.value.message
    assert (await desk.undo(second.id)).status is Status.UNDONE
    assert (await desk.undo(first.id)).status is Status.UNDONE
    await desk.close()


async def test_what_is_not_offered_is_refused(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(*files(tmp_path, "a")))
    with pytest.raises(ChangeRefused, match="resume is not possible"):
        await desk.resume(record.id)
    with pytest.raises(ChangeRefused, match="abandon is not possible"):
        await desk.abandon(record.id, "")
    await desk.close()


async def test_a_step_without_a_check_is_applied_and_said_to_be_unverified(tmp_path: Path) -> None:
    class Blind(FileStep):
        @property
        def checked(self) -> bool:
            return False

        async def check(self, reach: Any) -> Any:
            return (await FileStep.check(self, reach)).__class__(None, "no check is known")

    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(Blind(str(tmp_path / "a"))))
    assert (record.status, states(record)) == (Status.DONE, [StepState.APPLIED])
    assert record.summary == "done, 1 step (1 not verified)"
    await desk.close()


async def test_an_effect_that_is_not_seen_in_time_fails_the_step(tmp_path: Path) -> None:
    class Shy(FileStep):
        async def check(self, reach: Any) -> Any:
            return (await FileStep.check(self, reach)).__class__(False, "nothing to be seen")

    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(Shy(str(tmp_path / "a"))))
    assert (record.status, record.in_doubt) == (Status.FAILED, 0)
    assert record.why == "not seen within 0 s: nothing to be seen"
    await desk.close()


async def test_closing_the_desk_waits_for_the_step_and_leaves_the_truth(tmp_path: Path) -> None:
    desk: ChangeDesk = await open_desk(tmp_path / "state")
    gated, other = GatedStep(str(tmp_path / "a")), FileStep(str(tmp_path / "b"))
    reached, go_on = GATES.setdefault(gated.path, (asyncio.Event(), asyncio.Event()))
    task = desk.launch(desk.run(change_of(gated, other)))
    await reached.wait()
    asyncio.get_running_loop().call_soon(go_on.set)
    await desk.close()
    assert task.result().status is Status.STOPPED
    assert audit(tmp_path / "state")[-1]["event"] == "window-closed"
