"""One node: its GPUs at the left, a page about the node or the chosen GPU at the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from backends.domain import Finding, Gpu, NodeReading, NodeState
from backends.feed import Topic
from screens.cells import MISSING, measured, state_cell
from screens.condition import Condition, gpu_condition, worse
from screens.node_pages import PAGES, Page
from screens.node_pages.view import NodePage, NodeView
from screens.rows import found_of, problem_of, row_key
from screens.workloads import ownership_of, topics_of
from tui.actions import Action
from tui.chrome.footer import Footer
from tui.live import LiveScreen
from tui.widgets import units
from tui.widgets.columns import Cell, Column, Row
from tui.widgets.glyphs import Glyphs
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine

GPU_COLUMNS = (
    Column("gpu", "GPU", 5),
    Column("state", "STATE", 8),
    Column("utilization", "%", 3, "right"),
    Column("temperature", "C", 3, "right"),
)


GONE = Condition("bad", "gone")


def gpu_rows(reading: NodeReading, glyphs: Glyphs, findings: Iterable[Finding] = ()) -> list[Row]:
    """The list at the left: one row per GPU, stale where the node no longer answers; `findings` are those of it."""
    found = found_of(findings)
    rows, live = [], reading.is_current
    gpus = reading.node.gpus if reading.node else ()
    for gpu in gpus:
        cells = (
            str(gpu.index),
            state_cell(
                worse(gpu_condition(gpu, gpus), found.get(row_key(reading.name, gpu)))
                if live
                else Condition("stale", "stale"),
                glyphs,
            ),
            measured(units.number(gpu.utilization.gpu_percent)),
            measured(units.number(gpu.temperature.gpu_celsius)),
        )
        rows.append(Row(gpu.key, cells, dim=gpu.lost or not live))
    return rows


def gone_row(key: str, name: str, glyphs: Glyphs) -> Row:
    """The place of the chosen GPU when it is no longer listed: the cursor stays, and no other takes its page."""
    return Row(key, (name, state_cell(GONE, glyphs), MISSING, MISSING), dim=True)


def page_cells(current: Page) -> list[Cell]:
    """The strip over the page: each page's key and name, the one in sight marked."""
    names = [(page, f"{page.key} {page.label}") for page in PAGES]
    return [Cell(f"[{name}]", "accent") if page is current else Cell(name, "dim") for page, name in names]


class GpuList(Grid):
    """The node's GPUs: they are few, so the keys that go by pages move the page beside them."""

    def action_page(self, direction: int) -> None:
        cast(NodeScreen, self.screen).scroll_page(direction, whole=True)


class NodeScreen(LiveScreen):
    """Opened with a node's name, and where they were chosen with a GPU's key and a page."""

    CSS_PATH = "node.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("node.next_gpu", "right_square_bracket", "Next GPU", "Show the next GPU", group="Node", rank=2),
        Action(
            "node.previous_gpu", "left_square_bracket", "GPU before", "Show the GPU before", show=False, group="Node"
        ),
        Action(
            "node.further",
            "pagedown",
            "Scroll",
            "Scroll the page down, and with page up back; by lines with shift+down and shift+up; tab goes into it",
            group="Node",
            rank=2,
        ),
        Action("node.line_down", "shift+down", "Line down", "Scroll the page by a line", show=False, group="Node"),
        Action("node.line_up", "shift+up", "Line up", "Scroll the page back by a line", show=False, group="Node"),
        *(
            Action(
                f"node.page_{page.id}",
                page.key,
                page.label,
                page.help,
                show=False,  # the strip over the page shows them
                group="Node",
                call=f"page('{page.id}')",
            )
            for page in PAGES
        ),
        *(action for page in PAGES for action in page.actions),
    )

    def __init__(self, node_name: str, gpu_key: str | None = None, page: str | None = None) -> None:
        """`page` is an id of `PAGES`; None opens the first."""
        super().__init__()
        self.node_name = node_name
        self.gpu_key = gpu_key
        self.page: Page = next((each for each in PAGES if each.id == page), PAGES[0])
        self._pages: dict[str, NodePage] = {}
        self._gpu_name = "?"
        """The chosen GPU's number when it was listed last."""

    def compose(self) -> ComposeResult:
        yield Static(id="node-problem", markup=False)
        with Horizontal(id="node-body"):
            yield GpuList(GPU_COLUMNS, glyphs=self.glyphs, id="node-gpus")
            with Vertical(id="node-right"):
                yield StyledLine(id="node-strip")
                yield self._pages.setdefault(self.page.id, self.page.widget())

    @property
    def filtered(self) -> NodePage | None:
        """The page in sight, whose list a filter narrows; None before it is made."""
        return self._pages.get(self.page.id)

    @property
    def reading(self) -> NodeReading | None:
        """The node's; None when the site no longer has it."""
        fleet = self.site.fleet.reading.value if self.site else None
        return fleet.get(self.node_name) if fleet else None

    @property
    def gpu(self) -> Gpu | None:
        """The chosen GPU, the first as long as none was chosen; None when the chosen one is no longer listed."""
        reading = self.reading
        gpus = reading.node.gpus if reading and reading.node else ()
        if self.gpu_key is None:
            return gpus[0] if gpus else None
        return next((gpu for gpu in gpus if gpu.key == self.gpu_key), None)

    def topics(self) -> Iterable[Topic[Any]]:
        if self.site is None:
            return ()
        return (self.site.fleet, self.site.events, self.site.triage, *topics_of(self.site))

    def crumbs(self) -> tuple[str, ...]:
        gpu = self.gpu
        return ("Fleet", self.node_name) if gpu is None else ("Fleet", self.node_name, f"GPU {gpu.index}")

    def on_mount(self) -> None:
        self.query_one("#node-gpus", Grid).focus()

    def on_screen_suspend(self) -> None:
        self._leave_page()

    def on_unmount(self) -> None:
        self._leave_page()

    def _leave_page(self) -> None:
        if (page := self._pages.get(self.page.id)) is not None:
            page.out_of_sight()

    def show(self) -> None:
        """Draws the node as it is now; costs what changed."""
        reading = self.reading
        self._show_problem(reading)
        if reading is None:
            return
        grid = self.query_one("#node-gpus", Grid)
        rows = gpu_rows(reading, self.glyphs, self._findings(reading.name))
        chosen = self.gpu_key
        if self.gpu is not None:
            self._gpu_name = str(self.gpu.index)
        elif rows and chosen is not None:
            rows.append(gone_row(chosen, self._gpu_name, self.glyphs))
        grid.display = bool(rows)
        grid.set_rows(rows)
        if chosen is not None:
            grid.select(chosen)
        self.query_one("#node-strip", StyledLine).set_cells(page_cells(self.page), separator=" ")
        page = self._pages.get(self.page.id)
        if page is not None:
            page.show_node(self._node_view(reading))

    def _findings(self, node: str) -> tuple[Finding, ...]:
        """Of the node and its GPUs, worst first."""
        triage = self.site.triage.reading.value if self.site is not None else None
        return tuple(each for each in triage.findings if each.subject.node == node) if triage else ()

    def _node_view(self, reading: NodeReading) -> NodeView:
        assert self.site is not None, "a reading comes from a site"
        return NodeView(
            reading=reading,
            gpu=self.gpu,
            now=self.clock.now(),
            events=tuple(event for event in self.site.events.reading.value or () if event.node == reading.name),
            findings=self._findings(reading.name),
            history=self.site.history,
            glyphs=self.glyphs,
            platform=self.site.spec.platform,
            ownership=ownership_of(self.site),
            ownership_problem=self.site.ownership.reading.error,
        )

    async def _open_page(self, page: Page) -> None:
        """Brings `page` to the right side; a page is made when it is first shown, and kept."""
        if page is not self.page:
            self._leave_page()
        self.page = page
        if page.id not in self._pages:
            widget = page.widget()
            self._pages[page.id] = widget
            await self.query_one("#node-right").mount(widget)
        for name, widget in self._pages.items():
            widget.display = name == page.id
        self.redraw()
        for footer in self.query(Footer):
            footer.repaint_line()  # not every page can be filtered

    async def action_page(self, page_id: str) -> None:
        await self._open_page(next(page for page in PAGES if page.id == page_id))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "on_page":
            return parameters[:1] == (self.page.id,)  # a key of one page means nothing on the others
        return super().check_action(action, parameters)

    def action_on_page(self, page_id: str, name: str) -> None:
        """Runs an action of the page in sight."""
        getattr(self._pages[page_id], f"action_{name}")()

    def scroll_page(self, direction: int, *, whole: bool = False) -> None:
        """By a line, or by all that is in sight but one line."""
        page = self._pages.get(self.page.id)
        target = page.focus_target if page is not None else None
        if isinstance(target, Grid):
            if whole:
                target.action_page(direction)
            else:
                target.action_cursor(direction)
        elif target is not None:
            lines = max(1, target.scrollable_content_region.height - 1) if whole else 1
            target.scroll_relative(y=direction * lines, animate=False)

    def action_further(self) -> None:
        self.scroll_page(1, whole=True)

    def action_line_down(self) -> None:
        self.scroll_page(1)

    def action_line_up(self) -> None:
        self.scroll_page(-1)

    def action_next_gpu(self) -> None:
        self.query_one("#node-gpus", Grid).action_cursor(1)

    def action_previous_gpu(self) -> None:
        self.query_one("#node-gpus", Grid).action_cursor(-1)

    def on_grid_row_highlighted(self, event: Grid.RowHighlighted) -> None:
        event.stop()
        if event.row is not None and event.row.key != self.gpu_key:
            self.gpu_key = event.row.key
            self.redraw()

    def on_grid_row_activated(self, event: Grid.RowActivated) -> None:
        event.stop()
        page = self._pages.get(self.page.id)
        target = page.focus_target if page is not None else None
        if target is not None:
            target.focus()

    def _show_problem(self, reading: NodeReading | None) -> None:
        text = self._problem(reading)
        banner = self.query_one("#node-problem", Static)
        banner.display = bool(text)
        if str(banner.content) != text:
            banner.update(Text(text))

    def _problem(self, reading: NodeReading | None) -> str:
        if reading is None:
            return f"{self.glyphs.stale} {self.node_name} is not in this site."
        if reading.is_current:
            return ""
        stall = reading.node.stall if reading.node is not None and reading.state is NodeState.LIVE else None
        glyph = self.glyphs.bad if stall is not None or reading.state is NodeState.DOWN else self.glyphs.stale
        word = reading.state.value if stall is None else "stall"
        said = f"{glyph} {word}: {problem_of(reading, self.clock.now())}"
        hint = stall.hint if stall is not None else (reading.problem.hint if reading.problem else "")
        return f"{said}\n{hint}" if hint else said
