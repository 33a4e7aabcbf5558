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
        """What was found, then the GPU in groups, or why there is none."""
        gpu = view.gpu
        if gpu is None:
            return [findings_section(view), Section("GPUS", ((Cell(view.no_gpu, "dim"),),))]
        return [findings_section(view), *gpu_sections(view, gpu)]
