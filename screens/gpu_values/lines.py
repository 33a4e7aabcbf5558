"""Lines of one shape: label, value and unit, what it is held against, and what it was in the last minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from backends.domain import Gpu
from backends.domain.gpu_series import GPU_SERIES, series_key
from backends.resets import reset_of
from screens.node_pages.view import NodeView
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.sheet import Line, Prose, Section
from tui.widgets.spark import meter, spark

LABEL_WIDTH = 13
VALUE_WIDTH = 7
UNIT_WIDTH = 3
BESIDE_WIDTH = 15
TREND_WIDTH = 10


@dataclass(frozen=True, slots=True)
class Group:
    """A section, and whether anything in it was measured: one that says nothing is told in one word."""

    section: Section
    measured: bool = True
    name: str = ""
    """In a list of what cannot be measured."""
    lasting: bool = False
    """It says what stays so, or what happened: it does not grow old with the last reading."""


Build = Callable[[NodeView, Gpu], Group]


def line(
    label: str, value: str | None, unit: str = "", style: str = "", beside: str | Cell = "", trend: str = ""
) -> Line:
    """A figure: right-aligned, so that figures stand in line. None and n/a are dim and carry no unit.

    `beside` is what it is held against, or a bar.
    """
    missing = value is None or value == NOT_MEASURED
    figure = NOT_MEASURED if value is None else value
    aside = beside if isinstance(beside, Cell) else Cell(beside, "dim")
    cells = [
        Cell(fit(label, LABEL_WIDTH) + " ", "dim"),
        Cell(fit(figure, VALUE_WIDTH, "right"), "dim" if missing else style),
    ]
    if aside.text or trend:
        cells.append(Cell(f" {fit('' if missing else unit, UNIT_WIDTH)} "))
        cells.append(Cell(fit(aside.text, BESIDE_WIDTH) if trend else aside.text, aside.style))
    elif unit and not missing:
        cells.append(Cell(f" {unit}"))
    if trend:
        cells += [Cell(" "), Cell(trend, "accent")]
    return tuple(cells)


def bar(percent: float | None, view: NodeView) -> Cell:
    return Cell("" if percent is None else meter(percent, BESIDE_WIDTH - 1, view.glyphs.ascii), "accent")


def words(label: str, value: str | None, style: str = "") -> Line:
    """A word or a name, left-aligned; None and n/a are dim."""
    head = Cell(fit(label, LABEL_WIDTH) + " ", "dim")
    return (head, Cell(NOT_MEASURED, "dim")) if value is None or value == NOT_MEASURED else (head, Cell(value, style))


def trend(view: NodeView, gpu: Gpu, series_id: str) -> str:
    """The last five minutes in the range of the series; empty where nothing is kept of it."""
    if view.history is None:
        return ""
    series = next(each for each in GPU_SERIES if each.id == series_id)
    values = view.history.series(series_key(view.reading.name, gpu, series_id), view.now)
    top = series.top(gpu) or max((value for value in values if value is not None), default=0.0)
    drawn = spark(values, TREND_WIDTH, series.bottom, top, view.glyphs.ascii)
    return drawn if drawn.strip() else ""


def degrees(view: NodeView) -> str:
    return "C" if view.glyphs.ascii else "°C"


def reset_line(view: NodeView, gpu: Gpu) -> str:
    """The command that resets `gpu`, and whom else."""
    reset = reset_of(gpu, view.reading.node)
    return f"{reset.command}, of all GPUs of the node together" if reset.together else reset.command


def told(sign: str, text: str, style: str) -> Prose:
    """A sentence that says what is so, with the sign of its state."""
    return Prose(f"{sign} {text}", style)


def folded(section: Section) -> Section:
    """The section with what was not measured named in one line at its end, where that is more than one thing."""
    missing = [each for each in section.lines if not isinstance(each, Prose) and _is_missing(each)]
    if len(missing) < 2:
        return section
    kept = tuple(each for each in section.lines if isinstance(each, Prose) or not _is_missing(each))
    names = ", ".join(each[0].text.strip() for each in missing)
    return Section(section.title, (*kept, Prose(f"{NOT_MEASURED}: {names}", "dim")))


def _is_missing(cells: Line) -> bool:
    return len(cells) == 2 and cells[1] == (cells[1].text, "dim") and cells[1].text.strip() == NOT_MEASURED


def faded(section: Section) -> Section:
    """The section as last values look."""
    return Section(section.title, tuple(_faded(each) for each in section.lines))


def _faded(each: Line | Prose) -> Line | Prose:
    if isinstance(each, Prose):
        return replace(each, style="dim" if each.style == "dim" else "stale")
    return tuple(Cell(cell.text, "dim" if cell.style == "dim" else "stale") for cell in each)
