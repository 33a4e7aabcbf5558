"""Trends and levels drawn with characters, in a stated range: a flat 3 % looks like 3 %."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS = "_.-=+*%#"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def spark(values: Sequence[float | None], width: int, lo: float, hi: float, ascii: bool = False) -> str:  # noqa: A002
    """The last values as one line of exactly `width` cells, newest at the right; a gap is a space.

    More values than cells: each cell shows the highest of its share, so that a spike is never averaged away. `lo` and
    `hi` are the values of the lowest and the full block; what lies outside is clamped.
    """
    if width <= 0:
        return ""
    levels = _ASCII_LEVELS if ascii else _BLOCKS
    scale = (len(levels) - 1) / (hi - lo) if hi > lo else 0.0
    share = max(1, -(-len(values) // width))
    cells = []
    for end in range(len(values), 0, -share):
        seen = [value for value in values[max(0, end - share) : end] if value is not None and isfinite(value)]
        if not seen:
            cells.append(" ")
            continue
        cells.append(levels[round((min(max(*seen, lo), hi) - lo) * scale)])
    return "".join(reversed(cells)).rjust(width)


def meter(percent: float | None, width: int, ascii: bool = False) -> str:  # noqa: A002
    """A bar of exactly `width` cells for 0..100 %; blank when not measured (the figure beside it says n/a)."""
    if width <= 0:
        return ""
    if percent is None or not isfinite(percent):
        return " " * width
    share = min(max(percent, 0.0), 100.0) / 100.0
    if ascii:
        full = round(share * width)
        return "#" * full + "." * (width - full)
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
