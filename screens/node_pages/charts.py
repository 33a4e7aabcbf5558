"""The GPU's series over time: small charts that share their time, so that moments line up."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widget import Widget

from backends.domain.gpu_series import GPU_SERIES, GpuSeries
from screens.node_pages import TIME_KEYS
from screens.node_pages.chart_plots import marks, missing_series, plot, shown_series
from screens.node_pages.view import NodePage, NodeView
from tui.actions import keys_of
from tui.widgets import units
from tui.widgets.chart import Chart, TimeAxis, ink_of
from tui.widgets.columns import Cell
from tui.widgets.line import StyledLine
from tui.widgets.plot import Mark
from tui.widgets.timespan import TimeView, clock_time

TWO_COLUMNS_FROM = 112
LEAST_HEIGHT = 5
"""Of a chart: its title and four rows."""
AXIS_HEIGHT = 2
MISSING_FROM = 26
"""Lines of the page from which on it has one for what is not measured."""

HINTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("zoom_in", "zoom_out"), "zoom"),
    (("cursor_left", "cursor_right"), "cursor"),
    (("event_before", "event_after"), "events"),
    (("chart_after", "chart_before"), "chart"),
    (("only",), "alone"),
    (("earlier", "later"), "time"),
    (("present",), "now"),
)
"""Keys that the line over the charts tells, as far as it has room: names of `TIME_KEYS`."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which charts are in sight, and where."""

    ids: tuple[str, ...] = ()
    of: int = 0
    """How many there are."""
    columns: int = 1
    rows: int = 1
    height: int = 0
    missing: tuple[str, ...] = ()


class ChartsPage(NodePage, can_focus=True):
    DEFAULT_CSS = """
    ChartsPage {
        layout: vertical;
        & > #charts-time { height: 1; }
        & > #charts { layout: grid; grid-gutter: 0 2; height: 1fr; }
        & > #charts-axes { layout: grid; grid-gutter: 0 2; height: 2; }
        & > #charts-missing { height: 1; display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "chart_before", show=False, id="charts.up"),
        Binding("down,j", "chart_after", show=False, id="charts.down"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.time = TimeView()
        """What all charts show."""
        self._view: NodeView | None = None
        self._chosen = GPU_SERIES[0].id
        self._first = 0
        """The first row of charts in sight."""
        self._alone = False
        """Only the chosen chart is in sight."""
        self._layout = _Layout()

    def compose(self) -> ComposeResult:
        yield StyledLine(id="charts-time")
        yield Container(id="charts")
        with Container(id="charts-axes"):
            yield TimeAxis()
            yield TimeAxis()
        yield StyledLine(id="charts-missing")

    @property
    def focus_target(self) -> Widget | None:
        return self

    @property
    def charts(self) -> dict[str, Chart]:
        """By id of the series."""
        return {str(chart.id).removeprefix("chart-"): chart for chart in self.query(Chart)}

    def show_node(self, view: NodeView) -> None:
        self._view = view
        if not self.query(Chart):
            ink = ink_of(view.glyphs.ascii)
            for axis in self.query(TimeAxis):
                axis.ink = ink
            self.query_one("#charts").mount(*[Chart(ink, id=f"chart-{series.id}") for series in GPU_SERIES])
        self._arrange()
        self._draw()

    def on_resize(self, _event: events.Resize) -> None:
        self._arrange()

    def on_chart_resized(self, event: Chart.Resized) -> None:
        event.stop()
        self._draw()

    def on_chart_pointed(self, event: Chart.Pointed) -> None:
        event.stop()
        self._chosen = str(event.chart.id).removeprefix("chart-")
        self._look(TimeView(self.time.zoom, self.time.end, event.at))

    # Where the charts stand

    def _in_sight(self, shown: tuple[GpuSeries, ...], columns: int, rows: int) -> tuple[GpuSeries, ...]:
        """As many as there is room for, the chosen one among them."""
        ids = [series.id for series in shown]
        at = ids.index(self._chosen) if self._chosen in ids else 0
        if self._alone:
            return shown[at : at + 1]
        needed, row = ceil(len(shown) / columns), at // columns
        self._first = min(max(self._first, row - rows + 1), row, max(0, needed - rows))
        return shown[self._first * columns : (self._first + rows) * columns]

    def _arrange(self) -> None:
        """Gives the charts in sight their places; costs nothing while they have them."""
        view, charts = self._view, self.charts
        height = self.size.height - 1 - AXIS_HEIGHT
        if view is None or not charts or height <= 0:
            return
        missing = tuple(series.label for series in missing_series(view)) if self.size.height >= MISSING_FROM else ()
        height -= bool(missing)
        shown = shown_series(view)
        columns = 2 if self.size.width >= TWO_COLUMNS_FROM and len(shown) > 1 and not self._alone else 1
        seen = self._in_sight(shown, columns, max(1, height // LEAST_HEIGHT))
        rows = max(1, ceil(len(seen) / columns))
        layout = _Layout(tuple(series.id for series in seen), len(shown), columns, rows, height, missing)
        if layout != self._layout:
            self._layout = layout
            self._place(layout, charts)

    def _place(self, layout: _Layout, charts: dict[str, Chart]) -> None:
        grid, axes = self.query_one("#charts").styles, self.query_one("#charts-axes").styles
        grid.grid_size_columns = axes.grid_size_columns = layout.columns
        share, rest = divmod(layout.height, layout.rows)
        grid.grid_rows = " ".join(str(share + (row < rest)) for row in range(layout.rows))
        for name, chart in charts.items():
            chart.display = name in layout.ids
        for number, axis in enumerate(self.query(TimeAxis)):
            axis.display = number < layout.columns
        line = self.query_one("#charts-missing", StyledLine)
        line.display = bool(layout.missing)
        line.set_cells([Cell("not measured here: " + ", ".join(layout.missing), "dim")])

    # What they show

    def _draw(self) -> None:
        view = self._view
        if view is None:
            return
        gpu = view.gpu
        in_sight = [(name, chart) for name, chart in self.charts.items() if chart.display and chart.points > 0]
        if gpu is None or not in_sight:
            self.query_one("#charts-time", StyledLine).set_cells([Cell(view.no_gpu if gpu is None else "", "dim")])
            return
        end = view.now if self.time.end is None else self.time.end
        happened = marks(view, gpu)
        for name, chart in in_sight:
            series = next(each for each in GPU_SERIES if each.id == name)
            span = self.time.span(view.now, chart.points, chart.cells)
            told = plot(view, gpu, series, end, self.time.seconds, chart.points)
            chart.set_plot(told, span, chosen=name == self._chosen and len(in_sight) > 1)
        for axis in self.query(TimeAxis):
            if axis.display and axis.points:
                axis.set_axis(self.time.span(view.now, axis.points, axis.cells), happened, now=self.time.end is None)
        first = in_sight[0][1]
        span = self.time.span(view.now, first.points, first.cells)
        pointed = [mark for mark in happened if span.cell(mark.at) == span.cursor_cell is not None]
        self.query_one("#charts-time", StyledLine).set_cells(self._time_cells(view, pointed))

    def _time_cells(self, view: NodeView, pointed: list[Mark]) -> list[Cell]:
        """How long and up to when; at the cursor what happened there, else the keys."""
        time = self.time
        until = "now" if time.end is None else clock_time(time.end)
        cells = [Cell(time.words, "accent"), Cell(f" to {until}")]
        if time.cursor is None:
            seen, of = len(self._layout.ids), self._layout.of
            part = f"  {seen} of {of}" if seen < of else ""
            return [*cells, Cell(part + self._hints(sum(len(cell.text) for cell in cells) + len(part)), "dim")]
        if pointed:
            told = [Cell(f"  {mark.text}", mark.style) for mark in pointed]
            return [Cell(clock_time(time.cursor), "accent"), *told]
        ago = units.age(view.now - time.cursor)
        return [*cells, Cell(f"  at {clock_time(time.cursor)}, {ago} ago", "accent")]

    def _hints(self, used: int) -> str:
        """As many keys as the line has room for."""
        remapped = getattr(self.app, "remapped", {})
        keys = {action.id: keys_of(action, remapped).partition(" ")[0] for action in TIME_KEYS}
        told = ""
        for names, word in HINTS:
            hint = f"  {' '.join(keys[f'node.charts_{name}'] for name in names)} {word}"
            if used + len(told) + len(hint) > self.size.width:
                break
            told += hint
        return told

    # Keys

    def _look(self, time: TimeView) -> None:
        self.time = time
        self._arrange()
        self._draw()

    @property
    def _now(self) -> float:
        return 0.0 if self._view is None else self._view.now

    def _point(self, cells: int) -> None:
        chart = next((chart for chart in self.charts.values() if chart.display and chart.points), None)
        if chart is not None:
            span = self.time.span(self._now, chart.points, chart.cells)
            self._look(self.time.pointed(cells, span, self._now))

    def _choose(self, step: int) -> None:
        ids = [] if self._view is None else [series.id for series in shown_series(self._view)]
        if ids:
            at = ids.index(self._chosen) if self._chosen in ids else 0
            self._chosen = ids[min(max(at + step, 0), len(ids) - 1)]
            self._look(self.time)

    def _to_event(self, step: int) -> None:
        """The cursor on the next or the last thing that happened."""
        view = self._view
        if view is None or view.gpu is None:
            return
        moments = [mark.at for mark in marks(view, view.gpu)]
        here = self.time.cursor if self.time.cursor is not None else view.now
        found = [at for at in moments if (at > here + 0.5 if step > 0 else at < here - 0.5)]
        if found:
            self._look(self.time.at_moment(found[0] if step > 0 else found[-1], view.now))

    def action_zoom_in(self) -> None:
        self._look(self.time.zoomed(-1, self._now))

    def action_zoom_out(self) -> None:
        self._look(self.time.zoomed(1, self._now))

    def action_earlier(self) -> None:
        self._look(self.time.panned(-1, self._now))

    def action_later(self) -> None:
        self._look(self.time.panned(1, self._now))

    def action_cursor_left(self) -> None:
        self._point(-1)

    def action_cursor_right(self) -> None:
        self._point(1)

    def action_event_before(self) -> None:
        self._to_event(-1)

    def action_event_after(self) -> None:
        self._to_event(1)

    def action_present(self) -> None:
        self._look(self.time.present())

    def action_chart_before(self) -> None:
        self._choose(-1)

    def action_chart_after(self) -> None:
        self._choose(1)

    def action_only(self) -> None:
        self._alone = not self._alone
        self._look(self.time)
