"""A chart as lines of styled text: title and readout, labelled rows of dots, limits, cursor, the time below. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from rich.cells import cell_len

from backends.feed import Point
from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell
from tui.widgets.raster import Ink, level, raster
from tui.widgets.timespan import TimeSpan

Line = tuple[Cell, ...]
LABEL_CELLS = 6
"""Before the dots: a figure of five characters and the edge."""
NOTHING = Cell("")
_SEVERITY = {"": 0, "accent": 0, "warn": 1, "bad": 2}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A value that the curve is held against, and how the curve looks beyond it."""

    value: float
    word: str
    style: str = "warn"
    below: bool = False
    """Beyond is below."""

    def passed(self, value: float) -> bool:
        return value <= self.value if self.below else value >= self.value


@dataclass(frozen=True, slots=True)
class Plot:
    """One series in a stated range."""

    title: str
    unit: str
    lo: float
    hi: float
    points: tuple[Point | None, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    latest: Cell = NOTHING
    """What it is now, in words."""
    digits: int = 0
    filled: bool = False
    note: str = ""
    """Why there is nothing to see; shown where the curve would be."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, on the time axis."""

    at: float
    sign: str
    style: str
    label: str = ""
    """Beside the sign where there is room; ASCII."""
    text: str = ""
    """All of it, for whoever points at it."""


def figure(value: float, digits: int = 0) -> str:
    """A label of at most five characters."""
    text = f"{value:.{digits}f}"
    if len(text) <= LABEL_CELLS - 1:
        return text
    for divisor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= divisor:
            return f"{value / divisor:.0f}{suffix}"[: LABEL_CELLS - 1]
    return text[: LABEL_CELLS - 1]


def nice_top(value: float) -> float:
    """The end of a range for values up to `value` where none is given: 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next((power * share for share in (1, 2, 5) if power * share >= value), power * 10)


def plot_points(width: int, ink: Ink) -> int:
    """How many points a chart of `width` cells shows."""
    return max(0, width - LABEL_CELLS) * ink.across


def summary(points: Sequence[Point | None]) -> Point | None:
    """Least, mean and greatest of what was measured."""
    known = [point for point in points if point is not None]
    if not known:
        return None
    mean = sum(point.mean for point in known) / len(known)
    return Point(min(point.low for point in known), mean, max(point.high for point in known))


def chart_lines(plot: Plot, span: TimeSpan, width: int, height: int, ink: Ink, *, chosen: bool = False) -> list[Line]:
    """The title and `height - 1` rows of dots, each `width` cells wide."""
    cells = max(0, width - LABEL_CELLS)
    rows = max(0, height - 1)
    points = _exactly(plot.points, cells * ink.across)
    lines: list[Line] = [title_line(plot, span, points, width, ink, chosen=chosen)] if height > 0 else []
    if not cells or not rows:
        return lines
    body = _curve(plot, points, rows, cells, ink)
    if plot.note and all(point is None for point in points):
        middle = rows // 2
        body[middle] = [(sign, "dim") for sign in fit(f" {plot.note}", cells, ellipsis=ink.ellipsis)]
    cursor = span.cursor_cell
    for row, signs in enumerate(body):
        if cursor is not None and cursor < len(signs):
            sign = signs[cursor][0]
            signs[cursor] = (ink.upright if sign == " " else sign, "cursor")
        lines.append((Cell(_label(plot, row, rows) + ink.edge, "dim"), *_runs(signs)))
    return lines


def title_line(
    plot: Plot, span: TimeSpan, points: Sequence[Point | None], width: int, ink: Ink, *, chosen: bool
) -> Line:
    """Name and value, and as far as there is room limits and what the curve was: at the cursor, else over the time."""
    mark = f"{ink.chosen} " if chosen else "  "
    cells: list[Cell] = [Cell(mark + plot.title, "chosen" if chosen else "title")]
    cursor = span.cursor_cell
    if cursor is not None:
        points = points[cursor * ink.across : (cursor + 1) * ink.across]
    told = summary(points)
    if cursor is not None:
        cells += [Cell("  "), _at_cursor(plot, told)]
    else:
        cells += [Cell("  "), plot.latest]
        if told is not None:
            cells.append(Cell(f"  {_figures(plot, told)}", "dim"))
    for each in plot.thresholds:
        passed = told is not None and each.passed(told.low if each.below else told.high)
        cells.append(Cell(f"  {each.word} {figure(each.value, plot.digits)}", each.style if passed else "dim"))
    return _fitted(cells, width, ink.ellipsis)


def axis_lines(span: TimeSpan, marks: Sequence[Mark], width: int, ink: Ink, *, now: bool) -> list[Line]:
    """What happened, and the times; under the dots of a chart of the same width."""
    return [_mark_line(span, marks, ink), _tick_line(span, width, ink, now=now)]


def _exactly(points: Sequence[Point | None], count: int) -> Sequence[Point | None]:
    """The last `count` points; what is missing before them is a gap."""
    missing = count - len(points)
    return [*[None] * missing, *points] if missing >= 0 else points[-missing:]


def _figures(plot: Plot, told: Point) -> str:
    low, mean, high = (figure(value, plot.digits) for value in told)
    return f"min {low} mean {mean} max {high}"


def _at_cursor(plot: Plot, told: Point | None) -> Cell:
    if told is None:
        return Cell("no sample there", "dim")
    text = f"{figure(told.mean, plot.digits)} {plot.unit}"
    low, high = figure(told.low, plot.digits), figure(told.high, plot.digits)
    return Cell(f"{text} there" if low == high else f"{text} there, {low} to {high}", "accent")


def _fitted(cells: Sequence[Cell], width: int, ellipsis: str) -> Line:
    """The cells that fit whole; the first is cut if it must be."""
    kept: list[Cell] = []
    used = 0
    for cell in cells:
        text = inert(cell.text)
        if used + cell_len(text) > width:
            if not kept:
                kept.append(Cell(fit(text, width, ellipsis=ellipsis), cell.style))
            break
        kept.append(Cell(text, cell.style))
        used += cell_len(text)
    return tuple(kept)


def _label(plot: Plot, row: int, rows: int) -> str:
    """The ends of the range at the ends of the axis, its middle between them where there is room."""
    value = None
    if row == 0:
        value = plot.hi
    elif row == rows - 1:
        value = plot.lo
    elif rows >= 5 and row == rows // 2 and rows % 2:
        value = (plot.lo + plot.hi) / 2
    return " " * (LABEL_CELLS - 1) if value is None else figure(value, plot.digits).rjust(LABEL_CELLS - 1)


def _curve(plot: Plot, points: Sequence[Point | None], rows: int, cells: int, ink: Ink) -> list[list[tuple[str, str]]]:
    """Sign and style of each cell, row by row from the top."""
    text = raster(points, rows, plot.lo, plot.hi, ink, filled=plot.filled)
    dots = rows * ink.down
    body: list[list[tuple[str, str]]] = []
    for row, signs in enumerate(text):
        body.append([(sign, _row_style(plot, row, rows)) for sign in signs])
    for threshold in plot.thresholds:
        if not plot.lo <= threshold.value <= plot.hi:
            continue
        at = level(threshold.value, plot.lo, plot.hi, dots)
        row = rows - 1 - at // ink.down
        _draw_threshold(body[row], threshold, ink.rules[at % ink.down], points, ink)
    return body


def _row_style(plot: Plot, row: int, rows: int) -> str:
    """A row that lies beyond a limit as a whole has its colour."""
    step = (plot.hi - plot.lo) / rows
    bottom = plot.hi - (row + 1) * step
    style = "accent"
    for each in plot.thresholds:
        if each.passed(bottom + step if each.below else bottom) and _SEVERITY[each.style] >= _SEVERITY[style]:
            style = each.style
    return style


def _draw_threshold(
    row: list[tuple[str, str]], threshold: Threshold, rule: str, points: Sequence[Point | None], ink: Ink
) -> None:
    """The limit as a broken line where the row is free; what passes it in this row has its colour."""
    for cell, (sign, style) in enumerate(row):
        if sign == " ":
            row[cell] = (rule if cell % 2 == 0 else " ", "limit")
            continue
        seen = points[cell * ink.across : (cell + 1) * ink.across]
        reached = [each.low if threshold.below else each.high for each in seen if each is not None]
        if any(threshold.passed(value) for value in reached):
            row[cell] = (sign, threshold.style)
        else:
            row[cell] = (sign, style)


def _runs(signs: Sequence[tuple[str, str]]) -> list[Cell]:
    """Few runs of one style: a blank looks the same in each and joins the run before it."""
    runs: list[tuple[list[str], str]] = []
    for sign, style in signs:
        if runs and (style == runs[-1][1] or (sign == " " and runs[-1][1] != "cursor")):
            runs[-1][0].append(sign)
        else:
            runs.append(([sign], style))
    return [Cell("".join(text), style) for text, style in runs]


def _mark_line(span: TimeSpan, marks: Sequence[Mark], ink: Ink) -> Line:
    worst: dict[int, Mark] = {}
    for mark in marks:
        cell = span.cell(mark.at)
        if cell is not None and (
            cell not in worst or _SEVERITY.get(mark.style, 0) >= _SEVERITY.get(worst[cell].style, 0)
        ):
            worst[cell] = mark
    signs: list[tuple[str, str]] = [(" ", "")] * span.cells
    taken = sorted(worst)
    for cell, following in zip(taken, [*taken[1:], span.cells + 1][: len(taken)], strict=True):
        mark = worst[cell]
        # A label is ASCII: each of its characters is one cell.
        text = mark.sign + (mark.label if mark.label.isascii() and cell + 1 + len(mark.label) < following else "")
        for place, sign in enumerate(inert(text)[: span.cells - cell]):
            signs[cell + place] = (sign, mark.style)
    cursor = span.cursor_cell
    if cursor is not None and signs and signs[cursor][0] == " ":
        signs[cursor] = (ink.upright, "cursor")
    return (Cell(" " * LABEL_CELLS), *_runs(signs))


def _tick_line(span: TimeSpan, width: int, ink: Ink, *, now: bool) -> Line:
    text = [" "] * span.cells
    reserved = span.cells - (4 if now else 0)
    for cell, words in span.ticks():
        told = ink.tick + words
        if cell + len(told) <= reserved and (cell == 0 or text[cell - 1] == " "):
            text[cell : cell + len(told)] = told
    if now and span.cells >= 3:
        text[-3:] = "now"
    return (Cell(" " * LABEL_CELLS + "".join(text)[: max(0, width - LABEL_CELLS)], "dim"),)
