"""What a grid is made of: columns, rows, cells, and where the columns stand at a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, overload


class Cell(NamedTuple):
    """Text and its style token: "", dim, good, warn, bad, stale or accent."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of fixed width: no value ever changes it, only the terminal's size does."""

    key: str
    title: str
    width: int
    align: Literal["left", "right"] = "left"
    unit: str = ""
    """Shown in the header, once."""
    min_terminal_width: int = 0
    """The column is left out of narrower grids."""
    grow: int = 0
    """Cells it may take of what the others leave."""
    sortable: bool = True

    @property
    def heading(self) -> str:
        return f"{self.title} {self.unit}" if self.unit else self.title


class Note(NamedTuple):
    """One text over the cells from index `start` of the row to the end of the line."""

    start: int
    cell: Cell


@dataclass(frozen=True, slots=True)
class Row:
    """One line. Rows are compared by value; `key` is the identity that the cursor follows."""

    key: str
    cells: tuple[str | Cell, ...]
    depth: int = 0
    expanded: bool | None = None
    """None for a row that cannot be unfolded."""
    dim: bool = False
    """Last values of something that no longer answers: cells without a style are drawn as stale."""
    note: Note | None = None


class LazyRows(Sequence[Row]):
    """Rows that are made when they are looked at: of a thousand, a screen shows fifty.

    `keys` are known at once; `build(index)` makes a row, at most once.
    """

    def __init__(self, keys: Sequence[str], build: Callable[[int], Row]) -> None:
        self.keys = keys
        self._build = build
        self._built: dict[int, Row] = {}

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        row = self._built.get(at)
        if row is None:
            row = self._built[at] = self._build(at)
        return row


def key_at(rows: Sequence[Row], index: int) -> str:
    """The key of a row, without making the row."""
    return rows.keys[index] if isinstance(rows, LazyRows) else rows[index].key


class Placed(NamedTuple):
    """A column at a position. `source` is the index of its cell in a row."""

    column: Column
    source: int
    x: int
    width: int


def place(columns: Sequence[Column], available: int) -> tuple[Placed, ...]:
    """The columns for a grid of `available` cells, one blank between two; spare room goes to the ones that grow."""
    shown = [(index, column) for index, column in enumerate(columns) if available >= column.min_terminal_width]
    spare = available - sum(column.width + 1 for _, column in shown) + 1
    placed, x = [], 0
    for index, column in shown:
        extra = max(0, min(column.grow, spare))
        spare -= extra
        placed.append(Placed(column, index, x, column.width + extra))
        x += column.width + extra + 1
    return tuple(placed)


def diff_span(before: Row, after: Row, placed: Sequence[Placed]) -> tuple[int, int] | None:
    """The cells of the line, from and to, that differ between two rows; None when they look the same."""
    if before == after or not placed:
        return None
    end = placed[-1].x + placed[-1].width
    if (before.depth, before.expanded, before.dim, before.note) != (
        after.depth,
        after.expanded,
        after.dim,
        after.note,
    ):
        return 0, max(end, 1)
    changed = [each for each in placed if before.cells[each.source] != after.cells[each.source]]
    if not changed:
        return None
    return changed[0].x, changed[-1].x + changed[-1].width
