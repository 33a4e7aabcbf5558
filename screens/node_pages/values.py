"""Every value of one GPU."""

from __future__ import annotations

from screens.node_pages.findings import findings_section
from screens.node_pages.sheet_page import SheetPage
from screens.node_pages.view import NodeView
from screens.node_sections import events_section, gpu_sections
from tui.widgets.columns import Cell
from tui.widgets.sheet import Section


class ValuesPage(SheetPage):
    def sections(self, view: NodeView) -> list[Section]:
        """What was found, the GPU in groups, then what happened to it; a node without GPUs says so."""
        gpu = view.gpu
        if gpu is None:
            said = "The node reports no GPU." if view.reading.node is not None else "No value was read yet."
            return [findings_section(view), Section("GPUS", ((Cell(said, "dim"),),))]
        happened = [event for event in view.events if event.gpu_index in (None, gpu.index)]
        return [findings_section(view), *gpu_sections(gpu, view.glyphs), events_section(happened, view.glyphs)]
