"""Fetches a value again and again while somebody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from backends.contract import GpudeckError
from backends.domain import Problem, clean
from backends.feed.backoff import Backoff
from backends.feed.clock import Clock, SystemClock
from backends.feed.tasks import end
from backends.feed.topic import Topic

T = TypeVar("T")


def problem_of(error: BaseException, at: float, since: Problem | None = None) -> Problem:
    """`error` in words; the time of the first failure is kept while the same kind of failure lasts."""
    if isinstance(error, GpudeckError):
        code, message, hint = error.code, error.message, error.hint
    elif isinstance(error, TimeoutError):
        code, message, hint = "timeout", "no answer in time", ""
    else:
        code, hint = "internal", "this is a defect in gpudeck"
        message = clean(f"{type(error).__name__}: {error}", 300)
    if since is not None and since.code == code:
        at = since.at
    return Problem(code=code, message=message, hint=hint, at=at)


class Collector(Generic[T]):
    """Runs `fetch` into `topic` every `period` seconds while the topic has demand.

    It never overlaps itself: the next wait starts when a fetch has ended. A fetch that takes longer than `timeout`
    seconds is cancelled and counts as a failure; failures back off up to `Backoff`'s bound. Without demand it sleeps.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[], Awaitable[T]],
        *,
        period: float,
        timeout: float,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.topic: Topic[T] = Topic(name, self._demand_changed)
        self._fetch = fetch
        self._period = period
        self._timeout = timeout
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff(first=period)
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"collector {self.topic.name}")

    async def close(self) -> None:
        task, self._task = self._task, None
        await end([task])

    async def collect_once(self) -> None:
        """One fetch, published as a value or as an error."""
        try:
            async with asyncio.timeout(self._timeout):
                value = await self._fetch()
        except Exception as error:  # noqa: BLE001 - a collector outlives whatever its fetch raises
            self.topic.fail(problem_of(error, self._clock.now(), self.topic.reading.error))
        else:
            self._backoff.reset()
            self.topic.publish(value, self._clock.now())

    def _demand_changed(self, wanted: bool) -> None:
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            await self.collect_once()
            failed = self.topic.reading.error is not None
            await self._clock.sleep(self._backoff.next() if failed else self._period)
