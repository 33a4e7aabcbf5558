"""One line of styled texts that repaints only when it says something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.cells import inert
from tui.widgets.columns import Cell

_TOKENS = ("dim", "good", "warn", "bad", "stale", "accent")


class StyledLine(Widget):
    """Shows what `set_cells` is given, cut at its width."""

    DEFAULT_CSS = """
    StyledLine {
        height: 1;
        & > .line--dim { color: $text-muted; }
        & > .line--good { color: $text-success; }
        & > .line--warn { color: $text-warning; }
        & > .line--bad { color: $text-error; text-style: bold; }
        & > .line--stale { color: $text-disabled; }
        & > .line--accent { color: $text-accent; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line--{token}" for token in _TOKENS}

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._cells: tuple[Cell, ...] = ()

    @property
    def text(self) -> str:
        return "".join(cell.text for cell in self._cells)

    def set_cells(self, cells: Sequence[Cell], separator: str = "") -> None:
        """Shows `cells` with `separator` between them."""
        joined: list[Cell] = []
        for cell in cells:
            if joined and separator:
                joined.append(Cell(separator))
            joined.append(cell)
        if tuple(joined) != self._cells:
            self._cells = tuple(joined)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        width, base = self.size.width, self.rich_style
        if y or not self._cells:
            return Strip.blank(width, base)
        segments = []
        for cell in self._cells:
            style = base + self.get_component_rich_style(f"line--{cell.style}", partial=True) if cell.style else base
            segments.append(Segment(inert(cell.text[: width * 4]), style))
        strip = Strip(segments)
        if strip.cell_length > width:
            kept = strip.crop(0, max(0, width - 1))
            strip = Strip.join([kept, Strip([Segment("…", base)])])
        return strip.adjust_cell_length(width, base)
