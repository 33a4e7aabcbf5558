"""One node: its GPUs at the left, every value of the chosen one at the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from backends.domain import Event, Gpu, NodeReading, NodeState
from backends.feed import Topic
from screens.cells import measured, state_cell
from screens.condition import Condition, gpu_condition
from screens.node_sections import events_section, gpu_sections, node_section
from screens.rows import problem_text
from tui.actions import Action
from tui.live import LiveScreen
from tui.widgets import units
from tui.widgets.columns import Cell, Column, Row
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.grid import Grid
from tui.widgets.sheet import Section, Sheet

GPU_COLUMNS = (
    Column("gpu", "GPU", 5),
    Column("state", "STATE", 8),
    Column("utilization", "%", 3, "right"),
    Column("temperature", "C", 3, "right"),
)


def gpu_rows(reading: NodeReading, glyphs: Glyphs) -> list[Row]:
    """The list at the left: one row per GPU, stale where the node no longer answers."""
    rows, live = [], reading.state is NodeState.LIVE
    for gpu in reading.node.gpus if reading.node else ():
        cells = (
            str(gpu.index),
            state_cell(gpu_condition(gpu) if live else Condition("stale", "stale"), glyphs),
            measured(units.number(gpu.utilization.gpu_percent)),
            measured(units.number(gpu.temperature.gpu_celsius)),
        )
        rows.append(Row(gpu.key, cells, dim=gpu.lost or not live))
    return rows


def node_sections(
    reading: NodeReading, gpu: Gpu | None, happened: Iterable[Event], glyphs: Glyphs = UNICODE
) -> list[Section]:
    """All of the page at the right: the GPU, then the node, then what happened on it."""
    here = [event for event in happened if event.node == reading.name]
    sections = gpu_sections(gpu, glyphs) if gpu is not None else []
    if reading.node is not None:
        sections.append(node_section(reading.node))
        if not reading.node.gpus:
            sections.insert(0, Section("GPUS", ((Cell("The node reports no GPU.", "dim"),),)))
    sections.append(events_section(here, glyphs))
    return sections


class NodeScreen(LiveScreen):
    """Opened from the fleet with a node's name, and a GPU's key where one was chosen."""

    CSS_PATH = "node.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("node.next_gpu", "right_square_bracket", "Next GPU", "Show the next GPU", group="Node"),
        Action("node.previous_gpu", "left_square_bracket", "Previous GPU", "Show the GPU before", group="Node"),
    )

    def __init__(self, node_name: str, gpu_key: str | None = None) -> None:
        super().__init__()
        self.node_name = node_name
        self.gpu_key = gpu_key

    def compose(self) -> ComposeResult:
        yield Static(id="node-problem", markup=False)
        with Horizontal(id="node-body"):
            yield Grid(GPU_COLUMNS, glyphs=self.glyphs, id="node-gpus")
            yield Sheet(id="node-sheet")

    @property
    def glyphs(self) -> Glyphs:
        signs = getattr(self.app, "glyphs", UNICODE)
        return signs if isinstance(signs, Glyphs) else UNICODE

    @property
    def reading(self) -> NodeReading | None:
        """The node's; None when the site no longer has it."""
        fleet = self.site.fleet.reading.value if self.site else None
        return fleet.get(self.node_name) if fleet else None

    @property
    def gpu(self) -> Gpu | None:
        """The chosen GPU, else the first."""
        reading = self.reading
        gpus = reading.node.gpus if reading and reading.node else ()
        return next((gpu for gpu in gpus if gpu.key == self.gpu_key), gpus[0] if gpus else None)

    def topics(self) -> Iterable[Topic[Any]]:
        return () if self.site is None else (self.site.fleet, self.site.events)

    def crumbs(self) -> tuple[str, ...]:
        gpu = self.gpu
        return ("Fleet", self.node_name) if gpu is None else ("Fleet", self.node_name, f"GPU {gpu.index}")

    def on_mount(self) -> None:
        self.query_one("#node-gpus", Grid).focus()

    def show(self) -> None:
        """Draws the node as it is now; costs what changed."""
        reading = self.reading
        self._show_problem(reading)
        if reading is None:
            return
        grid = self.query_one("#node-gpus", Grid)
        rows = gpu_rows(reading, self.glyphs)
        grid.display = bool(rows)
        chosen = self.gpu_key
        grid.set_rows(rows)
        if chosen is not None:
            grid.select(chosen)
        happened = (self.site.events.reading.value if self.site else None) or ()
        sections = node_sections(reading, self.gpu, happened, self.glyphs)
        self.query_one("#node-sheet", Sheet).set_sections(sections)

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
        self.query_one("#node-sheet", Sheet).focus()

    def _show_problem(self, reading: NodeReading | None) -> None:
        text = self._problem(reading)
        banner = self.query_one("#node-problem", Static)
        banner.display = bool(text)
        if str(banner.content) != text:
            banner.update(Text(text))

    def _problem(self, reading: NodeReading | None) -> str:
        if reading is None:
            return f"{self.glyphs.stale} {self.node_name} is not in this site."
        if reading.state is NodeState.LIVE:
            return ""
        glyph = self.glyphs.bad if reading.state is NodeState.DOWN else self.glyphs.stale
        said = f"{glyph} {reading.state.value}: {problem_text(reading.problem, reading.age(self.clock.now()))}"
        hint = reading.problem.hint if reading.problem else ""
        return f"{said}\n{hint}" if hint else said
