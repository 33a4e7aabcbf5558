"""A topic computed from others, once per burst."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from backends.feed.clock import Clock, SystemClock
from backends.feed.topic import Topic, Unwatch

T = TypeVar("T")


class Derived(Generic[T]):
    """Publishes `compute()` when an input changed, at most once per `quiet_seconds`: a burst costs one computation."""

    def __init__(
        self,
        name: str,
        compute: Callable[[], T],
        inputs: Iterable[Topic[Any]] = (),
        *,
        quiet_seconds: float = 0.1,
        clock: Clock | None = None,
    ) -> None:
        self.topic: Topic[T] = Topic(name)
        self._compute = compute
        self._clock = clock or SystemClock()
        self._quiet_seconds = quiet_seconds
        self._task: asyncio.Task[None] | None = None
        self._unwatches: list[Unwatch] = [topic.watch(self._input_changed) for topic in inputs]

    def close(self) -> None:
        for unwatch in self._unwatches:
            unwatch()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def publish_now(self) -> None:
        self.topic.publish(self._compute(), self._clock.now())

    def _input_changed(self, _reading: object) -> None:
        self.changed()

    def changed(self) -> None:
        """What `compute` looks at is another: it is published when the burst has ended."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._settle(), name=f"derived {self.topic.name}")

    async def _settle(self) -> None:
        await self._clock.sleep(self._quiet_seconds)
        # Free the slot first: an input that changes while computing starts the next burst.
        self._task = None
        self.publish_now()
