"""Opens the write window of a site, or closes it: how long, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from backends.changes.window import REASON_LIMIT, WriteWindow
from tui.widgets.choice import Choice
from tui.widgets.columns import Cell
from tui.widgets.dialog import Dialog
from tui.widgets.line import StyledLine

DEFAULT_MINUTES = 15
CLOSED = "It is closed. While it is open changes can be made; each is asked about."


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks of the window; `minutes` is 0 to close it."""

    minutes: int
    reason: str = ""


class WriteWindowScreen(Dialog[Wish | None]):
    """None when nothing is to be changed about the window."""

    CSS_PATH = "write_window.tcss"
    TYPED_INTO = "#window-reason"
    BINDINGS: ClassVar = [Binding("escape", "cancel", "Cancel", id="write_window.cancel")]

    def __init__(self, window: WriteWindow, demo: bool = False) -> None:
        super().__init__()
        self._window = window
        self._demo = demo
        self._first: Wish | None = None
        """What stood in the fields when they were shown."""

    def compose(self) -> ComposeResult:
        minutes = str(min(DEFAULT_MINUTES, self._window.most_minutes))
        with Vertical(id="window-body"):
            yield StyledLine(id="window-title")
            yield StyledLine(id="window-now")
            with Horizontal(classes="window-row"):
                yield StyledLine(id="window-minutes-label")
                yield Input(minutes, id="window-minutes", max_length=3, restrict=r"[0-9]*")
            with Horizontal(classes="window-row"):
                yield StyledLine(id="window-reason-label")
                yield Input(self._window.reason, id="window-reason", max_length=REASON_LIMIT)
            yield StyledLine(id="window-state")
            with Horizontal(id="window-choices"):
                yield Choice("Cancel", id="window-cancel")
                yield Choice("Open", id="window-open", danger=True)
                if self._window.is_open:
                    yield Choice("Close it now", id="window-close")

    def on_mount(self) -> None:
        site = f"{self._window.site}{' (a simulated site)' if self._demo else ''}"
        self._say("title", Cell("Write window of "), Cell(site, "accent"))
        now = self._window.state.reading.value
        left = f"It is open for {now.label[6:]} more: {now.reason}" if now is not None and now.is_open else CLOSED
        self._say("now", Cell(left, "dim"))
        self._say("minutes-label", Cell(f"minutes (1 to {self._window.most_minutes})"))
        needed = " (enter goes on)" if self._window.spec.require_reason else " (may be empty)"
        self._say("reason-label", Cell(f"reason{needed}"))
        self.query_one("#window-reason", Input).focus()  # the minutes are a good guess already
        self._first = self._wish
        self._draw()

    def _say(self, name: str, *cells: Cell) -> None:
        self.query_one(f"#window-{name}", StyledLine).set_cells(cells)

    @property
    def _wish(self) -> Wish:
        digits = self.query_one("#window-minutes", Input).value.strip()
        reason = self.query_one("#window-reason", Input).value
        return Wish(int(digits) if digits.isascii() and digits.isdigit() else 0, reason)

    def _draw(self, *, answered: bool = False) -> None:
        """What is refused is told once somebody has typed or answered."""
        refusal = self._window.refusal_to_open(self._wish.minutes, self._wish.reason)
        self.query_one("#window-open", Choice).disabled = refusal is not None
        told = answered or self._wish != self._first
        self._say("state", Cell("" if refusal is None or not told else refusal.message, "warn"))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on: from the minutes to the reason, from there to the answer."""
        event.stop()
        if event.input.id == "window-minutes":
            self.query_one("#window-reason", Input).focus()
        else:
            self._draw(answered=True)
            opens = self.query_one("#window-open", Choice)
            (self.query_one("#window-cancel", Choice) if opens.disabled else opens).focus()

    def on_choice_chosen(self, event: Choice.Chosen) -> None:
        event.stop()
        wishes = {"window-open": self._wish, "window-close": Wish(0)}
        self.dismiss(wishes.get(event.choice.id or ""))

    def action_cancel(self) -> None:
        self.dismiss(None)
