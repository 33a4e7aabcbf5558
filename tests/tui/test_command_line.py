"""What is typed: `:` commands, `/` filters, and the palette."""

from __future__ import annotations

from typing import cast

import pytest
from rich.cells import cell_len
from textual.widgets import Input, OptionList

from screens.fleet import FleetScreen
from screens.help import HelpScreen
from screens.node import NodeScreen
from screens.palette import PaletteScreen
from tests.tui.consoles import Opened, build_on, grid, node_names, opened, to_node
from tests.tui.fleets import fleet
from tui.chrome.command_line import CommandLine


def entry(console: Opened) -> Input:
    return cast(Input, console.screen.query_one(CommandLine).query_one(Input))


def command_line(console: Opened) -> CommandLine:
    return cast(CommandLine, console.screen.query_one(CommandLine))


# The `:` line


async def test_tab_completes_commands_and_nodes() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("colon", *"no", "tab")
        assert entry(console).value == "node"
        await console.press("space", *"dgx0", "tab")
        assert entry(console).value == "node dgx01"
        await console.press("tab")
        assert entry(console).value == "node dgx02"
        assert command_line(console).is_open


async def test_a_command_opens_a_node() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("colon", *"node dgx02", "enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
        assert console.screen.node_name == "dgx02"
        await console.press("escape")
        assert isinstance(console.screen, FleetScreen)
        assert not command_line(console).is_open
        await console.press("down")
        assert grid(console).cursor == 1, "the list has the keys again"


@pytest.mark.parametrize(
    ("typed", "said"),
    [("nodd dgx01", "node?"), ("hepl", "help?"), ("node dgx99", "no node 'dgx99'"), ("theme darkk", "there are:")],
)
async def test_a_wrong_command_says_what_was_meant(typed: str, said: str) -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        await console.press("colon", *[{" ": "space"}.get(each, each) for each in typed], "enter")
        assert said in console.lines[-1]
        assert command_line(console).is_open, "to be corrected"
        assert entry(console).value == typed
        await console.press("escape")
        assert not command_line(console).is_open
        assert isinstance(console.screen, FleetScreen)


async def test_an_error_is_readable_beside_a_long_line() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("colon", *"theme darkk", "enter")
        assert "no theme is called 'darkk'" in console.lines[-1]
        assert cell_len(console.lines[-1]) == 80


async def test_keys_typed_ahead_of_the_command_line_all_arrive() -> None:
    async with opened(build_on(fleet())) as console:
        await console.type_ahead(*":help", "enter")
        await console.until(lambda: isinstance(console.screen, HelpScreen), "the help")


async def test_keys_typed_ahead_after_a_command_go_to_the_screen_it_opened() -> None:
    async with opened(build_on(fleet())) as console:
        await console.type_ahead(*":node", " ", *"dgx02", "enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
        assert console.screen.node_name == "dgx02"


async def test_keys_typed_ahead_of_the_filter_all_arrive() -> None:
    async with opened(build_on(fleet())) as console:
        await console.type_ahead(*"/dgx02", "enter")
        await console.until(lambda: node_names(console) == ["dgx02"], "the filter")
        assert not command_line(console).is_open


async def test_up_and_down_walk_through_the_commands_of_the_session() -> None:
    async with opened(build_on(fleet())) as console:
        for theme in ("light", "mono"):
            await console.press("colon", *f"theme {theme}", "enter")
        await console.press("colon", "up")
        assert entry(console).value == "theme mono"
        await console.press("up")
        assert entry(console).value == "theme light"
        await console.press("up", "down", "down")
        assert entry(console).value == ""


async def test_markup_in_a_command_is_text() -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        await console.press("colon")
        entry(console).value = "[@click=app.quit]x[/]"
        await console.press("enter")
        assert "[@click=app.quit]" in console.lines[-1]
        assert console.app.is_running


# The filter


async def test_the_filter_narrows_while_typing_and_enter_keeps_it() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("slash", *"dgx0")
        assert node_names(console) == ["dgx01", "dgx02", "dgx07", "dgx08", "dgx09"]
        await console.press("7")
        assert node_names(console) == ["dgx07"]
        await console.press("enter")
        assert not command_line(console).is_open
        assert node_names(console) == ["dgx07"]
        await console.press("slash")
        assert entry(console).value == "dgx07", "a filter is edited, not typed again"


async def test_a_filter_that_is_kept_is_on_the_screen() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("slash", *"dgx07", "enter")
        assert node_names(console) == ["dgx07"]
        assert "/dgx07/ shows 1 of 6 nodes" in console.text


async def test_escape_in_the_filter_brings_everything_back() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("slash", *"dgx07", "escape")
        assert len(node_names(console)) == 6
        assert not command_line(console).is_open
        assert isinstance(console.screen, FleetScreen)
        found = grid(console).cursor_row
        assert found is not None
        assert found.key == "dgx07", "what was found stays selected"
        before = grid(console).cursor
        await console.press("down")
        assert grid(console).cursor == before + 1, "the list has the keys again"


async def test_the_filter_is_refused_in_words_where_there_is_no_list() -> None:
    async with opened(build_on(fleet())) as console:
        await to_node(console)
        await console.press("slash")
        assert not console.screen.query(CommandLine)
        assert console.notices == ["This screen has no list to filter."]


# The palette


async def pick(console: Opened, words: str) -> None:
    await console.press("ctrl+p", *[{" ": "space", ":": "colon"}.get(each, each) for each in words])
    assert str(console.screen.query_one(OptionList).options[0].prompt).startswith(words)
    await console.press("enter")
    await console.until(lambda: not isinstance(console.screen, PaletteScreen), "the palette to close")


async def test_the_palette_runs_an_action_of_the_application() -> None:
    async with opened(build_on(fleet())) as console:
        await pick(console, "Theme mono")
        await console.until(lambda: console.app.theme == "mono", "the theme")


async def test_the_palette_runs_an_action_of_the_screen() -> None:
    async with opened(build_on(fleet())) as console:
        assert not all(row.depth == 0 for row in grid(console).rows)
        await pick(console, "Flat: All GPUs in one list")
        await console.until(lambda: all(row.depth == 0 for row in grid(console).rows), "the flat list")
