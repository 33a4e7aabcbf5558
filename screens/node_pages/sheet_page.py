"""A page that is one sheet of sections."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widget import Widget

from screens.node_pages.view import NodePage, NodeView
from tui.widgets.sheet import Section, Sheet


class SheetPage(NodePage):
    """Subclasses say what is on the sheet."""

    def compose(self) -> ComposeResult:
        yield Sheet()

    def sections(self, view: NodeView) -> list[Section]:
        raise TypeError(f"{type(self).__name__} has no sections")

    def show_node(self, view: NodeView) -> None:
        for sheet in self.query(Sheet):
            sheet.set_sections(self.sections(view))

    @property
    def focus_target(self) -> Widget | None:
        return self.query_one(Sheet)
