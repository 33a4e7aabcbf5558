"""The platform of one site: its backend, loaded when it is first needed, and the topics it fills."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from backends.contract import (
    Backend,
    BackendFailed,
    Clock,
    GpudeckError,
    ListsWorkloads,
    NodeAccess,
    ReportsStack,
    SiteContext,
    Unreachable,
)
from backends.domain import clean
from backends.feed import Follow, closing
from backends.feed.mapped import Mapped
from backends.ownership import Ownership

if TYPE_CHECKING:
    from backends.domain import Fleet, NodeSpec, SiteSpec, Stack, Workloads

MESSAGE_LIMIT = 300


class Platform:
    """Without a configured platform the topics are there, and stay empty.

    Nothing is imported or connected before a topic has demand or `backend` is asked for.
    """

    def __init__(
        self,
        spec: SiteSpec,
        clock: Clock,
        node: Callable[[NodeSpec], NodeAccess],
        fleet: Callable[[], Fleet],
        answered: Callable[[], Awaitable[None]],
    ) -> None:
        """See `SiteContext`."""
        self._context = SiteContext(spec, clock, node, fleet, answered)
        self._opening = asyncio.Lock()
        self._backend: Backend | None = None
        self._stack = Follow("stack", self._read_stack, clock=clock)
        self._workloads = Follow("workloads", self._read_workloads, clock=clock)
        self.stack = self._stack.topic
        """The GPU stack."""
        self.workloads = self._workloads.topic
        """Whose work uses the GPUs."""
        self.ownership = Mapped("ownership", self.workloads, Ownership).topic
        """The same, to be looked up by process, GPU and node."""

    @property
    def configured(self) -> bool:
        return self._context.site.platform is not None

    async def backend(self) -> Backend:
        """The site's backend, opened once. Raises `GpudeckError`, BackendMissing when it is not installed."""
        name = self._context.site.platform
        if name is None:
            raise GpudeckError("the site has no platform", "set platform in the site's configuration")
        async with self._opening:
            if self._backend is None:
                from backends import registry

                # In a thread: reading the entry points and importing a backend take longer than a frame.
                kind = await asyncio.to_thread(registry.load, name)
                with failures_of(name):
                    self._backend = kind.open(self._context)
            return self._backend

    async def read_stack(self, timeout: float) -> Stack:
        """The stack as it is now, as soon as all of it was read once. Raises `GpudeckError`."""
        try:
            async with asyncio.timeout(timeout), closing(self._read_stack()) as stacks:
                return await anext(stacks)
        except TimeoutError:
            said = f"the platform of {self._context.site.name} did not answer within {timeout:.0f} s"
            raise Unreachable(said, "") from None

    def start(self) -> None:
        """Lets demand open the backend."""
        if self.configured:
            self._stack.start()
            self._workloads.start()

    async def close(self) -> None:
        await self._stack.close()
        await self._workloads.close()
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.close()

    async def _read_stack(self) -> AsyncIterator[Stack]:
        backend = await self.backend()
        if not isinstance(backend, ReportsStack):
            raise GpudeckError(f"the backend {backend.name} reports no GPU stack", "")
        with failures_of(backend.name):
            async with closing(backend.stack()) as stacks:
                async for stack in stacks:
                    yield stack

    async def _read_workloads(self) -> AsyncIterator[Workloads]:
        backend = await self.backend()
        if not isinstance(backend, ListsWorkloads):
            raise GpudeckError(f"the backend {backend.name} lists no workloads", "")
        with failures_of(backend.name):
            async with closing(backend.workloads()) as values:
                async for workloads in values:
                    yield workloads


@contextlib.contextmanager
def failures_of(name: str) -> Iterator[None]:
    """What a backend raises beside its promises becomes `BackendFailed`: it may be a stranger's."""
    try:
        yield
    except (GpudeckError, TimeoutError):
        raise
    except Exception as error:
        told = clean(f"{type(error).__name__}: {error}", MESSAGE_LIMIT)
        raise BackendFailed(f"the backend {clean(name)} failed: {told}", "this is a defect of the backend") from error
