"""How the node is wired: the matrix of its links, what is wrong with them, and a drawing."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget

from backends.nodes.topology import matrix
from screens.fabric_section import fabric_section
from screens.link_sections import gpudirect_section, links_section, matrix_rows, verdict
from screens.node_pages.view import NodePage, NodeView
from screens.wiring import wiring_section
from tui.widgets.columns import Cell
from tui.widgets.line import StyledLine
from tui.widgets.link_matrix import LinkMatrix
from tui.widgets.sheet import Sheet


class LinksScroll(VerticalScroll):
    """Matrix and sheet under each other; they are as high as what they say."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "scroll_up", "Up", show=False, id="links.up"),
        Binding("j", "scroll_down", "Down", show=False, id="links.down"),
        Binding("g", "scroll_home", "Top", show=False, id="links.top"),
        Binding("G", "scroll_end", "Bottom", show=False, id="links.bottom"),
        Binding("shift+left,H", "columns(-1)", "Columns left", show=False, id="links.columns_left"),
        Binding("shift+right,L", "columns(1)", "Columns right", show=False, id="links.columns_right"),
    ]

    def action_columns(self, step: int) -> None:
        self.query_one(LinkMatrix).scroll_cells(step)


class TopologyPage(NodePage):
    DEFAULT_CSS = """
    TopologyPage {
        layout: vertical;
        & LinksScroll { height: 1fr; scrollbar-size: 1 1; scrollbar-gutter: stable; background: $background; }
        & Sheet { margin-top: 1; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        yield StyledLine(id="links-verdict")
        with LinksScroll():
            yield LinkMatrix()
            yield Sheet(whole=True)

    def show_node(self, view: NodeView) -> None:
        node = view.reading.node
        links, head = self.query_one(LinkMatrix), self.query_one("#links-verdict", StyledLine)
        links.display = node is not None and bool(node.gpus)
        if node is None or not node.gpus:
            said = "No value was read yet." if node is None else "The node reports no GPU."
            head.set_cells((Cell(said, "dim"),))
            self.query_one(Sheet).set_sections(())
            self._drawn = None
            return
        stale = not view.reading.is_current
        chosen = None if view.gpu is None else f"GPU{view.gpu.index}"
        gpus = tuple((gpu.key, gpu.links, gpu.fabric, gpu.lost, gpu.cpu_affinity, gpu.mig.enabled) for gpu in node.gpus)
        seen = (node.topology, node.host, gpus, stale, chosen, view.glyphs)
        if seen == self._drawn:
            return
        self._drawn = seen
        glyphs = view.glyphs
        head.set_cells(verdict(node, glyphs, stale), separator="  ")
        links.glyphs = glyphs
        links.set_rows(matrix_rows(matrix(node), node, stale), chosen)
        sections = (
            fabric_section(node, glyphs),
            wiring_section(node, glyphs, stale),
            links_section(node, glyphs),
            gpudirect_section(node, glyphs),
        )
        self.query_one(Sheet).set_sections(sections)

    @property
    def focus_target(self) -> Widget | None:
        return self.query_one(LinksScroll)
