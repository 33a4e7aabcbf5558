"""What one container uses of its node, measured as long as somebody looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from backends.contract import Backend, Clock, Gone, MeasuresContainers, NotAllowed
from backends.domain import ContainerUsage, LogSource
from backends.feed import Backoff, closing, problem_of

SETTLE_SECONDS = 0.3
"""A cursor that runs down a list asks for nothing on its way."""


class UsageWatch:
    """Looks at one container at a time, from `look_at` to `stop`. All on one event loop."""

    def __init__(self, backend: Callable[[], Awaitable[Backend]], clock: Clock, changed: Callable[[], None]) -> None:
        self.source: LogSource | None = None
        self.value: ContainerUsage | None = None
        """The last; None before the first."""
        self.problem: str | None = None
        """Why there is none newer, in a sentence."""
        self.is_offered = False
        """The platform measures containers; False also before it was asked."""
        self._backend = backend
        self._clock = clock
        self._changed = changed
        self._task: asyncio.Task[None] | None = None

    def look_at(self, source: LogSource | None) -> None:
        """Measures that container and no other; None: none. The same as before is gone on with."""
        if source != self.source:
            self.stop()
            self.source, self.value, self.problem = source, None, None
        if source is not None and self._task is None:
            self._task = asyncio.create_task(self._run(source), name=f"usage of {source.name}")

    def stop(self) -> None:
        """Nobody looks: what was told last stays."""
        if self._task is not None:
            self._task.cancel()
        self._task = None

    async def _run(self, source: LogSource) -> None:
        backoff = Backoff(first=1.0, most=15.0)
        await self._clock.sleep(SETTLE_SECONDS)
        while True:
            try:
                backend = await self._backend()
                if not isinstance(backend, MeasuresContainers):
                    return
                self.is_offered = True
                self._changed()
                async with closing(backend.usage(source)) as values:
                    async for value in values:
                        backoff.reset()
                        self.value, self.problem = value, None
                        self._changed()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one container, who looks is told
                self.problem = problem_of(error, self._clock.now()).message
                self._changed()
                if isinstance(error, Gone | NotAllowed):
                    return
            await self._clock.sleep(backoff.next())
