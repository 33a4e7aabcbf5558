"""A live table on the line API: an update repaints the lines whose row changed, and nothing else.

`Grid` keeps the rows it was given, compares the visible ones by value, and refreshes only the span of cells that
differs. The strips are kept by row value. Text goes to the terminal as plain segments, never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.columns import Column, Placed, Row, diff_span, key_at, place
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.strips import fold_marker_at, header_strip, row_strip

HEADER_LINES = 1
_TOKENS = ("dim", "good", "warn", "bad", "stale", "accent")


class Grid(ScrollView, can_focus=True, inherit_bindings=False):
    """Fixed columns, live rows. The first column stays while the others scroll; the cursor follows its row's key."""

    DEFAULT_CSS = """
    Grid {
        background: $background; color: $foreground; scrollbar-size: 1 1; scrollbar-gutter: stable;
        overflow-x: auto; overflow-y: auto;
        & > .grid--header { color: $text-muted; text-style: bold; }
        & > .grid--cursor { background: $block-cursor-background; text-style: $block-cursor-text-style; }
        & > .grid--cursor-blurred { background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style; }
        & > .grid--dim { color: $text-muted; }
        & > .grid--good { color: $text-success; }
        & > .grid--warn { color: $text-warning; }
        & > .grid--bad { color: $text-error; text-style: bold; }
        & > .grid--stale { color: $text-disabled; }
        & > .grid--accent { color: $text-accent; }
        &:ansi > .grid--dim { text-style: dim; }
        &:ansi > .grid--stale { text-style: dim; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "grid--header",
        "grid--cursor",
        "grid--cursor-blurred",
        *(f"grid--{token}" for token in _TOKENS),
    }
    """
    | Class | What it styles |
    | :- | :- |
    | `grid--header` | the column titles |
    | `grid--cursor`, `grid--cursor-blurred` | the selected row, with and without focus |
    | `grid--good` and the other tokens | the text of a cell with that style token |
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False, id="grid.up"),
        Binding("down,j", "cursor(1)", "Down", show=False, id="grid.down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="grid.page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="grid.page_down"),
        Binding("home,g", "edge(0)", "First", show=False, id="grid.first"),
        Binding("end,G", "edge(-1)", "Last", show=False, id="grid.last"),
        Binding("shift+left,H", "columns(-1)", "Columns left", show=False, id="grid.columns_left"),
        Binding("shift+right,L", "columns(1)", "Columns right", show=False, id="grid.columns_right"),
        Binding("enter", "activate", "Open", show=False, id="grid.activate"),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)
    """Index of the selected row; 0 when there are none."""

    @dataclass
    class RowActivated(Message):
        """Enter, or a double click."""

        grid: Grid
        row: Row

        @property
        def control(self) -> Grid:
            return self.grid

    @dataclass
    class RowHighlighted(Message, bubble=True):
        """The cursor is on another row than before; None when there are no rows."""

        grid: Grid
        row: Row | None

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Grid.RowHighlighted)

        @property
        def control(self) -> Grid:
            return self.grid

    @dataclass
    class HeaderClicked(Message):
        """The title of a sortable column was clicked."""

        grid: Grid
        column: str

        @property
        def control(self) -> Grid:
            return self.grid

    @dataclass
    class ColumnsChanged(Message):
        """Another size shows other columns, or makes some wider."""

        grid: Grid

        @property
        def control(self) -> Grid:
            return self.grid

    @dataclass
    class ToggleFold(Message):
        """The fold mark of a row was clicked."""

        grid: Grid
        row: Row

        @property
        def control(self) -> Grid:
            return self.grid

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        glyphs: Glyphs = UNICODE,
        id: str | None = None,  # noqa: A002 - Textual's name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.columns = tuple(columns)
        self.glyphs = glyphs
        self.repaints = 0
        """Refreshes asked for by `set_rows`, for tests and benchmarks."""
        self.moved = False
        """The cursor was moved, other than by rows that came and went."""
        self._grid_rows: Sequence[Row] = ()
        self._cursor_key: str | None = None
        self._placed: tuple[Placed, ...] = place(self.columns, 80)
        self._sort: tuple[str, bool] | None = None
        self._strips: LRUCache[tuple[Row, int], Strip] = LRUCache(1024)
        self._palette: dict[tuple[str, int], Style] = {}

    @property
    def rows(self) -> Sequence[Row]:
        return self._grid_rows

    @property
    def cursor_row(self) -> Row | None:
        return self._grid_rows[self.cursor] if self._grid_rows else None

    @property
    def visible_columns(self) -> tuple[str, ...]:
        """Keys of the columns this width has room for."""
        return tuple(placed.column.key for placed in self._placed)

    def set_rows(self, rows: Sequence[Row], *, at_top: bool = False) -> None:
        """Shows `rows`, repainting what differs. The cursor stays on its row, else on the nearest index; `at_top`: it
        goes to the first row."""
        old, was_visible = self._grid_rows, self._cursor_visible()
        old_cursor, old_top = self.cursor, self.scroll_offset.y
        self._grid_rows = rows
        size = self._content_size()
        if size != self.virtual_size:
            self.virtual_size = size
        self._follow_cursor(was_visible, at_top)
        if self.scroll_offset.y != old_top or not self.is_mounted:
            return  # scrolling repaints everything already
        self._refresh_differences(old, old_cursor)

    def set_sort(self, column: str | None, reverse: bool = False) -> None:
        """Marks the sorted column in the header; sorting is the caller's."""
        sort = None if column is None else (column, reverse)
        if sort != self._sort:
            self._sort = sort
            self.refresh(Region(0, 0, self._width, HEADER_LINES))

    def select(self, key: str) -> bool:
        """Moves the cursor to the row with `key`; False when there is none."""
        index = self._index_of(key)
        if index is None:
            return False
        self.cursor = index
        return True

    # What a frame shows

    def render_line(self, y: int) -> Strip:
        width = self._width
        if y < HEADER_LINES:
            strip = header_strip(self._placed, self._sort, self.glyphs, self._style("header", 0))
            return self._scrolled(strip, width, self._style("header", 0))
        index = y - HEADER_LINES + self.scroll_offset.y
        if index >= len(self._grid_rows):
            return Strip.blank(width, self.rich_style)
        row = self._grid_rows[index]
        state = 0 if index != self.cursor else (2 if self.has_focus else 1)
        strip_key = (row, state)
        known = self._strips.get(strip_key)
        strip = known or row_strip(row, self._placed, self.glyphs, lambda token: self._style(token, state))
        if known is None:
            self._strips[strip_key] = strip
        return self._scrolled(strip, width, self._style("", state))

    def _scrolled(self, strip: Strip, width: int, base: Style) -> Strip:
        offset = self.scroll_offset.x
        if not offset or not self._placed:
            return strip.crop_extend(0, width, base)
        frozen = min(self._placed[0].width + 1, width)
        rest = strip.crop(frozen + offset, offset + width)
        return Strip.join([strip.crop(0, frozen), rest]).extend_cell_length(width, base)

    def _style(self, token: str, state: int) -> Style:
        """The style of a token on a plain (0), selected (1) or selected and focused (2) row."""
        style = self._palette.get((token, state))
        if style is None:
            style = self.rich_style
            if state:
                style += self.get_component_rich_style("grid--cursor" if state == 2 else "grid--cursor-blurred")
            if token:
                style += self.get_component_rich_style(f"grid--{token}", partial=True)
            self._palette[token, state] = style
        return style

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips.clear()
        self._palette.clear()

    # Differences

    def _refresh_differences(self, old: Sequence[Row], old_cursor: int) -> None:
        top, height = self.scroll_offset.y, self._rows_in_view()
        new = self._grid_rows
        for line in range(height):
            index = top + line
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            moved = (index == old_cursor) != (index == self.cursor)
            if before is after and not moved:
                continue
            if moved or before is None or after is None:
                self._refresh_line_span(line, 0, self._width)
                continue
            span = diff_span(before, after, self._placed)
            if span is not None:
                self._refresh_line_span(line, *span)

    def _refresh_line_span(self, line: int, left: int, right: int) -> None:
        """Repaints cells `left` to `right` (of the unscrolled line) of a line below the header."""
        frozen = self._placed[0].width + 1 if self._placed else 0
        if self.scroll_offset.x and right > frozen:
            left = 0 if left < frozen else max(frozen, left - self.scroll_offset.x)
            right -= self.scroll_offset.x
        region = Region(left, line + HEADER_LINES, min(right, self._width) - left, 1)
        if region.width > 0:
            self.repaints += 1
            self.refresh(region)

    def _follow_cursor(self, was_visible: bool, at_top: bool) -> None:
        rows = self._grid_rows
        if not rows or at_top:
            index = 0
        elif self._cursor_key is not None and not (
            self.cursor < len(rows) and key_at(rows, self.cursor) == self._cursor_key
        ):
            found = self._index_of(self._cursor_key)
            index = found if found is not None else min(self.cursor, len(rows) - 1)
        else:
            index = min(self.cursor, len(rows) - 1)
        if index != self.cursor:
            self.set_reactive(Grid.cursor, index)
        if was_visible:
            self._scroll_to_cursor()
        self._announce()

    def _announce(self) -> None:
        row = self.cursor_row
        key = row.key if row else None
        if key != self._cursor_key:
            self._cursor_key = key
            self.post_message(self.RowHighlighted(self, row))

    # Geometry

    @property
    def _width(self) -> int:
        """Without the scrollbar, whose place is kept free even while there is nothing to scroll."""
        return self.scrollable_content_region.width

    def _rows_in_view(self) -> int:
        return max(0, self.scrollable_content_region.height - HEADER_LINES)

    def _content_size(self) -> Size:
        width = self._placed[-1].x + self._placed[-1].width if self._placed else 0
        if width > self._width > 0:
            # As far as the last step sideways, so that no column is left in two behind the first.
            width = next((edge + self._width for edge in self._edges() if edge + self._width >= width), width)
        return Size(width, len(self._grid_rows) + HEADER_LINES)

    def _edges(self) -> list[int]:
        """How far it may be scrolled sideways, so that a whole column stands beside the first."""
        return [0, *(placed.x - self._placed[0].width - 1 for placed in self._placed[2:])]

    def _cursor_visible(self) -> bool:
        return 0 <= self.cursor - self.scroll_offset.y < max(1, self._rows_in_view())

    def _scroll_to_cursor(self) -> None:
        top, height = self.scroll_offset.y, self._rows_in_view()
        if height <= 0:
            return
        target = min(top, self.cursor) if self.cursor < top else max(top, self.cursor - height + 1)
        if target != top:
            self.scroll_to(y=target, animate=False)

    def _index_of(self, key: str) -> int | None:
        rows = self._grid_rows
        return next((index for index in range(len(rows)) if key_at(rows, index) == key), None)

    def set_columns(self, columns: Sequence[Column]) -> None:
        """The same columns with other widths, or shown from other widths on: a row keeps its cells."""
        if tuple(columns) != self.columns:
            self.columns = tuple(columns)
            self._place_columns()

    def on_resize(self, _event: events.Resize) -> None:
        self._place_columns()

    def _place_columns(self) -> None:
        placed = place(self.columns, self._width)
        if placed != self._placed:
            self._placed = placed
            self._strips.clear()
            self.refresh()
            self.post_message(self.ColumnsChanged(self))
        self.virtual_size = self._content_size()
        self._scroll_to_cursor()

    # Input

    def validate_cursor(self, cursor: int) -> int:
        return min(max(cursor, 0), max(0, len(self._grid_rows) - 1))

    def watch_cursor(self, old: int, new: int) -> None:
        self.moved = self.moved or old != new
        for index in (old, new):
            line = index - self.scroll_offset.y
            if 0 <= line < self._rows_in_view():
                self.refresh(Region(0, line + HEADER_LINES, self._width, 1))
        self._scroll_to_cursor()
        self._announce()

    def action_cursor(self, step: int) -> None:
        self.cursor += step

    def action_page(self, direction: int) -> None:
        self.cursor += direction * max(1, self._rows_in_view() - 1)

    def action_edge(self, index: int) -> None:
        self.cursor = 0 if index == 0 else len(self._grid_rows) - 1

    def action_columns(self, direction: int) -> None:
        """Scrolls sideways by one column."""
        edges, here = self._edges(), self.scroll_offset.x
        later = [edge for edge in edges if edge > here]
        sooner = [edge for edge in edges if edge < here]
        target = (later[0] if later else here) if direction > 0 else (sooner[-1] if sooner else 0)
        self.scroll_to(x=target, animate=False)

    def action_activate(self) -> None:
        row = self.cursor_row
        if row is not None:
            self.post_message(self.RowActivated(self, row))

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is None:
            return
        if at.y < HEADER_LINES:
            self._click_header(at.x)
            return
        index = at.y - HEADER_LINES + self.scroll_offset.y
        if index >= len(self._grid_rows):
            return
        self.cursor = index
        row = self._grid_rows[index]
        if row.expanded is not None and at.x == fold_marker_at(row):
            self.post_message(self.ToggleFold(self, row))
        elif event.chain == 2:
            self.post_message(self.RowActivated(self, row))

    def _click_header(self, x: int) -> None:
        frozen = self._placed[0].width + 1 if self._placed else 0
        if x >= frozen:
            x += self.scroll_offset.x
        for placed in self._placed:
            if placed.x <= x <= placed.x + placed.width and placed.column.sortable:
                self.post_message(self.HeaderClicked(self, placed.column.key))
                return
