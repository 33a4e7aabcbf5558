"""The machine around the GPUs."""

from __future__ import annotations

from screens.host_sections import host_sections
from screens.node_pages.sheet_page import SheetPage
from screens.node_pages.view import NodeView
from screens.node_sections import events_section
from tui.widgets.columns import Cell
from tui.widgets.sheet import Section


class HostPage(SheetPage):
    def sections(self, view: NodeView) -> list[Section]:
        """The machine in groups, then what happened on it; a node that was never read says so."""
        node = view.reading.node
        own = (
            [Section("NODE", ((Cell("No value was read yet.", "dim"),),))]
            if node is None
            else host_sections(node, view.now, view.glyphs)
        )
        return [*own, events_section(view.events, view.glyphs)]
