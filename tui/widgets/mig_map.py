"""The MIG map: GPUs as the slices they are cut into, and beside or above them a plan. Repaints only changed lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rich.cells import cell_len

from tui.widgets.columns import Cell
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.mig_text import Paper
from tui.widgets.sheet import GUTTER, TWO_COLUMNS_FROM, Line, Sheet, cropped
from tui.widgets.wrap import wrapped, wrapped_command

MOST_LINES = 2000
Drawing = Callable[[Paper], Sequence[Line]]
"""Lines for a paper of a given width."""


def nothing(_paper: Paper) -> Sequence[Line]:
    return ()


class MigMap(Sheet):
    """Shows what `draw` is given; keys and colours are those of a sheet."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._main: Drawing = nothing
        self._aside: Drawing = nothing
        self._glyphs: Glyphs = UNICODE

    def draw(self, main: Drawing, aside: Drawing, glyphs: Glyphs) -> None:
        """Shows `main` and, under it or where there is room beside it, `aside`."""
        self._main, self._aside, self._glyphs = main, aside, glyphs
        self._relay()

    def _arranged(self, width: int) -> list[Line]:
        if width < TWO_COLUMNS_FROM:
            paper = self._paper(width)
            left, right = list(self._main(paper)), list(self._aside(paper))
            return [*left, *([()] if left and right else []), *right][:MOST_LINES]
        column = (width - GUTTER) // 2
        paper = self._paper(column)
        return side_by_side(self._main(paper), self._aside(paper), column)[:MOST_LINES]

    def _paper(self, width: int) -> Paper:
        return Paper(width, self._glyphs, partial(wrapped, most=MOST_LINES), wrapped_command)


def side_by_side(left: Sequence[Line], right: Sequence[Line], column: int) -> list[Line]:
    """Two columns of `column` cells."""
    lines: list[Line] = []
    for row in range(max(len(left), len(right))):
        first = cropped(left[row] if row < len(left) else (), column)
        pad = Cell(" " * (column - sum(cell_len(cell.text) for cell in first) + GUTTER))
        lines.append((*first, pad, *(right[row] if row < len(right) else ())))
    return lines
