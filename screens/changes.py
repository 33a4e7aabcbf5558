"""The changes of the site: the one that runs, step by step, and the former ones with what can be done about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Protocol, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.timer import Timer

from backends.changes.desk import LIST_SECONDS, ChangeDesk
from backends.changes.desk_view import DeskView
from backends.changes.former import status_word, step_place
from backends.changes.record import ChangeRecord
from backends.domain import plural
from backends.feed import Topic
from screens.change_fields import CHANGE_FIELDS, ChangeItem, change_subject
from screens.changes_rows import COLUMNS, change_rows, change_sections, unreadable_sections
from tui.actions import Action, keys_of
from tui.chrome.footer import Footer
from tui.live import LiveScreen
from tui.widgets.change_dialog import folded
from tui.widgets.columns import Cell
from tui.widgets.filter import Filter, parse, shortened
from tui.widgets.filter.fields import FieldTable
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine
from tui.widgets.sheet import Section, Sheet

OFFERED = frozenset({"stop", "resume", "undo", "abandon"})
"""Actions that depend on the change that is chosen."""
COUNT_SECONDS = 1.0


class Changer(Protocol):
    @property
    def desk(self) -> ChangeDesk | None: ...

    def open_screen(self, chosen: str | None = None) -> None:
        """Shows the changes, that one chosen."""
        ...

    def again(self, record: ChangeRecord, what: str) -> None:
        """Asks about resume, undo or abandon, and does it."""
        ...


class ChangesApp(Protocol):
    """What this screen needs of the application."""

    @property
    def changing(self) -> Changer: ...

    @property
    def remapped(self) -> dict[str, str]: ...


BEGINNINGS = (
    ("triage.change", "d", "a finding of the triage"),
    ("stack.actions", "a", "a node of the stack"),
    ("node.mig_apply", "A", "a layout on a node's MIG page"),
)
"""Action that begins a change, its key, where it stands."""


def no_changes(remapped: Mapping[str, str], width: int) -> list[Section]:
    """What will stand here, and how a change is begun."""
    keys = "; ".join(f"{remapped.get(action, key)} on {place}" for action, key, place in BEGINNINGS)
    window = remapped.get("app.write_window", "w").partition(",")[0]
    said = f"Each step of a change is kept here, and what can be undone. One begins with {keys}. {window} opens the "
    return [Section("No change was made yet", tuple(folded(said + "write window, without which nothing is.", width)))]


class ChangesScreen(LiveScreen):
    """Opened with the id of a change, that one is chosen."""

    CSS_PATH = "changes.tcss"
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-narrow"), (130, "-wide")]  # noqa: RUF012 - Textual declares it so
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("changes.stop", "x", "Stop", "Wait for no effect, and stop before the next step", group="Changes"),
        Action("changes.resume", "r", "Resume", "Go on with the chosen change", group="Changes"),
        Action("changes.undo", "u", "Undo", "Take back what the chosen change has done", group="Changes"),
        Action("changes.abandon", "a", "Abandon", "Close the chosen change without touching anything", group="Changes"),
    )

    def __init__(self, chosen: str | None = None) -> None:
        super().__init__()
        self._chosen = chosen
        self.filter_text = ""
        self._match = Filter()
        self._told_offers: frozenset[str] | None = None
        """What the footer offers."""
        self._counting: Timer | None = None
        self._since = float("-inf")
        """When the screen was last opened, seconds since the epoch."""

    def compose(self) -> ComposeResult:
        yield StyledLine(id="changes-summary")
        with Container(id="changes-body"):
            yield Grid(COLUMNS, glyphs=self.glyphs, id="changes-grid")
            yield Sheet(id="changes-sheet")

    @property
    def desk(self) -> ChangeDesk | None:
        return cast(ChangesApp, self.app).changing.desk

    def topics(self) -> Iterable[Topic[Any]]:
        return () if self.desk is None else (self.desk.view, self.desk.running)

    def crumbs(self) -> tuple[str, ...]:
        return ("", "Changes")

    def on_mount(self) -> None:
        self.query_one(Grid).focus()

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._draw_if_mounted)

    def _draw_if_mounted(self) -> None:
        if self.is_mounted:
            self.show()

    def on_screen_resume(self) -> None:
        """What was listed before may be over by now: it is read again, and offers nothing so long."""
        self._since = self.clock.now()
        if self._is_former:
            self.run_worker(self._look_again(), exit_on_error=False, description="read the journals again")

    async def _look_again(self) -> None:
        if self.desk is not None:
            await self.desk.look_again()

    @property
    def _is_former(self) -> bool:
        """The listing is of before the screen was opened."""
        reading = None if self.desk is None else self.desk.view.reading
        return reading is not None and reading.at is not None and reading.at < self._since - LIST_SECONDS

    # What is known

    @property
    def view(self) -> DeskView | None:
        """The listing, with the running change of this console as it is this moment; None before the first reading."""
        if self.desk is None or self.desk.view.reading.value is None:
            return None
        view, live = self.desk.view.reading.value, self.desk.running.reading.value
        if live is None:
            return view
        records = tuple(live if each.id == live.id and each.events <= live.events else each for each in view.records)
        if all(each.id != live.id for each in records):
            records = (live, *records)  # it has just begun
        return replace(view, records=records)

    @property
    def record(self) -> ChangeRecord | None:
        """The chosen change."""
        row, view = self.query_one(Grid).cursor_row, self.view
        if row is None or view is None:
            return None
        return next((each for each in view.records if each.id == row.key), None)

    def show(self) -> None:
        """Draws what the desk knows now."""
        grid, view = self.query_one(Grid), self.view
        if view is not None:
            grid.set_rows(change_rows(self._narrowed(view), self.glyphs))
            if self._chosen is not None and grid.select(self._chosen):
                self._chosen = None
        self._show_summary(view)
        self._show_chosen(view)
        self._count_down()

    def _count_down(self) -> None:
        """Draws again in a second while the time that an effect is waited for runs."""
        live = None if self.desk is None else self.desk.running.reading.value
        if live is not None and live.waits_until is not None and self._counting is None:
            self._counting = self.set_timer(COUNT_SECONDS, self._counted)

    def _counted(self) -> None:
        self._counting = None
        self._changed(None)

    # Filter

    @property
    def filter_fields(self) -> FieldTable:
        return CHANGE_FIELDS

    @property
    def filter_found(self) -> bool:
        return self.query_one(Grid).cursor_row is not None

    def filter_values(self, field: str) -> Iterable[str]:
        """The people and targets there are."""
        records = () if self.view is None else self.view.records
        values = {
            "who": [each.actor.label for each in records],
            "target": [target for each in records for target in each.targets],
        }
        return dict.fromkeys(values.get(field, ()))

    def apply_filter(self, text: str) -> None:
        """Narrows the list to what `text` matches; raises FilterError, and the filter before stays in force."""
        self._match = parse(text, CHANGE_FIELDS, self.saved_filters)
        self.filter_text = text.strip()
        self.show()

    def _narrowed(self, view: DeskView) -> DeskView:
        """What the filter leaves of the list; journals that cannot be read stay: nobody knows what they hold."""
        if not self.filter_text:
            return view
        now = self.clock.now()
        kept = [
            record
            for record in view.records
            if self._match.matches(change_subject(ChangeItem(record, view.is_running(record), now)))
        ]
        return replace(view, records=tuple(kept))

    def _show_summary(self, view: DeskView | None) -> None:
        line = self.query_one("#changes-summary", StyledLine)
        if view is None:
            error = self.desk.view.reading.error if self.desk is not None else None
            line.set_cells([Cell(f" {error.message}", "bad") if error else Cell(" reading the journals ...", "dim")])
            return
        open_ones = () if self._is_former else view.left_open
        cells = [Cell(f" {plural(len(view.records), 'change')}")]
        if self.filter_text:
            left = len(self._narrowed(view).records)
            of = f" {left} of {plural(len(view.records), 'change')} match "
            cells = [Cell(of), Cell(f"/{shortened(self.filter_text)}/", "accent")]
        if self._is_former:
            cells.append(Cell("  reading the journals again ...", "dim"))
        if open_ones:
            cells.append(Cell(f"  {self.glyphs.bad} {len(open_ones)} not brought to an end", "bad"))
        if view.unreadable:
            cells.append(Cell(f"  {self.glyphs.bad} {len(view.unreadable)} unreadable", "bad"))
        if view.held.alive and view.held.owner is not None:
            owner = view.held.owner
            record = next((each for each in view.records if view.is_running(each)), None)
            # The lock tells its step with each heartbeat only; the journal is never behind.
            word = "running" if record is None else status_word(record, running=True)
            place = owner.step if record is None else step_place(record)
            cells.append(Cell(f"  {self.glyphs.note} {word}: {owner.who}, {place}", "accent"))
        line.set_cells(cells)

    def _show_chosen(self, view: DeskView | None) -> None:
        offered = self._offered
        if offered != self._told_offers:
            self._told_offers = offered
            self.refresh_bindings()
            for footer in self.query(Footer):
                footer.repaint_line()
        sheet, row = self.query_one(Sheet), self.query_one(Grid).cursor_row
        width = max(20, sheet.scrollable_content_region.width - 3)
        if view is None or row is None:
            nothing_yet = view is not None and not self.filter_text
            sheet.set_sections(no_changes(cast(ChangesApp, self.app).remapped, width) if nothing_yet else [])
            return
        record = self.record
        if record is not None:
            keys = {action.id.partition(".")[2]: self._keys(action) for action in self.ACTIONS}
            sheet.set_sections(change_sections(record, view, width, self.clock.now(), keys, self.glyphs))
            return
        broken = next((each for each in view.unreadable if f"!{each.path.name}" == row.key), None)
        sheet.set_sections([] if broken is None else unreadable_sections(broken, width))

    def _keys(self, action: Action) -> str:
        return keys_of(action, cast(ChangesApp, self.app).remapped)

    def on_grid_row_highlighted(self, event: Grid.RowHighlighted) -> None:
        event.stop()
        self._show_chosen(self.view)
        self.query_one(Sheet).scroll_home(animate=False)

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        event.stop()
        self.query_one(Sheet).focus()

    # What is done

    @property
    def _offered(self) -> frozenset[str]:
        """Names of the actions that are possible now: those of the chosen change, and the stop of the running one."""
        record, view, desk = self.record, self.view, self.desk
        possible = () if record is None or view is None or self._is_former else view.offers(record)
        return frozenset((*possible, "stop") if desk is not None and desk.busy else possible)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in OFFERED and self.is_mounted:
            return action in self._offered
        return super().check_action(action, parameters)

    def action_stop(self) -> None:
        desk = self.desk
        if desk is None or not desk.busy:
            self.notify("No change of this console is running.", timeout=3, markup=False)
            return
        desk.stop()
        said = "It stops before its next step; the running one is finished, and its effect is not waited for."
        self.notify(said, timeout=4, markup=False)

    def action_resume(self) -> None:
        self._again("resume")

    def action_undo(self) -> None:
        self._again("undo")

    def action_abandon(self) -> None:
        self._again("abandon")

    def _again(self, what: str) -> None:
        record, view = self.record, self.view
        if record is None or view is None:
            return
        if what not in self._offered:
            possible = ", ".join(each for each in view.offers(record) if each in self._offered) or "nothing"
            self.notify(f"{what} is not possible here; possible: {possible}", severity="warning", markup=False)
            return
        cast(ChangesApp, self.app).changing.again(record, what)
