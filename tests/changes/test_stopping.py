"""A person who asks to stop waits no longer for an effect that does not come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from backends.changes.desk import ChangeDesk
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from backends.changes.step import KINDS, Reach, Step, Verdict
from backends.feed import ManualClock, Reading
from tests.changes.steps import NOW, FileStep, GoneStep, change_of, open_desk
from tests.changes.test_engine import audit, states


@dataclass(frozen=True, slots=True)
class LateStep(FileStep):
    """Its effect is not seen for ten minutes, or as long as `LATE` says."""

    kind: ClassVar[str] = "test-late"

    verify_seconds: float = 600.0

    async def check(self, reach: Reach) -> Verdict:
        seen = await FileStep.check(self, reach)
        return Verdict(False, "its pod starts") if seen.holds and self.path in LATE else seen

    def undo(self) -> Step | None:
        return LateGoneStep(self.path)


@dataclass(frozen=True, slots=True)
class LateGoneStep(GoneStep):
    kind: ClassVar[str] = "test-late-gone"

    verify_seconds: float = 600.0

    async def check(self, reach: Reach) -> Verdict:
        seen = await GoneStep.check(self, reach)
        return Verdict(False, "its pod ends") if seen.holds and self.path in LATE else seen


LATE: set[str] = set()
KINDS["test-late"] = "tests.changes.test_stopping:LateStep"
KINDS["test-late-gone"] = "tests.changes.test_stopping:LateGoneStep"


async def told(desk: ChangeDesk, words: str) -> ChangeRecord:
    """The running change as soon as it tells `words`."""
    heard: asyncio.Future[ChangeRecord] = asyncio.get_running_loop().create_future()

    def look(reading: Reading[ChangeRecord]) -> None:
        if reading.value is not None and words in reading.value.progress and not heard.done():
            heard.set_result(reading.value)

    unwatch = desk.running.watch(look)
    look(desk.running.reading)
    try:
        return await asyncio.wait_for(heard, 20)
    finally:
        unwatch()


async def test_stopping_ends_the_wait_for_an_effect_and_undo_is_offered(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    desk = await open_desk(tmp_path / "state", clock)
    late = LateStep(str(tmp_path / "a"))
    LATE.add(late.path)
    task = desk.launch(desk.run(change_of(late, FileStep(str(tmp_path / "b")))))
    waiting = await told(desk, "not yet: its pod starts")
    assert waiting.waits_until == NOW + 600
    assert (await desk.look()).records[0].waits_until is None
    await clock.advance(42)
    desk.stop()
    record = await task
    assert (record.status, states(record)) == (Status.STOPPED, [StepState.APPLIED, StepState.PENDING])
    assert record.steps[0].said == "not verified, the wait was ended after 42 s: its pod starts"
    assert record.steps[0].effect is Effect.DONE
    assert record.summary == "stopped at step 1 of 2, applied, not verified: it was asked to stop"
    assert record.offers == ("resume", "undo", "abandon")
    assert [line["outcome"] for line in audit(tmp_path / "state")[-2:]] == ["applied, not verified", "stopped"]
    LATE.clear()
    again = await desk.resume(record.id)
    assert (again.status, states(again)) == (Status.DONE, [StepState.VERIFIED] * 2)
    await desk.close()


async def test_an_effect_that_is_there_when_it_is_asked_to_stop_is_verified(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state", ManualClock(NOW))
    late = LateStep(str(tmp_path / "a"))
    LATE.add(late.path)
    task = desk.launch(desk.run(change_of(late)))
    await told(desk, "not yet: its pod starts")
    LATE.clear()
    desk.stop()
    record = await task
    assert (record.status, states(record)) == (Status.DONE, [StepState.VERIFIED])
    await desk.close()


async def test_stopping_ends_the_wait_of_an_undo_as_well(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state", ManualClock(NOW))
    late = LateStep(str(tmp_path / "a"))
    record = await desk.run(change_of(late))
    LATE.add(late.path)
    task = desk.launch(desk.undo(record.id))
    await told(desk, "not yet: its pod ends")
    desk.stop()
    stopped = await task
    assert (stopped.status, states(stopped)) == (Status.UNDOING, [StepState.UNDOING])
    assert "not verified" in stopped.steps[0].said
    assert stopped.offers == ("undo", "abandon")
    LATE.clear()
    assert (await desk.undo(record.id)).status is Status.UNDONE
    await desk.close()
