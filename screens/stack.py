"""The GPU stack: nodes by operands, and the waterfall of the chosen node with what blocks first."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from backends.allocation import InUse, in_use
from backends.domain import Operand, OperandPhase, Stack, StackNode
from backends.feed import Topic
from screens import stack_rows, stack_sheet
from screens.logs_rows import stack_targets
from tui.actions import Action
from tui.chrome.footer import Footer
from tui.live import LiveScreen
from tui.widgets import units
from tui.widgets.columns import Cell, Column, key_at
from tui.widgets.filter import Filter, parse, shortened
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.grid import HEADER_LINES, Grid
from tui.widgets.line import StyledLine
from tui.widgets.sheet import Section, Sheet

if TYPE_CHECKING:
    from backends.changes.change import Change
    from backends.changes.platform_actions import PlatformAction
    from backends.site import Site
    from tui.widgets.filter.fields import FieldTable


ACTIONS_ID = "stack.actions"
NONE_SELECTED = "No node is selected."
SCROLLBAR_LINES = 1


def _columns(stack: Stack) -> tuple[Column, ...]:
    longest = max((cell_len(node.name) for node in stack.nodes), default=0)
    return stack_rows.columns(stack.operands, instances=stack_rows.has_instances(stack), longest=longest)


class Changer(Protocol):
    def plan(self, planned: Callable[[], Awaitable[Change | None]]) -> None:
        """Makes a change, asks about it, and does it."""
        ...


class StackApp(Protocol):
    """What this screen needs of the application."""

    @property
    def changing(self) -> Changer: ...


class StackScreen(LiveScreen):
    """The grid over the sheet; the sheet is about the selected node."""

    CSS_PATH = "stack.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("stack.blocked", "n", "Next blocked", "Select the next node that is not ready", group="Stack"),
        Action(ACTIONS_ID, "a", "Actions", "What can be done to the selected node", group="Stack"),
        Action("stack.node", "o", "Node", "Open the node itself", group="Stack", rank=2),
        Action("stack.logs", "l", "Logs", "The log of what blocks the node, or of one of its operands", group="Stack"),
        Action("stack.switch", "tab", "Switch", "To the waterfall, and back to the list", group="Stack", rank=2),
    )

    def __init__(self, node: str | None = None) -> None:
        """Opened at `node`; None at the first."""
        super().__init__()
        self.filter_text = ""
        self._match = Filter()
        self._made_for: tuple[tuple[Operand, ...], bool] | None = None
        """What the columns of the list were made for: the operands, and whether MIG instances are counted."""
        self._to_select = node
        self._list_height = 0
        """Lines, as far as there is room."""
        self._offered: tuple[PlatformAction, ...] = ()
        """What the platform can do to a node."""
        self._offered_by: Site | None = None

    def compose(self) -> ComposeResult:
        yield StyledLine(id="stack-summary")
        yield Vertical(id="stack-list")
        yield Static(id="stack-empty", markup=False)
        yield Sheet(id="stack-sheet")

    @property
    def glyphs(self) -> Glyphs:
        signs = getattr(self.app, "glyphs", UNICODE)
        return signs if isinstance(signs, Glyphs) else UNICODE

    @property
    def stack(self) -> Stack | None:
        """The last good value; None before the first."""
        return self.site.stack.reading.value if self.site else None

    @property
    def grid(self) -> Grid | None:
        """None while no stack was read: its columns are the operands."""
        return next(iter(self.query(Grid)), None)

    def topics(self) -> Iterable[Topic[Any]]:
        return () if self.site is None else (self.site.stack, self.site.ownership, self.site.fleet)

    def crumbs(self) -> tuple[str, ...]:
        return ("Stack",) if self.app.screen_stack[0] is self else ("", "Stack")

    def show(self) -> None:
        """Draws the stack as it is now; costs what changed."""
        stack = self.stack
        self._show_empty(stack)
        if stack is None:
            return
        if not stack.nodes:
            self._show_summary(stack)
            self._show_node(stack)
            return
        if self._offered_by is not self.site:
            self._offered_by, self._offered = self.site, ()
            self.run_worker(self._ask_platform(), exclusive=True, group="offered", exit_on_error=False)
        made_for = (stack.operands, stack_rows.has_instances(stack))
        if made_for != self._made_for:
            self._made_for = made_for
            self.run_worker(self._make_grid(stack), exclusive=True, group="stack-grid", description="columns")
            return
        grid = self.grid
        if grid is not None:
            stale = self.site is not None and self.site.stack.reading.error is not None
            grid.set_columns(_columns(stack))
            narrowed, now = self._narrowed(stack), self.clock.now()
            grid.set_rows(stack_rows.rows(narrowed, self.glyphs, now, stale=stale, instances=made_for[1]))
            self._fit_list(len(stack.nodes))
            wanted = stack.get(self._to_select) if self._to_select is not None else None
            if wanted is not None and grid.select(wanted.name):
                self._to_select = None
        self._show_summary(stack)
        self._show_node(stack)

    # Filter

    @property
    def filter_fields(self) -> FieldTable:
        from screens.stack_fields import STACK_FIELDS, stack_fields

        return STACK_FIELDS if self.stack is None else stack_fields(self.stack.operands)

    @property
    def filter_found(self) -> bool:
        return self.grid is None or bool(self.grid.rows)

    def filter_values(self, field: str) -> Iterable[str]:
        """What the nodes say for a field, where that is a short list."""
        from screens.stack_fields import stack_values

        return () if self.stack is None else stack_values(field, self.stack.nodes)

    def apply_filter(self, text: str) -> None:
        """Narrows the nodes to what `text` matches; raises FilterError, and the filter before stays in force."""
        self._match = parse(text, self.filter_fields, self.saved_filters)
        self.filter_text = text.strip()
        self.show()

    def _narrowed(self, stack: Stack) -> Stack:
        """The stack with the nodes that the filter leaves."""
        if not self._match:
            return stack
        from screens.stack_fields import USED_FIELDS, stack_subject

        asks = not self._match.fields.isdisjoint(USED_FIELDS)
        now = self.clock.now()
        subjects = ((node, stack_subject(node, self._used(stack, node) if asks else None, now)) for node in stack.nodes)
        return replace(stack, nodes=tuple(node for node, subject in subjects if self._match.matches(subject)))

    # Inside

    async def _make_grid(self, stack: Stack) -> None:
        """Other operands are other columns."""
        if not self.is_attached:
            return  # the console was left meanwhile
        holder = self.query_one("#stack-list", Vertical)
        await holder.remove_children()
        if not holder.is_attached:
            return
        grid = Grid(_columns(stack), glyphs=self.glyphs, id="stack-grid")
        await holder.mount(grid)
        grid.focus()
        self.redraw()

    def _fit_list(self, nodes: int) -> None:
        """As high as all its rows, so that few nodes leave the room to what blocks them."""
        height = HEADER_LINES + nodes + SCROLLBAR_LINES
        if height != self._list_height:
            self._list_height = height
            self.query_one("#stack-list").styles.height = height

    async def _ask_platform(self) -> None:
        """What it lacks is not offered."""
        site = self.site
        if site is None or not site.platform.configured:
            return
        backend = await site.platform.backend()  # the stack was read through it: it is open
        # In a thread: it takes longer than a frame.
        module = await asyncio.to_thread(importlib.import_module, "backends.changes.platform_actions")
        if self.site is site:
            self._offered = module.offered(backend)
            for footer in self.query(Footer):
                footer.repaint_line()

    @property
    def offered_actions(self) -> tuple[Action, ...]:
        return tuple(action for action in self.ACTIONS if action.id != ACTIONS_ID or self._offered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "actions" and not self._offered:
            return False
        return super().check_action(action, parameters)

    def _show_summary(self, stack: Stack) -> None:
        cells = [*stack_rows.summary(stack, self.glyphs)]
        reading = self.site.stack.reading if self.site else None
        if reading is not None and reading.error is not None:
            old = "" if reading.at is None else f" {units.coarse_age(self.clock.now() - reading.at)} old"
            cells.insert(0, Cell(f"{self.glyphs.stale}{old}: {reading.error.message}", "stale"))
        if self.filter_text and self.grid is not None:
            left = f"shows {len(self.grid.rows)} of {len(stack.nodes)}"
            cells.insert(0, Cell(f"/{shortened(self.filter_text)}/ {left}", "accent"))
        self.query_one("#stack-summary", StyledLine).set_cells(cells, separator="  ")

    def _show_node(self, stack: Stack) -> None:
        grid = self.grid
        row = grid.cursor_row if grid is not None else None
        node = stack.get(row.key) if row is not None else None
        sections = stack_sheet.site_sections(stack)
        if node is not None:
            of_node = stack_sheet.node_sections(stack, node, self.clock.now(), self.glyphs, self._used(stack, node))
            sections = [*of_node, *sections]
        elif self.filter_text:
            said = f"Nothing matches /{shortened(self.filter_text)}/ in {len(stack.nodes)} nodes."
            sections.insert(0, Section("NO NODE", ((Cell(said),),)))
        self.query_one("#stack-sheet", Sheet).set_sections(sections)

    def _used(self, stack: Stack, node: StackNode) -> InUse | None:
        """Of the node's GPUs; None where it is not known."""
        ownership = self.site.ownership.reading.value if self.site else None
        fleet = self.site.fleet.reading.value if self.site else None
        reading = None if fleet is None else fleet.get(self._node_of(node.name) or "")
        return None if reading is None or ownership is None else in_use(reading, stack, ownership)

    def _show_empty(self, stack: Stack | None) -> None:
        empty = self.query_one("#stack-empty", Static)
        any_nodes = stack is not None and bool(stack.nodes)
        about_site = stack is not None and bool(stack_sheet.site_sections(stack))
        self.query_one("#stack-list").display = any_nodes
        self.query_one("#stack-sheet").display = any_nodes or about_site
        empty.display = not any_nodes
        empty.set_class(about_site, "-above")
        text = "" if any_nodes else self._nothing(stack)
        if str(empty.content) != text:
            empty.update(Text(text))
        if stack is None:
            self.query_one("#stack-summary", StyledLine).set_cells(())

    def _nothing(self, stack: Stack | None) -> str:
        """Why there is nothing to see, and what to do."""
        if self.site is None:
            return getattr(self.app, "site_error", None) or "Opening the site."
        platform = self.site.spec.platform
        if platform is None:
            return (
                "This site names no platform.\n"
                'Set platform = "docker", "kubernetes" or "openshift" in its settings to see its GPU stack.\n'
                "To try one: gpudeck demo --platform kubernetes"
            )
        error = self.site.stack.reading.error
        if error is not None:
            return f"{self.glyphs.bad} {platform} cannot be read: {error.message}\n{error.hint}".strip()
        if stack is None:
            return f"Reading the GPU stack of {platform}."
        rights = [each.permission for each in stack.not_permitted if each.permission.resource == "nodes"]
        if rights:
            return f"{self.glyphs.warn} Not permitted: {rights[0]}.\nWithout it no node of the stack is seen."
        return f"{platform} tells of no node with GPUs."

    # Actions

    def action_blocked(self) -> None:
        """The next node below the cursor, round the end, that is neither ready nor off."""
        stack, grid = self.stack, self.grid
        if stack is None or grid is None or not grid.rows:
            return
        unwell = {node.name for node in stack.nodes if stack_rows.HEALTH[node.health][0] not in ("good", "dim")}
        order = [*range(grid.cursor + 1, len(grid.rows)), *range(grid.cursor + 1)]
        found = next((index for index in order if key_at(grid.rows, index) in unwell), None)
        if found is None:
            self.notify("Every node here is ready.", timeout=2)
        else:
            grid.cursor = found

    def action_actions(self) -> None:
        site, stack, grid = self.site, self.stack, self.grid
        row = grid.cursor_row if grid is not None else None
        node = stack.get(row.key) if stack is not None and row is not None else None
        if site is None or stack is None or node is None:
            self.notify(NONE_SELECTED, timeout=2, markup=False)
            return

        async def planned() -> Change | None:
            from backends.changes.platform_actions import plan
            from screens.node_actions import ask

            wish = await ask(self.app, stack, node, self._offered, self.clock.now())
            now = site.stack.reading.value or stack
            return None if wish is None else await plan(wish, now, site, site=site.spec.name)

        cast(StackApp, self.app).changing.plan(planned)

    def action_node(self) -> None:
        from screens.node import NodeScreen

        row = self.grid.cursor_row if self.grid is not None else None
        if row is None:
            self.notify(NONE_SELECTED, timeout=2, markup=False)
            return
        reading = self._node_of(row.key)
        if reading is None:
            self.notify("No node of this site has that name: it cannot be opened.", timeout=3, markup=False)
            return
        self.app.push_screen(NodeScreen(reading))

    def _node_of(self, name: str) -> str | None:
        """The site's node that the platform calls `name`: `dgx07` and `dgx07.example.com` are one."""
        names = [node.name for node in self.site.spec.nodes] if self.site else []
        short = name.partition(".")[0]
        return name if name in names else next((each for each in names if each.partition(".")[0] == short), None)

    def action_logs(self) -> None:
        from screens.logs import open_logs

        row = self.grid.cursor_row if self.grid is not None else None
        node = self.stack.get(row.key) if self.stack is not None and row is not None else None
        if self.stack is None or node is None:
            self.notify(NONE_SELECTED, timeout=2, markup=False)
            return
        target, others = stack_targets(self.stack, node)
        if target is None and not others:
            hidden = next((each.reason for each in node.operands if each.phase is OperandPhase.UNKNOWN), None)
            why = f"No log can be shown; {hidden}." if hidden else "No operand has a pod on this node: there is no log."
            self.notify(why, timeout=3, markup=False)
            return
        open_logs(self.app, target, others)

    def action_switch(self) -> None:
        sheet = self.query_one("#stack-sheet", Sheet)
        target = self.grid if sheet.has_focus else sheet
        if target is not None and sheet.display:
            target.focus()

    def on_grid_row_highlighted(self, event: Grid.RowHighlighted) -> None:
        event.stop()
        if self.stack is not None:
            self._show_node(self.stack)
            self.query_one("#stack-sheet", Sheet).scroll_home(animate=False)

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        event.stop()
        self.action_switch()
