"""A word that can be chosen: enter, space or a click. Which one has the keys is told by brackets and by style."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.cells import inert


class Choice(Widget, can_focus=True):
    """One answer of a dialog. A disabled one is dim and cannot be chosen."""

    DEFAULT_CSS = """
    Choice { width: auto; height: 1; margin: 0 1 0 0; color: $foreground; }
    Choice:focus { text-style: bold reverse; }
    Choice.-danger { color: $text-error; }
    Choice:disabled { color: $text-disabled; text-style: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "choose", "Choose", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    @dataclass
    class Chosen(Message):
        choice: Choice

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(self, word: str, *, id: str, danger: bool = False, disabled: bool = False) -> None:  # noqa: A002
        super().__init__(id=id, disabled=disabled, classes="-danger" if danger else None)
        self._word = inert(word)

    def get_content_width(self, _container: object, _viewport: object) -> int:
        return len(self._word) + 2

    def render_line(self, y: int) -> Strip:
        words = f"[{self._word}]" if self.has_focus else f" {self._word} "
        return Strip([Segment(words, self.rich_style)]).adjust_cell_length(self.size.width, self.rich_style)

    def action_choose(self) -> None:
        if not self.disabled:
            self.post_message(self.Chosen(self))

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_choose()
