"""The two panes of the triage screen: the findings, and the evidence of the selected one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message

from screens.triage_rows import COLUMNS
from tui.widgets.columns import Row, place
from tui.widgets.glyphs import Glyphs
from tui.widgets.grid import HEADER_LINES, Grid
from tui.widgets.sheet import Section, Sheet

BESIDE_FROM = 140
"""A terminal of so many cells shows the panes beside each other; a narrower one the evidence below the list, where
both have whole lines."""
LIST_SHARE = 0.45
"""Of the height, the most that the list takes from the evidence below it."""
LEAST_ROWS = 3
"""What the list shows of its findings in the lowest terminal."""

Draw = Callable[[int, int], list[Section]]
"""Sections for a page of so many cells and lines."""


class EvidencePane(Sheet):
    """A sheet that is drawn anew for each of its sizes: its texts are folded."""

    DEFAULT_CSS = """
    EvidencePane { width: 1fr; height: 1fr; max-width: 110; }
    """
    BINDINGS: ClassVar = [Binding("enter", "activate", "Open", show=False, id="evidence.open")]

    class Activated(Message):
        """What the evidence is about is to be opened."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._draw: Draw | None = None
        self._about: str | None = None

    def draw(self, about: str | None, draw: Draw) -> None:
        """Shows what `draw` makes; from its top when it is about something else than before."""
        if about != self._about:
            self._about = about
            self.scroll_home(animate=False)
        self._draw = draw
        self._redraw()

    def action_activate(self) -> None:
        self.post_message(self.Activated())

    def on_resize(self, _event: events.Resize) -> None:
        self._redraw()

    def _redraw(self) -> None:
        region = self.scrollable_content_region
        if self._draw is not None and region.width > 0:
            self.set_sections(self._draw(region.width, region.height))


class TriageBody(Container):
    """Findings and evidence: beside each other in a wide terminal, else the one above the other."""

    DEFAULT_CSS = """
    TriageBody {
        layout: vertical; height: 1fr;
        & > Grid { width: 1fr; height: 1fr; }
        &.-beside { layout: horizontal; }
        &.-beside > EvidencePane { width: 45%; padding: 0 0 0 1; }
    }
    """

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="triage-body")
        self.grid = Grid(COLUMNS, glyphs=glyphs, id="triage-grid")
        self.evidence = EvidencePane(id="triage-evidence")
        self._list_height: int | None = None
        """Lines; None where the list has the whole height."""
        self._give_back_keys = False
        """The list had them when it was hidden for want of rows."""

    def compose(self) -> ComposeResult:
        yield self.grid
        yield self.evidence

    def on_mount(self) -> None:
        self.grid.focus()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= BESIDE_FROM, "-beside")
        self._fit_list()

    def show_rows(self, rows: Sequence[Row], *, at_top: bool = False) -> None:
        """The list, with its first row selected if `at_top`; without rows the evidence has all the room."""
        grid = self.grid
        if not rows and grid.display:
            self._give_back_keys = self.screen.focused in (None, grid)
        elif rows and not grid.display and self._give_back_keys:
            self.call_after_refresh(grid.focus)
        grid.display = bool(rows)
        grid.set_rows(rows, at_top=at_top)
        self._fit_list()

    def _fit_list(self) -> None:
        """As high as its rows and the scrollbar below them, so that few findings leave the room to the evidence."""
        room = self.size.width - 1  # a grid keeps one cell free for its scrollbar
        scrolls = any(placed.x + placed.width > room for placed in place(self.grid.columns, room))
        around = HEADER_LINES + scrolls
        most = max(around + LEAST_ROWS, int(self.size.height * LIST_SHARE))
        height = None if self.has_class("-beside") else min(len(self.grid.rows) + around, most)
        if height != self._list_height:
            self._list_height = height
            self.grid.styles.height = height
