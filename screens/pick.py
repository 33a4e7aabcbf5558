"""One of several, by the arrow keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.dialog import Dialog
from tui.widgets.line import StyledLine

WORDS_LIMIT = 200


class PickScreen(Dialog[int | None]):
    """The index of what was picked; None when nothing was."""

    CSS_PATH = "pick.tcss"
    BINDINGS: ClassVar = [Binding("escape,q", "cancel", "Cancel", id="pick.cancel")]

    def __init__(self, title: str, choices: Sequence[str], chosen: int = 0) -> None:
        """`chosen` is the index of what is in force."""
        super().__init__()
        self._title = title
        self._choices = [inert(choice[:WORDS_LIMIT]) for choice in choices]
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        with Vertical(id="pick-body"):
            yield StyledLine(id="pick-title")
            yield OptionList(*[Option(Text(words, no_wrap=True)) for words in self._choices], id="pick-list")
            yield Static(Text("enter takes it, esc leaves it as it is"), id="pick-keys")

    def on_mount(self) -> None:
        self.query_one("#pick-title", StyledLine).set_cells([Cell(self._title, "accent")])
        listed = self.query_one(OptionList)
        listed.focus()
        if self._choices:
            listed.highlighted = min(self._chosen, len(self._choices) - 1)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option_index)

    def action_cancel(self) -> None:
        self.dismiss(None)
