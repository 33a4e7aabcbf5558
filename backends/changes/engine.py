"""One pass over a change: forward through its steps, or backward through their undos.

Before each effect the journal is synced; so whatever kills the process, the journal tells the truth: a step is
`applying` from before its first effect until something later is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from backends.changes.journal import Journal
from backends.changes.record import ChangeRecord, Effect, StepState
from backends.changes.step import Already, Hopeless, Reach, Step, Verdict
from backends.contract import AskAgain, GpudeckError, StepFailed
from backends.domain import clean
from backends.feed import end

GRACE_SECONDS = 10.0
"""A step gets this much beyond its own bounds before it is cut off."""
LOOK_SECONDS = 30.0


class Audit(Protocol):
    def __call__(self, event: str, *, outcome: str, **values: Any) -> Awaitable[None]:
        """One line of the audit log; raises JournalFailed."""
        ...


class _Stopped(Exception):
    """Between two steps, or while an effect was waited for: why."""


class _NotYet(_Stopped):
    """Before a step was applied again: nothing of it was done."""


class _Unseen(Verdict):
    """Nobody waits for the effect any longer: it was asked to stop."""


class ChangeRun:
    """Runs the steps of one journal.

    `may_go_on` is asked before each step, and before one is applied again: why not, or None. `stopping` ends the pause
    between, and the wait for an effect: there is one last look, and a step whose effect is not seen then stays applied
    and unverified.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        journal: Journal,
        reach: Reach,
        *,
        may_go_on: Callable[[], str | None],
        stopping: asyncio.Event,
        audit: Audit,
        published: Callable[[ChangeRecord], None],
    ) -> None:
        self._steps = tuple(steps)
        self._journal = journal
        self._reach = reach
        self._may_go_on = may_go_on
        self._stopping = stopping
        self._waits_until: float | None = None
        self._audit = audit
        self._published = published

    @property
    def record(self) -> ChangeRecord:
        return self._journal.record

    async def forward(self) -> ChangeRecord:
        """Does what is not done yet; returns how it ended. Raises JournalFailed when it cannot be written down."""
        try:
            for index, step in enumerate(self._steps):
                await self._do(index, step)
        except _Stopped as stop:
            await self._write("stopped", why=str(stop))
        except StepFailed:
            pass  # the journal says it
        else:
            await self._write("finished")
        return self.record

    async def backward(self) -> ChangeRecord:
        """Undoes what was done, the last step first; returns how it ended. Raises JournalFailed."""
        await self._write("undo")
        try:
            for index in reversed(range(len(self._steps))):
                await self._take_back(index, self._steps[index])
        except _Stopped as stop:
            await self._write("undo-stopped", why=str(stop))
        except StepFailed:
            pass
        else:
            await self._write("undo-finished")
        return self.record

    # Forward

    async def _do(self, index: int, step: Step) -> None:
        known = self.record.steps[index]
        if known.state in (StepState.VERIFIED, StepState.ALREADY):
            return
        if known.state is StepState.APPLIED and not step.checked:
            return
        if known.effect in (Effect.UNKNOWN, Effect.FAILED) and await self._settled(index, step):
            return
        if known.effect is not Effect.DONE:
            self._ask()
            before = await self._look(step) if step.looks_first else None
            if before is not None and before.holds:
                await self._already(index, Already.of(before.evidence))
                return
            seen = {} if before is None else {"said": f"before: {before.evidence}"}
            await self._write("applying", step=index, **seen)
            if not await self._apply(index, step):
                return
        await self._verify(index, step)

    async def _already(self, index: int, evidence: str) -> None:
        await self._write("already", step=index, said=evidence)
        await self._tell_audit(index, "so already", evidence)

    async def _settled(self, index: int, step: Step) -> bool:
        """Looks at a step in doubt. True: its effect is there. False: it may be applied. Else raises StepFailed."""
        verdict = await self._look(step)
        if verdict.holds:
            await self._write("verified", step=index, said=verdict.evidence)
            return True
        if verdict.holds is False and step.repeatable:
            return False
        before = await self._look_before(step)
        if before.holds:
            await self._write("untouched", step=index, said=before.evidence)
            return False
        said = f"whether it took effect cannot be told, and it cannot be repeated safely: {verdict.evidence}"
        await self._fail(index, said, Effect.UNKNOWN)
        raise StepFailed(said)

    async def _apply(self, index: int, step: Step) -> bool:
        """Whether there is an effect to be verified: not where it was so already."""
        try:
            async with asyncio.timeout(step.apply_seconds + GRACE_SECONDS):
                said = await self._answered(step)
        except _NotYet as stop:
            await self._write("untouched", step=index, said=str(stop))
            await self._tell_audit(index, "not applied", str(stop))
            raise
        except Exception as error:
            said, effect = await self._what_it_left(step, error)
            await self._fail(index, said, effect)
            raise StepFailed(said) from error
        if isinstance(said, Already):
            await self._already(index, said)
            return False
        await self._write("applied", step=index, said=said)
        return True

    async def _what_it_left(self, step: Step, error: Exception) -> tuple[str, Effect]:
        said = _words(error, step.apply_seconds)
        if isinstance(error, StepFailed) and error.untouched:
            return said, Effect.NONE
        before = await self._look_before(step)
        if before.holds:
            return f"{said} (nothing was changed: {before.evidence})", Effect.NONE
        return said, Effect.UNKNOWN

    async def _verify(self, index: int, step: Step) -> None:
        verdict = await self._verdict(step)
        if verdict.holds:
            await self._write("verified", step=index, said=verdict.evidence)
            await self._tell_audit(index, "verified", verdict.evidence)
        elif isinstance(verdict, _Unseen) and step.checked:
            await self._write("unverified", step=index, said=verdict.evidence)
            await self._tell_audit(index, "applied, not verified", verdict.evidence)
            raise self._stopped()
        elif step.checked:
            said, effect = f"not seen within {step.verify_seconds:.0f} s: {verdict.evidence}", Effect.UNKNOWN
            if isinstance(verdict, Hopeless):
                said, effect = verdict.evidence, Effect.FAILED
            await self._fail(index, said, effect)
            raise StepFailed(said)
        else:
            await self._tell_audit(index, "applied, not verified", verdict.evidence)

    async def _fail(self, index: int, said: str, effect: Effect) -> None:
        await self._write("failed", step=index, said=said, effect=str(effect))
        await self._tell_audit(index, f"failed, effect {effect}", said)

    # Backward

    async def _take_back(self, index: int, step: Step) -> None:
        known = self.record.steps[index]
        if known.effect is Effect.NONE or known.state is StepState.KEPT:
            return
        undo = None if known.kept else step.undo()
        if undo is None:
            await self._write("kept", step=index, said=step.undo_note or "it has no undo")
            await self._tell_audit(index, "kept", step.undo_note)
            return
        verdict = await self._look(undo)
        if not verdict.holds:
            self._ask()
            await self._write("undoing", step=index)
            verdict = await self._undone(index, undo)
        await self._write("undone", step=index, said=verdict.evidence)
        await self._tell_audit(index, "undone", verdict.evidence)

    async def _undone(self, index: int, undo: Step) -> Verdict:
        try:
            async with asyncio.timeout(undo.apply_seconds + GRACE_SECONDS):
                answered = await self._answered(undo)
        except _NotYet as stop:
            await self._write("undo-unverified", step=index, said=str(stop))
            await self._tell_audit(index, "not undone", str(stop))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it raises, the journal says where it stands
            said = _words(error, undo.apply_seconds)
        else:
            verdict = await self._verdict(undo)
            if verdict.holds or not undo.checked:
                return verdict if verdict.holds else Verdict(None, answered)
            if isinstance(verdict, _Unseen):
                await self._write("undo-unverified", step=index, said=verdict.evidence)
                await self._tell_audit(index, "undo not verified", verdict.evidence)
                raise self._stopped()
            said = f"not seen within {undo.verify_seconds:.0f} s: {verdict.evidence}"
        await self._write("undo-failed", step=index, said=said)
        await self._tell_audit(index, "undo failed", said)
        raise StepFailed(said)

    # Both

    async def _answered(self, step: Step) -> str:
        """Applies a step, again while it asks for that. Raises _NotYet when it is asked to stop meanwhile."""
        clock = self._reach.clock
        deadline = clock.monotonic() + step.apply_seconds
        while True:
            try:
                return await step.apply(self._reach, self._told)
            except AskAgain as error:
                left = deadline - clock.monotonic()
                if left < error.seconds:
                    raise
                self._told(error.progress(left))
                await self._paused(error.seconds)
                why = self._may_go_on()
                if why is not None:
                    raise _NotYet(f"{why}; {error.message}") from error

    async def _paused(self, seconds: float) -> None:
        """That long, or until it is asked to stop."""
        pausing = asyncio.create_task(self._reach.clock.sleep(seconds), name="pause before a step is applied again")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop a change")
        try:
            await asyncio.wait({pausing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end([pausing, stopping])

    def _ask(self) -> None:
        why = self._may_go_on()
        if why is not None:
            raise _Stopped(why)

    def _stopped(self) -> _Stopped:
        return _Stopped(self._may_go_on() or "it was asked to stop")

    async def _verdict(self, step: Step) -> Verdict:
        """What is seen in the end, or in the last look when it was asked to stop."""
        clock = self._reach.clock
        began = clock.monotonic()
        looking = asyncio.create_task(self._verified(step), name="verify a step")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop a change")
        self._waits_until = clock.now() + step.verify_seconds
        self._told("")
        try:
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                return looking.result()
        finally:
            self._waits_until = None
            await end([looking, stopping])
        last = await self._look(step)
        waited = f"not verified, the wait was ended after {clock.monotonic() - began:.0f} s: {last.evidence}"
        return last if last.holds else _Unseen(last.holds, waited)

    async def _verified(self, step: Step) -> Verdict:
        try:
            async with asyncio.timeout(step.verify_seconds + GRACE_SECONDS):
                return await step.verify(self._reach, self._told)
        except Exception as error:  # noqa: BLE001 - a look that fails, however it does, has seen nothing
            return Verdict(None, _words(error, step.verify_seconds))

    async def _look(self, step: Step) -> Verdict:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await step.check(self._reach)
        except Exception as error:  # noqa: BLE001 - as above
            return Verdict(None, _words(error, LOOK_SECONDS))

    async def _look_before(self, step: Step) -> Verdict:
        """Whether things are as before the step, which its undo can tell."""
        undo = step.undo()
        return Verdict(None, "it has no undo") if undo is None else await self._look(undo)

    def _told(self, line: str) -> None:
        self._published(replace(self.record, progress=clean(line), waits_until=self._waits_until))

    async def _write(self, event: str, **values: Any) -> None:
        at = self._reach.clock.now()
        record = await asyncio.to_thread(self._journal.write, event, at, **values)
        self._published(record)

    async def _tell_audit(self, index: int, outcome: str, evidence: str) -> None:
        step = self.record.steps[index]
        await self._audit(
            "step", outcome=outcome, step=index + 1, of=len(self._steps), what=step.describe, evidence=evidence
        )


def _words(error: BaseException, seconds: float) -> str:
    if isinstance(error, GpudeckError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:.0f} s"
    return clean(f"{type(error).__name__}: {error}", 500)
