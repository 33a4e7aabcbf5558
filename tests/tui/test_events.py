"""The event log on the screen: it follows, it stays, it leads to what it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from textual.widgets import Input, Static

from backends.contract import GpudeckError
from backends.domain import Event, Fleet, SiteSpec
from backends.feed import ManualClock
from backends.site import Site
from screens.event_rows import AGE_STEP_SECONDS
from screens.events import EventsScreen
from screens.fleet import FleetScreen
from screens.help import HelpScreen
from screens.node import NodeScreen
from tests.tui.consoles import Opened, build_on, grid, opened, to_node
from tests.tui.events import DOWN, FELL, LOST, NIGHT, STALE, YESTERDAY
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, reading
from tui.chrome.command_line import CommandLine

SIZES = pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=["80x24", "200x50"])


async def to_events(console: Opened, *events: Event) -> None:
    """Opens the log of a site where `events` have happened."""
    console.site.events.publish(events, NOW)
    await console.press("e")
    await console.until(lambda: isinstance(console.screen, EventsScreen), "the event log")


async def happens(console: Opened, *events: Event) -> None:
    """The site keeps `events` now."""
    before = console.site.events.reading.value or ()
    console.site.events.publish((*before, *events), NOW)
    total = len(before) + len(events)
    await console.until(lambda: f"{total} events" in console.lines[2], "the new events")


def keys(console: Opened) -> list[str]:
    return [row.key for row in grid(console).rows]


def selected(console: Opened) -> str | None:
    row = grid(console).cursor_row
    return None if row is None else row.key


async def run(console: Opened, command: str) -> None:
    await console.press("colon")
    console.screen.query_one(CommandLine).query_one(Input).value = command
    await console.press("enter")


# What is on it


@SIZES
async def test_it_lists_what_happened_newest_first(size: tuple[int, int]) -> None:
    async with opened(build_on(fleet()), size) as console:
        await to_events(console, *NIGHT)
        assert keys(console) == [event.key for event in reversed(NIGHT)]
        assert ["22:08:30", "4", "m", "✖", "xid", "dgx01", "2", "79"] in [line.split()[:8] for line in console.lines]
        assert "11-13 21:13:20" in console.text
        assert "6 events  since 22:13:20  follows the newest" in console.text
        assert all(cell_len(line) == size[0] for line in console.lines)


@SIZES
async def test_the_selected_event_is_told_in_full(size: tuple[int, int]) -> None:
    async with opened(build_on(fleet()), size) as console:
        await to_events(console, *NIGHT)
        await console.press("end")
        assert "2023-11-13 21:13:20  dgx02 GPU 1  GPU-dgx02-1  kernel" in console.text
        below = " ".join(line.strip() for line in console.lines[-4:])
        assert "MMU Fault: ENGINE GRAPHICS" in below


async def test_without_events_it_says_since_when_it_listens_and_to_whom() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console)
        assert "No event since 22:13:20; 4 of 6 nodes were read." in console.text
        assert "The kernel log of 4 may not be read" in console.text
        await cast(ManualClock, console.app.clock).advance(90_000)
        console.screen.show()
        await console.pilot.pause()
        assert "No event since 11-14 22:13:20" in console.text


async def test_a_site_whose_kernel_logs_are_read_says_nothing_about_them() -> None:
    one = reading("dgx01", h100(0))
    assert one.node is not None
    value = Fleet((replace(one, node=replace(one.node, kernel_log="kmsg")),))
    async with opened(build_on(value)) as console:
        await to_events(console)
        assert "1 of 1 nodes were read." in console.text
        assert "may not be read" not in console.text


async def test_without_a_site_it_says_why() -> None:
    def refused(_spec: SiteSpec) -> Site:
        raise GpudeckError("the site is broken", "mend it")

    async with opened(build_on(fleet(), factory=refused)) as console:
        await console.press("e")
        assert isinstance(console.screen, EventsScreen)
        assert "lab was not opened: the site is broken. mend it" in console.text


# Following


async def test_it_follows_new_events_from_the_top() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT[:4])
        assert selected(console) == FELL.key
        await happens(console, STALE, DOWN)
        assert selected(console) == DOWN.key
        assert grid(console).cursor == 0


async def test_a_cursor_that_was_moved_stays_on_its_event() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT[:4])
        await console.press("down")
        assert selected(console) == LOST.key
        await happens(console, STALE, DOWN)
        assert selected(console) == LOST.key
        assert "3 newer above" in console.text
        await console.press("n")
        assert selected(console) == DOWN.key
        assert "follows the newest" in console.text


async def test_a_full_log_scrolls_under_the_cursor_only_when_it_follows() -> None:
    many = tuple(replace(FELL, at=NOW - 1000 + number) for number in range(200))
    async with opened(build_on(fleet())) as console:
        await to_events(console, *many[:150])
        await console.press("end")
        await happens(console, *many[150:])
        assert selected(console) == many[0].key
        await console.press("home")
        await happens(console, DOWN)
        assert selected(console) == DOWN.key
        assert grid(console).scroll_offset.y == 0


async def test_nothing_new_repaints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(build_on(fleet()), (200, 50)) as console:
        await to_events(console, *NIGHT)
        asked: list[Any] = []
        for widget in console.screen.query("*"):
            monkeypatch.setattr(widget, "refresh", lambda *regions, **_: asked.append(regions))
        console.screen.show()
        assert asked == []


async def test_ages_grow_while_nothing_happens() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await cast(ManualClock, console.app.clock).advance(AGE_STEP_SECONDS + 60)
        console.screen._grow_old()
        await console.until(lambda: " 6 m ✖ lost" in console.text, "the age")


async def test_a_hidden_log_watches_nothing() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        assert (console.site.fleet.demand, console.site.events.demand) == (1, 1)
        await console.press("escape")
        assert (console.site.fleet.demand, console.site.events.demand) == (2, 0)


# The filter


async def test_it_is_filtered_and_the_selection_stays() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await console.press("down", "down", "slash", *"kind=xid", "enter")
        assert keys(console) == [FELL.key, YESTERDAY.key]
        assert selected(console) == FELL.key
        assert "/kind=xid/ shows 2 of 6 events" in console.text
        await console.press("escape")
        assert len(keys(console)) == 6
        await console.press("escape")
        await console.until(lambda: isinstance(console.screen, FleetScreen), "the fleet")


async def test_new_events_pass_the_filter_too() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT[:4])
        await console.press("slash", *"node=dgx01", "enter")
        await happens(console, STALE, replace(FELL, at=NOW, code=45))
        assert [row.cells[5] for row in grid(console).rows] == ["45", "79", "", ""]


async def test_a_filter_without_a_match_says_so() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, FELL)
        await console.press("slash", *"zebra", "enter")
        assert "Nothing matches /zebra/ in 1 event." in console.text


async def test_only_the_node_of_the_selected_event_and_back() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await console.press("down", "o")
        assert console.screen.filter_text == "node=dgx07"
        assert keys(console) == [STALE.key]
        await console.press("o")
        assert len(keys(console)) == 6


async def test_an_error_stands_in_place() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await console.press("slash", *"kind=xid", "enter", "slash")
        console.screen.query_one(CommandLine).query_one(Input).value = "cod=79"
        await console.pilot.pause()
        assert console.lines[-1].rstrip() == '  ^ no field "cod": did you mean code?'
        assert keys(console) == [FELL.key, YESTERDAY.key]


async def test_tab_completes_kinds_and_nodes() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await console.press("slash", *"kind=g", "tab")
        assert console.screen.query_one(CommandLine).query_one(Input).value == "kind=gpu_lost"
        console.screen.query_one(CommandLine).query_one(Input).value = "node=dgx0"
        await console.press("tab")
        assert console.screen.query_one(CommandLine).query_one(Input).value == "node=dgx01"


# Ways in and out


async def test_from_a_node_it_opens_on_that_node_and_goes_back_to_it() -> None:
    async with opened(build_on(fleet())) as console:
        await to_node(console)
        await to_events(console, *NIGHT)
        assert console.screen.filter_text == "node=dgx01"
        assert len(keys(console)) == 3
        await console.press("escape")
        assert isinstance(console.screen, NodeScreen)


async def test_a_node_whose_name_needs_quotes_is_found() -> None:
    name = "rack 2 (left) n/a"
    async with opened(build_on(Fleet((reading(name, h100(0)),)))) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
        await to_events(console, replace(FELL, node=name), DOWN)
        assert console.screen.filter_text == f'node="{name}"'
        assert len(keys(console)) == 1


async def test_enter_leads_to_the_gpu() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await console.press("down", "down", "enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
        assert (console.screen.node_name, console.screen.gpu_key) == ("dgx01", "GPU-lost")
        await console.press("escape")
        assert isinstance(console.screen, EventsScreen)
        assert selected(console) == FELL.key


async def test_enter_goes_back_to_the_node_it_was_opened_from() -> None:
    async with opened(build_on(fleet())) as console:
        await to_node(console)
        depth = len(console.app.screen_stack)
        await to_events(console, *NIGHT)
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
        assert len(console.app.screen_stack) == depth
        assert console.screen.gpu_key == "GPU-lost"


async def test_an_event_of_a_node_that_left_the_site_leads_nowhere() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, replace(DOWN, node="[b]gone"))
        await console.press("enter")
        assert console.notices == ["[b]gone is not in this site."]
        assert isinstance(console.screen, EventsScreen)


async def test_the_command_opens_it_with_a_filter() -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        console.site.events.publish(NIGHT, NOW)
        await run(console, "events kind=xid & code=79")
        await console.until(lambda: isinstance(console.screen, EventsScreen), "the event log")
        assert keys(console) == [FELL.key]
        await run(console, "events kind=lost")
        await console.until(lambda: keys(console) == [LOST.key], "the other filter")
        assert sum(isinstance(screen, EventsScreen) for screen in console.app.screen_stack) == 1
        await run(console, "events cod=79")
        assert 'no field "cod": did you mean code?' in console.lines[-1]
        await console.press("escape")
        console.screen.query_one(CommandLine).open(":", "events kind=gpu_b")
        await console.press("tab")
        assert console.screen.query_one(CommandLine).query_one(Input).value == "events kind=gpu_back"


async def test_the_key_does_nothing_on_the_log_itself() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        depth = len(console.app.screen_stack)
        await console.press("e")
        assert len(console.app.screen_stack) == depth


async def test_the_help_tells_its_fields() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await console.press("question_mark")
        await console.until(lambda: isinstance(console.screen, HelpScreen), "the help")
        text = str(console.screen.query_one("#help-text", Static).content)
        assert "kind=xid" in text
        assert "temp>85c" not in text


async def test_saved_filters_hold_here_too() -> None:
    async with opened(build_on(fleet())) as console:
        await to_events(console, *NIGHT)
        await run(console, "save xids kind=xid")
        await console.until(lambda: any("@xids" in each for each in console.notices), "the notice")
        await run(console, "filter xids")
        assert keys(console) == [FELL.key, YESTERDAY.key]
        await console.press("escape", "escape")
        await run(console, "filter xids")
        assert 'in @xids: no field "kind"' in console.lines[-1], "the fleet has no such field"


@SIZES
@pytest.mark.parametrize("evil", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
async def test_hostile_events_are_inert(evil: str, size: tuple[int, int]) -> None:
    event = Event(NOW - 5, evil, evil, evil, 1, evil, evil, 79, evil)
    async with opened(build_on(fleet()), size) as console:
        await to_events(console, event, *NIGHT)
        await console.press("end")
        for line in console.lines:
            assert cell_len(line) == size[0]
            assert line.isprintable()
        for x in range(0, size[0], 4):
            await console.pilot.click(offset=(x, size[1] - 2))
        assert console.app.is_running
        await console.press("o")
        assert console.app.return_code is None
