"""Keeps a topic at the triage of a site: when something changed, and every few seconds for what time alone changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from backends.contract import GpudeckError
from backends.domain import Event, Fleet, Problem, SiteSpec, Stack, Triage, UnfinishedChange
from backends.feed import Clock, Topic, Unwatch, problem_of
from backends.ownership import NOBODY, Ownership
from backends.triage.acknowledgements import Acknowledgements
from backends.triage.engine import TIMED_SECONDS, Triager
from backends.triage.inventory import Inventory
from backends.triage.state import PlatformState

QUIET_SECONDS = 1.0
"""At most one triage in this time: the nodes of a fleet send one after the other."""
SLICE_SECONDS = 0.003
"""So much work at a time, in CPU time."""
PAUSE_SECONDS = 0.003
"""And so long a pause: a key is passed on five times until its line is painted, and none of that waits for a slice."""
CHANGES_SECONDS = 2.0
"""The journals of changes are looked at so often, as by the list of changes."""
CLOSE_SECONDS = 3.0
"""A state directory that does not answer is waited for so long at the end."""


class PlatformTopics(Protocol):
    """What is watched of a site's platform."""

    @property
    def configured(self) -> bool: ...

    @property
    def stack(self) -> Topic[Stack]: ...

    @property
    def ownership(self) -> Topic[Ownership]: ...


class TriageWatch:
    """Publishes into `topic` from `start` to `close`. It wants the platform as long as it runs."""

    def __init__(
        self,
        spec: SiteSpec,
        fleet: Topic[Fleet],
        events: Topic[tuple[Event, ...]],
        *,
        clock: Clock,
        acknowledgements: Acknowledgements,
        inventory: Inventory | None = None,
        platform: PlatformTopics | None = None,
        unfinished: Callable[[], Awaitable[tuple[UnfinishedChange, ...]]] | None = None,
    ) -> None:
        """`unfinished` reads the changes that nobody brought to an end; it raises GpudeckError."""
        self.topic: Topic[Triage] = Topic("triage")
        self._fleet = fleet
        self._events = events
        self._clock = clock
        self._acknowledgements = acknowledgements
        self._triager = Triager(spec, acknowledgements, inventory=inventory)
        self._unfinished = unfinished
        self._read_journals = False
        self._tick_problem: Problem | None = None
        """Why the last look at the state directory failed."""
        self._changed = asyncio.Event()
        self._running = asyncio.Lock()
        self._keeping = asyncio.Lock()
        self._writing: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._platform = platform if platform is not None and platform.configured else None
        self._unwatches: list[Unwatch] = [topic.watch(self._note) for topic in (fleet, events)]
        self._wants_platform = False

    def start(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._follow(), name="triage"),
                asyncio.create_task(self._tick(), name="triage tick"),
                asyncio.create_task(self._follow_changes(), name="triage changes"),
            ]

    async def close(self) -> None:
        for unwatch in self._unwatches:
            unwatch()
        tasks, self._tasks = [*self._tasks, *self._writing], []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for keep in (self._keep_acknowledgements, self._keep_inventory):
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await keep()
            except Exception as error:  # noqa: BLE001 - the rest of the site is closed all the same
                self._fail(error)

    def watch_platform(self) -> None:
        """Wants the platform's topics from now on; once more changes nothing."""
        if self._platform is not None and not self._wants_platform:
            self._wants_platform = True
            self._unwatches += [topic.watch(self._note) for topic in (self._platform.stack, self._platform.ownership)]

    def _platform_state(self) -> PlatformState | None:
        if self._platform is None:
            return None
        stack, ownership = self._platform.stack.reading, self._platform.ownership.reading
        return PlatformState(
            stack.value,
            ownership.value or NOBODY,
            None if ownership.value is None else ownership.value.workloads,
            stack.error,
            ownership.error,
            stack.at,
            ownership.at,
        )

    async def now(self, *, at_once: bool = False) -> Triage:
        """Looks at everything now, publishes and returns it. `at_once`: one reading is all there will be."""
        return await self._run(at_once=at_once, look_again=True)

    def acknowledge(self, identity: str, who: str, why: str) -> bool:
        """False when no finding has that id."""
        return self._changed_by_hand(self._triager.acknowledge(identity, who, why, self._clock.now()))

    def unacknowledge(self, identity: str) -> bool:
        """False when it was not acknowledged."""
        return self._changed_by_hand(self._triager.unacknowledge(identity))

    def _changed_by_hand(self, triage: Triage | None) -> bool:
        """Shown at once; written in a thread, as a home directory on a network may take its time."""
        if triage is None:
            return False
        self.topic.publish(triage, self._clock.now())
        task = asyncio.create_task(self._write(), name="acknowledgements")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return True

    async def _write(self) -> None:
        try:
            await self._keep_acknowledgements()
        except Exception as error:  # noqa: BLE001 - told beside the triage; it stays to be written
            self._fail(error)
        self._changed.set()

    def _note(self, _reading: object) -> None:
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - a triage that fails is told, and tried again
                self._fail(error)
            try:
                # Not before the first look at the nodes: loading the platform's client must not delay the first paint.
                self.watch_platform()
            except Exception as error:  # noqa: BLE001 - the nodes are judged without it
                self._fail(error)
            await self._clock.sleep(QUIET_SECONDS)

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(TIMED_SECONDS)
            try:
                await self._read_state()
            except Exception as error:  # noqa: BLE001 - told beside the triage, which goes on without
                self._tick_problem = problem_of(error, self._clock.now(), self._tick_problem)
            else:
                self._tick_problem = None
            self._changed.set()

    async def _follow_changes(self) -> None:
        """A change that begins, or that somebody ends or kills, is no sooner told by the list of changes."""
        while True:
            await self._clock.sleep(CHANGES_SECONDS)
            before = self._triager.unfinished
            try:
                async with self._running:  # one look after the other, also that of a triage
                    await self._read_unfinished()
            except Exception as error:  # noqa: BLE001 - told beside the triage, which goes on without
                self._tick_problem = problem_of(error, self._clock.now(), self._tick_problem)
            if self._triager.unfinished != before:
                self._changed.set()

    async def _read_state(self) -> None:
        await self._keep_acknowledgements()
        await self._exchange_inventory()

    def _fail(self, error: Exception) -> None:
        self.topic.fail(problem_of(error, self._clock.now(), self.topic.reading.error))

    async def _keep_acknowledgements(self) -> None:
        """Writes what was said, and reads what others did."""
        kept = self._acknowledgements
        if kept.file is None:
            return
        async with self._keeping:
            kept.take(await asyncio.to_thread(kept.exchange, kept.pending))

    async def _keep_inventory(self) -> None:
        self._triager.note_inventory()
        await self._exchange_inventory()

    async def _exchange_inventory(self) -> None:
        inventory = self._triager.inventory
        if inventory.file is None:
            return
        found = await asyncio.to_thread(inventory.exchange, inventory.pending)
        self._triager.take_inventory(found, self._clock.now())

    async def _read_unfinished(self) -> None:
        if self._unfinished is None:
            return
        try:
            self._triager.unfinished = await self._unfinished()
        except GpudeckError:
            self._triager.unfinished = None  # the list of changes tells why to whoever opens it
        self._read_journals = True

    async def _run(self, *, at_once: bool = False, look_again: bool = False) -> Triage:
        async with self._running:
            if look_again or not self._read_journals:
                await self._read_unfinished()
            steps = self._triager.steps(
                self._fleet.reading.value or Fleet(),
                self._events.reading.value or (),
                self._clock.now(),
                platform=self._platform_state(),
                at_once=at_once,
                look_again=look_again,
            )
            began = time.thread_time()
            while True:
                try:
                    next(steps)
                except StopIteration as done:
                    triage: Triage = done.value
                    break
                if time.thread_time() - began > SLICE_SECONDS:
                    await asyncio.sleep(PAUSE_SECONDS)
                    began = time.thread_time()
            self.topic.publish(triage, self._clock.now())
            if self._tick_problem is not None:
                self.topic.fail(self._tick_problem)
            return triage
