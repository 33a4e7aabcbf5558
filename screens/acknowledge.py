"""The dialogs of the triage screen: why a finding is acknowledged, and whether that is taken back."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Input, Static

from backends.contract import GpudeckError
from backends.domain import clean
from screens.triage_rows import state_of
from tui.widgets.cells import inert
from tui.widgets.dialog import Dialog

if TYPE_CHECKING:
    from backends.domain import Finding
    from tui.widgets.glyphs import Glyphs

WHY_LIMIT = 200
CLAIM_LIMIT = 300
GONE = "It is no longer there: it has recovered meanwhile, or somebody else was faster."


def login_name(environ: Mapping[str, str] | None = None) -> str:
    """Who sits here: the person behind sudo, else the user of the session, else of the process."""
    environ = os.environ if environ is None else environ
    names = [environ[name] for name in ("SUDO_USER", "USER", "LOGNAME") if environ.get(name)]
    return clean(names[0] if names else _account(), 64)


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return f"uid {os.getuid()}"


class FindingDialog(Dialog[None]):
    """Asks about one finding, does what was asked for, and says in place what came in the way."""

    CSS_PATH = "acknowledge.tcss"

    def __init__(self, finding: Finding, glyphs: Glyphs) -> None:
        super().__init__()
        self._finding = finding
        self._glyphs = glyphs

    def said(self) -> Text:
        """What the question is about."""
        state = state_of(self._finding, self._glyphs).text
        claim = inert(self._finding.claim[:CLAIM_LIMIT])
        return Text.assemble((f"{state}  {inert(self._finding.subject.label[:80])}\n", "bold"), claim)

    def attempt(self, act: Callable[[], bool | None]) -> None:
        """Closes when `act` did it; else says why not: it raised GpudeckError, or False for a finding that is gone."""
        try:
            why_not = GONE if act() is False else ""
        except GpudeckError as error:
            why_not = f"{error.message}. {error.hint}".strip()
        if not why_not:
            self.dismiss()
            return
        error_line = self.query_one("#dialog-error", Static)
        error_line.update(Text(inert(why_not)[:CLAIM_LIMIT]))
        error_line.display = True


class AcknowledgeDialog(FindingDialog):
    """Takes the reason, which may be empty."""

    BINDINGS: ClassVar = [Binding("escape", "dismiss", "Cancel", id="acknowledge.cancel")]

    def __init__(self, finding: Finding, glyphs: Glyphs, who: str, acknowledge: Callable[[str], bool | None]) -> None:
        super().__init__(finding, glyphs)
        self._who = who
        self._acknowledge = acknowledge

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Acknowledge"
            yield Static(self.said(), classes="dialog-about")
            yield Static(Text(f"Why (kept with the name {self._who}; may be empty):"))
            yield Input(max_length=WHY_LIMIT, id="dialog-why", select_on_focus=False)
            yield Static(id="dialog-error", markup=False)
            yield Static(Text("enter acknowledges, esc leaves it open"), classes="dialog-keys")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.attempt(lambda: self._acknowledge(clean(event.value.strip(), WHY_LIMIT)))


class TakeBackDialog(FindingDialog):
    """Asks before an acknowledgement goes; every key but `y` keeps it."""

    BINDINGS: ClassVar = [
        Binding("y", "take_back", "Take back", id="acknowledge.take_back"),
        Binding("escape,n,enter,space,q", "dismiss", "Keep", id="acknowledge.keep"),
    ]

    def __init__(self, finding: Finding, glyphs: Glyphs, take_back: Callable[[], bool | None]) -> None:
        super().__init__(finding, glyphs)
        self._take_back = take_back

    def compose(self) -> ComposeResult:
        acknowledged = self._finding.acknowledged
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Take back the acknowledgement?"
            yield Static(self.said(), classes="dialog-about")
            if acknowledged is not None:
                why = acknowledged.why or "no reason given"
                yield Static(Text(inert(f"Acknowledged by {acknowledged.who}: {why}"[:CLAIM_LIMIT])))
            yield Static(id="dialog-error", markup=False)
            yield Static(Text("y takes it back, enter or esc keeps it"), classes="dialog-keys")

    def action_take_back(self) -> None:
        self.attempt(self._take_back)
