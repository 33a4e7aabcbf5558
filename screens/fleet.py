"""The fleet: every node, its GPUs under it, live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from backends.domain import Fleet
from screens.aggregate import SiteTotals, summary
from screens.cells import ALONE_COLUMNS, COLUMNS
from screens.gpu_items import NO_XIDS, Xids, xids_of
from screens.rows import FleetView, RowCache, fleet_rows, found_of, identity, row_key, without_name
from screens.triage_rows import state_of
from screens.workloads import has_platform, missing, ownership_of, topics_of
from screens.workloads import line as workload_line
from tui.actions import Action
from tui.live import LiveScreen
from tui.widgets.columns import Cell, Column, LazyRows
from tui.widgets.filter import Filter, parse, shortened
from tui.widgets.filter.lexer import equals
from tui.widgets.glyphs import Glyphs
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine

if TYPE_CHECKING:
    from backends.domain import Finding, NodeReading
    from backends.feed import Topic
    from screens.condition import Condition
    from tui.widgets.filter.fields import FieldTable

FOLD_ABOVE_NODES = 12
"""A larger site starts with its nodes folded; a filter opens what it finds."""
SORTABLE = tuple(column.key for column in COLUMNS if column.sortable)


class FleetScreen(LiveScreen):
    """Nodes and GPUs as one grid; the selection follows its node or GPU wherever it moves."""

    CSS_PATH = "fleet.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("fleet.fold", "space", "Fold", "Fold or unfold the selected node", group="Fleet"),
        Action("fleet.fold_in", "left", "Fold", "Fold the selected node, or go to it", show=False, group="Fleet"),
        Action("fleet.fold_out", "right", "Unfold", "Unfold the selected node", show=False, group="Fleet"),
        Action("fleet.fold_all", "z", "Fold all", "Fold or unfold every node", group="Fleet", rank=2),
        Action("fleet.flat", "f", "Flat", "All GPUs in one list, or under their nodes", group="Fleet", rank=2),
        Action("fleet.sort_next", ">", "Sort", "Sort by the next column", group="Fleet"),
        Action("fleet.sort_previous", "<", "Sort back", "Sort by the previous column", show=False, group="Fleet"),
        Action("fleet.reverse", "r", "Reverse", "Turn the order round", group="Fleet", rank=2),
        Action("fleet.unsort", "u", "Unsort", "Back to the order of the configuration", show=False, group="Fleet"),
        Action("fleet.problem", "n", "Next problem", "Select the next row in trouble", group="Fleet"),
        Action("fleet.logs", "l", "Logs", "The log of the work on the GPU or node", show=False, group="Fleet"),
    )

    def __init__(self, node: str | None = None) -> None:
        """Opened narrowed to `node`, which is selected; None shows the whole fleet."""
        super().__init__()
        self.opened_filter = self.filter_text = "" if node is None else equals("node", node)
        self._node = self._to_select = node
        self._view: FleetView | None = None
        self._cache = RowCache()
        self._totals = SiteTotals()
        self._heard: tuple[object, Xids] | None = None
        self._judged: tuple[object, Mapping[str, Condition]] | None = None

    def compose(self) -> ComposeResult:
        yield StyledLine(id="fleet-summary")
        yield Grid(self._columns(), glyphs=self.glyphs, id="fleet-grid")
        yield Static(id="fleet-empty", markup=False)
        yield StyledLine(id="fleet-detail")

    @property
    def grid(self) -> Grid:
        return self.query_one("#fleet-grid", Grid)

    @property
    def fleet(self) -> Fleet:
        """The last good value; empty before the first."""
        return (self.site.fleet.reading.value if self.site else None) or Fleet()

    def topics(self) -> Iterable[Topic[Any]]:
        return () if self.site is None else (self.site.fleet, self.site.triage, *topics_of(self.site))

    def crumbs(self) -> tuple[str, ...]:
        if self.app.screen_stack[0] is self:
            return ("Fleet",)
        return ("", "Fleet") if self._node is None else ("", "Fleet", self._node)

    def on_mount(self) -> None:
        self.grid.focus()

    def show(self) -> None:
        """Draws the fleet as it is now; costs what changed."""
        fleet, view = self.fleet, self._current_view()
        rows = fleet_rows(fleet, self.site.history if self.site else None, self.clock.now(), view, self._cache)
        self.grid.set_columns(self._columns())
        self.grid.set_sort(view.sort, view.reverse)
        self.grid.set_rows(rows)
        if self._to_select is not None and self.grid.select(row_key(self._to_select)):
            self._to_select = None
        self._show_empty(fleet, bool(rows))
        line = [*summary(fleet, self.glyphs, self._totals), *self._missing()]
        if self.filter_text:
            shown = f"/{shortened(self.filter_text)}/ shows {_nodes_shown(rows)} of {line[0].text}"
            line[:2] = [Cell(shown, "accent"), *(Cell(f"{each.text} in all", each.style) for each in line[1:2])]
        self.query_one("#fleet-summary", StyledLine).set_cells(line, separator="  ")
        self._show_detail()

    @property
    def filter_fields(self) -> FieldTable:
        from screens.gpu_fields import GPU_FIELDS

        return GPU_FIELDS

    def apply_filter(self, text: str) -> None:
        """Narrows the fleet to what `text` matches; raises FilterError, and the filter before stays in force."""
        match = self._parsed(text)
        self.filter_text = text.strip()
        self._change(match=match)

    @property
    def filter_found(self) -> bool:
        return bool(self.grid.rows)

    def filter_values(self, field: str) -> Iterable[str]:
        """What the nodes and GPUs say for a field, where that is a short list."""
        gpus = [gpu for reading in self.fleet.nodes if reading.node for gpu in reading.node.gpus]
        match field:
            case "node":
                return [reading.name for reading in self.fleet.nodes]
            case "model":
                return sorted({gpu.name for gpu in gpus if gpu.name})
            case "user":
                return sorted({each.user for gpu in gpus for each in gpu.processes or () if each.user})
        from screens.workload_fields import workload_values

        ownership = ownership_of(self.site)
        return () if ownership is None else workload_values(field, ownership.on_gpus(gpus))

    # Actions

    def action_fold(self) -> None:
        node = self._selected()[0]
        if node is not None:
            self._set_folded(node, node not in self._current_view().folded)

    def action_fold_in(self) -> None:
        node, _ = self._selected()
        if node is not None and self._current_view().layout == "tree":
            self._set_folded(node, True)

    def action_fold_out(self) -> None:
        node = self._selected()[0]
        if node is not None:
            self._set_folded(node, False)

    def action_fold_all(self) -> None:
        names = frozenset(reading.name for reading in self.fleet.nodes)
        node = self._selected()[0]
        if node is not None:
            self.grid.select(row_key(node))
        self._change(folded=frozenset() if self._current_view().folded else names)

    def action_flat(self) -> None:
        self._change(layout="tree" if self._current_view().layout == "flat" else "flat")

    def action_sort_next(self) -> None:
        self._step_sort(1)

    def action_sort_previous(self) -> None:
        self._step_sort(-1)

    def action_reverse(self) -> None:
        view = self._current_view()
        self._change(sort=view.sort or "name", reverse=not view.reverse)

    def action_unsort(self) -> None:
        self._change(sort=None, reverse=False)

    def action_problem(self) -> None:
        """The next row below the cursor, round the end, whose state is bad or a warning or stale."""
        rows, start = self.grid.rows, self.grid.cursor + 1
        state = 1
        for index in [*range(start, len(rows)), *range(min(start, len(rows)))]:
            cell = rows[index].cells[state]
            if isinstance(cell, Cell) and cell.style in ("bad", "warn", "stale"):
                self.grid.cursor = index
                return
        self.notify("No row here is in trouble.", timeout=2)

    def action_logs(self) -> None:
        from screens.logs import open_logs
        from screens.workload_logs import without_log, workload_targets

        node, gpu_key = self._selected()
        reading, site, ownership = self.fleet.get(node or ""), self.site, ownership_of(self.site)
        gpus = reading.node.gpus if reading is not None and reading.node is not None else ()
        chosen = [each for each in gpus if gpu_key in (None, each.key)]
        found = workload_targets(ownership.on_gpus(chosen)) if ownership is not None else []
        if found:
            open_logs(self.app, found[0] if len(found) == 1 else None, found)
        elif site is not None:
            said = without_log(site.spec.platform, ownership, site.ownership.reading.error)
            self.notify(
                said or f"{site.spec.platform} knows of no work here: there is no log.", timeout=4, markup=False
            )

    # Events

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        from screens.node import NodeScreen

        event.stop()
        node, gpu = identity(event.row.key)
        self.app.push_screen(NodeScreen(node, gpu))

    def on_grid_row_highlighted(self, event: Grid.RowHighlighted) -> None:
        event.stop()
        self._show_detail()

    def on_grid_toggle_fold(self, event: Grid.ToggleFold) -> None:
        event.stop()
        self.action_fold()

    def on_grid_header_clicked(self, event: Grid.HeaderClicked) -> None:
        event.stop()
        view = self._current_view()
        if view.sort == event.column:
            self._change(reverse=not view.reverse)
        else:
            self._change(sort=event.column, reverse=_falls(event.column))

    def on_grid_columns_changed(self, event: Grid.ColumnsChanged) -> None:
        event.stop()
        self.show()

    # Inside

    def _current_view(self) -> FleetView:
        if self._view is None and self.fleet.nodes:
            many = len(self.fleet.nodes) > FOLD_ABOVE_NODES
            names = frozenset(reading.name for reading in self.fleet.nodes) if many else frozenset[str]()
            self._view = FleetView(folded=names, match=self._parsed(self.filter_text), glyphs=self.glyphs)
        view = self._view or FleetView(glyphs=self.glyphs)
        trends, xids = "spark" in self.grid.visible_columns, self._xids(view)
        return replace(view, trends=trends, xids=xids, ownership=ownership_of(self.site), found=self._found())

    def _columns(self) -> tuple[Column, ...]:
        return COLUMNS if has_platform(self.site) else ALONE_COLUMNS

    def _missing(self) -> list[Cell]:
        if self.site is None or not has_platform(self.site):
            return []
        reading = self.site.ownership.reading
        return missing(reading.value, reading.error, self.site.spec.platform, self.glyphs)

    def _parsed(self, text: str) -> Filter:
        return parse(text, self.filter_fields, self.saved_filters) if text else Filter()

    def _found(self) -> Mapping[str, Condition]:
        """What the triage makes of the rows; the same object while it says the same."""
        triage = self.site.triage.reading.value if self.site else None
        if triage is None:
            return {}
        if self._judged is None or self._judged[0] is not triage:
            self._judged = (triage, found_of(triage.findings))
        return self._judged[1]

    def _xids(self, view: FleetView) -> Xids:
        """Of the events heard so far, where the filter asks for them; the same object while they are the same."""
        events = self.site.events.reading.value if self.site and "xid" in view.match.fields else None
        if not events:
            return NO_XIDS
        if self._heard is None or self._heard[0] is not events:
            self._heard = (events, xids_of(events))
        return self._heard[1]

    def _change(self, **changes: Any) -> None:
        self._view = replace(self._current_view(), **changes)
        self.show()

    def _step_sort(self, step: int) -> None:
        shown = [key for key in SORTABLE if key in self.grid.visible_columns]
        sort = self._current_view().sort
        at = shown.index(sort) + step if sort in shown else (0 if step > 0 else -1)
        column = shown[at % len(shown)]
        self._change(sort=column, reverse=_falls(column))

    def _set_folded(self, node: str, folded: bool) -> None:
        view = self._current_view()
        if folded:
            self.grid.select(row_key(node))
        self._change(folded=view.folded | {node} if folded else view.folded - {node})

    def _selected(self) -> tuple[str | None, str | None]:
        row = self.grid.cursor_row
        return (None, None) if row is None else identity(row.key)

    def _show_empty(self, fleet: Fleet, any_rows: bool) -> None:
        if any_rows and not self.grid.display and self.focused is None:
            self.call_after_refresh(self.grid.focus)  # a hidden widget loses the keys
        self.grid.display = any_rows
        empty = self.query_one("#fleet-empty", Static)
        empty.display = not any_rows
        if any_rows:
            return
        text = "Nothing to show."
        if self.site is None:
            text = getattr(self.app, "site_error", None) or "Opening the site."
        elif not fleet.nodes:
            text = "No nodes configured: name them in the settings file, or try `gpudeck demo`."
        elif self.filter_text:
            text = f"Nothing matches /{shortened(self.filter_text)}/ in {len(fleet.nodes)} nodes."
        elif self._current_view().layout == "flat":
            text = f"No GPU was read on {len(fleet.nodes)} nodes yet."
        empty.update(Text(text))

    def _show_detail(self) -> None:
        """What the row has no room for: why a node cannot be read and what to do, else the worst that was found."""
        node, gpu_key = self._selected()
        reading = self.fleet.get(node) if node is not None else None
        triage = self.site.triage.reading.value if self.site else None
        finding = worst_of(triage.findings, node, gpu_key) if triage is not None and node is not None else None
        work = self._work(reading, gpu_key)
        self.query_one("#fleet-detail", StyledLine).set_cells(_detail(reading, finding, self.glyphs, work))

    def _work(self, reading: NodeReading | None, gpu_key: str | None) -> list[Cell]:
        """Whose work is on the selected GPU: a narrow terminal has no column for it."""
        ownership = ownership_of(self.site)
        gpus = reading.node.gpus if reading is not None and reading.node is not None else ()
        gpu = next((each for each in gpus if each.key == gpu_key), None)
        if ownership is None or gpu is None:
            return []
        found = ownership.on_gpu(gpu)
        cells = [cell for part in (workload_line(found[0]) if found else ()) for cell in (part, Cell("  "))]
        return [*cells, Cell(f"and {len(found) - 1} more", "dim")] if len(found) > 1 else cells


def worst_of(findings: Iterable[Finding], node: str, gpu_key: str | None) -> Finding | None:
    """The first of `findings`, which come in triage's order, of a row: of the GPU, or of the node and all its GPUs."""
    own = (each for each in findings if each.subject.node == node and gpu_key in (None, each.subject.gpu_key))
    return next(own, None)


def _detail(
    reading: NodeReading | None, finding: Finding | None, glyphs: Glyphs, work: Sequence[Cell] = ()
) -> tuple[Cell, ...]:
    if reading is None:
        return ()
    if reading.problem is not None:
        said = Cell(f"{reading.name}: {without_name(reading.problem.message, reading.name)}", "bad")
        return (said, Cell(f"  {reading.problem.hint}", "dim"))
    if finding is not None:
        return (state_of(finding, glyphs), Cell(f"  {finding.subject.label}: {finding.claim}"))
    if reading.node is not None and reading.node.transport_note:
        return (Cell(f"{reading.name}: {reading.node.transport_note}", "warn"),)
    return tuple(work)


def _nodes_shown(rows: LazyRows) -> int:
    return len({identity(key)[0] for key in rows.keys})


def _falls(column: str) -> bool:
    """Figures are wanted largest first, names from A."""
    return column not in ("name", "user", "workload")
