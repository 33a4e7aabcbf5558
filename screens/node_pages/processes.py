"""All GPU processes of the node: whose, where, since when, in which container."""

from __future__ import annotations

from dataclasses import replace

from rich.text import Text
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from backends.domain import NodeState
from screens.node_pages.view import NodePage, NodeView
from screens.process_rows import COLUMNS, DESCENDING, SORTABLE, Listed, Order, details, empty_text, listed, process_row
from screens.process_rows import summary as summary_of
from tui.widgets.columns import LazyRows
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine

DETAILS = ("processes-where", "processes-container", "processes-command")


class ProcessesPage(NodePage):
    """The selection follows its process wherever it moves."""

    DEFAULT_CSS = """
    ProcessesPage {
        layout: vertical;
        & Grid { height: 1fr; }
        & #processes-empty { height: 1fr; display: none; color: $text-muted; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self._view: NodeView | None = None
        self._listed: dict[str, Listed] = {}

    def compose(self) -> ComposeResult:
        yield StyledLine(id="processes-summary")
        yield Grid(COLUMNS, id="processes-grid")
        yield Static(id="processes-empty", markup=False)
        for name in DETAILS:
            yield StyledLine(id=name)

    @property
    def grid(self) -> Grid:
        return self.query_one(Grid)

    @property
    def focus_target(self) -> Widget | None:
        return self.grid if self.grid.display else None

    def show_node(self, view: NodeView) -> None:
        self._view = view
        if self.is_mounted:
            self._show()

    def _show(self) -> None:
        view = self._view
        if view is None:
            return
        node, stale = view.reading.node, view.reading.state is not NodeState.LIVE
        found = [] if node is None else listed(node, self.order)
        self._listed = {each.key: each for each in found}
        # Ages are counted on the clock that told the starts, and stand still with the last reading.
        at = view.reading.at if stale and view.reading.at is not None else view.now
        now = at + ((node.clock_skew_seconds or 0.0) if node is not None else 0.0)
        self.grid.glyphs = view.glyphs
        self.grid.set_sort(self.order.column, self.order.reverse)
        self.grid.set_rows(LazyRows([each.key for each in found], lambda index: process_row(found[index], now, stale)))
        self.query_one("#processes-summary", StyledLine).set_cells(
            [] if node is None else summary_of(node, found, view.glyphs), separator="  "
        )
        self._show_empty("" if found else empty_text(node))
        self._show_details()

    def _show_empty(self, text: str) -> None:
        empty = self.query_one("#processes-empty", Static)
        if text and self.grid.has_focus:
            self.screen.focus_previous()  # a hidden list would keep the keys
        self.grid.display, empty.display = not text, bool(text)
        if str(empty.content) != text:
            empty.update(Text(text))

    def _show_details(self) -> None:
        row = self.grid.cursor_row
        each = None if row is None else self._listed.get(row.key)
        for name, cells in zip(DETAILS, details(each), strict=True):
            self.query_one(f"#{name}", StyledLine).set_cells(cells)

    # Actions

    def action_sort_next(self) -> None:
        self._step_sort(1)

    def action_sort_previous(self) -> None:
        self._step_sort(-1)

    def action_reverse(self) -> None:
        self._sort(replace(self.order, column=self.order.column or "gpu", reverse=not self.order.reverse))

    def action_unsort(self) -> None:
        self._sort(Order())

    def _step_sort(self, step: int) -> None:
        shown = [key for key in SORTABLE if key in self.grid.visible_columns]
        column = self.order.column
        at = shown.index(column) + step if column in shown else (0 if step > 0 else -1)
        chosen = shown[at % len(shown)]
        self._sort(Order(chosen, chosen in DESCENDING))

    def _sort(self, order: Order) -> None:
        self.order = order
        self._show()

    # The list's own messages end here: the screen's are about its list of GPUs.

    def on_grid_row_highlighted(self, event: Grid.RowHighlighted) -> None:
        event.stop()
        self._show_details()

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        event.stop()

    def on_grid_header_clicked(self, event: Grid.HeaderClicked) -> None:
        event.stop()
        if event.column == self.order.column:
            self.action_reverse()
        else:
            self._sort(Order(event.column, event.column in DESCENDING))

    def on_grid_columns_changed(self, event: Grid.ColumnsChanged) -> None:
        event.stop()
