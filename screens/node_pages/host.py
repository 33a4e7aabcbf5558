"""The machine around the GPUs."""

from __future__ import annotations

from screens.node_pages.sheet_page import SheetPage
from screens.node_pages.view import NodeView
from screens.node_sections import events_section, node_section
from tui.widgets.sheet import Section


class HostPage(SheetPage):
    def sections(self, view: NodeView) -> list[Section]:
        node = view.reading.node
        own = [] if node is None else [node_section(node)]
        return [*own, events_section(view.events, view.glyphs)]
