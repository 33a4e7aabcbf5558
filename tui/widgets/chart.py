"""Charts on the line API: text made once per update, and only the cells that differ repainted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.plot import LABEL_CELLS, Line, Mark, Plot, axis_lines, chart_lines, plot_points
from tui.widgets.raster import ASCII_INK, BRAILLE, Ink
from tui.widgets.timespan import TimeSpan

_TOKENS = ("title", "chosen", "dim", "good", "warn", "bad", "stale", "accent", "limit", "cursor")


class _Lines(Widget):
    """Shows lines of styled text; `set_lines` repaints what differs."""

    DEFAULT_CSS = """
    _Lines {
        background: $background; color: $foreground;
        & > .chart--title { text-style: bold; }
        & > .chart--chosen { color: $text-accent; text-style: bold; }
        & > .chart--dim { color: $text-muted; }
        & > .chart--good { color: $text-success; }
        & > .chart--warn { color: $text-warning; }
        & > .chart--bad { color: $text-error; text-style: bold; }
        & > .chart--stale { color: $text-disabled; }
        & > .chart--accent { color: $text-accent; }
        & > .chart--limit { color: $text-muted; }
        & > .chart--cursor { text-style: reverse; }
        &:ansi > .chart--dim { text-style: dim; }
        &:ansi > .chart--limit { text-style: dim; }
        &:ansi > .chart--stale { text-style: dim; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"chart--{token}" for token in _TOKENS}
    """One class per style token of the lines."""

    def __init__(self, ink: Ink = BRAILLE, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.ink = ink
        self.repaints = 0
        """Refreshes asked for, for tests and benchmarks."""
        self._lines: Sequence[Line] = ()
        self._strips: list[Strip | None] = []
        self._palette: dict[str, Style] = {}

    @property
    def points(self) -> int:
        """How many points fit."""
        return plot_points(self.size.width, self.ink)

    @property
    def cells(self) -> int:
        """How many cells there are for time."""
        return max(0, self.size.width - LABEL_CELLS)

    @property
    def text_lines(self) -> list[str]:
        return ["".join(cell.text for cell in line) for line in self._lines]

    def set_lines(self, lines: Sequence[Line]) -> None:
        before, self._lines = self._lines, lines
        strips = self._strips
        self._strips = [None] * len(lines)
        for y in range(max(len(before), len(lines))):
            old, new = before[y] if y < len(before) else (), lines[y] if y < len(lines) else ()
            if old == new:
                if y < len(lines) and y < len(strips):
                    self._strips[y] = strips[y]
                continue
            first, last = changed_span(old, new)
            self.repaints += 1
            self.refresh(Region(first, y, max(1, min(last, self.size.width) - first), 1))

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        if y >= len(self._lines):
            return Strip.blank(width, base)
        strip = self._strips[y]
        if strip is None or strip.cell_length != width:
            segments = [Segment(cell.text, self._style(cell.style)) for cell in self._lines[y]]
            strip = self._strips[y] = Strip(segments).adjust_cell_length(width, base)
        return strip

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette.clear()
        self._strips = [None] * len(self._lines)

    def _style(self, token: str) -> Style:
        style = self._palette.get(token)
        if style is None:
            style = self.rich_style
            if token:
                style += self.get_component_rich_style(f"chart--{token}", partial=True)
            self._palette[token] = style
        return style


def changed_span(old: Line, new: Line) -> tuple[int, int]:
    """From and to which cell two lines differ. The whole line where one of them holds wide characters."""
    before = [(sign, cell.style) for cell in old for sign in cell.text]
    after = [(sign, cell.style) for cell in new for sign in cell.text]
    longest = max(len(before), len(after))
    if any(sign > "⣿" for sign, _ in (*before, *after)):
        return 0, longest * 2
    pairs = list(zip(before, after, strict=False))
    first = next((place for place, (a, b) in enumerate(pairs) if a != b), len(pairs))
    if len(before) != len(after):
        return first, longest
    last = next((place for place in range(len(pairs) - 1, -1, -1) if pairs[place][0] != pairs[place][1]), first)
    return first, last + 1


class Chart(_Lines):
    """One series over time. `set_plot` shows it; a click or a drag points at a moment."""

    @dataclass
    class Pointed(Message):
        """The mouse points at a moment, seconds since the epoch."""

        chart: Chart
        at: float

        @property
        def control(self) -> Chart:
            return self.chart

    @dataclass
    class Resized(Message):
        """Another size shows another number of points."""

        chart: Chart

        @property
        def control(self) -> Chart:
            return self.chart

    def __init__(self, ink: Ink = BRAILLE, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(ink, id=id)
        self._span: TimeSpan | None = None

    def set_plot(self, plot: Plot, span: TimeSpan, *, chosen: bool = False) -> None:
        """Shows `plot` over `span`."""
        self._span = span
        self.set_lines(chart_lines(plot, span, self.size.width, self.size.height, self.ink, chosen=chosen))

    def on_resize(self, _event: events.Resize) -> None:
        self.post_message(self.Resized(self))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self.capture_mouse()
        self._point(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if event.button:
            self._point(event)

    def on_mouse_up(self, _event: events.MouseUp) -> None:
        self.release_mouse()

    def _point(self, event: events.MouseEvent) -> None:
        place = event.x - LABEL_CELLS
        if self._span is not None and 0 <= place < self._span.cells:
            self.post_message(self.Pointed(self, self._span.moment(place)))


class TimeAxis(_Lines):
    """Two lines under charts of the same width: what happened, and the time."""

    DEFAULT_CSS = """
    TimeAxis { height: 2; }
    """

    def set_axis(self, span: TimeSpan, marks: Sequence[Mark], *, now: bool) -> None:
        """`now`: the right end is the present."""
        self.set_lines(axis_lines(span, marks, self.size.width, self.ink, now=now))


def ink_of(ascii_only: bool) -> Ink:
    return ASCII_INK if ascii_only else BRAILLE
