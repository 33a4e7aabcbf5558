"""A page of titled sections on the line API: values in place, one or two columns, only changed lines repainted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell
from tui.widgets.wrap import wrapped

Line = tuple[Cell, ...]
TWO_COLUMNS_FROM = 112
GUTTER = 3
_TOKENS = ("dim", "good", "warn", "bad", "stale", "accent", "title")


@dataclass(frozen=True, slots=True)
class Prose:
    """A sentence: folded at the width there is."""

    text: str
    style: str = ""
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """A title and its lines; each line is a sequence of styled texts, or a sentence."""

    title: str
    lines: tuple[Line | Prose, ...]


def arrange(sections: Sequence[Section], width: int) -> list[Line]:
    """The sections as lines of at most `width` cells: under each other, or in two columns where there is room."""
    one = width < TWO_COLUMNS_FROM
    blocks = [_block(section, width if one else (width - GUTTER) // 2) for section in sections if section.lines]
    if one:
        return [line for block in blocks for line in block]
    left: list[Line] = []
    right: list[Line] = []
    half = sum(len(block) for block in blocks) / 2
    for block in blocks:
        # In order: the left column is full before the right one begins, so that no section hops between them.
        (left if len(left) + len(block) / 2 <= half and not right else right).extend(block)
    column = (width - GUTTER) // 2
    lines: list[Line] = []
    for row in range(max(len(left), len(right))):
        first = cropped(left[row] if row < len(left) else (), column)
        pad = Cell(" " * (column - sum(cell_len(cell.text) for cell in first) + GUTTER))
        lines.append((*first, pad, *(right[row] if row < len(right) else ())))
    return lines


def _block(section: Section, width: int) -> list[Line]:
    lines: list[Line] = [(Cell(section.title, "title"),)]
    for line in section.lines:
        if isinstance(line, Prose):
            margin = Cell(" " * (2 + line.indent))
            lines += [(margin, Cell(text, line.style)) for text in wrapped(line.text, width - 2 - line.indent)]
        else:
            lines.append((Cell("  "), *line))
    return [*lines, ()]


def cropped(line: Line, width: int) -> Line:
    """The line in at most `width` cells."""
    kept: list[Cell] = []
    left = width
    for cell in line:
        text = inert(cell.text[: width * 4])
        used = cell_len(text)
        if used > left:
            if left > 0:
                kept.append(Cell(fit(text, left), cell.style))
            break
        kept.append(Cell(text, cell.style))
        left -= used
    return tuple(kept)


class Sheet(ScrollView, can_focus=True):
    """Shows what `set_sections` is given; `whole` in a container that scrolls: it is as high as what it says."""

    DEFAULT_CSS = """
    Sheet {
        background: $background; color: $foreground; scrollbar-size: 1 1; scrollbar-gutter: stable;
        overflow-x: hidden; overflow-y: auto;
        &.-whole { height: 1; overflow-y: hidden; scrollbar-gutter: auto; }
        & > .sheet--title { color: $text-accent; text-style: bold; }
        & > .sheet--dim { color: $text-muted; }
        & > .sheet--good { color: $text-success; }
        & > .sheet--warn { color: $text-warning; }
        & > .sheet--bad { color: $text-error; text-style: bold; }
        & > .sheet--stale { color: $text-disabled; }
        & > .sheet--accent { color: $text-accent; }
        &:ansi > .sheet--dim { text-style: dim; }
        &:ansi > .sheet--stale { text-style: dim; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"sheet--{token}" for token in _TOKENS}
    """`sheet--title` and one class per style token."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "Up", show=False, id="sheet.up"),
        Binding("down,j", "scroll_down", "Down", show=False, id="sheet.down"),
        Binding("home,g", "scroll_home", "Top", show=False, id="sheet.top"),
        Binding("end,G", "scroll_end", "Bottom", show=False, id="sheet.bottom"),
    ]

    def __init__(self, *, whole: bool = False, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes="-whole" if whole else None)
        self.can_focus = not whole
        self._whole = whole
        self._sections: tuple[Section, ...] = ()
        self._sheet_lines: list[Line] = []
        self._palette: dict[str, Style] = {}

    @property
    def text_lines(self) -> list[str]:
        """What the page says, line by line, whether in view or not."""
        return ["".join(cell.text for cell in line).rstrip() for line in self._sheet_lines]

    def set_sections(self, sections: Sequence[Section]) -> None:
        """Shows `sections`; a line that stays the same is not repainted."""
        self._sections = tuple(sections)
        self._relay()

    def _arranged(self, width: int) -> list[Line]:
        """What the page says, as lines of at most `width` cells."""
        return arrange(self._sections, width)

    def _relay(self) -> None:
        old = self._sheet_lines
        self._sheet_lines = self._arranged(self.scrollable_content_region.width)
        self._fit_virtual_size()
        top = self.scroll_offset.y
        for y in range(self.size.height):
            before = old[top + y] if top + y < len(old) else None
            after = self._sheet_lines[top + y] if top + y < len(self._sheet_lines) else None
            if before != after:
                self.refresh(Region(0, y, self.scrollable_content_region.width, 1))

    def on_resize(self, _event: events.Resize) -> None:
        self._sheet_lines = self._arranged(self.scrollable_content_region.width)
        self._fit_virtual_size()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width, base = self.scrollable_content_region.width, self.rich_style
        index = y + self.scroll_offset.y
        if index >= len(self._sheet_lines):
            return Strip.blank(width, base)
        cells = cropped(self._sheet_lines[index], width)
        segments = [Segment(cell.text, self._style(cell.style)) for cell in cells]
        return Strip(segments).adjust_cell_length(width, base)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._palette.clear()

    def _fit_virtual_size(self) -> None:
        size = Size(self.scrollable_content_region.width, len(self._sheet_lines))
        if size != self.virtual_size:
            self.virtual_size = size
        if self._whole:
            self.styles.height = max(1, size.height)

    def _style(self, token: str) -> Style:
        style = self._palette.get(token)
        if style is None:
            style = self.rich_style
            if token:
                style += self.get_component_rich_style(f"sheet--{token}", partial=True)
            self._palette[token] = style
        return style
