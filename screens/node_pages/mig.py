"""How the node's GPUs are divided, and what if: a wish is typed, the page shows the way there. Nothing is applied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Static

from backends.contract import GpudeckError
from backends.domain import Gpu
from backends.nodes.mig.catalogue import UnknownBoard, board_for
from backends.nodes.mig.picture import picture
from backends.ownership import NOBODY
from screens.node_pages.view import NodePage, NodeView
from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.line import StyledLine
from tui.widgets.mig_cells import Line
from tui.widgets.mig_map import MigMap, nothing
from tui.widgets.mig_text import Paper, map_lines, others_lines, paragraph

if TYPE_CHECKING:
    from backends.changes.change import Change
    from backends.feed import Clock
    from backends.nodes.mig.plan import Plan
    from backends.site import Site

# The planner is imported when a wish is typed: the map alone opens in half the time.

WISH_LIMIT = 400
STALE_NOTE = "the node does not answer now: this starts from its last values"
PLACEHOLDER = "3g.40gb,3g.40gb   +1g.10gb   all-balanced"


class Changer(Protocol):
    def propose(self, change: Change) -> None:
        """Asks about a change, and makes it when the answer is yes."""
        ...

    def plan(self, planned: Callable[[], Awaitable[Change | None]]) -> None:
        """Makes a change first, or tells why it is none."""
        ...


class MigApp(Protocol):
    """What this page needs of the application."""

    @property
    def site(self) -> Site | None: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def changing(self) -> Changer: ...


class MigPage(NodePage):
    DEFAULT_CSS = """
    MigPage { layout: vertical; }
    MigPage #mig-ask { height: 1; display: none; background: $surface; }
    MigPage #mig-ask Static { width: 9; color: $text-accent; }
    MigPage #mig-ask Input { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
    MigPage #mig-ask Input:focus { border: none; }
    MigPage #mig-said { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._view: NodeView | None = None
        self._asked = ""
        self._plan: Plan | None = None
        self._offers: list[str] = []
        """What tab goes through, as long as nothing else is typed."""
        self._offered = 0

    def compose(self) -> ComposeResult:
        with Horizontal(id="mig-ask"):
            yield Static("what if:", markup=False)
            yield Input(placeholder=PLACEHOLDER, max_length=WISH_LIMIT, select_on_focus=False)
        yield StyledLine(id="mig-said")
        yield MigMap()

    @property
    def focus_target(self) -> Widget | None:
        return self.query_one(MigMap)

    @property
    def is_asking(self) -> bool:
        """The wish is shown, typed or being typed."""
        return bool(self.query_one("#mig-ask").display)

    @property
    def commands(self) -> tuple[str, ...]:
        """What the plan on the page would have typed, on the node and in its cluster; empty without one."""
        return self._plan.commands if self._plan is not None else ()

    def show_node(self, view: NodeView) -> None:
        """Draws the GPUs of the node, the chosen one first, under the plan where one is asked for."""
        self._view = view
        for drawn in self.query(MigMap):
            self._draw(drawn, view)

    # What if

    def action_what_if(self) -> None:
        """Opens the entry for a wish."""
        entry = self.query_one(Input)
        entry.suggester = SuggestFromList(self._names(), case_sensitive=False)
        self.query_one("#mig-ask").display = True
        self.screen.set_focus(entry)
        entry.select_all()  # another wish is typed over it, the same one goes on with an arrow
        self._redraw_from_top()

    def action_copy(self) -> None:
        """To the clipboard of the terminal (OSC 52), where it takes such."""
        if not self.commands:
            self.notify("No commands on this page.", timeout=2, markup=False)
            return
        script = self._plan.script if self._plan is not None else ()
        self.app.copy_to_clipboard("\n".join(script) + "\n")
        self.notify(f"{len(self.commands)} commands sent to the terminal's clipboard.", timeout=4, markup=False)

    def leave(self) -> None:
        """Forgets the plan; the map has the keys again."""
        self.query_one("#mig-ask").display = False
        self.screen.set_focus(self.query_one(MigMap))
        self._redraw_from_top()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._asked = event.value
        self._redraw_from_top()
        near = self._plan.nearest if self._plan is not None else ()
        typed = self._asked.strip().lower()
        self._offers = [each.plan.wish for each in near] or [
            name for name in self._names() if typed and name.startswith(typed)
        ]
        self._offered = 0

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.set_focus(self.query_one(MigMap))

    def on_key(self, event: events.Key) -> None:
        handler = {"escape": self.leave, "tab": self._take_next}.get(event.key) if self.is_asking else None
        if handler is None or (event.key == "tab" and not self.query_one(Input).has_focus):
            return
        event.stop()
        event.prevent_default()
        handler()

    def _take_next(self) -> None:
        """Tab: of the nearest possible layouts, or of the names that begin so, one after the other."""
        if not self._offers:
            return
        entry = self.query_one(Input)
        with entry.prevent(Input.Changed):
            entry.value = self._offers[self._offered % len(self._offers)]
        entry.cursor_position = len(entry.value)
        self._asked = entry.value
        self._offered += 1
        self._redraw_from_top()

    def _names(self) -> list[str]:
        """The configurations of the chosen GPU's board."""
        gpu = self._view.gpu if self._view is not None else None
        if gpu is None:
            return []
        from backends.nodes.mig.wish import configurations

        try:
            return list(configurations(board_for(gpu.name, gpu.pci_device_id)))
        except UnknownBoard:
            return []

    def action_apply(self) -> None:
        """Asks about the plan on the page as a change."""
        from backends.repartition import repartition, why_unasked

        node, shell = self._view.reading.node if self._view is not None else None, cast(MigApp, self.app)
        if self._plan is None or node is None or shell.site is None:
            self.notify("There is no plan on this page: i asks for a layout.", timeout=3, markup=False)
            return
        if self._view is not None and not self._view.reading.is_current:
            self.notify("The node does not answer now: whom a change hits is not known.", timeout=4, markup=False)
            return
        if self._plan.target.on_operator:
            shell.changing.plan(partial(_refused, self._plan, node.gpus, shell.site))
            return
        gpu = _numbered(node.gpus, self._plan.target.index)
        assert gpu is not None, "the plan was made for a GPU of this node"
        try:
            change = repartition(
                self._plan,
                gpu,
                site=shell.site.spec.name,
                reason="",
                now=shell.clock.now(),
                ownership=self._view.ownership if self._view is not None else None,
                unasked=why_unasked(shell.site.spec.platform, self._view.ownership_problem if self._view else None),
            )
        except GpudeckError as wrong:
            self.notify(inert(f"{wrong.message}. {wrong.hint}".strip()), severity="warning", markup=False)
            return
        shell.changing.propose(change)

    # Drawing

    def _redraw_from_top(self) -> None:
        """Something else is on the page: its beginning comes first."""
        self.query_one(MigMap).scroll_home(animate=False, immediate=True)
        if self._view is not None:
            self.show_node(self._view)

    def _draw(self, drawn: MigMap, view: NodeView) -> None:
        node = view.reading.node
        gpus = node.gpus if node is not None else ()
        maps = [picture(gpu, node) for gpu in sorted(gpus, key=lambda gpu: (gpu is not view.gpu, gpu.index))]
        if not view.reading.is_current:
            maps = [replace(each, style="stale") for each in maps]
        self._plan, error = self._planned(view) if self.is_asking else (None, None)
        self._say()
        if error is not None:
            drawn.draw(partial(_wrong, error), partial(others_lines, maps), view.glyphs)
        elif self._plan is not None:
            from tui.widgets.mig_plan import plan_lines

            drawn.draw(partial(plan_lines, self._plan), partial(others_lines, maps), view.glyphs)
        elif maps:
            drawn.draw(partial(map_lines, maps[0]), partial(others_lines, maps[1:]), view.glyphs)
        else:
            drawn.draw(partial(_no_gpu, view), nothing, view.glyphs)

    def _planned(self, view: NodeView) -> tuple[Plan | None, tuple[str, str] | None]:
        """The plan of what was typed, or what is wrong with it and a hint."""
        node = view.reading.node
        if node is None or not self._asked.strip():
            return None, None
        if view.gpu is None:
            return None, (view.no_gpu, "")
        from backends.nodes.mig.planner import plan
        from backends.nodes.mig.target import target_of
        from backends.nodes.mig.wish import parse

        try:
            wish = parse(self._asked)
            gpu = view.gpu if wish.gpu_index is None else _numbered(node.gpus, wish.gpu_index)
            if gpu is None:
                return None, (f"the node has no GPU {wish.gpu_index}", "")
            made = plan(target_of(node, gpu, view.platform, view.ownership or NOBODY), wish)
            if not view.reading.is_current:
                made = replace(made, notes=(STALE_NOTE, *made.notes))
            return made, None
        except GpudeckError as wrong:
            return None, (wrong.message, wrong.hint)

    def _say(self) -> None:
        """The line under the entry: what the keys do here."""
        if self.commands:
            cells = _keys(("A", "apply ..."), ("y", "copy commands"), ("i", "change"), ("esc", "close"))
        elif self.is_asking:
            cells = _keys(("tab", "take what is nearest"), ("enter", "read"), ("esc", "close"))
        else:
            cells = _keys(("i", "what if: try a layout"))
        self.query_one("#mig-said", StyledLine).set_cells(cells)


def _keys(*pairs: tuple[str, str]) -> list[Cell]:
    return [cell for key, does in pairs for cell in (Cell(key, "accent"), Cell(f" {does}  ", "dim"))]


def _numbered(gpus: Sequence[Gpu], index: int) -> Gpu | None:
    return next((gpu for gpu in gpus if gpu.index == index), None)


def _wrong(error: tuple[str, str], paper: Paper) -> list[Line]:
    message, hint = error
    return [*paragraph(message, paper, "bad", f"{paper.glyphs.bad} ", 0), *paragraph(hint, paper, "dim")]


def _no_gpu(view: NodeView, paper: Paper) -> list[Line]:
    return paragraph(view.no_gpu, paper, "dim", indent=0)


async def _refused(plan: Plan, gpus: Sequence[Gpu], site: Site) -> Change:
    """Raises the refusal of a plan for GPUs that MIG Manager divides."""
    from backends.repartition import not_by_hand

    raise await not_by_hand(plan, gpus, await site.platform.backend(), site.spec)
