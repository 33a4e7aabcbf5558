"""One node of the lab on the node screen of a real console, at the page a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

from backends.domain import Fleet, Gpu, Node, NodeReading, NodeState, Problem
from backends.feed import ManualClock
from backends.site import Site
from screens.node import NodeScreen
from tests.simulated import NOW
from tests.tui.consoles import Opened, ScriptedSite, opened, spec_of
from tui.app import Console
from tui.config import Settings
from tui.widgets.line import StyledLine


def live(node: Node) -> NodeReading:
    return NodeReading(node.name, NodeState.LIVE, node, NOW, None)


def stale(node: Node, seconds: float = 240.0) -> NodeReading:
    problem = Problem("unreachable", "connection refused by 192.0.2.7", "is sshd running there?", NOW - seconds)
    return NodeReading(node.name, NodeState.STALE, node, NOW - seconds, problem)


def never(name: str = "dgx09") -> NodeReading:
    return NodeReading(name, NodeState.CONNECTING, None, None, None)


def console_on(reading: NodeReading, *, ascii_only: bool = False, theme: str | None = "dark") -> Console:
    """A console whose site has this node only, and whose clock stands at the time of the simulation."""
    clock, fleet = ManualClock(NOW), Fleet((reading,))
    spec = spec_of(fleet)
    site = ScriptedSite(spec, clock, fleet)
    return Console(
        (spec,),
        Settings(sites=(spec,)),
        theme=theme,
        ascii_only=ascii_only,
        site_factory=lambda _spec: cast(Site, site),
        clock=clock,
    )


@dataclass(frozen=True, slots=True)
class OnPage:
    console: Opened

    @property
    def screen(self) -> NodeScreen:
        return cast(NodeScreen, self.console.screen)

    def line(self, name: str) -> str:
        """What a styled line of the page says."""
        return self.screen.query_one(f"#{name}", StyledLine).text

    async def publish(self, reading: NodeReading) -> None:
        """Another reading of the node, drawn."""
        self.console.site.publish(Fleet((reading,)))
        self.screen.redraw()
        await self.console.pilot.pause()


@asynccontextmanager
async def on_page(
    key: str, reading: NodeReading, size: tuple[int, int] = (80, 24), *, ascii_only: bool = False
) -> AsyncIterator[OnPage]:
    """The node's page that `key` opens."""
    async with opened(console_on(reading, ascii_only=ascii_only), size) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
        await console.press(key)
        yield OnPage(console)


def with_gpu(node: Node, index: int, **changes: object) -> Node:
    """`node` with some values of one GPU changed."""
    gpus = [replace(gpu, **changes) if gpu.index == index else gpu for gpu in node.gpus]  # type: ignore[arg-type]
    return replace(node, gpus=cast(tuple[Gpu, ...], tuple(gpus)))
