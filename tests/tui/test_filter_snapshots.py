"""What the `/` line and the event log look like. After a wanted change: --snapshot-update, and look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from backends.domain import Event
from screens.events import EventsScreen
from screens.help import HelpScreen
from tests.tui.consoles import ScriptedSite, build_on, settled
from tests.tui.events import NIGHT
from tests.tui.fleets import NOW, fleet
from tests.tui.test_snapshots import LARGE, SIZES, SMALL, SnapCompare, one_terminal

__all__ = ["one_terminal"]


def drawn(
    *keys: str, events: tuple[Event, ...] = NIGHT, typed: str | None = None, screen: type | None = None
) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Lets the site open, presses `keys`, and writes `typed` into the line that they opened."""

    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        site = getattr(pilot.app, "site", None)
        assert isinstance(site, ScriptedSite)
        site.events.publish(events, NOW)
        await pilot.press(*keys)
        await pilot.pause()
        assert screen is None or isinstance(pilot.app.screen, screen)
        for entry in pilot.app.screen.query(Input):
            entry.cursor_blink = False
            if typed is not None:
                entry.value = typed
        await pilot.pause()

    return run


# The line


TYPED = {
    "empty": "",
    "field": "temp>40 & us",
    "wrong": "temp>40 & usr=alice",
    "wrong-at-the-end": "a & long & filter & that & goes & on & one & on & one & temp>hot",
    "unfinished": "temp>40 & (",
}


@pytest.mark.parametrize("name", TYPED)
def test_filter_line(snap_compare: SnapCompare, name: str) -> None:
    run = drawn("slash", typed=TYPED[name])
    assert snap_compare(build_on(fleet()), terminal_size=SMALL, run_before=run)


def test_filter_line_large(snap_compare: SnapCompare) -> None:
    run = drawn("slash", typed="temp>40 & usr=alice")
    assert snap_compare(build_on(fleet()), terminal_size=LARGE, run_before=run)


def test_filter_line_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = drawn("slash", typed="temp>40 & usr=alice")
    assert snap_compare(build_on(fleet(), theme=None), terminal_size=SMALL, run_before=run)


def test_filter_help(snap_compare: SnapCompare) -> None:
    run = drawn("question_mark", "end", screen=HelpScreen)
    assert snap_compare(build_on(fleet()), terminal_size=SMALL, run_before=run)


# The event log


@SIZES
def test_events(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    run = drawn("e", "end", screen=EventsScreen)
    assert snap_compare(build_on(fleet()), terminal_size=size, run_before=run)


@SIZES
def test_events_empty(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    run = drawn("e", events=(), screen=EventsScreen)
    assert snap_compare(build_on(fleet()), terminal_size=size, run_before=run)


def test_events_filtered(snap_compare: SnapCompare) -> None:
    run = drawn("e", "slash", typed="kind=xid & code=79 & node~dgx", screen=EventsScreen)
    assert snap_compare(build_on(fleet()), terminal_size=SMALL, run_before=run)


def test_events_ascii(snap_compare: SnapCompare) -> None:
    run = drawn("e", screen=EventsScreen)
    assert snap_compare(build_on(fleet(), ascii_only=True), terminal_size=SMALL, run_before=run)


@pytest.mark.parametrize("theme", ["light", "ansi-16", "mono"])
def test_events_themes(snap_compare: SnapCompare, theme: str) -> None:
    run = drawn("e", screen=EventsScreen)
    assert snap_compare(build_on(fleet(), theme=theme), terminal_size=SMALL, run_before=run)
