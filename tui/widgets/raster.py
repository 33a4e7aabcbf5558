"""Curves as text: dots packed into braille characters, or into their ASCII twins. Pure, and knows of no widget.

A point is a span of values (least, mean, greatest); None, where nothing was measured, leaves its column blank, and
nothing is drawn across it. The least value of the range is a dot at the bottom: zero never looks like no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from backends.feed import Point

_BRAILLE_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""The dots of the left and the right column, from the bottom up."""


@dataclass(frozen=True, slots=True)
class Ink:
    """A set of signs for cells of `across` times `down` dots."""

    across: int
    down: int
    signs: tuple[str, ...]
    """By bits: the left column from the bottom up, then the right one."""
    rules: tuple[str, ...]
    """A level line at each dot, from the bottom up."""
    upright: str
    """A line from top to bottom."""
    edge: str
    """Between the labels and the dots."""
    tick: str
    chosen: str
    """Before the title of the chart that has the keys."""
    ellipsis: str


def _braille(bits: int) -> str:
    dots = sum(
        dot
        for column, heights in enumerate(_BRAILLE_DOTS)
        for row, dot in enumerate(heights)
        if bits >> column * 4 + row & 1
    )
    return chr(0x2800 + dots) if dots else " "


BRAILLE = Ink(2, 4, tuple(_braille(bits) for bits in range(256)), tuple("⣀⠤⠒⠉"), "│", "│", "╵", "▸", "…")
ASCII_INK = Ink(1, 2, (" ", ".", "'", ":"), ("_", "-"), "|", "|", "'", ">", "~")


def level(value: float, lo: float, hi: float, dots: int) -> int:
    """The dot, counted from the bottom, that stands for `value`; what lies outside of `lo` to `hi` is on the edge."""
    share = (value - lo) / (hi - lo) if hi > lo else 0.0
    return round(min(max(share, 0.0), 1.0) * (dots - 1))


def raster(
    points: Sequence[Point | None], rows: int, lo: float, hi: float, ink: Ink = BRAILLE, *, filled: bool = False
) -> tuple[str, ...]:
    """`rows` lines of text, the top one first, with a column of dots for each point.

    A line runs from the least to the greatest value of each point and joins the point before. Filled, the area reaches
    from the bottom to the mean, with a dot at the greatest value.
    """
    if rows <= 0:
        return ()
    dots = rows * ink.down
    columns = _filled(points, lo, hi, dots) if filled else _joined(points, lo, hi, dots)
    columns += [0] * (-len(columns) % ink.across)
    mask = (1 << ink.down) - 1
    lines = []
    for shift in range(dots - ink.down, -1, -ink.down):
        cells = [column >> shift & mask for column in columns[:: ink.across]]
        for side in range(1, ink.across):
            cells = [
                cell | (column >> shift & mask) << side * ink.down
                for cell, column in zip(cells, columns[side :: ink.across], strict=True)
            ]
        lines.append("".join([ink.signs[cell] for cell in cells]))
    return tuple(lines)


def _known(point: Point | None) -> bool:
    return point is not None and isfinite(point.low) and isfinite(point.mean) and isfinite(point.high)


def _joined(points: Sequence[Point | None], lo: float, hi: float, dots: int) -> list[int]:
    """The dots of each column as bits, the bottom one first."""
    columns: list[int] = []
    before: tuple[int, int] | None = None
    for point in points:
        if point is None or not _known(point):
            columns.append(0)
            before = None
            continue
        bottom, top = level(point.low, lo, hi, dots), level(point.high, lo, hi, dots)
        first, last = bottom, top
        if before is not None:
            first, last = min(first, before[1] + 1), max(last, before[0] - 1)
        columns.append((1 << last + 1) - (1 << first))
        before = bottom, top
    return columns


def _filled(points: Sequence[Point | None], lo: float, hi: float, dots: int) -> list[int]:
    return [
        (1 << level(point.mean, lo, hi, dots) + 1) - 1 | 1 << level(point.high, lo, hi, dots)
        if point is not None and _known(point)
        else 0
        for point in points
    ]
