"""One question with one line of answer."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from tui.widgets.choice import Choice
from tui.widgets.columns import Cell
from tui.widgets.dialog import Dialog
from tui.widgets.line import StyledLine


class AskScreen(Dialog[str | None]):
    """The answer, which is never empty; None when nobody gave one."""

    CSS_PATH = "ask.tcss"
    TYPED_INTO = "#ask-answer"
    BINDINGS: ClassVar = [Binding("escape", "cancel", "Cancel", id="ask.cancel")]

    def __init__(self, title: str, question: str, verb: str, limit: int = 200, answer: str = "") -> None:
        """`answer` stands there to begin with."""
        super().__init__()
        self._first_answer = answer
        self._title = title
        self._question = question
        self._verb = verb
        self._limit = limit

    def compose(self) -> ComposeResult:
        with Vertical(id="ask-body"):
            yield StyledLine(id="ask-title")
            yield StyledLine(id="ask-question")
            yield Input(self._first_answer, id="ask-answer", max_length=self._limit, select_on_focus=False)
            with Horizontal(id="ask-choices"):
                yield Choice("Cancel", id="ask-cancel")
                yield Choice(self._verb, id="ask-yes", disabled=True)

    def on_mount(self) -> None:
        self.query_one("#ask-title", StyledLine).set_cells([Cell(self._title, "accent")])
        self.query_one("#ask-question", StyledLine).set_cells([Cell(self._question)])
        self.query_one(Input).focus()

    @property
    def _answer(self) -> str:
        return self.query_one(Input).value.strip()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one("#ask-yes", Choice).disabled = not self._answer

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#ask-yes" if self._answer else "#ask-cancel", Choice).focus()

    def on_choice_chosen(self, event: Choice.Chosen) -> None:
        event.stop()
        self.dismiss(self._answer if event.choice.id == "ask-yes" and self._answer else None)

    def action_cancel(self) -> None:
        self.dismiss(None)
