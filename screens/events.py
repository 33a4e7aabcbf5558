"""The event log of the site: XIDs, lost GPUs, nodes that come and go, changes; the newest first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from backends.domain import Fleet
from screens.event_fields import EVENT_FIELDS
from screens.event_rows import AGE_STEP_SECONDS, COLUMNS, EventCache, event_rows, gpu_key_of, shown_events, when
from screens.event_words import what
from tui.actions import Action
from tui.live import LiveScreen
from tui.widgets import units
from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.filter import Filter, parse, shortened
from tui.widgets.filter.lexer import equals
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine

if TYPE_CHECKING:
    from backends.domain import Event
    from backends.feed import Topic
    from screens.changes import ChangesApp
    from tui.widgets.filter.fields import FieldTable


class EventsScreen(LiveScreen):
    """Follows new events while the cursor is on the newest; elsewhere the cursor stays on its event."""

    CSS_PATH = "events.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("events.newest", "n", "Newest", "Go to the newest event, and on with each new one", group="Events"),
        Action("events.only_node", "o", "Only node", "Only the events of the selected node, or all", group="Events"),
    )

    def __init__(self, filter_text: str = "", match: Filter | None = None) -> None:
        """`match` is the filter that `filter_text` means."""
        super().__init__()
        self.opened_filter = filter_text.strip()
        """Going back from it leaves the screen; another filter is ended first."""
        self.filter_text = self.opened_filter
        self._match = match or Filter()
        self._cache = EventCache()
        self._shown: dict[str, Event] = {}

    @classmethod
    def of_node(cls, node: str | None) -> EventsScreen:
        """The log of one node; of the whole site without."""
        if node is None:
            return cls()
        only = equals("node", node)
        return cls(only, parse(only, EVENT_FIELDS))

    def compose(self) -> ComposeResult:
        yield StyledLine(id="events-summary")
        yield Grid(COLUMNS, glyphs=self.glyphs, id="events-grid")
        yield Static(id="events-empty", markup=False)
        yield Static(id="events-detail", markup=False)

    @property
    def grid(self) -> Grid:
        return self.query_one("#events-grid", Grid)

    @property
    def events(self) -> tuple[Event, ...]:
        """All that the site keeps, oldest first."""
        return (self.site.events.reading.value if self.site else None) or ()

    @property
    def fleet(self) -> Fleet:
        return (self.site.fleet.reading.value if self.site else None) or Fleet()

    @property
    def filter_fields(self) -> FieldTable:
        return EVENT_FIELDS

    def topics(self) -> Iterable[Topic[Any]]:
        return () if self.site is None else (self.site.events,)

    def crumbs(self) -> tuple[str, ...]:
        return ("Fleet", "Events")

    def on_mount(self) -> None:
        self.grid.focus()
        self.set_interval(AGE_STEP_SECONDS, self._grow_old)

    def show(self) -> None:
        """Draws the events as they are now; costs what changed."""
        now, grid = self.clock.now(), self.grid
        following = grid.cursor == 0
        self._shown = shown_events(self.events, self._match, now, self._cache)
        grid.set_rows(event_rows(self._shown, now, self.glyphs))
        if following:
            grid.cursor = 0
        self._show_empty()
        self._show_summary()
        self._show_detail()

    def apply_filter(self, text: str) -> None:
        """Narrows the log to what `text` matches; raises FilterError, and the filter before stays in force."""
        self._match = parse(text, EVENT_FIELDS, self.saved_filters)
        self.filter_text = text.strip()
        self.show()

    @property
    def filter_found(self) -> bool:
        return bool(self._shown)

    def filter_values(self, field: str) -> Iterable[str]:
        """The nodes of the site."""
        return [reading.name for reading in self.fleet.nodes] if field == "node" else ()

    # Actions

    def action_newest(self) -> None:
        self.grid.cursor = 0

    def action_only_node(self) -> None:
        event = self._selected()
        if event is not None and not event.node:
            self.notify("This change acts on no node.")
        elif event is not None:
            only = equals("node", event.node)
            self.apply_filter("" if self.filter_text == only else only)

    # Events

    def on_grid_row_activated(self, message: Grid.RowActivated) -> None:
        """To the GPU it is about, or to its node; to the change it tells of."""
        from screens.node import NodeScreen

        message.stop()
        event = self._selected()
        if event is None:
            return
        if event.change is not None:
            cast("ChangesApp", self.app).changing.open_screen(event.change)
            return
        if self.fleet.get(event.node) is None:
            self.notify(f"{inert(event.node)} is not in this site.", markup=False)
            return
        gpu = gpu_key_of(event, self.fleet)
        below = self.app.screen_stack[-2] if len(self.app.screen_stack) > 1 else None
        if isinstance(below, NodeScreen) and below.node_name == event.node:
            below.gpu_key = gpu or below.gpu_key
            self.app.pop_screen()
        else:
            self.app.push_screen(NodeScreen(event.node, gpu))

    def on_grid_row_highlighted(self, message: Grid.RowHighlighted) -> None:
        message.stop()
        self._show_summary()
        self._show_detail()

    # Inside

    def _grow_old(self) -> None:
        if self.is_current:
            self.redraw()

    def _selected(self) -> Event | None:
        row = self.grid.cursor_row
        return None if row is None else self._shown.get(row.key)

    def _show_summary(self) -> None:
        total, above = len(self.events), self.grid.cursor
        cells = [Cell(f"{total} event{'' if total == 1 else 's'}", "" if total else "dim")]
        if self.filter_text:
            shown = f"/{shortened(self.filter_text)}/ shows {len(self._shown)} of {cells[0].text}"
            cells[0] = Cell(shown, "accent")
        if self.site is not None:
            cells.append(Cell(f"since {self._since()}", "dim"))
        if self._shown:
            cells.append(Cell(f"{above} newer above" if above else "follows the newest", "warn" if above else "dim"))
        self.query_one("#events-summary", StyledLine).set_cells(cells, separator="  ")

    def _show_detail(self) -> None:
        """What the row has no room for: the whole text, the day, the identity of the GPU."""
        event, text = self._selected(), Text()
        if event is not None:
            where = event.node if event.gpu_index is None else f"{event.node} GPU {event.gpu_index}"
            since = "" if event.first_at is None else f"{event.count:,} since {units.moment(event.first_at)}"
            of = (event.gpu_uuid, event.pci_bus_id, event.source, event.change)
            known = [units.moment(event.at), where, *of, since]
            text.append(inert("  ".join(each for each in known if each)) + "\n", "dim")
            text.append(inert(what(event)))
        detail = self.query_one("#events-detail", Static)
        if detail.content != text:
            detail.update(text)

    def _show_empty(self) -> None:
        any_rows = bool(self._shown)
        if any_rows and not self.grid.display and self.focused is None:
            self.call_after_refresh(self.grid.focus)  # a hidden widget loses the keys
        self.grid.display = any_rows
        empty = self.query_one("#events-empty", Static)
        empty.display = not any_rows
        text = "" if any_rows else self._empty_text()
        if str(empty.content) != text:
            empty.update(Text(text))

    def _empty_text(self) -> str:
        if self.site is None:
            return getattr(self.app, "site_error", None) or "Opening the site."
        if self.events:
            count = len(self.events)
            return f"Nothing matches /{shortened(self.filter_text)}/ in {count} event{'' if count == 1 else 's'}."
        live = [reading for reading in self.fleet.nodes if reading.node is not None]
        deaf = sum(reading.node.kernel_log is None for reading in live if reading.node)
        said = f"No event since {self._since()}; {len(live)} of {len(self.fleet.nodes)} nodes were read."
        return f"{said}\nThe kernel log of {deaf} may not be read: XIDs come from NVML alone there." if deaf else said

    def _since(self) -> str:
        return when(self.site.listening_since, self.clock.now()) if self.site else ""
