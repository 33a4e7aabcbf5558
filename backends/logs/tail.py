"""A log that is read in the background, as long as somebody looks: its lines, and how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import StrEnum

from backends.contract import Backend, Clock, GpudeckError, ListsContainers, NotAllowed, TailsLogs
from backends.domain import Container, LogBatch, LogLine, LogQuery, LogSource
from backends.feed import closing, end, problem_of
from backends.logs.store import LogStore, note

RATE_SECONDS = 2.0
"""Over how long the rate is an average."""


class TailState(StrEnum):
    """How the reading goes."""

    OPENING = "opening"
    READING = "reading"
    """What is there, without following."""
    FOLLOWING = "following"
    WAITING = "waiting"
    """Interrupted, or not begun: it is tried again."""
    ENDED = "ended"
    FAILED = "failed"
    PAUSED = "paused"
    """Nobody looks; goes on where it was."""


class LogTail:
    """Reads `source` into `store` from `start` to `pause` or `close`. All on one event loop."""

    def __init__(
        self,
        backend: Callable[[], Awaitable[Backend]],
        source: LogSource,
        query: LogQuery,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called whenever lines or the state are other than before; it is to be cheap."""
        self.source, self.query = source, query
        self.store = LogStore()
        self.state = TailState.OPENING
        self.problem: str | None = None
        """Why it waits or failed, in a sentence."""
        self.hint: str = ""
        self.not_permitted = False
        self.received = 0
        """Lines so far."""
        self._backend = backend
        self._clock = clock
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._known: dict[str, tuple[float, int]] = {}
        """Container -> time of its last line, and how many carry it; they are not taken again after a pause."""
        self._window = (clock.monotonic(), 0)
        self._rate = 0.0

    @property
    def rate(self) -> float:
        """Lines a second, of the last seconds."""
        began, count = self._window
        seconds = self._clock.monotonic() - began
        return self._rate if seconds < RATE_SECONDS else count / seconds

    @property
    def lag(self) -> float | None:
        """Seconds between the time of the last line and now; None where the runtime tells no time."""
        last = max((at for at, _ in self._known.values()), default=None)
        return None if last is None else max(0.0, self._clock.now() - last)

    def start(self) -> None:
        """Reads; after a pause what came meanwhile first."""
        if self._task is None and self.state in (TailState.OPENING, TailState.PAUSED):
            self._task = asyncio.create_task(self._run(self._query_now()), name=f"tail {self.source.name}")

    async def pause(self) -> None:
        """Stops reading until the next `start`; a log that has ended stays so."""
        if self._task is not None and not self._task.done():
            await self.close()
            self._become(TailState.PAUSED)

    def stop(self) -> None:
        """Ends the reading without waiting for its end."""
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        task, self._task = self._task, None
        await end([task])

    async def containers(self) -> tuple[Container, ...]:
        """What could be read instead; raises `GpudeckError`."""
        backend = await self._backend()
        if not isinstance(backend, ListsContainers):
            raise GpudeckError(f"the backend {backend.name} lists no containers", "see: gpudeck backends")
        return await backend.containers(self.source)

    def _query_now(self) -> LogQuery:
        if self.state is not TailState.PAUSED:
            return self.query
        return replace(self.query, resume=tuple(sorted((name, at) for name, (at, _) in self._known.items())))

    async def _run(self, query: LogQuery) -> None:
        told = dict(self._known) if query.resume else {}
        try:
            backend = await self._backend()
            if not isinstance(backend, TailsLogs):
                raise GpudeckError(f"the backend {backend.name} reads no logs", "see: gpudeck backends")
            self._become(TailState.FOLLOWING if query.follow and not query.previous else TailState.READING)
            async with closing(backend.logs(self.source, query)) as batches:
                async for batch in batches:
                    self._take(_without_told(batch, told) if told else batch)
                    # A log that never pauses must not keep the event loop from its other work.
                    await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one log, who reads it is told
            problem = problem_of(error, self._clock.now())
            self.hint, self.not_permitted = problem.hint, isinstance(error, NotAllowed)
            self._become(TailState.FAILED, problem.message)
        else:
            ended_badly = self.problem is not None and not self.received
            self._become(TailState.FAILED if ended_badly else TailState.ENDED, self.problem)

    def _take(self, batch: LogBatch) -> None:
        self.store.extend(batch.lines, batch.dropped)
        for line in batch.lines:
            if line.at is not None:
                at, count = self._known.get(line.container, (None, 0))
                self._known[line.container] = (line.at, count + 1 if at == line.at else 1)
        self._count(len(batch.lines))
        if batch.problem is not None:
            if batch.problem != self.problem:  # each try anew would push out the lines that are kept
                self.store.extend([note(batch.problem)])
            self.problem = batch.problem
            if batch.retried:
                self.state = TailState.WAITING
        elif batch.lines and self.state is TailState.WAITING:
            self.problem, self.state = None, TailState.FOLLOWING
        self._changed()

    def _count(self, lines: int) -> None:
        self.received += lines
        began, count = self._window
        now = self._clock.monotonic()
        if now - began >= RATE_SECONDS:
            self._rate = count / (now - began)
            began, count = now, 0
        self._window = (began, count + lines)

    def _become(self, state: TailState, problem: str | None = None) -> None:
        self.state, self.problem = state, problem
        self._changed()


def _without_told(batch: LogBatch, told: dict[str, tuple[float, int]]) -> LogBatch:
    """Without the lines that were told before a pause; `told` forgets a container once something else comes."""

    def fresh(line: LogLine) -> bool:
        until, left = told.get(line.container, (0.0, 0))
        if line.at is None or not left:
            return True
        if line.at < until:
            return False
        if line.at > until or left == 1:
            del told[line.container]
        else:
            told[line.container] = (until, left - 1)
        return line.at > until

    return replace(batch, lines=tuple(line for line in batch.lines if fresh(line)))
