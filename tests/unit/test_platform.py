"""A site's platform: opened when somebody looks, told as a problem when it cannot be, closed with the site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar, Self

import pytest

from backends import registry
from backends.contract import BackendFailed, SiteContext, Unreachable
from backends.domain import NodeSpec, SiteSpec, Stack
from backends.feed import ManualClock, Topic
from backends.site import Site
from tests.scripted import ScriptedTransports


class Toy:
    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "a toy platform"
    opened: ClassVar[list[Toy]] = []

    def __init__(self, context: SiteContext) -> None:
        self.context = context
        self.closed = False
        self.stacks: asyncio.Queue[Stack | Exception] = asyncio.Queue()
        self.stacks.put_nowait(Stack("toy", "1"))
        Toy.opened.append(self)

    @classmethod
    def open(cls, context: SiteContext) -> Self:
        return cls(context)

    async def probe(self) -> str | None:
        return "1"

    async def close(self) -> None:
        self.closed = True

    async def stack(self) -> AsyncIterator[Stack]:
        while True:
            value = await self.stacks.get()
            if isinstance(value, Exception):
                raise value
            yield value


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were loaded."""
    names: list[str] = []
    real = registry.load
    Toy.opened.clear()

    def load(name: str) -> type:
        names.append(name)
        return Toy if name == "toy" else real(name)

    monkeypatch.setattr(registry, "load", load)
    return names


def site(platform: str | None) -> tuple[Site, ManualClock]:
    clock = ManualClock()
    spec = SiteSpec("lab", nodes=(NodeSpec("a"),), platform=platform)
    return Site(spec, clock=clock, transport_factory=ScriptedTransports), clock


async def heard(topic: Topic[Stack]) -> None:
    """Until the topic says something."""
    said = asyncio.Event()
    unwatch = topic.watch(lambda _: said.set())
    async with asyncio.timeout(10):
        await said.wait()
    unwatch()


async def test_without_a_platform_the_topics_are_there_and_stay_empty(loads: list[str]) -> None:
    opened, clock = site(None)
    await opened.start()
    opened.stack.watch(lambda _: None)
    await clock.advance(60)
    assert (opened.stack.reading.value, opened.workloads.reading.value, loads) == (None, None, [])
    await opened.close()


async def test_the_backend_is_loaded_when_the_triage_looks_and_once(loads: list[str]) -> None:
    opened, clock = site("toy")
    await clock.advance(60)
    assert loads == []
    await opened.start()
    await heard(opened.stack)
    assert opened.stack.reading.value == Stack("toy", "1")
    assert await opened.platform.backend() is Toy.opened[0]
    assert loads == ["toy"]
    await opened.close()
    assert Toy.opened[0].closed


async def test_a_backend_gets_the_site_and_its_ways_to_the_nodes(loads: list[str]) -> None:
    opened, _ = site("toy")
    backend = await opened.platform.backend()
    assert isinstance(backend, Toy)
    assert backend.context.site is opened.spec
    assert backend.context.node(opened.spec.nodes[0]) is backend.context.node(opened.spec.nodes[0])
    await opened.close()


async def test_a_capability_that_is_lacking_is_a_problem_in_words(loads: list[str]) -> None:
    opened, _ = site("toy")
    await opened.start()
    said = asyncio.Event()
    opened.workloads.watch(lambda _: said.set())
    async with asyncio.timeout(10):
        await said.wait()
    error = opened.workloads.reading.error
    assert error is not None
    assert error.message == "the backend toy lists no workloads"
    await opened.close()


async def test_a_backend_that_is_not_installed_is_a_problem_in_words(loads: list[str]) -> None:
    opened, _ = site("slurm")
    await opened.start()
    await heard(opened.stack)
    error = opened.stack.reading.error
    assert error is not None
    assert error.code == "backend-missing"
    await opened.close()


async def test_an_outage_keeps_the_last_stack_beside_the_error(loads: list[str]) -> None:
    opened, _ = site("toy")
    await opened.start()
    await heard(opened.stack)
    Toy.opened[0].stacks.put_nowait(Unreachable("the API server cannot be reached", "is it up?"))
    await heard(opened.stack)
    reading = opened.stack.reading
    assert reading.value == Stack("toy", "1")
    assert reading.error is not None
    assert reading.error.hint == "is it up?"
    await opened.close()


@pytest.mark.parametrize("error", [ValueError("no\x1b[2J such node"), OSError("x"), KeyError("x")])
async def test_what_a_backend_raises_beside_its_promises_is_told_as_its_failure(
    loads: list[str], error: Exception
) -> None:
    opened, _ = site("toy")
    backend = await opened.platform.backend()
    assert isinstance(backend, Toy)
    backend.stacks.get_nowait()
    backend.stacks.put_nowait(error)
    with pytest.raises(BackendFailed, match="the backend toy failed: ") as caught:
        await opened.platform.read_stack(10)
    assert caught.value.message.isprintable()
    await opened.close()


async def test_a_backend_that_cannot_be_opened_says_so(loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_context: SiteContext) -> Toy:
        raise ValueError("no licence")

    monkeypatch.setattr(Toy, "open", refuses)
    opened, _ = site("toy")
    with pytest.raises(BackendFailed, match="ValueError: no licence"):
        await opened.platform.backend()
    await opened.close()
