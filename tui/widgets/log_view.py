"""The lines of a log on the line API: only those in view are drawn, and of them only what is other than before.

It keeps its own place, the number of the line at the top, rather than a virtual size: lines come by the thousand and
go at the other end, and in a wrapped log nobody knows how many rows are above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from backends.logs import LogStore, Search
from tui.widgets import log_rows
from tui.widgets.log_rows import Look

LEFT_STEP = 16
WHEEL_LINES = 3
MARK_PAUSE = 0.02
"""Between two drawings that find marks, in seconds: no key waits for them."""
_TOKENS = ("dim", "warn", "bad", "accent", log_rows.MATCH, log_rows.CURRENT)
Place = tuple[int, int]
"""Number of a line, and which of its rows."""


class LogView(Widget, can_focus=True):
    """Shows `store`. It follows the end until somebody scrolls up, and again once the end is in view."""

    DEFAULT_CSS = """
    LogView {
        background: $background; color: $foreground;
        & > .log--dim { color: $text-muted; }
        & > .log--warn { color: $text-warning; }
        & > .log--bad { color: $text-error; }
        & > .log--accent { color: $text-accent; }
        & > .log--match { text-style: underline bold; color: $text-accent; }
        & > .log--current { text-style: reverse bold; }
        &:ansi > .log--dim { text-style: dim; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"log--{token}" for token in _TOKENS}
    """
    | Class | What it styles |
    | :- | :- |
    | `log--match`, `log--current` | what is searched for, and in the line that was gone to |
    | `log--dim` and the other tokens | the time, the container, lines that name a level |
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "rows(-1)", "Up", show=False, id="log.up"),
        Binding("down,j", "rows(1)", "Down", show=False, id="log.down"),
        Binding("pageup,ctrl+b", "pages(-1)", "Page up", show=False, id="log.page_up"),
        Binding("pagedown,ctrl+f,space", "pages(1)", "Page down", show=False, id="log.page_down"),
        Binding("home,g", "start", "Oldest", show=False, id="log.start"),
        Binding("end,G", "end", "Newest", show=False, id="log.end"),
        Binding("left,h", "sideways(-1)", "Left", show=False, id="log.left"),
        Binding("right", "sideways(1)", "Right", show=False, id="log.right"),
    ]

    def __init__(
        self,
        store: LogStore,
        *,
        moved: Callable[[], None] = lambda: None,
        ellipsis: str = "…",
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        """A row that does not end at the right edge ends in `ellipsis`.

        `moved` is called with every drawing, and when the end is followed or no longer: what tells where the view
        stands is then painted with it, not two frames later.
        """
        super().__init__(id=id)
        self._moved = moved
        self._ellipsis = ellipsis
        self.follow = True
        """The newest line is at the bottom, whatever comes."""
        self.repaints = 0
        """Rows that were painted anew, for tests and benchmarks."""
        self._store = store
        self._search: Search | None = None
        self._current: int | None = None
        self._top: Place = (0, 0)
        self._left = 0
        self._look = Look(80)
        self._drawn: list[Strip] = []
        self._palette: dict[str, Style] = {}
        self._marks: Mapping[str, Sequence[tuple[int, int]]] = {}
        """Where what is searched for is, in the texts in view."""
        self._marking: Timer | None = None

    @property
    def look(self) -> Look:
        return self._look

    @property
    def top(self) -> int:
        """Number of the first line in view."""
        return self._top[0]

    @property
    def bottom(self) -> int:
        """Number of the line behind the last one in view."""
        place = self._places()
        return place[-1][0] + 1 if place else self._top[0]

    def on_unmount(self) -> None:
        self._store, self._search, self._marks = LogStore(), None, {}

    # What it is told

    def show(self, store: LogStore) -> None:
        """Shows another log, from its end."""
        self._store, self.follow, self._left, self._current = store, True, 0, None
        self.redraw()

    def set_look(self, *, wrap: bool | None = None, timestamps: bool | None = None, containers: int = 0) -> None:
        look = self._look
        self._look = replace(
            look,
            wrap=look.wrap if wrap is None else wrap,
            timestamps=look.timestamps if timestamps is None else timestamps,
            containers=containers,
        )
        if self._look != look:
            self._top = (self._top[0], 0)
            self.redraw()

    def set_search(self, search: Search | None) -> None:
        """What is marked from the next drawing on."""
        self._search, self._current = search, None

    def stand_still(self) -> None:
        """Leaves the end: what is in view stays while lines come."""
        self.follow = False
        self._moved()

    def go_to(self, number: int) -> None:
        """Brings a line into view, near the middle when it was not, and marks it as the one that was gone to."""
        self._current = number
        if not self.top <= number < self.bottom:
            self.follow = False
            self._top = self._above((number, 0), self.size.height // 2)
        elif number < self._store.end - 1:
            self.follow = False
        self._left = self._left_of(number)
        self.redraw()

    def redraw(self) -> None:
        """Draws what has changed since the last time; costs nothing when that is nothing."""
        width, rows = self.size.width, self.size.height
        if not width or not rows:
            return
        if self._look.width != width:
            self._look = replace(self._look, width=width)
        self._settle(rows)
        places = self._places()
        self._find_marks(places)
        old, self._drawn = self._drawn, [self._strip(place, width) for place in places]
        blank = Strip.blank(width, self._style(""))
        self._drawn += [blank] * (rows - len(self._drawn))
        changed = [y for y, strip in enumerate(self._drawn) if y >= len(old) or strip != old[y]]
        self.repaints += len(changed)
        if changed:
            self.refresh(*[Region(0, first, width, last - first) for first, last in _runs(changed)])
        self._moved()

    def _find_marks(self, places: Sequence[Place]) -> None:
        """Of the texts in view; where an expression takes long, of the others a little later."""
        search = self._search
        if search is None:
            self._marks = {}
            return
        numbers = dict.fromkeys(number for number, _ in places)
        texts = dict.fromkeys(self._store[number].text for number in numbers)
        self._marks = search.marks(texts)
        if len(self._marks) < len(texts) and search.problem is None and self._marking is None:
            self._marking = self.set_timer(MARK_PAUSE, self._mark_more)

    def _mark_more(self) -> None:
        self._marking = None
        self.redraw()

    # Where it stands

    def _settle(self, rows: int) -> None:
        """Puts the top where it may be: not above the oldest line, and not so low that rows stay empty."""
        store, last = self._store, self._above((self._store.end, 0), rows)
        if self.follow or self._top > last:
            self._top = last
        elif self._top[0] < store.first:
            self._top = (store.first, 0)

    def _places(self) -> list[Place]:
        """What is in view from the top on."""
        places: list[Place] = []
        number, sub = self._top
        while len(places) < self.size.height and number < self._store.end:
            if number >= self._store.first:
                count = self._height(number)
                places += [(number, row) for row in range(sub, count)]
            number, sub = number + 1, 0
        return places[: self.size.height]

    def _above(self, place: Place, rows: int) -> Place:
        """The place `rows` above another one, or the oldest."""
        number, sub = place
        while rows > sub:
            if number <= self._store.first:
                return (self._store.first, 0)
            rows -= sub
            number -= 1
            sub = self._height(number)
        return (number, sub - rows)

    def _left_of(self, number: int) -> int:
        """How far to the right to look so that what is searched for in a line is in view."""
        look, text = self._look, self._store[number].text
        spans = self._search.spans(text) if self._search is not None else []
        if look.wrap or not spans:
            return self._left
        first, last = (cell_len(text[:end]) for end in spans[0])
        if self._left <= first and last <= self._left + look.text_width - 1:
            return self._left
        return 0 if last < look.text_width else max(0, first - look.text_width // 3)

    def _below(self, place: Place, rows: int) -> Place:
        number, sub = place
        sub += rows
        while number < self._store.end and sub >= (count := self._height(number)):
            sub -= count
            number += 1
        return (number, sub)

    def _height(self, number: int) -> int:
        return log_rows.height(self._store[number], self._look)

    # What a frame shows

    def render_line(self, y: int) -> Strip:
        return self._drawn[y] if y < len(self._drawn) else Strip.blank(self.size.width, self.rich_style)

    def _strip(self, place: Place, width: int) -> Strip:
        number, sub = place
        cells = log_rows.row(
            self._store[number], self._look, sub, self._left, self._spans, current=number == self._current
        )
        strip = Strip([Segment(cell.text, self._style(cell.style)) for cell in cells])
        if strip.cell_length > width:
            strip = Strip([*strip.crop(0, width - 1), Segment(self._ellipsis, self._style("dim"))])
        return strip.adjust_cell_length(width, self._style(""))

    def _spans(self, text: str) -> Sequence[tuple[int, int]]:
        return self._marks.get(text, ())

    def _style(self, token: str) -> Style:
        style = self._palette.get(token)
        if style is None:
            style = self.rich_style
            if token:
                style += self.get_component_rich_style(f"log--{token}", partial=True)
            self._palette[token] = style
        return style

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette.clear()
        self._drawn = []
        if self.is_mounted:
            self.redraw()

    def on_resize(self, _event: events.Resize) -> None:
        self._drawn = []
        self.redraw()

    # Input

    def action_rows(self, step: int) -> None:
        self._scroll(step)

    def action_pages(self, direction: int) -> None:
        self._scroll(direction * max(1, self.size.height - 1))

    def action_start(self) -> None:
        self.follow, self._top, self._left = False, (self._store.first, 0), 0
        self.redraw()

    def action_end(self) -> None:
        self.follow = True
        self.redraw()

    def action_sideways(self, direction: int) -> None:
        if not self._look.wrap:
            self._left = max(0, self._left + direction * LEFT_STEP)
            self.redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._scroll(-WHEEL_LINES)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._scroll(WHEEL_LINES)

    def _scroll(self, rows: int) -> None:
        if rows < 0:
            top = self._above(self._top, -rows)
            self.follow = self.follow and top == self._top
            self._top = top
        elif not self.follow:
            self._top = self._below(self._top, rows)
            self.follow = self._top >= self._above((self._store.end, 0), self.size.height)
        self.redraw()


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as runs, each from its first to behind its last."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs
