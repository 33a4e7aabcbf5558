"""Every value of one GPU."""

from __future__ import annotations

from screens.gpu_values import gpu_sections
from screens.node_pages.findings import findings_section
from screens.node_pages.sheet_page import SheetPage
from screens.node_pages.view import NodeView
from tui.widgets.columns import Cell
from tui.widgets.sheet import Section


class ValuesPage(SheetPage):
    def sections(self, view: NodeView) -> list[Section]:
        """What was found, then the GPU in groups; a node without GPUs says so."""
        gpu = view.gpu
        if gpu is None:
            said = "The node reports no GPU." if view.reading.node is not None else "No value was read yet."
            return [findings_section(view), Section("GPUS", ((Cell(said, "dim"),),))]
        return [findings_section(view), *gpu_sections(view, gpu)]
