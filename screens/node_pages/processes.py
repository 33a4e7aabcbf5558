"""All GPU processes of the node: whose, where, since when, in which container."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Static

from screens.node_pages.view import NodePage, NodeView
from screens.process_rows import (
    ALONE_COLUMNS,
    COLUMNS,
    DESCENDING,
    SORTABLE,
    Listed,
    Order,
    details,
    empty_text,
    listed,
    process_row,
)
from screens.process_rows import summary as summary_of
from screens.workloads import given, missing, routes
from tui.actions import keys_of
from tui.live import LiveScreen
from tui.widgets.columns import Cell, LazyRows
from tui.widgets.filter import Filter, parse, shortened
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine

if TYPE_CHECKING:
    from backends.usage import UsageWatch
    from tui.widgets.filter.fields import FieldTable

DETAILS = ("processes-where", "processes-container", "processes-command")
USAGE = ("processes-held", "processes-moved")
"""Of the container, on a platform that measures it."""


class ProcessesPage(NodePage):
    """The selection follows its process wherever it moves."""

    DEFAULT_CSS = """
    ProcessesPage {
        layout: vertical;
        & Grid { height: 1fr; }
        & #processes-routes { display: none; }
        & #processes-empty { height: 1fr; display: none; color: $text-muted; }
        & #processes-held, & #processes-moved { display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.order = Order()
        self.filter_text = ""
        self._match = Filter()
        self._view: NodeView | None = None
        self._listed: dict[str, Listed] = {}
        self._usage: UsageWatch | None = None

    def compose(self) -> ComposeResult:
        yield StyledLine(id="processes-summary")
        yield Grid(COLUMNS, id="processes-grid")
        yield Static(id="processes-empty", markup=False)
        for name in (*DETAILS, *USAGE):
            yield StyledLine(id=name)
        yield StyledLine(id="processes-routes")

    @property
    def grid(self) -> Grid:
        return self.query_one(Grid)

    @property
    def focus_target(self) -> Widget | None:
        return self.grid if self.grid.display else None

    @property
    def filter_fields(self) -> FieldTable:
        from screens.process_fields import PROCESS_FIELDS

        return PROCESS_FIELDS

    @property
    def filter_found(self) -> bool:
        return bool(self._listed)

    def apply_filter(self, text: str) -> None:
        """Narrows the list to what `text` matches; raises FilterError, and the filter before stays in force."""
        saved = self.screen.saved_filters if isinstance(self.screen, LiveScreen) else {}
        self._match = parse(text, self.filter_fields, saved)
        self.filter_text = text.strip()
        self._show()

    def filter_values(self, field: str) -> Iterable[str]:
        """What the processes listed say for a field, where that is a short list."""
        here = self._listed.values()
        if field == "user":
            return sorted({each.process.user for each in here if each.process.user})
        from screens.workload_fields import workload_values

        return workload_values(field, (each.workload for each in here if each.workload is not None))

    def show_node(self, view: NodeView) -> None:
        self._view = view
        if self.is_mounted:
            self._show()

    def _show(self) -> None:
        view = self._view
        if view is None:
            return
        node, stale = view.reading.node, not view.reading.is_current
        every = [] if node is None else listed(node, self.order, view.ownership)
        # Ages are counted on the clock that told the starts, and stand still with the last reading.
        at = view.reading.at if stale and view.reading.at is not None else view.now
        now = at + ((node.clock_skew_seconds or 0.0) if node is not None else 0.0)
        found = self._matching(every, now)
        self._listed = {each.key: each for each in found}
        self.grid.glyphs = view.glyphs
        self.grid.set_sort(self.order.column, self.order.reverse)
        self.grid.set_columns(ALONE_COLUMNS if view.platform is None else COLUMNS)
        name, ownership = view.reading.name, view.ownership
        self.grid.set_rows(
            LazyRows([each.key for each in found], lambda at: process_row(found[at], name, now, stale, ownership))
        )
        line = [] if node is None else summary_of(node, every, view.glyphs)
        line += missing(view.ownership, view.ownership_problem, view.platform, view.glyphs)
        if self.filter_text:
            line.insert(0, Cell(f"/{shortened(self.filter_text)}/ shows {len(found)} of {len(every)}", "accent"))
        self.query_one("#processes-summary", StyledLine).set_cells(line, separator="  ")
        nothing = f"Nothing matches /{shortened(self.filter_text)}/ here." if every else empty_text(node)
        if node is None and ownership is not None:
            nothing = f"{nothing} {given(ownership, name)}"
        self._show_empty("" if found else nothing)
        self._show_details()

    def _matching(self, every: list[Listed], now: float) -> list[Listed]:
        if not self._match:
            return every
        from screens.process_fields import process_subject

        return [each for each in every if self._match.matches(process_subject(each, now))]

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
        where, *others = details(each)
        if each is not None and each.workload is not None:
            where = (*self._log_key(), *where)
        for name, cells in zip(DETAILS, (where, *others), strict=True):
            self.query_one(f"#{name}", StyledLine).set_cells(cells)
        reached = [] if each is None or each.workload is None else routes(each.workload)
        line = self.query_one("#processes-routes", StyledLine)
        line.display = bool(reached)
        line.set_cells(reached, separator="  ")
        self._measure(each)

    def _measure(self, each: Listed | None) -> None:
        """Has the container of the chosen process measured, and no other."""
        view = self._view
        inside = None if each is None or each.workload is None else each.process.container_id
        if view is not None and inside is not None and isinstance(self.screen, LiveScreen) and self.screen.site:
            from screens.workload_logs import container_target

            target = container_target(view.ownership, inside)
            if self._usage is None:
                from backends.usage import UsageWatch

                self._usage = UsageWatch(self.screen.site.platform.backend, self.screen.clock, self._show_usage)
            self._usage.look_at(None if target is None else target.source)
        elif self._usage is not None:
            self._usage.look_at(None)
        self._show_usage()

    def _show_usage(self) -> None:
        usage, view = self._usage, self._view
        if view is None or not self.is_mounted:
            return
        from screens.usage_rows import usage_lines

        shown = usage is not None and usage.is_offered and usage.source is not None
        lines = usage_lines(usage.value, usage.problem, view.glyphs) if usage is not None and shown else ((), ())
        for name, cells in zip(USAGE, lines, strict=True):
            line = self.query_one(f"#{name}", StyledLine)
            line.display = shown
            line.set_cells(cells)

    def out_of_sight(self) -> None:
        if self._usage is not None:
            self._usage.stop()

    def _log_key(self) -> tuple[Cell, ...]:
        from screens.node_pages import PROCESS_KEYS

        (action,) = (each for each in PROCESS_KEYS if each.id == "node.processes_logs")
        return Cell(keys_of(action, getattr(self.app, "remapped", {})), "accent"), Cell(" its log  ")

    # Actions

    def action_logs(self) -> None:
        from screens.logs import open_logs
        from screens.workload_logs import container_target, process_targets, process_without_log, without_log

        row, view = self.grid.cursor_row, self._view
        each = None if row is None else self._listed.get(row.key)
        if view is None or each is None:
            self.notify("No process is selected.", timeout=2, markup=False)
            return
        target = container_target(view.ownership, each.process.container_id)
        if target is not None:
            here = process_targets((one.process for one in self._listed.values()), view.ownership)
            open_logs(self.app, target, here)
            return
        said = without_log(view.platform, view.ownership, view.ownership_problem)
        said = said or process_without_log(each.process, view.reading.name, view.platform, view.ownership)
        self.notify(said, timeout=4, markup=False)

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
