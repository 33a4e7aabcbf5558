"""A screen over the others that is answered once."""

from __future__ import annotations

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, ScreenResultType


class Dialog(ModalScreen[ScreenResultType]):
    """Goes by `dismiss`, once: a slow line brings two answers in one packet, and only the first one is meant for it."""

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Does nothing where the dialog is not on top: Textual would take away whichever screen is."""
        if self.app.screen is not self:
            return AwaitComplete()
        if not self.is_mounted:
            self.call_later(self._dismiss_made, result)  # its handlers count on the widgets that are being made
            return AwaitComplete()
        return super().dismiss(result)

    def _dismiss_made(self, result: ScreenResultType | None) -> None:
        self.dismiss(result)
