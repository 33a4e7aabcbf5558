"""The `/` line: errors in place, completion, and the filters that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.widgets import Input, Static

from backends.contract import ConfigError
from screens.help import HelpScreen
from tests.tui.consoles import Opened, build_on, grid, node_names, opened, spec_of, to_node
from tests.tui.fleets import HOSTILE, fleet
from tui.app import Console
from tui.chrome.command_line import PROMPT_WIDTH, CommandLine, note_cells
from tui.config import Settings
from tui.paths import saved_filters_file
from tui.saved_filters import read_own, write_own
from tui.widgets.filter import FilterError
from tui.widgets.line import StyledLine

TEMPERATURES = "temp>40"
"""Of dgx01 and dgx02 the second GPU."""


def entry(console: Opened) -> Input:
    return cast(Input, console.screen.query_one(CommandLine).query_one(Input))


def is_open(console: Opened) -> bool:
    return any(line.is_open for line in console.screen.query(CommandLine))


async def type_filter(console: Opened, text: str) -> None:
    """Types `text` into the open `/` line, over what stands there."""
    if not is_open(console):
        await console.press("slash")
    entry(console).value = text
    await console.pilot.pause()


def note(console: Opened) -> str:
    """The line below the entry."""
    return console.lines[-1].rstrip()


# Narrowing


async def test_an_expression_narrows_the_fleet() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("slash", *[{">": "greater_than_sign"}.get(each, each) for each in TEMPERATURES], "enter")
        assert node_names(console) == ["dgx01", "dgx02"]
        assert len(grid(console).rows) == 4
        assert "/temp>40/ shows 2 of 6 nodes" in console.text
        assert "7 GPUs in all" in console.text
        assert not is_open(console)


async def test_the_list_does_not_empty_itself_while_the_name_of_a_field_is_typed() -> None:
    async with opened(build_on(fleet())) as console:
        await type_filter(console, "dgx02")
        for text in ("dgx02 t", "dgx02 & tem", "dgx02 & !temp"):
            await type_filter(console, text)
            assert node_names(console) == ["dgx02"], text
        await type_filter(console, "dgx02 & zebra")
        assert node_names(console) == [], "no field begins so"
        await type_filter(console, "temp")
        assert len(node_names(console)) == 6
        await console.press("enter")
        assert node_names(console) == [], "entered, it is a word to look for"


async def test_a_correction_typed_ahead_is_made_in_its_order() -> None:
    async with opened(build_on(fleet())) as console:
        await console.type_ahead(*"/temp>999", *["backspace"] * 3, *"40", "enter")
        await console.until(lambda: console.screen.filter_text == TEMPERATURES, "the corrected filter")
        await console.type_ahead(":", *"fil", "tab", " ", *"lostx", "backspace", "enter")
        await console.until(lambda: console.screen.filter_text == "lost", "the completed command")
        await console.type_ahead("/", *"x", "escape", *"r")
        await console.until(lambda: not is_open(console), "the line to close")
        assert console.screen.filter_text == ""


# Errors in place


async def test_an_error_stands_under_its_place_and_the_last_good_filter_stays() -> None:
    async with opened(build_on(fleet())) as console:
        await type_filter(console, TEMPERATURES)
        await type_filter(console, "lost & tempp>40")
        said = note(console)
        assert said.strip() == '^ no field "tempp": did you mean temp?'
        assert said.index("^") == console.lines[-2].index("tempp")
        assert node_names(console) == ["dgx01", "dgx02"]
        assert console.screen.filter_text == TEMPERATURES
        await console.press("enter")
        assert is_open(console), "to be corrected"
        assert entry(console).value == "lost & tempp>40"
        await type_filter(console, "lost & temp=na")
        assert "^" not in note(console)
        assert node_names(console) == ["dgx01"]


async def test_what_is_only_unfinished_is_told_quietly_until_it_is_entered() -> None:
    async with opened(build_on(fleet())) as console:
        await type_filter(console, "temp>")
        line = console.screen.query_one("#command-note", StyledLine)
        assert "temp> needs a number" in line.text
        assert {cell.style for cell in line._cells} == {"", "dim"}
        await console.press("enter")
        assert is_open(console)
        assert {cell.style for cell in line._cells} == {"", "bad"}
        await console.press("8", "enter")
        assert not is_open(console)


async def test_escape_leaves_a_wrong_filter_and_everything_is_back() -> None:
    async with opened(build_on(fleet())) as console:
        await type_filter(console, TEMPERATURES)
        await type_filter(console, "temp>x")
        await console.press("escape")
        assert not is_open(console)
        assert len(node_names(console)) == 6
        await console.press("down")
        assert grid(console).cursor_row is not None, "the list has the keys again"


@given(st.text(max_size=200), st.integers(0, 220), st.integers(20, 200), st.text(max_size=80))
def test_the_note_puts_its_caret_under_the_character(text: str, position: int, width: int, said: str) -> None:
    error = FilterError(said.replace("^", ""), min(position, len(text)))
    drawn = "".join(cell.text for cell in note_cells(error, text, width))
    assert error.message in drawn
    if "^" in drawn:
        caret = PROMPT_WIDTH + cell_len(text[: error.position])
        assert cell_len(drawn[: drawn.index("^")]) == caret
        assert cell_len(drawn) <= width
    else:
        assert f"at {error.position + 1}: " in drawn


async def test_an_error_in_a_long_filter_is_under_its_place_too() -> None:
    async with opened(build_on(fleet())) as console:
        await type_filter(console, "x" * 120 + " & tempp>3")
        entry(console).cursor_position = 130
        await console.pilot.pause()
        await type_filter(console, "x" * 120 + " & tempp>4")
        assert 'no field "tempp": did you mean temp?' in note(console)


@pytest.mark.parametrize("text", [*HOSTILE, "[b]x[/b]>3", "temp>[@click=app.quit]", '"[@click=app.quit]x'])
async def test_hostile_text_in_a_filter_is_inert(text: str) -> None:
    async with opened(build_on(fleet())) as console:
        await type_filter(console, text)
        for line in console.lines:
            assert cell_len(line) == 80
            assert line.isprintable()
        await console.press("enter")
        for x in range(0, 80, 3):
            await console.pilot.click(offset=(x, 23))
        assert console.app.is_running
        assert console.app.return_code is None


async def test_a_command_tells_the_error_of_a_filter() -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        await console.press("colon")
        entry(console).value = "filter tempp>3"
        await console.press("enter")
        assert 'no field "tempp": did you mean temp?' in console.lines[-1]


# Completion


async def test_tab_completes_fields_and_values() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("slash", *"te", "tab")
        assert entry(console).value == "temp"
        assert note(console) == "  temp (C): temperature of the GPU"
        await console.press("tab")
        assert entry(console).value == "temperature"
        await type_filter(console, "lost & node~dgx0")
        await console.press("tab", "tab")
        assert entry(console).value == "lost & node~dgx02"
        await type_filter(console, "user=")
        await console.press("tab")
        assert entry(console).value == "user=alice"


async def test_the_first_completion_is_shown_behind_the_cursor() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("slash", *"pow")
        await console.until(lambda: "/power" in console.lines[-2], "the completion")
        await console.press("right")
        assert entry(console).value == "power"


async def test_an_empty_line_says_how_filters_are_written() -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        await console.press("slash")
        assert "a | b: either" in note(console)
        assert "node gpu model" in note(console)


async def test_the_command_completes_filters_too() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("colon")
        entry(console).value = "filter lost & te"
        await console.press("tab")
        assert entry(console).value == "filter lost & temp"


# Saved filters


def with_filters(**filters: str) -> Console:
    value = fleet()
    spec = spec_of(value)
    made = build_on(value)
    return Console(
        (spec,),
        Settings(sites=(spec,), filters=filters),
        theme="dark",
        site_factory=made._site_factory,
        clock=made.clock,
    )


async def run(console: Opened, command: str) -> None:
    await console.press("colon")
    entry(console).value = command
    await console.press("enter")


async def test_a_filter_of_the_configuration_is_used_by_name() -> None:
    async with opened(with_filters(warm="temp>40", mine="user=alice")) as console:
        await run(console, "filter warm")
        assert node_names(console) == ["dgx01", "dgx02"]
        assert console.screen.filter_text == "@warm"
        await type_filter(console, "@warm & node~2")
        assert node_names(console) == ["dgx02"]
        await type_filter(console, "@wa")
        await console.press("tab")
        assert entry(console).value == "@warm"
        await type_filter(console, "@warmm")
        assert "no filter is saved as warmm: did you mean @warm?" in note(console)


def test_a_wrong_filter_of_the_configuration_keeps_the_console_from_opening() -> None:
    with pytest.raises(ConfigError, match="filter warm, character 1") as raised:
        with_filters(warm="tempp>3")
    assert raised.value.hint == "did you mean temp?"


def on_disk() -> Mapping[str, str]:
    return read_own()


async def test_a_filter_is_saved_used_and_forgotten() -> None:
    async with opened(build_on(fleet())) as console:
        await type_filter(console, TEMPERATURES)
        await console.press("enter")
        await run(console, "save warm")
        await console.until(lambda: "Saved as @warm: temp>40" in console.notices, "the notice")
        assert on_disk() == {"warm": "temp>40"}
        await run(console, "save calm !@warm")
        await console.until(lambda: len(on_disk()) == 2, "the file")
        await run(console, "filter calm")
        assert "dgx08" in node_names(console)
        await run(console, "forget warm")
        assert "@calm needs it" in console.lines[-1]
        await console.press("escape")
        await run(console, "forget calm")
        await console.until(lambda: on_disk() == {"warm": "temp>40"}, "the file")
        await console.press("question_mark")
        await console.until(lambda: isinstance(console.screen, HelpScreen), "the help")
        text = str(console.screen.query_one("#help-text", Static).content)
        assert "  @warm                temp>40\n" in text


async def test_what_was_saved_is_there_in_the_next_session() -> None:
    write_own({"warm": "temp>40"})
    async with opened(build_on(fleet())) as console:
        await console.until(lambda: "warm" in console.app.saved_filters, "the saved filters")
        await run(console, "filter warm")
        assert node_names(console) == ["dgx01", "dgx02"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("save", "under which name?"),
        ("save warm", "no filter is in force here"),
        ("save Warm temp>3", "Warm is no name"),
        ("save hot temp>3", "hot is a word of the filters"),
        ("save warm tempp>3", 'no field "tempp"'),
        ("forget", "which saved filter?"),
        ("forget warm", "no filter is saved as warm"),
    ],
)
async def test_what_cannot_be_saved_is_told_and_nothing_is_written(command: str, said: str) -> None:
    async with opened(build_on(fleet()), (120, 24)) as console:
        await run(console, command)
        assert said in console.lines[-1]
        assert not saved_filters_file().exists()


async def test_a_broken_file_is_told_and_left_alone() -> None:
    path = saved_filters_file()
    path.parent.mkdir(parents=True)
    path.write_text("[filters]\nwarm = 'tempp>3'\n")
    async with opened(build_on(fleet()), (120, 24)) as console:
        await console.until(lambda: any("filters.toml:2" in each for each in console.notices), "the notice")
        await run(console, "save calm temp<30")
        assert "filters.toml:2" in "\n".join([console.lines[-1], *console.notices])
        assert path.read_text() == "[filters]\nwarm = 'tempp>3'\n"


async def test_a_directory_that_cannot_be_written_costs_only_the_file(
    nobodys_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nobodys_machine / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(nobodys_machine / "file"))
    async with opened(build_on(fleet())) as console:
        await run(console, "save warm temp>40")
        await console.until(lambda: any("for this session only" in each for each in console.notices), "the notice")
        await run(console, "filter warm")
        assert node_names(console) == ["dgx01", "dgx02"]


# The help


async def test_the_help_tells_the_fields_of_the_list_below() -> None:
    async with opened(build_on(fleet())) as console:
        await console.press("question_mark")
        await console.until(lambda: isinstance(console.screen, HelpScreen), "the help")
        text = str(console.screen.query_one("#help-text", Static).content)
        assert "temperature of the GPU, C" in text


async def test_a_screen_without_a_list_has_no_help_about_filters() -> None:
    async with opened(build_on(fleet())) as console:
        await to_node(console)
        await console.press("question_mark")
        await console.until(lambda: isinstance(console.screen, HelpScreen), "the help")
        assert "Fields of this list" not in str(console.screen.query_one("#help-text", Static).content)
