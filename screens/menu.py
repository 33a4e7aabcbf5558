"""A short list to choose one thing from: what each is about, and why some make no sense now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from tui.widgets.columns import Cell, Column, Row
from tui.widgets.dialog import Dialog
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine

FOLD_CELLS = 2
"""What a grid keeps free in front of a row's first cell."""


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    word: str
    text: str
    """What it does."""
    not_now: str | None = None
    """Why it cannot be chosen; shown instead of `text`."""


class MenuScreen(Dialog[str | None]):
    """The key of the chosen entry; None when nobody chose."""

    CSS_PATH = "menu.tcss"
    BINDINGS: ClassVar = [Binding("escape,q", "cancel", "Cancel", id="menu.cancel")]

    def __init__(self, title: str, entries: Sequence[Entry], heading: str = "WHAT IT DOES") -> None:
        super().__init__()
        self._title = title
        self._entries = {entry.key: entry for entry in entries}
        self._heading = heading

    def compose(self) -> ComposeResult:
        width = max((len(entry.word) for entry in self._entries.values()), default=0)
        columns = (
            Column("word", "", min(28, width + FOLD_CELLS), sortable=False),
            Column("text", self._heading, 30, grow=80, sortable=False),
        )
        with Vertical(id="menu-body"):
            yield StyledLine(id="menu-title")
            yield Grid(columns, glyphs=self.glyphs, id="menu-grid")
            yield StyledLine(id="menu-keys")

    def on_mount(self) -> None:
        self.query_one("#menu-title", StyledLine).set_cells([Cell(self._title, "accent")])
        keys = (("enter", "look at it first"), ("esc", "cancel"))
        self.query_one("#menu-keys", StyledLine).set_cells(
            [cell for key, does in keys for cell in (Cell(key, "accent"), Cell(f" {does}   ", "dim"))]
        )
        grid = self.query_one(Grid)
        grid.styles.height = len(self._entries) + 1
        grid.set_rows([self._row(entry) for entry in self._entries.values()])
        first = next((entry.key for entry in self._entries.values() if entry.not_now is None), None)
        if first is not None:
            grid.select(first)
        grid.focus()

    @property
    def glyphs(self) -> Glyphs:
        """The shell's signs."""
        signs = getattr(self.app, "glyphs", UNICODE)
        return signs if isinstance(signs, Glyphs) else UNICODE

    def _row(self, entry: Entry) -> Row:
        if entry.not_now is None:
            return Row(entry.key, (entry.word, entry.text))
        return Row(entry.key, (Cell(entry.word, "dim"), Cell(f"not now: {entry.not_now}", "dim")))

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        event.stop()
        entry = self._entries[event.row.key]
        if entry.not_now is None:
            self.dismiss(entry.key)
        else:
            self.query_one("#menu-keys", StyledLine).set_cells([Cell(f"not now: {entry.not_now}", "warn")])

    def action_cancel(self) -> None:
        self.dismiss(None)
