"""Charts: what is drawn of which values, the time they show, and that only what differs is repainted."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from backends.feed import Point
from tui.widgets.chart import Chart, TimeAxis, changed_span
from tui.widgets.columns import Cell
from tui.widgets.plot import (
    LABEL_CELLS,
    Mark,
    Plot,
    Threshold,
    axis_lines,
    chart_lines,
    figure,
    nice_top,
    plot_points,
    summary,
)
from tui.widgets.raster import ASCII_INK, BRAILLE, Ink
from tui.widgets.timespan import REACH_SECONDS, ZOOMS, TimeSpan, TimeView

NOW = 1_700_000_000.0
INKS = pytest.mark.parametrize("ink", [BRAILLE, ASCII_INK], ids=["braille", "ascii"])


def flat(*values: float | None) -> tuple[Point | None, ...]:
    """Points that are one value each."""
    return tuple(None if value is None else Point(value, value, value) for value in values)


# Figures


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0, 0, "0"),
        (700, 0, "700"),
        (0.25, 2, "0.25"),
        (123456, 0, "123k"),
        (79.6, 0, "80"),
        (-8, 0, "-8"),
        (2e9, 0, "2G"),
    ],
)
def test_a_label_has_at_most_five_characters(value: float, digits: int, text: str) -> None:
    assert figure(value, digits) == text


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (7, 10), (43, 50), (120, 200), (0.03, 0.05), (1980, 2000)])
def test_a_range_without_a_given_end_ends_at_a_round_figure(value: float, top: float) -> None:
    assert nice_top(value) == pytest.approx(top)


def test_a_summary_leaves_gaps_out() -> None:
    assert summary([None, Point(1, 2, 9), Point(0, 4, 5)]) == Point(0, 3, 9)
    assert summary([None]) is None


# The time


def test_zoom_keeps_the_end_and_the_cursor_in_sight() -> None:
    view = TimeView(zoom=0)
    assert view.zoomed(-1, NOW) == view, "there is no shorter time"
    assert view.zoomed(1, NOW).seconds == 900
    assert view.zoomed(9, NOW).seconds == ZOOMS[-1][0]
    pointed = TimeView(zoom=2, cursor=NOW - 3000).zoomed(-1, NOW)
    assert pointed.end is not None
    assert pointed.end - pointed.seconds < NOW - 3000 < pointed.end


def test_panning_ends_at_the_present_and_at_what_can_be_known() -> None:
    view = TimeView(zoom=1)
    earlier = view.panned(-1, NOW)
    assert earlier.end == NOW - 225
    assert earlier.panned(1, NOW) == view
    assert view.panned(1, NOW) == view
    for _ in range(1000):
        view = view.panned(-1, NOW)
    assert view.end == NOW - REACH_SECONDS + 900


def test_a_span_of_all_that_can_be_known_goes_on_following_the_present() -> None:
    longest = TimeView(len(ZOOMS) - 1)
    assert longest.seconds == REACH_SECONDS
    assert longest.panned(-1, NOW) == longest
    assert longest.pointed(-1, longest.span(NOW, 98, 49), NOW).zoomed(1, NOW).end is None
    assert TimeView(1, end=NOW - 3 * 3600).zoomed(9, NOW).end is None


def test_the_cursor_appears_at_the_end_and_takes_the_view_with_it() -> None:
    view = TimeView(zoom=0)
    span = view.span(NOW, 98, 49)
    view = view.pointed(-1, span, NOW)
    assert view.span(NOW, 98, 49).cursor_cell == 48
    view = view.pointed(-30, view.span(NOW, 98, 49), NOW)
    assert view.span(NOW, 98, 49).cursor_cell == 18
    assert view.end is None
    view = view.pointed(-30, view.span(NOW, 98, 49), NOW)
    assert view.end is not None
    assert view.span(NOW, 98, 49).cursor_cell is not None
    assert view.present() == TimeView(zoom=0)


@given(
    st.floats(NOW, NOW + 1e7),
    st.sampled_from(range(len(ZOOMS))),
    st.integers(1, 200),
    st.lists(st.sampled_from(["in", "out", "left", "right", "cursor left", "cursor right"]), max_size=30),
)
def test_the_time_shown_is_always_within_what_can_be_known(now: float, zoom: int, cells: int, keys: list[str]) -> None:
    view = TimeView(zoom)
    for key in keys:
        step = -1 if key.endswith(("in", "left")) else 1
        if key.startswith("cursor"):
            view = view.pointed(step, view.span(now, cells * 2, cells), now)
        else:
            view = view.zoomed(step, now) if key in ("in", "out") else view.panned(step, now)
        span = view.span(now, cells * 2, cells)
        assert span.seconds == view.seconds
        a_point = span.seconds / (cells * 2)
        assert span.start >= now - REACH_SECONDS - a_point
        assert span.end <= now + a_point + 1e-3
        for cell, words in span.ticks():
            assert 0 <= cell < cells
            assert len(words) == 5


def test_ticks_stand_at_whole_minutes_of_local_time() -> None:
    span = TimeSpan(NOW - 900, 900, 60)
    assert span.ticks() == [(6, "22:00"), (26, "22:05"), (46, "22:10")]
    assert [words for _, words in TimeSpan(NOW - 21600, 21600, 60).ticks()] == [
        "17:00",
        "18:00",
        "19:00",
        "20:00",
        "21:00",
        "22:00",
    ]
    assert TimeSpan(NOW - 900, 900, 0).ticks() == []


# The lines


POWER = Plot(
    "Power", "W", 0, 800, thresholds=(Threshold(700, "limit"),), latest=Cell("612 W"), note="no sample in this time"
)


def drawn(plot: Plot, width: int = 60, height: int = 6, ink: Ink = BRAILLE, cursor: float | None = None) -> list[str]:
    span = TimeView(0, cursor=cursor).span(NOW, plot_points(width, ink), width - LABEL_CELLS)
    return ["".join(cell.text for cell in line) for line in chart_lines(plot, span, width, height, ink)]


def with_points(*values: float | None, plot: Plot = POWER) -> Plot:
    return replace(plot, points=flat(*values))


@INKS
@given(width=st.integers(1, 120), height=st.integers(1, 30), values=st.lists(st.floats(0, 900), max_size=60))
def test_lines_fill_their_place_at_every_size(ink: Ink, width: int, height: int, values: list[float]) -> None:
    lines = drawn(with_points(*values), width, height, ink, cursor=NOW - 30)
    assert len(lines) == (height if width > LABEL_CELLS else 1)
    assert all(len(line) <= width for line in lines)
    assert all(len(line) == width for line in lines[1:])
    if ink is ASCII_INK:
        assert all(line.isascii() for line in lines)


def test_the_title_says_value_range_and_limit_and_drops_what_has_no_room() -> None:
    plot = with_points(*[500.0] * 50, 640.0)
    assert drawn(plot)[0] == "  Power  612 W  min 500 mean 503 max 640  limit 700"
    assert drawn(plot, 42)[0] == "  Power  612 W  min 500 mean 503 max 640"
    assert drawn(plot, 20)[0] == "  Power  612 W"


def test_labels_state_the_range() -> None:
    lines = drawn(with_points(500.0), height=6)
    assert [line[:6] for line in lines[1:]] == ["  800│", "     │", "  400│", "     │", "    0│"]


def test_the_note_stands_where_the_curve_would_be_and_only_then() -> None:
    assert any("no sample in this time" in line for line in drawn(POWER))
    assert not any("no sample" in line for line in drawn(with_points(1.0)))


def styles_of(plot: Plot, width: int = 60, height: int = 6) -> list[list[str]]:
    span = TimeView(0).span(NOW, plot_points(width, BRAILLE), width - LABEL_CELLS)
    return [[cell.style for cell in line] for line in chart_lines(plot, span, width, height, BRAILLE)]


def test_what_passes_a_limit_has_its_colour_and_what_only_comes_near_has_not() -> None:
    near = styles_of(with_points(*[690.0] * 108))
    assert all("warn" not in styles for styles in near[1:])
    over = styles_of(with_points(*[790.0] * 108))
    assert over[1] == ["dim", "warn"]
    headroom = Plot("Headroom", "C", -20, 80, flat(*[-15.0] * 108), (Threshold(-2, "slowdown", "bad", below=True),))
    assert styles_of(headroom)[5] == ["dim", "bad"]


def test_a_row_is_few_runs_of_one_style() -> None:
    noisy = with_points(*[400.0 + 350 * (number % 3 - 1) for number in range(108)])
    assert max(len(styles) for styles in styles_of(noisy)[2:]) <= 3


def test_the_cursor_reads_the_values_of_its_moment() -> None:
    plot = with_points(*[100.0] * 106, 300.0, 500.0)
    lines = drawn(plot, cursor=NOW)
    assert lines[0].startswith("  Power  400 W there, 300 to 500")
    assert drawn(plot, cursor=NOW - 60)[0].startswith("  Power  100 W there")
    assert drawn(with_points(1.0), cursor=NOW - 200)[0].startswith("  Power  no sample there")
    assert "│" in lines[1][LABEL_CELLS:]


def test_the_axis_marks_what_happened_and_when() -> None:
    span = TimeView(1).span(NOW, 108, 54)
    marks = [Mark(NOW - 450, "✖", "bad", "79"), Mark(NOW - 450, "▲", "warn", "45"), Mark(NOW - 9000, "✖", "bad", "48")]
    happened, times = ("".join(cell.text for cell in line) for line in axis_lines(span, marks, 60, BRAILLE, now=True))
    assert happened.strip() == "✖79", "the worst of one cell; none from before the time"
    assert happened.index("✖") == LABEL_CELLS + 27 - 1
    assert times.endswith("now")
    assert "╵22:05" in times


@given(
    st.lists(st.tuples(st.floats(-100, 1000), st.sampled_from(["", "79", "ECC +2"])), max_size=20), st.integers(0, 80)
)
def test_the_axis_never_leaves_its_width(marks: list[tuple[float, str]], cells: int) -> None:
    span = TimeView(1, cursor=NOW - 100).span(NOW, cells * 2, cells)
    happened = [Mark(NOW - ago, "X", "bad", label) for ago, label in marks]
    for line in axis_lines(span, happened, cells + LABEL_CELLS, BRAILLE, now=True):
        assert len("".join(cell.text for cell in line)) <= cells + LABEL_CELLS


# The widget


class Charts(App[None]):
    CSS: ClassVar[str] = "Chart { height: 6; }"

    def __init__(self) -> None:
        super().__init__()
        self.pointed: list[float] = []

    def compose(self) -> ComposeResult:
        yield Chart()
        yield TimeAxis()

    def show(self, *values: float | None, now: float = NOW) -> Chart:
        chart = self.query_one(Chart)
        span = TimeView(0).span(now, chart.points, chart.cells)
        points = flat(*values)
        chart.set_plot(with_points(*[each.mean if each else None for each in points]), span)
        self.query_one(TimeAxis).set_axis(span, (), now=True)
        return chart

    def on_chart_pointed(self, event: Chart.Pointed) -> None:
        self.pointed.append(event.at)


async def test_the_same_values_repaint_nothing_and_a_new_one_only_its_end() -> None:
    app = Charts()
    async with app.run_test(size=(60, 12)) as pilot:
        values = [100.0 + number for number in range(108)]
        chart = app.show(*values)
        await settled(pilot)
        regions = watched(chart)
        app.show(*values)
        assert regions == []
        app.show(*values[:-1], 650.0)
        assert regions
        curve = [region for region in regions if region[1] > 0]
        assert all(x >= LABEL_CELLS + 53 for x, _, _ in curve), "the rows change at their right end alone"


def watched(chart: Chart) -> list[tuple[int, int, int]]:
    """(x, y, width) of what the chart asks to have repainted from now on."""
    regions: list[tuple[int, int, int]] = []
    plain = chart.refresh

    def refresh(*asked: object, **options: object) -> Chart:
        regions.extend((region.x, region.y, region.width) for region in asked)  # type: ignore[attr-defined]
        return plain(*asked, **options)  # type: ignore[arg-type]

    chart.refresh = refresh  # type: ignore[method-assign]
    return regions


async def settled(pilot: Pilot[None]) -> None:
    await pilot.pause()


async def test_a_click_and_a_drag_point_at_a_moment() -> None:
    app = Charts()
    async with app.run_test(size=(60, 12)) as pilot:
        chart = app.show(*[100.0] * 108)
        await pilot.click(Chart, offset=(LABEL_CELLS + 27, 2))
        await pilot.pause()
        assert len(app.pointed) == 1
        assert TimeView(0).span(NOW, chart.points, chart.cells).cell(app.pointed[0]) == 27
        await pilot.click(Chart, offset=(2, 2))
        await pilot.mouse_down(Chart, offset=(LABEL_CELLS + 10, 2))
        await pilot.hover(Chart, offset=(LABEL_CELLS + 12, 2))
        await pilot.mouse_up(Chart, offset=(LABEL_CELLS + 12, 2))
        await pilot.pause()
        assert TimeView(0).span(NOW, chart.points, chart.cells).cell(app.pointed[1]) == 10


def test_the_span_that_differs_is_the_least_one() -> None:
    old = (Cell("abc", "dim"), Cell("defg", "accent"))
    assert changed_span(old, (Cell("abc", "dim"), Cell("dxfg", "accent"))) == (4, 5)
    assert changed_span(old, (Cell("abc", ""), Cell("defg", "accent"))) == (0, 3)
    assert changed_span(old, (Cell("abcd", "dim"), Cell("ef", "accent"))) == (3, 7)
    assert changed_span((Cell("名前"),), (Cell("名後"),)) == (0, 4), "wide characters take two cells"


async def test_a_theme_repaints_in_its_colours() -> None:
    app = Charts()
    async with app.run_test(size=(60, 12)) as pilot:
        chart = app.show(*[100.0] * 108)
        await pilot.pause()
        before = chart.render_line(0)
        app.theme = "textual-light"
        await pilot.pause()
        assert [segment.style for segment in chart.render_line(0)] != [segment.style for segment in before]


def test_the_cursor_is_one_cell_wide_and_a_limit_has_colour_only_when_it_was_passed() -> None:
    span = TimeView(0, cursor=NOW - 60).span(NOW, plot_points(60, BRAILLE), 54)
    for plot in (POWER, with_points(*[300.0] * 108)):
        for line in chart_lines(replace(plot, note=""), span, 60, 6, BRAILLE)[1:]:
            assert [len(cell.text) for cell in line if cell.style == "cursor"] == [1]
    calm = chart_lines(with_points(*[300.0] * 108), TimeView(0).span(NOW, 108, 54), 60, 6, BRAILLE)[0]
    assert calm[-1] == Cell("  limit 700", "dim")
    over = chart_lines(with_points(*[300.0] * 107, 701.0), TimeView(0).span(NOW, 108, 54), 60, 6, BRAILLE)[0]
    assert over[-1] == Cell("  limit 700", "warn")
