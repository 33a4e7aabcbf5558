"""Lines of a log as rows of a terminal: time and container before them, wrapped or not, matches marked. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from rich.cells import cell_len, chop_cells

from backends.domain import LogLine
from backends.logs.store import NOTE
from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell

Spans = Callable[[str], Sequence[tuple[int, int]]]
TIME_WIDTH = len("12:34:56.789")
CONTAINER_WIDTH = 16
"""The most cells that the name of a container takes."""
LEAST_TEXT = 20
"""Cells for the text below which the container is left out."""
MATCH, CURRENT = "match", "current"
_LEVEL = re.compile(
    r"\b(?:(?P<bad>fatal|panic|critical|error|err)|(?P<warn>warning|warn))\b|^(?:(?P<kbad>[EF])|(?P<kwarn>W))\d{4} ",
    re.IGNORECASE,
)
LEVEL_CHARACTERS = 160
"""A level stands near the start of a line, as a word or as klog's letter."""


@dataclass(frozen=True, slots=True)
class Look:
    """How lines are shown."""

    width: int
    wrap: bool = False
    timestamps: bool = False
    containers: int = 0
    """Cells for the name of the container; 0: it is not shown."""

    @property
    def margin(self) -> int:
        """Cells before the text."""
        time = TIME_WIDTH + 1 if self.timestamps else 0
        names = self.containers + 1 if self.containers else 0
        return time + (names if self.width - time - names >= LEAST_TEXT else 0)

    @property
    def text_width(self) -> int:
        return max(1, self.width - self.margin)


def prefix(line: LogLine, look: Look) -> list[Cell]:
    """What stands before the text; as wide as `look.margin`."""
    cells = []
    time_cells = TIME_WIDTH + 1 if look.timestamps else 0
    if look.timestamps:
        cells.append(Cell(f"{clock_time(line.at):<{TIME_WIDTH}} ", "dim"))
    if look.margin > time_cells:
        cells.append(Cell(fit(line.container, look.containers) + " ", "accent"))
    return cells


@lru_cache(maxsize=4096)
def clock_time(at: float | None) -> str:
    """`08:31:17.123` in local time; a dash for a line whose time is not known."""
    if at is None:
        return "-"
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:TIME_WIDTH]


def height(line: LogLine, look: Look) -> int:
    """How many rows the line takes."""
    return len(_pieces(_shown(line), look.text_width)) if look.wrap else 1


def row(line: LogLine, look: Look, sub: int, left: int, spans: Spans, *, current: bool = False) -> list[Cell]:
    """Row `sub` of a line; not wrapped, from cell `left` of its text on. `spans` tells what to mark in a text."""
    head = prefix(line, look) if sub == 0 else [Cell(" " * look.margin)] if look.margin else []
    whole = _shown(line)
    text, start = _window(whole, look, sub, left)
    if line.container == NOTE:
        return [*head, Cell(inert(text), "warn")]
    return [*head, *_marked(whole, text, start, level(whole), spans(whole), current=current)]


def _shown(line: LogLine) -> str:
    return f"--- {line.text} ---" if line.container == NOTE else line.text


def level(text: str) -> str:
    """The style token of a line that says in words how bad it is."""
    found = _LEVEL.search(text, 0, LEVEL_CHARACTERS)
    if found is None:
        return ""
    # klog's letter is a capital one: `e1125 ` is a word like any other.
    letter = found["kbad"] or found["kwarn"]
    if letter is not None and not letter.isupper():
        return ""
    return "bad" if found["bad"] or found["kbad"] else "warn"


def _window(text: str, look: Look, sub: int, left: int) -> tuple[str, int]:
    """The part of a text that a row shows, and at which character it begins."""
    if look.wrap:
        pieces = _pieces(text, look.text_width)
        if sub >= len(pieces):
            return "", len(text)
        return pieces[sub], sum(len(piece) for piece in pieces[:sub])
    start = _character_at(text, left)
    # One more than fits tells that there is more; where characters may take no room, four for each cell bound them.
    most = look.text_width + 1 if text.isascii() else look.text_width * 4
    return text[start : start + most], start


def _character_at(text: str, cell: int) -> int:
    """The first character that stands at `cell` or behind it."""
    if cell == 0 or text.isascii():
        return min(cell, len(text))
    cells = 0
    for index, character in enumerate(text):
        if cells >= cell:
            return index
        cells += cell_len(character)
    return len(text)


@lru_cache(maxsize=4096)
def _pieces(text: str, width: int) -> tuple[str, ...]:
    if text.isascii():
        return tuple(text[at : at + width] for at in range(0, len(text), width)) or ("",)
    return tuple(chop_cells(text, width)) or ("",)


def _marked(
    line: str, text: str, start: int, style: str, spans: Sequence[tuple[int, int]], *, current: bool
) -> list[Cell]:
    """`text`, which begins at character `start` of `line`, cut at the borders of what matches."""
    cells, at, end = [], start, start + len(text)
    for index in range(bisect_right(spans, start, key=_end), len(spans)):
        first, last = max(spans[index][0], at), min(spans[index][1], end)
        if first >= last:
            break
        if first > at:
            cells.append(Cell(inert(line[at:first]), style))
        cells.append(Cell(inert(line[first:last]), CURRENT if current else MATCH))
        at = last
    if at < end or not cells:
        cells.append(Cell(inert(line[at:end]), style))
    return cells


def _end(span: tuple[int, int]) -> int:
    return span[1]
