"""A person who asks to stop waits no longer for an effect that does not come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from backends.changes.desk import ChangeDesk
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from backends.changes.step import KINDS, Reach, Step, Told, Verdict
from backends.contract import AskAgain
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


@dataclass(frozen=True, slots=True)
class HeldStep(FileStep):
    """Refused for the moment while its path is in `HELD`, which counts how often it was asked for."""

    kind: ClassVar[str] = "test-held"

    apply_seconds: float = 180.0

    async def apply(self, reach: Reach, told: Told) -> str:
        if self.path not in HELD:
            return await FileStep.apply(self, reach, told)
        HELD[self.path] += 1
        raise held_back()

    def undo(self) -> Step | None:
        return HeldGoneStep(self.path)


@dataclass(frozen=True, slots=True)
class HeldGoneStep(GoneStep):
    kind: ClassVar[str] = "test-held-gone"

    apply_seconds: float = 180.0

    async def apply(self, reach: Reach, told: Told) -> str:
        if self.path in HELD:
            raise held_back()
        return await GoneStep.apply(self, reach, told)


def held_back() -> AskAgain:
    progress = "held, {:.0f} s left".format
    return AskAgain("the budget forbids it", "look at the budget", seconds=5.0, progress=progress)


HELD: dict[str, int] = {}
LATE: set[str] = set()
KINDS["test-held"] = "tests.changes.test_stopping:HeldStep"
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


async def held_change(tmp_path: Path, clock: ManualClock) -> tuple[ChangeDesk, asyncio.Task[ChangeRecord], HeldStep]:
    """A change whose second step is refused for the moment, at the first pause before it is asked for again."""
    desk = await open_desk(tmp_path / "state", clock)
    held = HeldStep(str(tmp_path / "b"))
    HELD[held.path] = 0
    task = desk.launch(desk.run(change_of(FileStep(str(tmp_path / "a")), held)))
    await told(desk, "held, 180 s left")
    return desk, task, held


async def test_what_is_refused_for_the_moment_is_asked_for_again_until_it_is_allowed(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    desk, task, held = await held_change(tmp_path, clock)
    await clock.advance(5)
    await told(desk, "held, 175 s left")
    assert HELD.pop(held.path) == 2
    await clock.advance(5)
    record = await task
    assert (record.status, states(record)) == (Status.DONE, [StepState.VERIFIED] * 2)
    await desk.close()


async def test_stopping_ends_the_asking_at_once_and_nothing_was_done(tmp_path: Path) -> None:
    desk, task, held = await held_change(tmp_path, ManualClock(NOW))
    desk.stop("it was asked to stop (SIGTERM)")
    record = await task
    assert HELD[held.path] == 1
    assert (record.status, states(record)) == (Status.STOPPED, [StepState.VERIFIED, StepState.PENDING])
    assert record.steps[1].effect is Effect.NONE
    assert record.why == "it was asked to stop (SIGTERM); the budget forbids it"
    assert record.offers == ("resume", "undo", "abandon")
    assert [line["outcome"] for line in audit(tmp_path / "state")[-2:]] == ["not applied", "stopped"]
    del HELD[held.path]
    assert (await desk.resume(record.id)).status is Status.DONE
    await desk.close()


async def test_after_the_write_window_nothing_is_asked_for_again(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    desk, task, held = await held_change(tmp_path, clock)
    desk.close_window()
    await clock.advance(5)
    record = await task
    assert HELD.pop(held.path) == 1
    assert (record.status, record.steps[1].state) == (Status.STOPPED, StepState.PENDING)
    assert record.why == "the write window of prod is closed; the budget forbids it"
    await desk.close()


async def test_what_is_refused_for_all_its_time_has_failed_and_done_nothing(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    desk, task, held = await held_change(tmp_path, clock)
    for left in range(175, -1, -5):
        await clock.advance(5)
        if left >= 5:
            await told(desk, f"held, {left} s left")
    record = await task
    assert HELD.pop(held.path) == 36 + 1
    assert (record.status, states(record)) == (Status.FAILED, [StepState.VERIFIED, StepState.FAILED])
    assert (record.steps[1].effect, record.why) == (Effect.NONE, "the budget forbids it (look at the budget)")
    await desk.close()


async def test_stopping_ends_the_asking_of_an_undo_which_is_offered_again(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state", ManualClock(NOW))
    held = HeldStep(str(tmp_path / "a"))
    record = await desk.run(change_of(held))
    HELD[held.path] = 0
    task = desk.launch(desk.undo(record.id))
    await told(desk, "held, 180 s left")
    desk.stop()
    stopped = await task
    del HELD[held.path]
    assert (stopped.status, stopped.offers) == (Status.UNDOING, ("undo", "abandon"))
    assert (tmp_path / "a").exists()
    assert (await desk.undo(record.id)).status is Status.UNDONE
    await desk.close()
