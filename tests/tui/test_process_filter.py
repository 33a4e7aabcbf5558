"""The processes of a node are filtered like every other list."""

from __future__ import annotations

from typing import Any, cast

import pytest
from textual.widgets import Input, Static

from backends.domain import Fleet
from screens.help import HelpScreen
from screens.node import NodeScreen
from screens.node_pages.processes import ProcessesPage
from screens.process_fields import PROCESS_FIELDS, process_subject
from screens.process_rows import Order, listed
from tests.simulated import NOW as STARTED
from tests.tui.consoles import Opened, build_on, opened
from tests.tui.fleets import HOSTILE, h100, reading
from tests.tui.test_processes_page import ID, NODE
from tui.chrome.command_line import CommandLine
from tui.chrome.footer import Footer
from tui.widgets.filter import parse


@pytest.mark.parametrize(
    ("text", "pids"),
    [
        ("user=alice", [100]),
        ("user=na", [400]),
        ("user!=alice", [300, 200]),
        ("pid>=300", [300, 400]),
        ("gpu=0", [100, 300]),
        ("mem>20g", [100]),
        ("mem=na", [400]),
        ("age>1h", [100, 200]),
        ("age=na", [400]),
        ("mig=2g.20gb", [400]),
        ("mig=na & gpu!=0", [200]),
        ("kind=compute", [100, 300, 200, 400]),
        (f"container~{ID[:12]}", [100]),
        ("container=na", [300, 200, 400]),
        ("command~job2", [200]),
        ("bob | job400", [300, 400]),
        ("gpu2", [400]),
    ],
)
def test_a_filter_narrows_the_processes(text: str, pids: list[int]) -> None:
    match = parse(text, PROCESS_FIELDS)
    found = [each for each in listed(NODE, Order()) if match.matches(process_subject(each, STARTED))]
    assert [each.process.pid for each in found] == pids


async def to_processes(console: Opened) -> ProcessesPage:
    """Opens the page of the first node, with the keys on its list."""
    await console.press("enter")
    await console.until(lambda: isinstance(console.screen, NodeScreen), "the node screen")
    await console.press("p", "enter")
    page = cast(ProcessesPage, console.screen.query_one(ProcessesPage))
    await console.until(lambda: page.grid.has_focus, "the list of processes")
    return page


def busy() -> Fleet:
    return Fleet((reading("dgx01", h100(0), h100(1), h100(2, 0)),))


async def test_it_narrows_while_typing_and_the_list_has_the_keys_again() -> None:
    async with opened(build_on(busy())) as console:
        page = await to_processes(console)
        assert len(page.grid.rows) == 2
        await console.press("slash", *"gpu=1", "enter")
        assert len(page.grid.rows) == 1
        assert "/gpu=1/ shows 1 of" in console.text
        assert page.grid.has_focus
        await console.press("slash")
        console.screen.query_one(CommandLine).query_one(Input).value = "gp=1"
        await console.pilot.pause()
        assert 'no field "gp": did you mean gpu?' in console.lines[-1]
        assert len(page.grid.rows) == 1, "the last good filter stays"
        console.screen.query_one(CommandLine).query_one(Input).value = "zebra"
        await console.press("enter")
        assert "Nothing matches /zebra/ here." in console.text
        await console.press("escape")
        assert len(page.grid.rows) == 2
        assert isinstance(console.screen, NodeScreen), "the filter first, then the screen"


async def test_only_a_page_with_a_list_can_be_filtered() -> None:
    async with opened(build_on(busy()), (120, 24)) as console:
        await to_processes(console)
        assert "/ Filter" in cast(Any, console.screen.query_one(Footer)).text
        await console.press("question_mark")
        await console.until(lambda: isinstance(console.screen, HelpScreen), "the help")
        assert "container~0123ab" in str(console.screen.query_one("#help-text", Static).content)
        await console.press("escape", "v")
        assert "/ Filter" not in cast(Any, console.screen.query_one(Footer)).text
        await console.press("slash")
        assert console.notices == ["This screen has no list to filter."]


@pytest.mark.parametrize("evil", HOSTILE)
async def test_a_hostile_filter_is_inert(evil: str) -> None:
    async with opened(build_on(busy())) as console:
        await to_processes(console)
        await console.press("slash")
        console.screen.query_one(CommandLine).query_one(Input).value = evil
        await console.press("enter")
        assert all(line.isprintable() for line in console.lines)
        assert console.app.return_code is None
