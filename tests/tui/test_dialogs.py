"""Dialogs under keys that come in one go, as a slow line or a held key brings them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import Input

from screens.changes import ChangesScreen
from screens.help import HelpScreen
from screens.write_window import WriteWindowScreen
from tests.tui.changing import ToldStep, change_of, state
from tests.tui.consoles import Opened
from tests.tui.test_changes import QUIET, asked, changing, ended, focused, open_window, records
from tui.widgets.dialog import Dialog

__all__ = ["state"]

NAMES = {"enter": "\r", "escape": "\x1b", "space": " "}


def in_one_go(console: Opened, *keys: str) -> None:
    for key in keys:
        console.app.post_message(events.Key(key, NAMES.get(key, key)))


async def over(console: Opened, dialog: type[Dialog[Any]], key: str) -> None:
    await console.press(key)
    await console.until(lambda: isinstance(console.screen, dialog), "the dialog")


@pytest.mark.parametrize("times", [2, 3, 8])
async def test_two_enters_on_apply_are_one_yes(state: Path, tmp_path: Path, times: int) -> None:
    async with changing(state) as console:
        await open_window(console)
        await asked(console, change_of(ToldStep(str(tmp_path / "a")), radius=QUIET))
        await console.press("tab")
        assert focused(console) == "confirm-apply"
        in_one_go(console, *["enter"] * times)
        await ended(console, state, "done")
        assert len(records(state)) == 1
        assert isinstance(console.screen, ChangesScreen)


@pytest.mark.parametrize("times", [2, 3, 8])
@pytest.mark.parametrize(("dialog", "key"), [(HelpScreen, "question_mark"), (WriteWindowScreen, "w")])
async def test_a_held_escape_closes_one_dialog(state: Path, dialog: type[Dialog[Any]], key: str, times: int) -> None:
    async with changing(state) as console:
        below = console.screen
        await over(console, dialog, key)
        in_one_go(console, *["escape"] * times)
        await console.until(lambda: console.screen is below, "the screen below")
        await over(console, dialog, key)  # it still answers


@pytest.mark.parametrize("before", [False, True])
async def test_a_dialog_closes_once_and_only_on_top(state: Path, before: bool) -> None:
    async with changing(state) as console:
        below = console.screen
        await over(console, WriteWindowScreen, "w")
        first = console.screen
        if before:
            first.dismiss()
        else:
            console.app.push_screen(HelpScreen({}, {}, console.app.glyphs))
            await console.until(lambda: isinstance(console.screen, HelpScreen), "what lies over it")
            first.dismiss()
            assert isinstance(console.screen, HelpScreen)
            console.screen.dismiss()
            await console.until(lambda: console.screen is first, "the first one")
            first.dismiss()
        first.dismiss()
        await console.until(lambda: console.screen is below, "the screen below")


async def test_a_reason_that_is_typed_while_an_answer_has_the_keys_is_no_row_of_commands(state: Path) -> None:
    async with changing(state) as console:
        await over(console, WriteWindowScreen, "w")
        await console.press("tab")
        assert focused(console) == "window-cancel"
        in_one_go(console, *"INC-7", "space", *"lost")
        reason = console.screen.query_one("#window-reason", Input)
        await console.until(lambda: reason.value == "INC-7 lost", "the reason")
        assert focused(console) == "window-reason"


async def test_a_pasted_reason_goes_into_its_entry(state: Path) -> None:
    async with changing(state) as console:
        await over(console, WriteWindowScreen, "w")
        await console.press("tab")
        console.app.post_message(events.Paste("INC-4711 lost gpu\nq"))
        reason = console.screen.query_one("#window-reason", Input)
        await console.until(lambda: reason.value == "INC-4711 lost gpu", "the reason")
