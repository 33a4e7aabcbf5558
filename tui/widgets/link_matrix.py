"""How near every two devices are, as a square on the line API: full words where they fit, else two letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import UNICODE, Glyphs

_TOKENS = ("dim", "good", "warn", "bad", "stale", "accent")
SHORT: dict[str, str] = {"PIX": "PI", "PXB": "PX", "PHB": "PH", "NODE": "ND", "SYS": "SY", "n/a": "?"}
"""Words of `nvidia-smi topo -m` in two letters; NV18 is 18, and X a dot."""
_NVLINK = re.compile(r"NV(\d+)")
_LABEL = re.compile(r"([A-Z])[A-Z]*(\d+)")
WIDE_CELL, NARROW_CELL = 5, 3
NOTHING = Cell("")
SIDE_GAP = 2


@dataclass(frozen=True, slots=True)
class MatrixRow:
    label: str
    """GPU0 or NIC0."""
    name: str
    """What stands behind the label where there is room: mlx5_0."""
    cells: tuple[Cell, ...]
    """One per row, in the order of the rows."""
    side: Cell = NOTHING
    """What else is known of the device; shown where the terminal is wide."""


class LinkMatrix(Widget):
    """Shows what `set_rows` is given, as high as its rows are; its container scrolls."""

    DEFAULT_CSS = """
    LinkMatrix {
        width: 1fr; height: 1; background: $background; color: $foreground;
        & > .matrix--head { color: $text-muted; text-style: bold; }
        & > .matrix--chosen { color: $text-accent; text-style: bold; }
        & > .matrix--dim { color: $text-muted; }
        & > .matrix--good { color: $text-success; }
        & > .matrix--warn { color: $text-warning; }
        & > .matrix--bad { color: $text-error; text-style: bold; }
        & > .matrix--stale { color: $text-disabled; }
        & > .matrix--accent { color: $text-accent; }
        &:ansi > .matrix--dim { text-style: dim; }
        &:ansi > .matrix--stale { text-style: dim; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "matrix--head",
        "matrix--chosen",
        *(f"matrix--{token}" for token in _TOKENS),
    }
    """`matrix--head` the labels, `matrix--chosen` those of the chosen device, and one class per style token."""

    def __init__(self, *, glyphs: Glyphs = UNICODE, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.glyphs = glyphs
        self._matrix_rows: tuple[MatrixRow, ...] = ()
        self._chosen: str | None = None
        self._first_cell = 0
        self._palette: dict[str, Style] = {}

    @property
    def text_lines(self) -> list[str]:
        """What the matrix says, line by line, whether in view or not."""
        return ["".join(cell.text for cell in self._line(y)).rstrip() for y in range(len(self._matrix_rows) + 2)]

    def set_rows(self, rows: Sequence[MatrixRow], chosen: str | None = None) -> None:
        """Shows `rows`, with the label `chosen` marked; a line that stays the same is not repainted."""
        before = [self._line(y) for y in range(len(self._matrix_rows) + 2)]
        self._matrix_rows, self._chosen = tuple(rows), chosen
        self._first_cell = min(self._first_cell, self._last_first_cell())
        self._fit_height()
        after = [self._line(y) for y in range(len(self._matrix_rows) + 2)]
        for y, line in enumerate(after):
            if y >= len(before) or before[y] != line:
                self.refresh(Region(0, y, self.size.width, 1))

    def _fit_height(self) -> None:
        """The head, the rows, and the legend where there is one."""
        height = 1 + len(self._matrix_rows) + bool(self._legend()) if self._matrix_rows else 0
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    def scroll_cells(self, step: int) -> None:
        """Moves the columns by `step` where they do not all fit; the labels stay."""
        first = min(max(0, self._first_cell + step), self._last_first_cell())
        if first != self._first_cell:
            self._first_cell = first
            self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        self._first_cell = min(self._first_cell, self._last_first_cell())
        self._fit_height()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        segments = [Segment(cell.text, self._style(cell.style)) for cell in self._line(y)]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette.clear()

    # What a line holds

    def _line(self, y: int) -> list[Cell]:
        rows = self._matrix_rows
        if y == 0:
            return self._head()
        if y <= len(rows):
            return self._row(rows[y - 1])
        return self._legend() if y == len(rows) + 1 and rows else []

    @property
    def _wide(self) -> bool:
        return 5 + len(self._matrix_rows) * WIDE_CELL <= self.size.width

    @property
    def _cell_width(self) -> int:
        return WIDE_CELL if self._wide else NARROW_CELL

    @property
    def _label_width(self) -> int:
        """With the names behind the labels where all of it fits."""
        names = max((len(row.name) + 1 for row in self._matrix_rows if row.name), default=0)
        if self._wide and names and 5 + names + len(self._matrix_rows) * WIDE_CELL <= self.size.width:
            return 5 + names
        return 5 if self._wide else NARROW_CELL + any(len(row.label) > 4 for row in self._matrix_rows)

    def _fitting(self) -> int:
        return max(1, (self.size.width + 1 - self._label_width) // self._cell_width)

    def _last_first_cell(self) -> int:
        return max(0, len(self._matrix_rows) - self._fitting())

    def _shown(self) -> range:
        return range(self._first_cell, min(len(self._matrix_rows), self._first_cell + self._fitting()))

    def _head(self) -> list[Cell]:
        cells = [Cell(" " * self._label_width)]
        for index in self._shown():
            row = self._matrix_rows[index]
            style = "chosen" if row.label == self._chosen else "head"
            # Of N10 the letter goes: a column is two cells and a blank.
            head = self._label(row.label) if self._wide else self._label(row.label)[-2:]
            cells.append(Cell(fit(head, self._cell_width, ellipsis=self.glyphs.ellipsis), style))
        side = max((len(row.side.text) for row in self._matrix_rows), default=0)
        if side and self._room_for_side(side):
            cells.append(Cell(" " * SIDE_GAP))
        return cells

    def _row(self, row: MatrixRow) -> list[Cell]:
        label = self._label(row.label)
        if self._label_width > 5 and row.name:
            label = f"{label:<5}{row.name}"
        style = "chosen" if row.label == self._chosen else "head"
        cells = [Cell(fit(label, self._label_width, ellipsis=self.glyphs.ellipsis), style)]
        for index in self._shown():
            text, look = row.cells[index]
            # The mark tells without a colour that something is missing there.
            word = self._word(text) + ("!" if look == "bad" else "")
            cells.append(Cell(fit(word, self._cell_width, ellipsis=self.glyphs.ellipsis), look))
        if row.side.text and self._room_for_side(len(row.side.text)):
            cells.append(Cell(" " * SIDE_GAP + row.side.text, row.side.style))
        return cells

    def _room_for_side(self, width: int) -> bool:
        return self._label_width + len(self._matrix_rows) * self._cell_width + SIDE_GAP + width <= self.size.width

    def _label(self, label: str) -> str:
        match = _LABEL.fullmatch(label)
        return label if self._wide or match is None else f"{match[1]}{match[2]}"

    def _word(self, text: str) -> str:
        if text == "X":
            return self.glyphs.dot
        if self._wide:
            return text
        match = _NVLINK.fullmatch(text)
        return match[1] if match else SHORT.get(text, text)

    def _legend(self) -> list[Cell]:
        """The words behind the letters that are in sight; and that there is more to the side."""
        words = dict.fromkeys(cell.text for row in self._matrix_rows for cell in row.cells if cell.text != "X")
        said = [] if self._wide else [f"{self._word(word)} {word}" for word in words]
        shown = self._shown()
        if len(shown) < len(self._matrix_rows):
            said.insert(0, f"columns {shown.start + 1}-{shown.stop} of {len(self._matrix_rows)}: H L")
        return [Cell(fit("  ".join(said), self.size.width, ellipsis=self.glyphs.ellipsis), "dim")] if said else []

    def _style(self, token: str) -> Style:
        style = self._palette.get(token)
        if style is None:
            style = self.rich_style
            if token:
                style += self.get_component_rich_style(f"matrix--{token}", partial=True)
            self._palette[token] = style
        return style
