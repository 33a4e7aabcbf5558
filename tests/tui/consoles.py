"""A whole console under test: its site says what the test wants, its clock moves when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from textual import events
from textual.pilot import Pilot

from backends.contract import GpudeckError
from backends.domain import Acknowledgement, Event, Fleet, NodeReading, NodeSpec, NodeState, SiteSpec, Stack, Triage
from backends.feed import ManualClock, Topic
from backends.feed.gpu_history import GpuHistory
from backends.ownership import Ownership
from backends.site import Site
from screens.node import NodeScreen
from tests.tui.findings import in_order
from tests.tui.fleets import NOW
from tui.app import Console, SiteFactory
from tui.chrome.command_line import CommandLine
from tui.config import Settings
from tui.live import LiveScreen
from tui.widgets.grid import Grid

PATIENCE_SECONDS = 5.0
"""The longest a condition may take; a test that waits this long fails."""


class ScriptedPlatform:
    """No platform, until a test gives it a backend."""

    def __init__(self) -> None:
        self.opened: Any = None

    @property
    def configured(self) -> bool:
        return self.opened is not None

    async def backend(self) -> Any:
        return self.opened


class ScriptedSite:
    """What the console uses of a `Site`, without a network: `publish` is what its nodes answer."""

    def __init__(self, spec: SiteSpec, clock: ManualClock, first: Fleet | None = None) -> None:
        self.spec, self.clock, self.history = spec, clock, GpuHistory()
        self.fleet: Topic[Fleet] = Topic("fleet")
        self.events: Topic[tuple[Event, ...]] = Topic("events")
        self.triage: Topic[Triage] = Topic("triage")
        self.listening_since = clock.now()
        self.stack: Topic[Stack] = Topic("stack")
        self.ownership: Topic[Ownership] = Topic("ownership")
        self.platform: Any = ScriptedPlatform()
        """A test may give it another."""
        self.calls: list[str] = []
        self.start_error: Exception | None = None
        self.keep_error: GpudeckError | None = None
        """What acknowledging raises."""
        connecting = (NodeReading(node.name, NodeState.CONNECTING, None, None, None) for node in spec.nodes)
        self.publish(Fleet(tuple(connecting)) if first is None else first)

    def publish(self, value: Fleet) -> None:
        self.fleet.publish(value, self.clock.now())

    def find(self, value: Triage) -> None:
        """What triage says from now on."""
        self.triage.publish(value, self.clock.now())

    def acknowledge(self, finding_id: str, who: str, why: str) -> bool:
        return self._keep(finding_id, Acknowledgement(who, why, self.clock.now()))

    def unacknowledge(self, finding_id: str) -> bool:
        return self._keep(finding_id, None)

    def _keep(self, finding_id: str, acknowledged: Acknowledgement | None) -> bool:
        if self.keep_error is not None:
            raise self.keep_error
        triage = self.triage.reading.value or Triage()
        self.find(
            replace(
                triage,
                findings=in_order(
                    replace(each, acknowledged=acknowledged) if each.id == finding_id else each
                    for each in triage.findings
                ),
            )
        )
        return any(each.id == finding_id for each in triage.findings)

    def client(self, name: str) -> Any:
        return self.platform

    async def start(self) -> None:
        self.calls.append("start")
        if self.start_error is not None:
            raise self.start_error

    async def close(self) -> None:
        self.calls.append("close")


def spec_of(value: Fleet, name: str = "lab", **more: Any) -> SiteSpec:
    """A site with the nodes of `value`."""
    return SiteSpec(name, nodes=tuple(NodeSpec(reading.name) for reading in value.nodes), **more)


def build(
    *specs: SiteSpec,
    values: Mapping[str, Fleet] | None = None,
    keys: Mapping[str, str] | None = None,
    theme: str | None = "dark",
    ascii_only: bool = False,
    factory: SiteFactory | None = None,
    bell: bool = False,
) -> Console:
    """A console on `specs` whose clock stands at NOW; `values` are the fleets by site name."""
    CommandLine.history.clear()
    clock = ManualClock(NOW)
    known = values or {}

    def scripted(spec: SiteSpec) -> Site:
        return cast(Site, ScriptedSite(spec, clock, known.get(spec.name)))

    return Console(
        specs,
        Settings(keys=keys or {}, sites=specs, bell=bell),
        theme=theme,
        ascii_only=ascii_only,
        site_factory=factory or scripted,
        clock=clock,
    )


def build_on(value: Fleet, **options: Any) -> Console:
    """A console on one site called "lab" that says `value`."""
    spec = spec_of(value)
    return build(spec, values={spec.name: value}, **options)


@dataclass(frozen=True, slots=True)
class Opened:
    """A console that runs, and hands to use it."""

    app: Console
    pilot: Pilot[None]

    @property
    def site(self) -> ScriptedSite:
        return cast(ScriptedSite, self.app.site)

    @property
    def screen(self) -> Any:
        return self.app.screen

    @property
    def lines(self) -> list[str]:
        return lines(self.app)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def notices(self) -> list[str]:
        """What the notifications say, oldest first."""
        return [each.message for each in self.app._notifications]

    async def press(self, *keys: str) -> None:
        """Keys one by one, each handled before the next."""
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type_ahead(self, *keys: str) -> None:
        """Keys as a slow line brings them: all in one packet, before the first one is handled."""
        for key in keys:
            name, character = KEYS.get(key, (key, key if len(key) == 1 else None))
            self.app.post_message(events.Key(name, character))
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Waits for `condition`; fails after PATIENCE_SECONDS with `what` and the screen."""
        async with _bounded(lambda: f"{what or 'the condition'} did not come true:\n{self.text}"):
            while not condition():
                await self.pilot.pause(0.01)


KEYS = {
    ":": ("colon", ":"),
    "/": ("slash", "/"),
    "?": ("question_mark", "?"),
    " ": ("space", " "),
    "enter": ("enter", "\r"),
    "escape": ("escape", "\x1b"),
    "tab": ("tab", "\t"),
    "backspace": ("backspace", "\x7f"),
    ">": ("greater_than_sign", ">"),
}


@asynccontextmanager
async def _bounded(said: Callable[[], str]) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield
    except TimeoutError:
        raise AssertionError(said()) from None


@asynccontextmanager
async def opened(app: Console, size: tuple[int, int] = (80, 24), mode: str = "fleet") -> AsyncIterator[Opened]:
    """The console on a terminal of `size`, its first site open and drawn, in `mode`; without a site as it opens."""
    async with app.run_test(size=size) as pilot:
        await settled(pilot, mode)
        yield Opened(app, pilot)


async def settled(pilot: Pilot[Any], mode: str = "fleet") -> None:
    """Lets the console open its site and draw, in `mode`; a screen that is of no mode, like the offer, stays."""
    await _drawn(pilot)
    if isinstance(pilot.app, Console) and isinstance(pilot.app.screen, LiveScreen):
        await pilot.app.action_open_mode(mode)
        await _drawn(pilot)


async def _drawn(pilot: Pilot[Any]) -> None:
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def lines(app: Console) -> list[str]:
    """The terminal's lines as they are drawn now."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


def grid(console: Opened) -> Grid:
    """The list of the screen."""
    return cast(Grid, console.screen.query_one(Grid))


def node_names(console: Opened) -> list[str]:
    """The nodes the fleet screen lists, in its order."""
    return [row.key for row in grid(console).rows if row.depth == 0]


async def to_node(console: Opened) -> None:
    """Opens the node under the cursor, which is dgx01 or one of its GPUs."""
    await console.press("enter")
    await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
    await console.until(lambda: "UTILISATION" in console.text, "the page of the node")
