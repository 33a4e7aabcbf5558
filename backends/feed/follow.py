"""Runs a stream into a topic while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Generic, TypeVar

from backends.contract import Clock
from backends.feed.backoff import Backoff
from backends.feed.clock import SystemClock
from backends.feed.collector import problem_of
from backends.feed.tasks import end
from backends.feed.topic import Topic

T = TypeVar("T")


class Follow(Generic[T]):
    """Publishes what `stream()` yields while the topic has demand, and for `linger_seconds` after.

    A stream that raises is opened again after a growing wait; the last good value stays beside the error. Lingering
    spares the reader who comes back at once the cost of a new start.
    """

    def __init__(
        self,
        name: str,
        stream: Callable[[], AsyncIterator[T]],
        *,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
        linger_seconds: float = 60.0,
    ) -> None:
        self.topic: Topic[T] = Topic(name, self._demand_changed)
        self._stream = stream
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff()
        self._linger_seconds = linger_seconds
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._unwanted.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ready to follow; nothing is opened before there is demand."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"follow {self.topic.name}")

    async def close(self) -> None:
        task, self._task = self._task, None
        await end([task])

    def _demand_changed(self, wanted: bool) -> None:
        first, second = (self._wanted, self._unwanted) if wanted else (self._unwanted, self._wanted)
        first.set()
        second.clear()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            reading = asyncio.create_task(self._read(), name=f"stream {self.topic.name}")
            try:
                await self._deserted(reading)
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading

    async def _deserted(self, reading: asyncio.Task[None]) -> None:
        """Until nobody has looked for the whole of `linger_seconds`."""
        while not reading.done():
            await self._unwanted.wait()
            waiting = asyncio.create_task(self._clock.sleep(self._linger_seconds))
            wanted = asyncio.create_task(self._wanted.wait())
            try:
                await asyncio.wait({waiting, wanted}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                wanted.cancel()
            if not self._wanted.is_set():
                return

    async def _read(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._opened()) as values:
                    async for value in values:
                        self._backoff.reset()
                        self.topic.publish(value, self._clock.now())
            except Exception as error:  # noqa: BLE001 - a feed outlives whatever its stream raises
                self.topic.fail(problem_of(error, self._clock.now(), self.topic.reading.error))
            await self._clock.sleep(self._backoff.next())

    async def _opened(self) -> AsyncGenerator[T, None]:
        """The stream, closed with this one whether it is a generator or not."""
        values = self._stream()
        try:
            async for value in values:
                yield value
        finally:
            if (close := getattr(values, "aclose", None)) is not None:
                await close()
