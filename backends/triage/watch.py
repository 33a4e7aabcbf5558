"""Keeps a topic at the triage of a site: when something changed, and every few seconds for what time alone changes."""

from __future__ import annotations

import asyncio
import contextlib
import time

from backends.domain import Event, Fleet, SiteSpec, Triage
from backends.feed import Clock, Topic, problem_of
from backends.triage.acknowledgements import Acknowledgements
from backends.triage.engine import TIMED_SECONDS, Triager

QUIET_SECONDS = 1.0
"""At most one triage in this time: the nodes of a fleet send one after the other."""
SLICE_SECONDS = 0.005
"""The event loop gets its turn after so much work."""


class TriageWatch:
    """Publishes into `topic` from `start` to `close`."""

    def __init__(
        self,
        spec: SiteSpec,
        fleet: Topic[Fleet],
        events: Topic[tuple[Event, ...]],
        *,
        clock: Clock,
        acknowledgements: Acknowledgements,
    ) -> None:
        self.topic: Topic[Triage] = Topic("triage")
        self._fleet = fleet
        self._events = events
        self._clock = clock
        self._acknowledgements = acknowledgements
        self._triager = Triager(spec, acknowledgements)
        self._changed = asyncio.Event()
        self._running = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._unwatches = [topic.watch(self._note) for topic in (fleet, events)]

    def start(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._follow(), name="triage"),
                asyncio.create_task(self._tick(), name="triage tick"),
            ]

    async def close(self) -> None:
        for unwatch in self._unwatches:
            unwatch()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def now(self, *, at_once: bool = False) -> Triage:
        """Looks at everything now, publishes and returns it. `at_once`: one reading is all there will be."""
        return await self._run(at_once=at_once, look_again=True)

    def acknowledge(self, identity: str, who: str, why: str) -> bool:
        """False when no finding has that id."""
        return self._publish(self._triager.acknowledge(identity, who, why, self._clock.now()))

    def unacknowledge(self, identity: str) -> bool:
        """False when it was not acknowledged."""
        return self._publish(self._triager.unacknowledge(identity))

    def _publish(self, triage: Triage | None) -> bool:
        if triage is not None:
            self.topic.publish(triage, self._clock.now())
        return triage is not None

    def _note(self, _reading: object) -> None:
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - a triage that fails is told, and tried again
                self.topic.fail(problem_of(error, self._clock.now(), self.topic.reading.error))
            await self._clock.sleep(QUIET_SECONDS)

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(TIMED_SECONDS)
            if self._acknowledgements.file is not None:
                # A home directory on a network may take its time.
                self._acknowledgements.take(await asyncio.to_thread(self._acknowledgements.look))
            self._changed.set()

    async def _run(self, *, at_once: bool = False, look_again: bool = False) -> Triage:
        async with self._running:
            steps = self._triager.steps(
                self._fleet.reading.value or Fleet(),
                self._events.reading.value or (),
                self._clock.now(),
                at_once=at_once,
                look_again=look_again,
            )
            began = time.perf_counter()
            while True:
                try:
                    next(steps)
                except StopIteration as done:
                    triage: Triage = done.value
                    break
                if time.perf_counter() - began > SLICE_SECONDS:
                    await asyncio.sleep(0)
                    began = time.perf_counter()
            self.topic.publish(triage, self._clock.now())
            return triage
