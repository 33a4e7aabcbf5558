"""The grid of one GPU as lines: its placement units, the instances on them, the compute slices over them. Pure.

Neither Textual nor Rich is imported: `gpudeck mig plan` prints the same drawing. What an instance is called comes from
a node, so that a name with other characters than ASCII is shown without them: a box is as wide as its units, always.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from backends.nodes.mig.catalogue import Board
from backends.nodes.mig.geometry import Placement, Room, used_slices
from tui.widgets.columns import Cell

Line = tuple[Cell, ...]
LABEL = 5
"""Cells of the words at the left."""
NARROWEST, WIDEST = 3, 12
"""Cells of one placement unit; a board of four units may take more."""
WIDEST_GRID = 96

SliceState = Literal["used", "free", "stranded", "unknown"]


@dataclass(frozen=True, slots=True)
class Signs:
    across: str
    down: str
    top: str
    """Left corner, tee, right corner."""
    bottom: str
    full: str
    used: str
    free: str
    stranded: str
    scattered: str
    open: str
    """The pattern of free memory."""


UNICODE_SIGNS = Signs("─", "│", "┌┬┐", "└┴┘", "█", "■", "□", "╳", "╱", "·")
ASCII_SIGNS = Signs("-", "|", "+++", "+++", "#", "#", "o", "x", "/", ".")
SLICE_STYLES = {"used": "", "free": "dim", "stranded": "warn", "unknown": "stale"}


def signs(ascii: bool) -> Signs:  # noqa: A002 - as in `Glyphs`
    return ASCII_SIGNS if ascii else UNICODE_SIGNS


@dataclass(frozen=True, slots=True)
class Box:
    """What stands on some units: an instance, or a run of units without one."""

    start: int
    size: int
    names: tuple[str, ...]
    """The first line: the first of these that fits."""
    notes: tuple[str, ...] = ()
    """The second line, likewise."""
    style: str = ""
    fill: float | None = None
    """Used memory in percent; None where it is not measured or does not matter."""
    pattern: str = ""
    """Fills the memory line of units without an instance."""


def unit_width(board: Board, width: int) -> int:
    """Cells of one placement unit, its left border included, for a drawing of `width` cells."""
    most = max(WIDEST, WIDEST_GRID // board.units)
    return max(NARROWEST, min(most, (min(width, WIDEST_GRID + LABEL + 1) - LABEL - 1) // board.units))


def grid_lines(
    board: Board,
    boxes: Sequence[Box],
    slices: Sequence[SliceState],
    width: int,
    ascii: bool,  # noqa: A002
    memory: bool = True,
    compact: bool = False,
) -> list[Line]:
    """Units, boxes with name and note, with `memory` their fill, the compute slices; `compact` without two of these."""
    unit, sign = unit_width(board, width), signs(ascii)
    ordered = sorted(boxes, key=lambda box: box.start)
    numbers = "".join(f" {number:<{unit - 1}}" for number in range(board.units))
    lines: list[Line] = [] if compact else [(_label("unit"), Cell(numbers.rstrip(), "dim"))]
    lines.append(_border(ordered, unit, sign.top, sign))
    lines.append(_row("", ((box, _fitting(box.names, _inner(box, unit))) for box in ordered), sign))
    if not compact:
        lines.append(_row("", ((box, _fitting((*box.notes, ""), _inner(box, unit))) for box in ordered), sign))
    if memory:
        lines.append(_row("mem", ((box, _filled(box, _inner(box, unit), sign)) for box in ordered), sign))
    lines.append(_slices(board, ordered, slices, unit, sign))
    lines.append(_border(ordered, unit, sign.bottom, sign))
    return lines


def _label(text: str) -> Cell:
    return Cell(f"{text:<{LABEL}}", "dim")


def _inner(box: Box, unit: int) -> int:
    return box.size * unit - 1


def _border(boxes: Sequence[Box], unit: int, corners: str, sign: Signs) -> Line:
    runs = corners[1].join(sign.across * _inner(box, unit) for box in boxes)
    return _label(""), Cell(corners[0] + runs + corners[2], "dim")


def _row(label: str, contents: Iterator[tuple[Box, str]], sign: Signs) -> Line:
    cells = [_label(label)]
    for box, text in contents:
        cells += [Cell(sign.down, "dim"), Cell(text, box.style)]
    return (*cells, Cell(sign.down, "dim"))


def _fitting(texts: Sequence[str], inner: int) -> str:
    """The first of `texts` that fits, else the last one cut, in exactly `inner` cells."""
    chosen = next((text for text in texts if len(text) <= inner), texts[-1])
    plain = "".join(each if " " <= each <= "~" else "?" for each in chosen)[:inner]
    indent = " " if len(plain) < inner else ""
    return f"{indent}{plain}".ljust(inner)


def short_names(name: str) -> tuple[str, ...]:
    """1g.10gb+me -> 1g.10gb+me, 1g+me, 1g"""
    slices, _, rest = name.partition(".")
    return tuple(dict.fromkeys((name, f"{slices}{rest.partition('gb')[2]}", slices)))


def _filled(box: Box, inner: int, sign: Signs) -> str:
    if box.pattern:
        return box.pattern * inner
    if box.fill is None:
        return " " * inner
    full = round(min(max(box.fill, 0.0), 100.0) / 100.0 * inner)
    # A level above nothing shows, and one below everything leaves room.
    full = max(full, 1) if box.fill > 0 else full
    return (sign.full * full).ljust(inner)


def _slices(board: Board, boxes: Sequence[Box], states: Sequence[SliceState], unit: int, sign: Signs) -> Line:
    """The compute slices, each over the middle of its units; the last unit of eight has none."""
    marks = {"used": sign.used, "free": sign.free, "stranded": sign.stranded, "unknown": "?"}
    span = board.units_per_slice * unit
    at = {number * span + span // 2: state for number, state in enumerate(states)}
    cells = [_label("comp")]
    for box in boxes:
        cells.append(Cell(sign.down, "dim"))
        first = box.start * unit + 1
        for column in range(first, first + _inner(box, unit)):
            state = at.get(column)
            cells.append(Cell(" ") if state is None else Cell(marks[state], SLICE_STYLES[state]))
    return _merged((*cells, Cell(sign.down, "dim")))


def _merged(cells: Sequence[Cell]) -> Line:
    """Neighbours of one style as one cell; a blank has every style."""
    merged: list[Cell] = []
    for cell in cells:
        if merged and (merged[-1].style == cell.style or not cell.text.strip()):
            merged[-1] = Cell(merged[-1].text + cell.text, merged[-1].style)
        else:
            merged.append(cell)
    return tuple(merged)


def slice_states(board: Board, layout: Sequence[Placement], left: Room) -> tuple[SliceState, ...]:
    """Of each compute slice of the board."""
    used = {number for each in layout for number in used_slices(board, each)}
    return tuple(
        "used" if number in used else ("stranded" if number in left.stranded_slices else "free")
        for number in range(board.compute_slices)
    )


def gaps(board: Board, taken: Sequence[tuple[int, int]], left: Room | None, sign: Signs) -> Iterator[Box]:
    """The runs of units without an instance, one box for each kind: free, scattered, stranded, or not known."""
    occupied = {unit for start, size in taken for unit in range(start, start + size)}
    run: list[int] = []
    for unit in range(board.units + 1):
        kind = None if unit == board.units or unit in occupied else _kind(unit, left)
        if run and kind != _kind(run[0], left):
            yield _gap(run, _kind(run[0], left), sign)
            run = []
        if kind is not None:
            run.append(unit)


def _kind(unit: int, left: Room | None) -> str:
    """unknown, stranded, scattered or free."""
    if left is None:
        return "unknown"
    if unit in left.stranded_units:
        return "stranded"
    return "scattered" if left.is_fragmented else "free"


def _gap(run: Sequence[int], kind: str, sign: Signs) -> Box:
    names, style, pattern = {
        "unknown": (("?",), "stale", " "),
        "stranded": (("stranded", "waste"), "warn", sign.stranded),
        "scattered": (("fragmented", "frag"), "warn", sign.scattered),
        "free": (("free",), "dim", sign.open),
    }[kind]
    return Box(run[0], len(run), names, (), style, pattern=pattern)
