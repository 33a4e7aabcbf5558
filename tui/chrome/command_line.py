"""The bottom line while the user types: `:` a command, `/` a filter."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.suggester import Suggester
from textual.widgets import Input, Static

from tui.widgets.columns import Cell
from tui.widgets.line import StyledLine

Kind = Literal[":", "/"]
HISTORY = 100


class CommandApp(Protocol):
    """What the command line needs of the application."""

    def complete(self, text: str) -> list[str]:
        """Whole lines that `text` may become, best first."""
        ...

    def run_command(self, text: str) -> str | None:
        """Runs a command; an error in one sentence, or None."""
        ...

    def filter_screen(self, text: str) -> str | None:
        """Applies a filter to the current screen; an error in one sentence, or None."""
        ...


class _Completions(Suggester):
    """The first completion as ghost text."""

    def __init__(self, app: CommandApp) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._app = app

    async def get_suggestion(self, value: str) -> str | None:
        found = self._app.complete(value)
        return found[0] if value and found else None


class CommandLine(Horizontal):
    DEFAULT_CSS = """
    CommandLine { dock: bottom; height: 1; width: 1fr; background: $surface; display: none; layer: command; }
    CommandLine #prompt { width: 2; padding: 0 0 0 1; color: $text-accent; }
    CommandLine Input { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
    CommandLine Input:focus { border: none; }
    CommandLine #command-error { width: auto; max-width: 60%; }
    """
    BINDINGS: ClassVar = []

    history: ClassVar[list[str]] = []
    """Commands of this session, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self._kind: Kind = ":"
        self._back = 0
        self._cycle: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static(":", id="prompt", markup=False)
        yield Input(select_on_focus=False)
        yield StyledLine(id="command-error")

    @property
    def is_open(self) -> bool:
        return bool(self.display)

    def open(self, kind: Kind, text: str = "") -> None:
        """Shows the line and takes the keys."""
        self._kind, self._back, self._cycle = kind, 0, []
        self.query_one("#prompt", Static).update(kind)
        entry = self.query_one(Input)
        entry.suggester = _Completions(cast(CommandApp, self.app)) if kind == ":" else None
        self._complain(None)
        self.display = True
        with entry.prevent(Input.Changed):
            entry.value = text
        entry.cursor_position = len(text)
        # At once, not by a message: what is typed ahead over a slow line belongs to the entry.
        self.screen.set_focus(entry)

    def close(self) -> None:
        """Hides the line; the screen has the keys again."""
        self.display = False
        self.screen.set_focus(None)
        self.screen.focus_next()

    def cancel(self) -> None:
        """Esc: a filter goes back to none, a command is forgotten."""
        if self._kind == "/":
            cast(CommandApp, self.app).filter_screen("")
        self.close()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._kind == "/" and self.is_open:
            self._complain(cast(CommandApp, self.app).filter_screen(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        if self._kind == "/":
            self.close()
            return
        if not text:
            self.close()
            return
        self.history[:] = [*[old for old in self.history if old != text], text][-HISTORY:]
        error = cast(CommandApp, self.app).run_command(text)
        if error is None:
            self.close()
        else:
            self._complain(error)

    def on_key(self, event: events.Key) -> None:
        handler = {"escape": self.cancel, "tab": self._next_completion, "up": self._older, "down": self._newer}.get(
            event.key
        )
        if handler is not None:
            event.stop()
            event.prevent_default()
            handler()
        else:
            self._cycle = []

    def _next_completion(self) -> None:
        if self._kind != ":":
            return
        entry = self.query_one(Input)
        if not self._cycle or entry.value != self._cycle[-1]:
            self._cycle = cast(CommandApp, self.app).complete(entry.value)
        if self._cycle:
            self._cycle = [*self._cycle[1:], self._cycle[0]]
            self._put(self._cycle[-1])

    def _older(self) -> None:
        self._step(1)

    def _newer(self) -> None:
        self._step(-1)

    def _step(self, step: int) -> None:
        if self._kind != ":":
            return
        self._back = max(0, min(len(self.history), self._back + step))
        self._put(self.history[-self._back] if self._back else "")

    def _put(self, text: str) -> None:
        entry = self.query_one(Input)
        entry.value = text
        entry.cursor_position = len(text)

    def _complain(self, error: str | None) -> None:
        line = self.query_one("#command-error", StyledLine)
        width = len(error) + 2 if error else 0
        line.styles.width = width
        line.set_cells([Cell(f" {error}", "bad")] if error else [])
        if error and width > self.screen.size.width * 6 // 10:
            self.app.notify(error, severity="error", markup=False)  # the line has no room for all of it
