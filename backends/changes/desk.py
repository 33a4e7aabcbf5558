"""All that changes one site: its write window, its lock, the change that runs, the journals of former ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from backends.changes.actor import Actor, current
from backends.changes.audit import AuditLog
from backends.changes.change import BlastRadius, Change, together
from backends.changes.desk_view import DeskView
from backends.changes.engine import ChangeRun
from backends.changes.files import shared_directory
from backends.changes.former import (
    abandoned_since,
    built_upon,
    need_offer,
    rebuild,
    remaining,
    step_place,
    stopped_there,
    undoing,
)
from backends.changes.journal import Journal, path_of, read
from backends.changes.journals import Journals
from backends.changes.lock import BEAT_SECONDS, STEP_SECONDS, Owner, SiteLock, lock_path, look
from backends.changes.places import Here, Places, elsewhere, places_of
from backends.changes.preflight import Preflight, nothing_to_do, preflight
from backends.changes.radius import HitsMore, with_radius
from backends.changes.record import ChangeRecord
from backends.changes.step import Reach, Step
from backends.changes.window import WindowState, WriteWindow
from backends.contract import ChangeRefused, GpudeckError, JournalFailed
from backends.domain import SiteSpec, clean
from backends.feed import Collector, Reading, Topic

LIST_SECONDS = 2.0
CLOSE_SECONDS = 5.0


def changes_directory(state_dir: Path, spec: SiteSpec | None = None) -> Path:
    """Where the journals and locks of a site are; without one, those of all sites that share none with others."""
    shared = None if spec is None else spec.changes.directory
    return shared or state_dir / "changes"


class ChangeDesk:
    """One site's. What changes something raises ChangeRefused when it may not, JournalFailed when the disk fails."""

    def __init__(
        self, spec: SiteSpec, reach: Reach, state_dir: Path, *, read_only: bool = False, actor: Actor | None = None
    ) -> None:
        self.spec = spec
        self.actor = actor or current()
        self.window = WriteWindow(spec.name, spec.changes, clock=reach.clock, read_only=read_only)
        self.running: Topic[ChangeRecord] = Topic("running change")
        """The change of this console as it goes on; its last state afterwards."""
        self._reach = reach
        self._clock = reach.clock
        self._directory = changes_directory(state_dir, spec)
        self._shared = spec.changes.directory is not None
        self._journals = Journals(self._directory)
        self._here = Here(spec, reach, self.actor.host)
        self._lock_path = lock_path(self._directory, spec.name)
        self._audit_log = AuditLog(spec.changes.directory or state_dir, self.actor, shared=self._shared)
        self._listing: Collector[DeskView] = Collector(
            "changes", self.look, period=LIST_SECONDS, timeout=20.0, clock=self._clock
        )
        self.view: Topic[DeskView] = self._listing.topic
        """Read while somebody watches, once `start` was called."""
        self._task: asyncio.Task[Any] | None = None
        self._stop_asked: str | None = None
        self._stopping = asyncio.Event()
        self._busy = False
        self._was_open = False
        self._unwatch = self.window.state.watch(self._window_changed)
        self._notes: set[asyncio.Task[None]] = set()

    # Life

    def start(self) -> None:
        """Lists the changes while somebody looks."""
        self._listing.start()

    @property
    def busy(self) -> bool:
        """A change of this console runs."""
        return self._busy

    def launch(self, work: Coroutine[Any, Any, ChangeRecord]) -> asyncio.Task[ChangeRecord]:
        """Runs `run`, `resume` or `undo` in a task that the desk keeps: it outlives the screen that asked."""
        task = asyncio.create_task(work, name=f"change {self.spec.name}")
        self._task = task
        return task

    def stop(self, why: str = "it was asked to stop") -> None:
        """Lets the running step finish, but not wait for its effect, and stops before the next one.

        Asked before a change, it stops at its first step.
        """
        self._stop_asked = why
        self._stopping.set()

    async def close(self) -> None:
        """Waits a little for the running step; one that takes longer is left behind, as the journal will say."""
        self.stop("the console was closed")
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._unwatch()
        if self.window.is_open:
            self._note("window-closed", "the console was closed")
        self.window.close()
        await self._listing.close()
        if self._notes:
            await asyncio.wait(self._notes, timeout=CLOSE_SECONDS)

    # The write window

    async def open_window(self, minutes: int, reason: str) -> None:
        """Opens the window once the audit log has it."""
        refusal = self.window.refusal_to_open(minutes, reason)
        if refusal is not None:
            raise refusal
        await self._audit("window-opened", outcome=f"open for {minutes} min", reason=reason.strip())
        self.window.open(minutes, reason)

    def close_window(self) -> None:
        self.window.close()

    def _window_changed(self, reading: Reading[WindowState]) -> None:
        is_open = reading.value is not None and reading.value.is_open
        if self._was_open and not is_open:
            self._note("window-closed", "closed")
        self._was_open = is_open

    # Changes

    async def look(self) -> DeskView:
        """The former changes and the lock, as they are on the disk now."""
        view = await asyncio.to_thread(self._look, self._clock.now())
        here = await self._here.known(each.places for each in view.records)
        refusals = ((each.id, elsewhere(each.places, here)) for each in view.records)
        return replace(view, elsewhere={name: refusal for name, refusal in refusals if refusal is not None})

    async def look_again(self) -> None:
        """Publishes the listing as it is now, for somebody who has just begun to watch it."""
        await self._refresh()

    def _check_directory(self) -> None:
        """Before anything that a journal of others tells is looked at on the site. Raises JournalFailed."""
        if self._shared:
            shared_directory(self._directory)

    def _look(self, now: float) -> DeskView:
        self._check_directory()
        records, unreadable = self._journals()
        own = tuple(each for each in records if each.site == self.spec.name)
        return DeskView(own, tuple(unreadable), look(self._lock_path, now, self.actor.host))

    async def with_radius(self, change: Change) -> Change:
        """A former change with whom it hits now."""
        await asyncio.to_thread(self._check_directory)
        return await with_radius(change, self._reach)

    async def preflight(self, change: Change) -> Preflight:
        """Dry runs, permissions and limits; of a former change also whether it was made here, and stands alone.

        Changes nothing and needs no open window.
        """
        view, former = await self.look(), await asyncio.to_thread(self._former, change.id)
        refusals: list[GpudeckError | None] = []
        try:
            here = await self._places(change if former is None else rebuild(former))
        except GpudeckError as error:
            here = {}
            refusals.append(ChangeRefused(f"which platform this is cannot be told: {error.message}", error.hint))
        records = [each for each in view.at_rest if elsewhere(each.places, here) is None]
        change, doubts = (change, ()) if former is None else abandoned_since(change, former, records)
        found = await preflight(change, self._reach, self.spec, records=records, doubts=doubts)
        if former is None:
            refusals.append(nothing_to_do(found))
        else:
            refusals += [elsewhere(former.places, here), built_upon(former, records, self.spec.config_file)]
        if view.held.alive and not self._busy:
            who = view.held.owner.told(self._clock.now()) if view.held.owner else "another console"
            refusals.append(ChangeRefused(f"this site is being changed by {who}"))
        told = [f"{each.message}; {each.hint}" if each.hint else each.message for each in refusals if each is not None]
        return replace(found, obstacles=(*told, *found.obstacles))

    def _former(self, change_id: str) -> ChangeRecord | None:
        path = path_of(self._directory, change_id)
        return read(path) if path.exists() else None

    async def _places(self, change: Change) -> Places:
        return await places_of(change.steps, self.spec, self._reach, self.actor.host)

    async def refuse(self, change: Change, found: Preflight) -> None:
        """Writes a refused attempt into the audit log; raises ChangeRefused with what is in the way."""
        refusal = ChangeRefused(found.obstacles[0], "; ".join(found.obstacles[1:]))
        raise await self._refused(refusal, change.id, change.title, change.reason)

    async def run(self, change: Change, seen: BlastRadius | None = None) -> ChangeRecord:
        """Does a whole change; returns how it ended.

        `seen` is the radius of the preflight that somebody said yes to: raises HitsMore when it is more by now. None:
        nobody was asked in between.
        """
        await self._need_window(change)
        async with self._locked(change.id, change.title, change.reason):
            found = await self._allowed(change, seen)  # as it is now that nobody else can begin
            if found.news(change):
                change = replace(change, radius=together((change.radius, found.radius)))
            journal = await self._begun(change)
            return await self._pass(change.steps, journal, backward=False)

    async def _begun(self, change: Change) -> Journal:
        named = {"change": change.id, "title": change.title, "reason": change.reason}
        targets = [target.name for target in change.targets]
        places = await self._places(change)
        await self._audit("begun", outcome="begun", targets=targets, hits=change.radius.lines, **named)
        try:
            at = self._clock.now()
            create = partial(Journal.create, shared=self._shared)
            return await asyncio.to_thread(create, self._directory, change, self.actor, at, places)
        except GpudeckError as error:
            with contextlib.suppress(JournalFailed):  # the first error is the one that is told
                await self._audit("ended", outcome="not begun", why=error.message, **named)
            raise

    async def resume(self, change_id: str, seen: BlastRadius | None = None) -> ChangeRecord:
        """Goes on with a change that was cut off, stopped or failed; a step in doubt is looked at first."""
        return await self._again(change_id, "resume", seen)

    async def undo(self, change_id: str, seen: BlastRadius | None = None) -> ChangeRecord:
        """Takes back what a change has done, the last step first."""
        return await self._again(change_id, "undo", seen)

    async def abandon(self, change_id: str, why: str) -> ChangeRecord:
        """Closes a change without touching anything: a person takes over. Needs no open window."""
        if self.window.read_only:
            raise ChangeRefused("this gpudeck was started with --read-only", "start it without to abandon a change")
        async with self._locked(change_id, "abandon", why):
            journal = await asyncio.to_thread(Journal.reopen, self._directory, change_id, self.actor.label)
            try:
                need_offer(journal.record, "abandon")
                await self._audit("abandoned", outcome="abandoned", **{**_named(journal.record), "reason": why})
                at = self._clock.now()
                record = await asyncio.to_thread(journal.write, "abandoned", at, why=why)
            finally:
                journal.close()
        await self._refresh()
        return record

    async def rebuilt(self, change_id: str) -> tuple[ChangeRecord, Change]:
        """A former change, to be asked about again; raises GpudeckError when a step cannot be rebuilt."""
        record = await asyncio.to_thread(read, path_of(self._directory, change_id))
        return record, rebuild(record)

    async def _again(self, change_id: str, what: str, seen: BlastRadius | None) -> ChangeRecord:
        record, change = await self.rebuilt(change_id)
        need_offer(record, what)
        await self._need_window(change)
        async with self._locked(change.id, change.title, change.reason):
            record, change = await self.rebuilt(change_id)
            need_offer(record, what)
            change, _ = abandoned_since(change, record, (await self.look()).records)
            ahead = await self.with_radius(undoing(record) if what == "undo" else remaining(record))
            await self._allowed(ahead, seen)
            journal = await asyncio.to_thread(Journal.reopen, self._directory, change_id, self.actor.label)
            try:
                await self._audit(f"{what}-begun", outcome="begun", **_named(journal.record))
                if what == "resume":
                    at = self._clock.now()
                    await asyncio.to_thread(journal.write, "resumed", at)
            except BaseException:
                journal.close()
                raise
            return await self._pass(change.steps, journal, backward=what == "undo")

    async def _pass(self, steps: tuple[Step, ...], journal: Journal, *, backward: bool) -> ChangeRecord:
        run = ChangeRun(
            steps,
            journal,
            self._reach,
            may_go_on=self._why_not,
            stopping=self._stopping,
            audit=self._audit_of(journal),
            published=lambda record: self.running.publish(record, self._clock.now()),
        )
        self.running.publish(journal.record, self._clock.now())
        await self._refresh()
        try:
            record = await (run.backward() if backward else run.forward())
            await self._audit("ended", outcome=str(record.status), why=record.why, **_named(record))
        except JournalFailed as error:
            raise stopped_there(error, journal.record, self.spec.config_file) from error
        except asyncio.CancelledError:
            with contextlib.suppress(JournalFailed):  # at the end of the process there is no later moment for it
                self._append("interrupted", outcome=journal.record.summary, **_named(journal.record))
            raise
        finally:
            journal.close()
        return record

    def _why_not(self) -> str | None:
        if self._stop_asked is not None:
            return self._stop_asked
        refusal = self.window.refusal()
        return None if refusal is None else refusal.message

    async def _need_window(self, change: Change) -> None:
        refusal = self.window.refusal()
        if refusal is not None:
            raise await self._refused(refusal, change.id, change.title, change.reason)

    async def _allowed(self, change: Change, seen: BlastRadius | None) -> Preflight:
        """Once more what was looked at before the question, now that nobody else can begin."""
        found = await self.preflight(change)
        await self._need_window(change)
        if found.obstacles:
            await self.refuse(change, found)
        if seen is not None and (news := found.radius.more_than(seen)):
            more = HitsMore(replace(change, radius=found.radius), news)
            raise await self._refused(more, change.id, change.title, change.reason)
        return found

    async def _refused(self, refusal: ChangeRefused, change_id: str, title: str, reason: str) -> ChangeRefused:
        named = {"change": change_id, "title": title, "reason": reason}
        await self._audit("refused", outcome="refused", why=refusal.message, **named)
        return refusal

    @asynccontextmanager
    async def _locked(self, change_id: str, title: str, reason: str) -> AsyncIterator[SiteLock]:
        now = self._clock.now()
        owner = Owner(
            os.getpid(), self.actor.host, self.actor.label, change_id, clean(title), "not begun", since=now, beat=now
        )
        try:
            lock = await asyncio.to_thread(partial(SiteLock.acquire, shared=self._shared), self._lock_path, owner, now)
        except ChangeRefused as refusal:
            raise await self._refused(refusal, change_id, title, reason) from None
        beating = asyncio.create_task(self._beat(lock), name=f"lock {self.spec.name}")
        self._busy = True
        try:
            yield lock
        finally:
            self._busy, self._stop_asked = False, None
            self._stopping.clear()
            beating.cancel()
            lock.release()
            await self._refresh()

    async def _beat(self, lock: SiteLock) -> None:
        """Every few seconds, and when a step has begun: another console is told which one."""
        while True:
            await self._clock.sleep(STEP_SECONDS)
            record = self.running.reading.value
            place = "not begun" if record is None or record.id != lock.owner.change else step_place(record)
            if place == lock.owner.step and self._clock.now() - lock.owner.beat < BEAT_SECONDS:
                continue
            with contextlib.suppress(JournalFailed):  # the lock itself holds without it
                await asyncio.to_thread(lock.beat, place, self._clock.now())

    async def _refresh(self) -> None:
        if self.view.demand:
            await self._listing.collect_once()

    # The audit log

    def _audit_of(self, journal: Journal) -> Any:
        async def audit(event: str, *, outcome: str, **values: Any) -> None:
            await self._audit(event, outcome=outcome, **{**_named(journal.record), **values})

        return audit

    async def _audit(self, event: str, *, outcome: str, **values: Any) -> None:
        await asyncio.to_thread(self._append, event, outcome=outcome, **values)

    def _append(self, event: str, *, outcome: str, **values: Any) -> None:
        self._audit_log.append(event, self._clock.now(), site=self.spec.name, outcome=outcome, **values)

    def _note(self, event: str, outcome: str) -> None:
        """A line that nothing waits for; a log that cannot be written then is told with the next change."""

        async def note() -> None:
            with contextlib.suppress(JournalFailed):
                await self._audit(event, outcome=outcome)

        task = asyncio.create_task(note())
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)


def _named(record: ChangeRecord) -> dict[str, str]:
    return {"change": record.id, "title": record.title, "reason": record.reason}
