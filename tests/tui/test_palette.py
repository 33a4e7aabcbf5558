"""The palette and the dialogs, however bunched their keys and clicks come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import cast

import pytest
from textual import events
from textual.screen import Screen
from textual.widgets import Input, OptionList

from screens.ask import AskScreen
from screens.fleet import FleetScreen
from screens.menu import Entry as MenuEntry
from screens.menu import MenuScreen
from screens.node import NodeScreen
from screens.palette import HITS_SHOWN, Entry, PaletteScreen, hits
from screens.pick import PickScreen
from tests.tui.consoles import KEYS, Opened, build_on, grid, opened, to_node
from tests.tui.fleets import fleet
from tui.app import Console

SIZE = (100, 30)
OUTSIDE, INSIDE = (2, 28), (40, 6)
Move = str | tuple[int, int]
"""A key, or where it is clicked."""


def send(app: Console, move: Move) -> None:
    """As the terminal brings it: nothing is waited for."""
    if isinstance(move, str):
        name, character = KEYS.get(move, (move, move if len(move) == 1 else None))
        app.post_message(events.Key(name, character))
        return
    x, y = move
    for kind in (events.MouseDown, events.MouseUp):
        app.post_message(kind(None, x, y, 0, 0, 1, False, False, False, x, y))


async def burst(console: Opened, *moves: Move) -> None:
    """All in one packet, before the first one is handled."""
    for move in moves:
        send(console.app, move)
    await console.pilot.pause()


def kinds(console: Opened) -> list[type[Screen[object]]]:
    return [type(screen) for screen in console.app.screen_stack]


def listed(console: Opened) -> list[str]:
    return [str(option.prompt) for option in console.screen.query_one(OptionList).options]


async def test_it_lists_actions_nodes_sites_and_themes_and_narrows_them() -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await console.press("ctrl+p")
        assert kinds(console) == [FleetScreen, PaletteScreen]
        assert any(words.startswith("Flat: All GPUs in one list") for words in listed(console))
        assert {"Node dgx01", "Site lab", "Theme mono"} <= set(listed(console))
        await console.press(*"dgx02")
        assert listed(console)[0] == "Node dgx02"
        await console.press(*"zzz")
        assert "nothing is called so" in console.text
        await console.press("enter")
        assert kinds(console) == [FleetScreen, PaletteScreen], "there is nothing to do"


async def test_arrows_choose_and_a_click_does_it() -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await console.press("ctrl+p", *"Theme", "space", "down", "down", "up")
        assert console.screen.query_one(OptionList).highlighted == 1
        assert console.screen.query_one(Input).has_focus
        wanted = listed(console)[2]
        assert wanted not in ("Theme dark", "Theme: Change the colours")
        await console.pilot.click("#palette-hits", offset=(3, 2))
        await console.until(lambda: console.app.theme == wanted.removeprefix("Theme "), "the theme")
        assert kinds(console) == [FleetScreen]


async def test_what_is_typed_ahead_is_looked_for() -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await console.type_ahead("ctrl+p", *"node", " ", *"dgx02", "enter")
        await console.until(lambda: kinds(console) == [FleetScreen, NodeScreen], "the node")
        assert console.screen.node_name == "dgx02"


async def test_names_are_no_markup() -> None:
    hostile = "dgx[@click=app.leave]x[/]\x1b[2J"
    async with opened(build_on(fleet()), SIZE) as console:
        ran: list[str] = []
        await console.app.push_screen(PaletteScreen([Entry(hostile, lambda: ran.append(hostile))]))
        await console.press("x")
        assert "dgx[@click=app.leave]x[/]" in console.text
        assert "\x1b" not in "".join(listed(console))


async def test_a_long_list_is_cut_and_says_so() -> None:
    entries = [Entry(f"Node n{number:04}", lambda: None) for number in range(1000)]
    assert next(entry.words for entry, _ in hits("n0777", entries)) == "Node n0777"
    async with opened(build_on(fleet()), SIZE) as console:
        await console.app.push_screen(PaletteScreen(entries))
        await console.press("n")
        assert len(listed(console)) == HITS_SHOWN
        assert f"{HITS_SHOWN} of 1000: type on" in console.text


# Bunched input


@pytest.mark.parametrize(
    "moves",
    [
        ("ctrl+p", "ctrl+p"),
        ("ctrl+p", "escape", "ctrl+p"),
        ("ctrl+p", OUTSIDE),
        ("ctrl+p", "f", "l", OUTSIDE),
        ("ctrl+p", OUTSIDE, OUTSIDE, "ctrl+p"),
        ("ctrl+p", "escape", "escape", "escape"),
        ("ctrl+p", "f", "escape", "ctrl+p", "f", "escape", "ctrl+p"),
    ],
    ids=str,
)
async def test_a_burst_leaves_one_palette_or_none(moves: Sequence[Move]) -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await burst(console, *moves)
        assert kinds(console) in ([FleetScreen], [FleetScreen, PaletteScreen])
        await console.press("escape")
        assert kinds(console) == [FleetScreen]
        await console.press("down")
        assert grid(console).cursor == 1, "the list has the keys again"


async def test_it_goes_and_comes_in_one_turn_of_the_loop() -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await console.press("ctrl+p")
        console.screen.dismiss()
        send(console.app, "ctrl+p")
        await console.until(lambda: kinds(console) == [FleetScreen, PaletteScreen], "the palette")


async def test_it_goes_before_it_was_drawn() -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        opening = asyncio.ensure_future(console.app.action_palette())
        await asyncio.sleep(0)
        console.screen.dismiss()
        await opening
        await console.pilot.pause()
        assert kinds(console) == [FleetScreen]


@pytest.mark.parametrize("seed", range(12))
async def test_any_order_of_keys_and_clicks(seed: int) -> None:
    rng = Random(seed)
    moves: list[Move] = ["ctrl+p", "ctrl+p", "escape", OUTSIDE, INSIDE, "enter", "n", "o", "down", "2"]
    async with opened(build_on(fleet()), SIZE) as console:
        for _ in range(30):
            for move in rng.choices(moves, k=rng.randint(1, 5)):
                send(console.app, move)
            for _ in range(rng.randint(0, 40)):
                await asyncio.sleep(0)
        await console.pilot.pause()
        for _ in range(5):
            await console.press("escape")
        await console.press("2", "ctrl+p")
        await console.until(lambda: kinds(console)[-1] is PaletteScreen, f"the palette: {kinds(console)}")


DIALOGS: dict[str, Callable[[], Screen[object]]] = {
    "ask": lambda: cast(Screen[object], AskScreen("Title", "Why?", "Do")),
    "pick": lambda: cast(Screen[object], PickScreen("Title", ["one", "two"])),
    "menu": lambda: cast(Screen[object], MenuScreen("Title", [MenuEntry("a", "one", "first")])),
    "palette": lambda: cast(Screen[object], PaletteScreen([Entry("one", lambda: None)])),
}


@pytest.mark.parametrize("kind", DIALOGS)
async def test_a_dialog_that_is_answered_twice_takes_no_other_screen_with_it(kind: str) -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await to_node(console)
        answers: list[object] = []
        await console.app.push_screen(DIALOGS[kind](), answers.append)
        dialog = console.screen
        dialog.dismiss(None)
        dialog.dismiss(None)
        await console.pilot.pause()
        assert kinds(console) == [FleetScreen, NodeScreen]
        assert answers == [None]


async def test_enter_twice_in_one_packet_answers_one_dialog() -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await to_node(console)
        await console.app.push_screen(DIALOGS["pick"]())
        await burst(console, "enter", "enter")
        assert kinds(console) == [FleetScreen, NodeScreen]


async def test_no_palette_over_a_question() -> None:
    async with opened(build_on(fleet()), SIZE) as console:
        await console.app.push_screen(DIALOGS["ask"]())
        await burst(console, "ctrl+p")
        assert kinds(console) == [FleetScreen, AskScreen]
