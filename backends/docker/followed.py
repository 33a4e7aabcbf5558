"""The containers of one engine, read while somebody wants them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from backends.contract import Clock, GpudeckError, NotAllowed
from backends.docker.changes import merged, to_inspect
from backends.docker.containers import workload
from backends.docker.engine import Engine
from backends.domain.access import NotPermitted, Permission
from backends.domain.workload import Unread, Workload
from backends.feed import end

RETRY_SECONDS = 10.0
READING_SECONDS = 1.0
"""Between two readings of a node's containers: a burst of events is one reading, the node pays for each."""
READ_CONTAINERS = Permission("list", "containers")


class Followed:
    """One stream of events and one reading, however many read it; the first reader begins it, the last one ends it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._readers: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._kept: dict[str, Workload] = {}
        self.told = False
        """The engine has answered or failed."""
        self.refused: NotPermitted | None = None
        self.unread: tuple[Unread, ...] = ()

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """As they were read last: they stay while the engine does not answer."""
        return tuple(self._kept.values())

    @contextlib.asynccontextmanager
    async def read(self, news: asyncio.Event) -> AsyncIterator[None]:
        """Sets `news` whenever something is another, until the block ends."""
        self._readers.add(news)
        if self.told:
            news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name=f"containers {self._engine.node}")
        try:
            yield
        finally:
            self._readers.discard(news)
            if not self._readers:
                task, self._task = self._task, None
                self._forget()
                await end([task])

    async def _follow(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._engine.changes()) as changes:
                    async for changed in changes:
                        await self._read(changed)
                        await self._clock.sleep(READING_SECONDS)
            except NotAllowed as error:
                node = self._engine.node
                self.refused = NotPermitted(f"the containers of {node}: {error.message}", READ_CONTAINERS, node)
            except GpudeckError as error:
                self.unread = (Unread(self._engine.node, error.message),)
            except Exception as error:  # noqa: BLE001 - the other nodes are read whatever this engine says
                said = f"the containers of {self._engine.node} cannot be read: {type(error).__name__}"
                self.unread = (Unread(self._engine.node, said),)
            self._tell()
            await self._clock.sleep(RETRY_SECONDS)

    async def _read(self, changed: frozenset[str] | None) -> None:
        """Only containers that changed or are new are inspected. Raises `GpudeckError`."""
        listing = await self._engine.ids()
        asked = to_inspect(listing.ids, self._kept, changed)
        documents = await self._engine.inspect(asked)
        pods = await self._engine.pods() if documents else {}
        read = {each: workload(found, self._engine.node, pods.get(each)) for each, found in documents.items()}
        self._kept = merged(listing.ids, self._kept, asked, read)
        self.refused, self.unread = None, listing.left_out(self._engine.node)
        self._tell()

    def _tell(self) -> None:
        self.told = True
        for news in self._readers:
            news.set()
