"""The shell around the screens: header, modes, footer, mouse, themes, help, and what a repaint costs."""

from __future__ import annotations

from typing import Any, cast

import pytest
from rich.cells import cell_len
from textual.widget import Widget
from textual.widgets import Static

from backends.domain import Fleet
from screens import MODES
from screens.fleet import FleetScreen
from screens.help import HelpScreen
from screens.node import NodeScreen
from tests.tui.consoles import build, build_on, grid, node_names, opened, spec_of, to_node
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, reading, refused
from themes import THEMES
from tui.actions import keys_of
from tui.chrome.command_line import CommandLine
from tui.chrome.footer import Footer
from tui.chrome.header import Header
from tui.console_actions import GLOBAL
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine

WIDE = (200, 50)


def healthy() -> Fleet:
    return Fleet((reading("dgx01", h100(0)), reading("dgx02", h100(0, node="dgx02"))))


# Header


async def test_the_header_says_where_and_how_much_and_how_old() -> None:
    spec = spec_of(fleet(), "prod-dgx", platform="kubernetes")
    async with opened(build(spec, values={"prod-dgx": fleet()}), (140, 24)) as console:
        first = console.lines[0]
        assert first.startswith(" gpudeck  prod-dgx  kubernetes  ")
        assert "3/6 nodes" in first
        assert "1 connecting" in first
        assert "oldest 4 m (dgx07)" in first
        assert first.rstrip().endswith("READ-ONLY")
        assert "DEMO" not in first
        assert "[2 Fleet]" in console.lines[1]


async def test_the_header_says_demo_and_live() -> None:
    spec = spec_of(healthy(), demo=True)
    async with opened(build(spec, values={"lab": healthy()})) as console:
        assert " DEMO " in console.lines[0]
        assert "2/2 nodes" in console.lines[0]
        assert "live" in console.lines[0]
        assert "oldest" not in console.lines[0]


async def test_too_narrow_a_header_keeps_what_matters() -> None:
    spec = spec_of(fleet(), "a-rather-long-name-of-a-site", platform="kubernetes", demo=True)
    async with opened(build(spec, values={spec.name: fleet()}), (80, 24)) as console:
        first = console.lines[0]
        assert cell_len(first) == 80
        for kept in ("gpudeck", spec.name, "DEMO", "3/6 nodes", "READ-ONLY"):
            assert kept in first, kept
        assert "kubernetes" not in first


async def test_the_header_follows_the_fleet() -> None:
    async with opened(build_on(healthy())) as console:
        assert "2/2 nodes" in console.lines[0]
        console.site.publish(Fleet((healthy().nodes[0], refused("dgx02"))))
        await console.until(lambda: "1/2 nodes" in console.lines[0], "the coverage")


async def test_the_age_in_the_header_grows_without_news_of_that_node() -> None:
    async with opened(build_on(healthy()), (120, 24)) as console:
        clock = cast(Any, console.app.clock)
        await clock.advance(60)
        console.site.publish(Fleet((reading("dgx01", h100(0), at=NOW + 60), healthy().nodes[1])))
        await console.until(lambda: "oldest 1 m (dgx02)" in console.lines[0], "the age of dgx02")


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
async def test_a_hostile_site_name_is_inert(name: str, width: int) -> None:
    spec = spec_of(fleet(), name, platform="kubernetes", demo=True)
    async with opened(build(spec, values={name: fleet()}), (width, 24)) as console:
        for line in console.lines:
            assert cell_len(line) == width
            assert line.isprintable()
        assert "READ-ONLY" in console.lines[0]
        assert "nodes" in console.lines[0]
        for x in range(10, 30):
            await console.pilot.click(offset=(x, 0))
        assert console.app.is_running
        assert console.app.return_code is None


@pytest.mark.parametrize("name", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
async def test_a_hostile_node_name_is_inert_on_every_line(name: str) -> None:
    value = Fleet((reading(name, h100(0), at=NOW - 600),))
    async with opened(build_on(value)) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
        for line in console.lines:
            assert cell_len(line) == 80
            assert line.isprintable()
        assert "READ-ONLY" in console.lines[0]


# Modes and the way back


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.id)
async def test_a_number_key_opens_its_mode(mode: Any) -> None:
    async with opened(build_on(fleet())) as console:
        await console.press(mode.key)
        await console.until(lambda: console.app.current_mode == mode.id, mode.id)
        await console.until(lambda: f"[{mode.key} {mode.label}]" in console.lines[1], "the tab")


async def test_the_key_of_the_mode_leaves_a_screen_opened_in_it() -> None:
    async with opened(build_on(fleet())) as console:
        await to_node(console)
        await console.press("2")
        assert isinstance(console.screen, FleetScreen)


async def test_a_node_has_breadcrumbs_and_escape_goes_back() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("down")
        await to_node(console)
        assert "[2 Fleet] 3 Stack  › dgx01 › GPU 0" in console.lines[1]
        await console.press("escape")
        assert isinstance(console.screen, FleetScreen)
        assert "›" not in console.lines[1]
        await console.press("escape", "escape")
        assert isinstance(console.screen, FleetScreen), "a mode's first screen stays"
        assert console.app.is_running


async def test_breadcrumbs_follow_the_chosen_gpu() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("down")
        await to_node(console)
        await console.press("right_square_bracket")
        await console.until(lambda: "GPU 1  H100" in console.text, "the second GPU")
        assert "dgx01 › GPU 1" in console.lines[1]


async def test_escape_ends_the_filter_first_then_goes_back() -> None:
    async with opened(build_on(fleet())) as console:
        below = console.screen
        await console.app.push_screen(FleetScreen())
        await console.until(lambda: len(node_names(console)) == 6, "a second fleet")
        console.app.filters.apply("dgx02")
        assert node_names(console) == ["dgx02"]
        await console.press("escape")
        assert console.screen is not below
        assert len(node_names(console)) == 6
        await console.press("escape")
        assert console.screen is below


# The mouse


async def test_a_click_on_a_tab_opens_its_mode() -> None:
    async with opened(build_on(fleet())) as console:
        await console.app.push_screen(NodeScreen("dgx01"))
        await console.pilot.pause()
        at = console.lines[1].index("2 Fleet")
        await console.pilot.click(offset=(at + 2, 1))
        await console.until(lambda: isinstance(console.screen, FleetScreen), "the fleet")


async def test_a_click_on_a_key_of_the_footer_runs_it() -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        at = console.lines[-1].index("f Flat")
        await console.pilot.click(offset=(at + 3, 23))
        await console.until(lambda: all(row.depth == 0 for row in grid(console).rows), "the flat list")
        at = console.lines[-1].index("? Help")
        await console.pilot.click(offset=(at, 23))
        await console.until(lambda: isinstance(console.screen, HelpScreen), "the help")


async def test_a_click_between_keys_runs_nothing() -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        end = console.lines[-1].index("f Flat") + len("f Flat")
        for x in (0, end, end + 1, 119):
            await console.pilot.click(offset=(x, 23))
        assert isinstance(console.screen, FleetScreen)
        assert not all(row.depth == 0 for row in grid(console).rows)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
async def test_the_footer_keeps_the_help_in_any_width(width: int) -> None:
    async with opened(build_on(fleet()), (width, 24)) as console:
        assert console.lines[-1].rstrip().endswith("? Help")
        assert cell_len(console.lines[-1]) == width


# Themes, help, end


async def test_t_goes_through_every_theme() -> None:
    async with opened(build_on(fleet())) as console:
        seen = [console.app.theme]
        for _ in THEMES[1:]:
            await console.press("t")
            seen.append(console.app.theme)
        assert sorted(seen) == sorted(each.name for each in THEMES)
        await console.press("t")
        assert console.app.theme == seen[0]
        assert f"Theme {seen[0]}" in console.notices


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_a_key_ends_it(key: str) -> None:
    async with opened(build_on(fleet())) as console:
        site = console.site
        await console.pilot.press(key)
        await console.until(lambda: not console.app.is_running, "the end")
        assert console.app.return_code == 0
    assert site.calls == ["start", "close"], "the connections are closed"


@pytest.mark.parametrize("keys", [{}, {"fleet.flat": "x", "app.next_theme": "f9,ctrl+t"}], ids=["default", "remapped"])
async def test_the_help_lists_every_action_with_its_key(keys: dict[str, str]) -> None:
    async with opened(build_on(fleet(), keys=keys)) as console:
        actions = (*console.screen.ACTIONS, *GLOBAL)
        await console.press("question_mark")
        text = str(console.screen.query_one("#help-text", Static).render())
        for action in actions:
            line = next(line for line in text.splitlines() if line.endswith(action.id))
            assert action.help in line
            assert line.split(action.help)[0].strip() == keys_of(action, keys)
        if keys:
            assert "f9 ctrl+t" in text
        await console.press("escape")
        assert isinstance(console.screen, FleetScreen)


async def test_the_footer_shows_the_remapped_key() -> None:
    async with opened(build_on(fleet(), keys={"fleet.flat": "x"}), (120, 24)) as console:
        assert "x Flat" in console.lines[-1]
        assert "f Flat" not in console.lines[-1]


async def test_question_mark_does_not_stack_helps() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("question_mark")
        depth = len(console.app.screen_stack)
        await console.press("question_mark")
        assert len(console.app.screen_stack) < depth


# What it costs


async def test_an_equal_fleet_draws_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    shown: list[int] = []
    async with opened(build_on(fleet()), WIDE) as console:
        for kind in (Grid, StyledLine):
            _count(monkeypatch, kind, drawn)
        original = FleetScreen.show

        def show(screen: FleetScreen) -> None:
            shown.append(1)
            original(screen)

        monkeypatch.setattr(FleetScreen, "show", show)
        console.site.publish(fleet())
        await console.until(lambda: shown, "the screen to look at the fleet")
        await console.pilot.pause()
        assert drawn == []

        console.site.publish(Fleet((reading("dgx01", h100(0, 1)), *fleet().nodes[1:])))
        await console.until(lambda: "Grid" in drawn, "a real change is drawn")


def _count(monkeypatch: pytest.MonkeyPatch, kind: type[Widget], drawn: list[str]) -> None:
    original = kind.render_line

    def render_line(widget: Widget, y: int) -> Any:
        drawn.append(type(widget).__name__)
        return original(widget, y)

    monkeypatch.setattr(kind, "render_line", render_line)


async def test_a_burst_of_readings_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    async with opened(build_on(fleet())) as console:
        monkeypatch.setattr(FleetScreen, "show", lambda _screen: shown.append(1))
        for busy in range(50):
            console.site.publish(Fleet((reading("dgx01", h100(0, busy)),)))
        await console.until(lambda: shown, "one look")
        await console.pilot.pause()
        assert len(shown) == 1


async def test_a_hidden_screen_watches_nothing() -> None:
    async with opened(build_on(fleet())) as console:
        assert console.site.fleet.demand == 2, "the header and the fleet"
        await to_node(console)
        assert console.site.fleet.demand == 2, "the header and the node"
        assert console.site.events.demand == 1
        await console.press("escape")
        assert (console.site.fleet.demand, console.site.events.demand) == (2, 0)


async def test_lines_on_top_and_below_belong_to_every_live_screen() -> None:
    async with opened(build_on(fleet())) as console:
        await to_node(console)
        await console.press("colon")
        for kind in (Header, Footer, CommandLine):
            assert len(console.screen.query(kind)) == 1
