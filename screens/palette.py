"""The palette: everything that can be done here, found by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.fuzzy import FuzzySearch
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.dialog import Dialog
from tui.widgets.line import StyledLine

HITS_SHOWN = 100
"""More are counted only: nobody reads on where another letter narrows them."""
QUERY_LIMIT = 100


class Entry(NamedTuple):
    words: str
    run: Callable[[], object]


class Hit(Option):
    """One line of the list, its characters that were found marked."""

    def __init__(self, entry: Entry, places: Sequence[int]) -> None:
        text = Text(entry.words, no_wrap=True)
        for at in places:
            text.stylize("bold underline", at, at + 1)
        super().__init__(text)
        self.run = entry.run


class Hits(OptionList, can_focus=False):
    """The keys stay with what is typed."""

    def on_click(self, event: events.Click) -> None:
        # In place of Textual's, which fails where the list was shorter by the time of the click than it is drawn.
        event.prevent_default()
        event.stop()
        at = event.style.meta.get("option")
        if at is not None and at < self.option_count:
            self.highlighted = at
            self.action_select()


class PaletteScreen(Dialog[Callable[[], object] | None]):
    """What runs the chosen entry; None when nobody chose. It searches at each key, without a worker to outlive it."""

    CSS_PATH = "palette.tcss"
    BINDINGS: ClassVar = [
        Binding("escape", "cancel", "Cancel", show=False, id="palette.cancel"),
        *[
            Binding(key, f"move('{move}')", show=False)
            for key, move in (
                ("down", "cursor_down"),
                ("up", "cursor_up"),
                ("pagedown", "page_down"),
                ("pageup", "page_up"),
            )
        ],
    ]

    def __init__(self, entries: Sequence[Entry]) -> None:
        super().__init__()
        self._entries = [Entry(inert(entry.words), entry.run) for entry in entries]

    def compose(self) -> ComposeResult:
        with Vertical(id="palette-body"):
            yield Input(placeholder="Find anything by name", id="palette-query", max_length=QUERY_LIMIT)
            yield Hits(id="palette-hits")
            yield StyledLine(id="palette-said")

    def on_mount(self) -> None:
        self.set_focus(self.query_one(Input))  # before the next key of the packet that opened it
        self._find("")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._find(event.value.strip())

    def _find(self, query: str) -> None:
        found = hits(query, self._entries)
        listed = self.query_one(Hits)
        listed.set_options([Hit(entry, at) for entry, at in found[:HITS_SHOWN]])
        listed.highlighted = 0 if found else None
        more = f"   {HITS_SHOWN} of {len(found)}: type on" if len(found) > HITS_SHOWN else ""
        keys = [Cell("enter", "accent"), Cell(" does it   ", "dim"), Cell("esc", "accent"), Cell(" leaves", "dim")]
        said = [*keys, Cell(more, "dim")] if found else [Cell("nothing is called so", "warn")]
        self.query_one("#palette-said", StyledLine).set_cells(said)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._choose(self.query_one(Hits).highlighted_option)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._choose(event.option)

    def _choose(self, option: Option | None) -> None:
        if isinstance(option, Hit):
            self.dismiss(option.run)

    def on_click(self, event: events.Click) -> None:
        if event.widget is self:
            self.dismiss(None)

    def action_cancel(self) -> None:
        self.dismiss(None)

    def action_move(self, move: str) -> None:
        getattr(self.query_one(Hits), f"action_{move}")()


def hits(query: str, entries: Sequence[Entry]) -> list[tuple[Entry, Sequence[int]]]:
    """The entries that `query` may mean, best first, each with the places of its characters; all without a query."""
    if not query:
        return [(entry, ()) for entry in entries]
    search = FuzzySearch()
    scored = [(*search.match(query, entry.words), entry) for entry in entries]
    found = sorted((each for each in scored if each[0] > 0), key=lambda each: -each[0])
    return [(entry, places) for _, places, entry in found]
