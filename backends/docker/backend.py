"""The Docker platform of a site: the engines of its nodes taken together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, Self

from backends.contract import GpudeckError, NotAllowed, SiteContext, Unreachable
from backends.docker import checks, logs
from backends.docker.changes import merged, to_inspect
from backends.docker.containers import workload
from backends.docker.engine import Engine, Tls
from backends.domain import NodeReading, NodeSpec, NodeState, clean
from backends.domain.access import NotPermitted, Permission
from backends.domain.log import LogBatch, LogQuery, LogSource
from backends.domain.stack import Stack
from backends.domain.workload import Container, Workload, Workloads

STACK_SECONDS = 15.0
SECOND_LOOK_SECONDS = 3.0
RETRY_SECONDS = 10.0
READING_SECONDS = 1.0
"""Between two readings of a node's containers: a burst of events is one reading, the node pays for each."""
READ_CONTAINERS = Permission("list", "containers")
READ_ENGINE = Permission("get", "info")


class DockerBackend:
    name: ClassVar[str] = "docker"
    summary: ClassVar[str] = "Docker Engine (or Podman's API) of each node, over the node's SSH connection or TLS"

    def __init__(self, context: SiteContext) -> None:
        self._context = context
        self._engines = {node.name: self._engine(node) for node in context.site.nodes}
        self._silent: set[str] = set()
        """Nodes whose engine gave no answer when it was asked last."""

    @classmethod
    def open(cls, context: SiteContext) -> Self:
        return cls(context)

    def _engine(self, node: NodeSpec) -> Engine:
        spec = self._context.site.docker
        if spec.url is not None:
            address = spec.url.replace("{node}", node.name)
            tls = (
                None if spec.ca is None or spec.cert is None or spec.key is None else Tls(spec.ca, spec.cert, spec.key)
            )

            async def fixed() -> str:
                return address

            return Engine(node.name, fixed, tls)
        access = self._context.node(node)

        async def forwarded() -> str:
            return f"unix://{await access.socket(spec.socket)}"

        return Engine(node.name, forwarded)

    async def probe(self) -> str | None:
        """The version of the first engine that answers; raises the last error when none does."""
        problem: GpudeckError | None = None
        for engine in self._engines.values():
            try:
                return clean(str((await engine.version()).get("Version") or ""), 64) or None
            except GpudeckError as error:
                problem = error
        if problem is not None:
            raise problem
        return None

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))

    # Workloads

    async def workloads(self) -> AsyncGenerator[Workloads, None]:
        """Once every engine has answered or failed, then whenever a container changed."""
        kept: dict[str, dict[str, Workload]] = {name: {} for name in self._engines}
        found: dict[str, tuple[Workload, ...]] = {}
        refused: dict[str, NotPermitted] = {}
        news = asyncio.Event()

        async def follow(name: str, engine: Engine) -> None:
            while True:
                try:
                    async with contextlib.aclosing(engine.changes()) as changes:
                        async for changed in changes:
                            kept[name] = await _read(engine, kept[name], changed)
                            found[name] = tuple(kept[name].values())
                            refused.pop(name, None)
                            news.set()
                            await self._context.clock.sleep(READING_SECONDS)
                except NotAllowed as error:
                    refused[name] = NotPermitted(f"the containers of {name}: {error.message}", READ_CONTAINERS)
                except GpudeckError:
                    pass  # the stack tells of an engine that does not answer; its last containers stay
                found.setdefault(name, ())
                news.set()
                await self._context.clock.sleep(RETRY_SECONDS)

        async with _running(follow(name, engine) for name, engine in self._engines.items()):
            while True:
                await news.wait()
                news.clear()
                if len(found) == len(self._engines):
                    items = tuple(item for name in self._engines for item in found[name])
                    yield Workloads(items, tuple(refused.values()))

    # The stack

    async def stack(self) -> AsyncGenerator[Stack, None]:
        """Each node's checks, every `STACK_SECONDS`; yielded when something is another."""
        await self._context.answered()  # most of the checks are of what the nodes themselves say
        last: Stack | None = None
        while True:
            facts = await asyncio.gather(*(self._facts(name, engine) for name, engine in self._engines.items()))
            now = checks.stack(list(facts))
            if now != last:
                last = now
                yield now
            await self._context.clock.sleep(STACK_SECONDS)

    async def _facts(self, name: str, engine: Engine) -> checks.Facts:
        reading = self._context.fleet().get(name) or NodeReading(name, NodeState.CONNECTING, None, None, None)
        try:
            info = await self._info(name, engine, patient=reading.state is NodeState.LIVE)
        except GpudeckError as error:
            denied = NotPermitted(f"the engine of {name}", READ_ENGINE) if isinstance(error, NotAllowed) else None
            return checks.Facts(reading, None, problem=error.message, hint=error.hint, denied=denied)
        return checks.Facts(reading, info, version=clean(str(info.get("ServerVersion") or ""), 64) or None)

    async def _info(self, name: str, engine: Engine, *, patient: bool) -> Mapping[str, Any]:
        """The engine's /info; one that answered before, or was never asked, is asked twice before it counts as dead.

        A node under load may let one question pass. One that is not `patient`, as its node does not answer either, is
        asked once.
        """
        try:
            info = await engine.info()
        except Unreachable:
            again = patient and name not in self._silent
            self._silent.add(name)
            if not again:
                raise
            await self._context.clock.sleep(SECOND_LOOK_SECONDS)
            info = await engine.info()
        self._silent.discard(name)
        return info

    # Logs

    async def logs(self, source: LogSource, query: LogQuery) -> AsyncGenerator[LogBatch, None]:
        engine = self._engine_of(source)
        if query.previous:
            raise GpudeckError(
                "Docker keeps no log of a container's former run", "the log of all runs is one: scroll up"
            )
        async with contextlib.aclosing(logs.tail(engine, self._context.clock, source.name, query)) as batches:
            async for batch in batches:
                yield batch

    async def containers(self, source: LogSource) -> tuple[Container, ...]:
        """All of the node's engine, by name."""
        documents = await self._engine_of(source).containers()
        found = [container for each in documents for container in workload(each, source.node or "").containers]
        return tuple(sorted(found, key=lambda container: container.name))

    def _engine_of(self, source: LogSource) -> Engine:
        engine = self._engines.get(source.node or "")
        if engine is None:
            raise GpudeckError(f"no node {clean(source.node or '', 64)!r} in this site", "name one with --node")
        return engine


async def _read(engine: Engine, kept: Mapping[str, Workload], changed: frozenset[str] | None) -> dict[str, Workload]:
    """The engine's containers by id; only those that changed or are new are inspected. Raises `GpudeckError`."""
    listed = await engine.ids()
    asked = to_inspect(listed, kept, changed)
    documents = await engine.inspect(asked)
    return merged(listed, kept, asked, {each: workload(found, engine.node) for each, found in documents.items()})


@contextlib.asynccontextmanager
async def _running(works: Iterable[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Tasks that end with the block."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
