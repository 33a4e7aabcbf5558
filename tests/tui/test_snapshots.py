"""What the screens look like. After a wanted change: pytest tests/tui/test_snapshots.py --snapshot-update, and look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

import screens.offer
from backends.discovery import Discovery
from backends.domain import Event, Evidence, Fleet, Hit, NodeReading, NodeState, Subject, Triage
from screens.acknowledge import AcknowledgeDialog, TakeBackDialog
from screens.help import HelpScreen
from screens.node import NodeScreen
from screens.offer import OfferScreen
from screens.triage import TriageScreen
from screens.triage_body import EvidencePane
from tests.tui.consoles import PATIENCE_SECONDS, ScriptedSite, build, build_on, settled
from tests.tui.findings import LOST, SETTLED, SEVERAL, triage
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, mig_gpu, reading, refused
from tests.tui.test_offer import EVERYTHING, NOTHING
from tui.app import Console

SMALL, LARGE = (80, 24), (200, 50)
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
EVENT = Event(NOW - 50, "dgx01", "xid", "GPU has fallen off the bus", gpu_index=2, code=79, source="kernel")
FLEETS = {
    "empty": Fleet(),
    "connecting": Fleet(tuple(NodeReading(f"dgx0{n}", NodeState.CONNECTING, None, None, None) for n in (1, 2))),
    "error": Fleet((refused("dgx07", h100(0, 50, "dgx07")), refused("dgx08"))),
    "healthy": Fleet((reading("dgx01", h100(0), h100(1)), reading("a100", mig_gpu(0, "3g.20gb", "2g.10gb")))),
}


HOSTILE_FINDINGS = tuple(
    replace(
        LOST,
        id=str(number),
        subject=Subject(evil, evil, number),
        claim=evil,
        cause=evil,
        evidence=(Evidence(evil, NOW - 9, evil),),
        hits=(Hit(evil, evil),),
    )
    for number, evil in enumerate(HOSTILE)
)
TRIAGES = {
    "several": SEVERAL,
    "settled": SETTLED,
    "none": triage(seen=2, total=2),
    "unread": triage(seen=3),
    "hostile": triage(*HOSTILE_FINDINGS),
}


class SnapCompare(Protocol):
    def __call__(
        self, app: Console, *, terminal_size: tuple[int, int], run_before: Callable[[Pilot[Any]], Awaitable[None]]
    ) -> bool: ...


@pytest.fixture(autouse=True)
def one_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs and colours do not depend on the terminal the tests run in."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("GPUDECK_ASCII", raising=False)


def drawn(
    *keys: str, screen: type | None = None, mode: str = "fleet", found: Triage | None = None
) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Lets the site open and draw in `mode`, presses `keys`, and waits until `screen` is drawn."""

    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot, mode)
        site = getattr(pilot.app, "site", None)
        if isinstance(site, ScriptedSite):
            site.events.publish((EVENT,), NOW)
            if found is not None:
                site.find(found)
                await _told(pilot)
        if isinstance(pilot.app.screen, OfferScreen):
            await _discovered(pilot)
        await pilot.press(*keys)
        await pilot.pause()
        assert screen is None or isinstance(pilot.app.screen, screen)
        for entry in pilot.app.screen.query(Input):
            entry.cursor_blink = False
        await pilot.pause()

    return run


async def _told(pilot: Pilot[Any]) -> None:
    """Readings are drawn after a moment: waits until the screen has drawn the findings."""
    screen = pilot.app.screen
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (screen.query(EvidencePane) if isinstance(screen, TriageScreen) else screen._pending is None):  # type: ignore[attr-defined]
            await pilot.pause(0.01)
    await pilot.pause()


async def _discovered(pilot: Pilot[Any]) -> None:
    """Discovery runs in a thread: waits until it is on the screen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "Looked at" not in str(pilot.app.screen.query_one("#offer-found", Static).render()):
            await pilot.pause(0.01)


# Triage


@SIZES
@pytest.mark.parametrize("name", TRIAGES)
def test_triage(snap_compare: SnapCompare, name: str, size: tuple[int, int]) -> None:
    app = build_on(FLEETS["healthy"] if name == "none" else fleet())
    assert snap_compare(app, terminal_size=size, run_before=drawn(mode="triage", found=TRIAGES[name]))


@SIZES
def test_triage_waiting(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(build_on(fleet()), terminal_size=size, run_before=drawn(mode="triage"))


def test_triage_ascii(snap_compare: SnapCompare) -> None:
    app = build_on(fleet(), ascii_only=True)
    assert snap_compare(app, terminal_size=SMALL, run_before=drawn(mode="triage", found=TRIAGES["several"]))


def test_triage_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = build_on(fleet(), theme=None)
    assert snap_compare(app, terminal_size=SMALL, run_before=drawn(mode="triage", found=TRIAGES["settled"]))


@pytest.mark.parametrize("theme", ["light", "ansi-16"])
def test_triage_themes(snap_compare: SnapCompare, theme: str) -> None:
    app = build_on(fleet(), theme=theme)
    assert snap_compare(app, terminal_size=SMALL, run_before=drawn(mode="triage", found=TRIAGES["settled"]))


@pytest.mark.parametrize("ascii_only", [False, True], ids=["unicode", "ascii"])
def test_triage_acknowledge(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch, ascii_only: bool) -> None:
    monkeypatch.setenv("USER", "dora")
    monkeypatch.delenv("SUDO_USER", raising=False)
    run = drawn("space", *"vendor", screen=AcknowledgeDialog, mode="triage", found=SEVERAL)
    assert snap_compare(build_on(fleet(), ascii_only=ascii_only), terminal_size=SMALL, run_before=run)


def test_triage_take_back(snap_compare: SnapCompare) -> None:
    run = drawn("down", "space", screen=TakeBackDialog, mode="triage", found=SETTLED)
    assert snap_compare(build_on(fleet()), terminal_size=SMALL, run_before=run)


# The fleet


@SIZES
def test_fleet(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(build_on(fleet()), terminal_size=size, run_before=drawn())


@pytest.mark.parametrize("state", FLEETS)
def test_fleet_states(snap_compare: SnapCompare, state: str) -> None:
    assert snap_compare(build_on(FLEETS[state]), terminal_size=SMALL, run_before=drawn())


def test_fleet_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = build_on(fleet(), theme=None)
    assert app.theme == "mono"
    assert snap_compare(app, terminal_size=SMALL, run_before=drawn())


@pytest.mark.parametrize("theme", ["light", "ansi-16"])
def test_fleet_themes(snap_compare: SnapCompare, theme: str) -> None:
    assert snap_compare(build_on(fleet(), theme=theme), terminal_size=SMALL, run_before=drawn())


def test_fleet_ascii(snap_compare: SnapCompare) -> None:
    assert snap_compare(build_on(fleet(), ascii_only=True), terminal_size=SMALL, run_before=drawn())


def test_fleet_filter_without_a_match(snap_compare: SnapCompare) -> None:
    app = build_on(fleet())
    assert snap_compare(app, terminal_size=SMALL, run_before=drawn("slash", *"zebra", "enter"))


def test_fleet_command_error(snap_compare: SnapCompare) -> None:
    app = build_on(fleet())
    assert snap_compare(app, terminal_size=SMALL, run_before=drawn("colon", *"nodd", "enter"))


# A node


@SIZES
def test_node(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    run = drawn("down", "enter", screen=NodeScreen)
    assert snap_compare(build_on(fleet()), terminal_size=size, run_before=run)


def test_node_lost_gpu(snap_compare: SnapCompare) -> None:
    run = drawn("down", "down", "down", "enter", screen=NodeScreen)
    assert snap_compare(build_on(fleet()), terminal_size=SMALL, run_before=run)


def test_node_mig(snap_compare: SnapCompare) -> None:
    run = drawn("down", "enter", screen=NodeScreen)
    app = build_on(Fleet((reading("a100", mig_gpu(0, "3g.20gb", "2g.10gb", "1g.5gb")),)))
    assert snap_compare(app, terminal_size=LARGE, run_before=run)


@pytest.mark.parametrize(
    "value",
    [
        Fleet((reading("dgx01"),)),
        Fleet((refused("dgx07", h100(0, 50, "dgx07")),)),
        Fleet((refused("dgx08"),)),
        Fleet((NodeReading("dgx09", NodeState.CONNECTING, None, None, None),)),
    ],
    ids=["empty", "stale", "error", "connecting"],
)
def test_node_states(snap_compare: SnapCompare, value: Fleet) -> None:
    run = drawn("enter", screen=NodeScreen)
    assert snap_compare(build_on(value), terminal_size=SMALL, run_before=run)


def test_node_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = drawn("down", "enter", screen=NodeScreen)
    assert snap_compare(build_on(fleet(), theme=None), terminal_size=SMALL, run_before=run)


@SIZES
def test_node_findings(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    run = drawn("down", "down", "down", "enter", screen=NodeScreen, found=SEVERAL)
    assert snap_compare(build_on(fleet()), terminal_size=size, run_before=run)


# The help


@SIZES
def test_help(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    run = drawn("question_mark", screen=HelpScreen)
    assert snap_compare(build_on(fleet()), terminal_size=size, run_before=run)


def test_help_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = drawn("question_mark", screen=HelpScreen)
    assert snap_compare(build_on(fleet(), theme=None), terminal_size=SMALL, run_before=run)


# Without a configuration


@SIZES
@pytest.mark.parametrize("what", [EVERYTHING, NOTHING], ids=["found", "nothing"])
def test_offer(
    snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch, what: Discovery, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(screens.offer, "discover", lambda: what)
    monkeypatch.setattr(screens.offer, "config_file", lambda: Path("~/.config/gpudeck/config.toml"))
    assert snap_compare(build(), terminal_size=size, run_before=drawn())


def test_offer_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(screens.offer, "discover", lambda: EVERYTHING)
    assert snap_compare(build(theme=None), terminal_size=SMALL, run_before=drawn("home", "space"))
