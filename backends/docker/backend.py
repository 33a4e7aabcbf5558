"""The Docker platform of a site: the engines of its nodes taken together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, ClassVar, Self

from backends.contract import GpudeckError, SiteContext, Unreachable
from backends.docker import checks, logs
from backends.docker.about import About
from backends.docker.checks import Facts
from backends.docker.containers import workload
from backends.docker.engine import Engine, Tls
from backends.docker.followed import Followed
from backends.docker.stats import usage_of
from backends.domain import NodeReading, NodeSpec, NodeState, clean
from backends.domain.log import LogBatch, LogQuery, LogSource
from backends.domain.stack import Stack
from backends.domain.usage import ContainerUsage
from backends.domain.workload import Container, Workloads

STACK_SECONDS = 15.0
SECOND_LOOK_SECONDS = 3.0


class DockerBackend:
    name: ClassVar[str] = "docker"
    summary: ClassVar[str] = "Docker Engine (or Podman's API) of each node, over the node's SSH connection or TLS"

    def __init__(self, context: SiteContext) -> None:
        self._context = context
        self._engines = {node.name: self._engine(node) for node in context.site.nodes}
        self._silent: set[str] = set()
        """Nodes whose engine gave no answer when it was asked last."""
        self._followed = {name: Followed(engine, context.clock) for name, engine in self._engines.items()}

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

        return Engine(node.name, forwarded, unit="podman.socket" if "podman" in spec.socket else "docker")

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
        news, followed = asyncio.Event(), self._followed.values()
        async with contextlib.AsyncExitStack() as reading:
            for each in followed:
                await reading.enter_async_context(each.read(news))
            while True:
                await news.wait()
                news.clear()
                if all(each.told for each in followed):
                    yield Workloads(
                        tuple(item for each in followed for item in each.workloads),
                        tuple(each.refused for each in followed if each.refused is not None),
                        tuple(unread for each in followed for unread in each.unread),
                    )

    # The stack

    async def stack(self) -> AsyncGenerator[Stack, None]:
        """Each node's checks, every `STACK_SECONDS`; yielded when something is another."""
        await self._context.answered()  # most of the checks are of what the nodes themselves say
        last: Stack | None = None
        while True:
            now = checks.stack(await asyncio.gather(*map(self._facts, self._engines)))
            if now != last:
                last = now
                yield now
            await self._context.clock.sleep(STACK_SECONDS)

    async def _facts(self, name: str) -> Facts:
        answer: About | GpudeckError
        try:
            answer = await self._about(name, patient=self._reading(name).state is NodeState.LIVE)
        except GpudeckError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - the other nodes are told of whatever this engine says
            said = f"the container engine of {name} cannot be read: {type(error).__name__}"
            answer = GpudeckError(said, "")
        # As the node is by now: the connection that the engine was asked through may be the one that is gone.
        return Facts(self._reading(name), answer)

    def _reading(self, name: str) -> NodeReading:
        return self._context.fleet().get(name) or NodeReading(name, NodeState.CONNECTING, None, None, None)

    async def _about(self, name: str, *, patient: bool) -> About:
        """What the engine tells of itself; one that answered before, or was never asked, is asked twice before it
        counts as dead.

        A node under load may let one question pass. One that is not `patient`, as its node does not answer either, is
        asked once.
        """
        engine = self._engines[name]
        try:
            told = await engine.about()
        except Unreachable:
            again = patient and name not in self._silent
            self._silent.add(name)
            if not again:
                raise
            await self._context.clock.sleep(SECOND_LOOK_SECONDS)
            told = await engine.about()
        self._silent.discard(name)
        return told

    # One container

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

    async def usage(self, source: LogSource) -> AsyncGenerator[ContainerUsage, None]:
        told: dict[str, Any] | None = None
        async with contextlib.aclosing(self._engine_of(source).stats(source.name)) as values:
            async for told in values:
                yield usage_of(told)
        if told is None:  # of a container that does not run Podman tells nothing at all
            yield ContainerUsage()

    def _engine_of(self, source: LogSource) -> Engine:
        engine = self._engines.get(source.node or "")
        if engine is None:
            raise GpudeckError(f"no node {clean(source.node or '', 64)!r} in this site", "name one with --node")
        return engine
