"""A grid's lines as strips: runs of one style become one segment, so that few bytes go out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.widgets.cells import fit
from tui.widgets.columns import Cell, Placed, Row
from tui.widgets.glyphs import Glyphs

INDENT = 2


def fold_marker_at(row: Row) -> int:
    """The cell of the line in which the row's fold mark stands."""
    return row.depth * INDENT


def header_strip(placed: Sequence[Placed], sort: tuple[str, bool] | None, glyphs: Glyphs, style: Style) -> Strip:
    """The titles; the sorted column carries an arrow."""
    titles = []
    for each in placed:
        title = each.column.heading
        if sort is not None and sort[0] == each.column.key:
            arrow = glyphs.descending if sort[1] else glyphs.ascending
            title = fit(title, min(len(title), each.width - 1), ellipsis=glyphs.ellipsis) + arrow
        titles.append(fit(title, each.width, each.column.align, glyphs.ellipsis))
    text = " ".join(titles)
    return Strip([Segment(text, style)])


def row_strip(row: Row, placed: Sequence[Placed], glyphs: Glyphs, style_of: Callable[[str], Style]) -> Strip:
    """The whole line of a row, unscrolled; `style_of` gives the style of a token on this line."""
    runs: list[tuple[str, str]] = []
    line_end = placed[-1].x + placed[-1].width if placed else 0
    for position, each in enumerate(placed):
        if row.note is not None and position and each.source >= row.note.start:
            cell = row.note.cell
            runs.append((fit(cell.text, line_end - each.x, "left", glyphs.ellipsis), cell.style))
            break
        text, token = _cell(row, each.source)
        if position == 0:
            text = _first_column(row, text, each.width, glyphs)
        else:
            text = fit(text, each.width, each.column.align, glyphs.ellipsis)
        runs.append((text + " " if position < len(placed) - 1 else text, token))
    return Strip(_merged(runs, style_of))


def _cell(row: Row, index: int) -> Cell:
    cell = row.cells[index]
    text, token = cell if isinstance(cell, Cell) else (cell, "")
    return Cell(text, token or ("stale" if row.dim else ""))


def _first_column(row: Row, text: str, width: int, glyphs: Glyphs) -> str:
    # What lies under another row never folds: its indent is room enough.
    mark = (
        ("" if row.depth else "  ")
        if row.expanded is None
        else f"{glyphs.unfolded if row.expanded else glyphs.folded} "
    )
    prefix = (" " * (row.depth * INDENT) + mark)[:width]
    return prefix + fit(text, width - len(prefix), "left", glyphs.ellipsis)


def _merged(runs: Sequence[tuple[str, str]], style_of: Callable[[str], Style]) -> list[Segment]:
    segments: list[Segment] = []
    last: str | None = None
    for text, token in runs:
        # A blank looks the same in every state colour: it joins the run before it.
        if segments and (token == last or not text.strip()):
            segments[-1] = Segment(segments[-1].text + text, segments[-1].style)
        else:
            segments.append(Segment(text, style_of(token)))
            last = token
    return segments
