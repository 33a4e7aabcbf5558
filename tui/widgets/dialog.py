"""A screen over another one that asks or tells something. It closes once, whatever keys are on their way to it."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual import events
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.widgets.choice import Choice

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer]):
    """Over a slow line keys come in one go: the second enter must not close what is under the dialog too."""

    TYPED_INTO: ClassVar[str | None] = None
    """Selector of the entry that text goes to which is typed while an answer has the keys."""

    _is_closed = False

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Closes it with `result`; does nothing where it is closed already or something lies over it."""
        if self._is_closed or self.app.screen is not self:
            return AwaitComplete()
        if not self.is_mounted:
            self.call_later(self._dismiss_made, result)  # its own handlers count on the widgets that are being made
            return AwaitComplete()
        self._is_closed = True
        return super().dismiss(result)

    def _dismiss_made(self, result: Answer | None) -> None:
        self.dismiss(result)

    def on_key(self, event: events.Key) -> None:
        """An entry keeps what it takes: what comes here was on its way to an answer when the entry took the keys."""
        typed = event.character or ""
        if typed and typed.isprintable() and not (typed == " " and isinstance(self.focused, Choice)):
            self._type(event, typed)

    def on_paste(self, event: events.Paste) -> None:
        self._type(event, (event.text.splitlines() or [""])[0])

    def _type(self, event: events.Event, text: str) -> None:
        if self.TYPED_INTO is None or self._is_closed:
            return
        entry = self.query_one(self.TYPED_INTO, Input)
        if not entry.disabled and (self.focused is entry or isinstance(self.focused, Choice)):
            event.stop()
            event.prevent_default()
            self.set_focus(entry)
            entry.insert_text_at_cursor(text)
