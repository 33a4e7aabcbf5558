"""The bottom line while the user types: `:` a command, `/` a filter with a line about it below."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, cast

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.line import StyledLine

if TYPE_CHECKING:
    from tui.widgets.filter import FilterError

Kind = Literal[":", "/"]
HISTORY = 100
PROMPT_WIDTH = 2


class Filters(Protocol):
    """What the `/` line needs of the screen it filters."""

    def apply(self, text: str) -> FilterError | None:
        """Filters the screen; an error leaves the filter before in force."""
        ...

    def typed(self, text: str) -> FilterError | None:
        """As `apply`, of a text that is not finished."""
        ...

    def complete(self, text: str) -> list[str]:
        """Whole filters that `text` may become, best first."""
        ...

    def hint(self, text: str) -> str:
        """What helps to go on after `text`."""
        ...


class Commands(Protocol):
    """What the `:` line needs."""

    def complete(self, text: str) -> list[str]:
        """Whole lines that `text` may become, best first."""
        ...

    def run(self, text: str) -> str | None:
        """Runs a command; an error in one sentence, or None."""
        ...


class CommandApp(Protocol):
    """What the command line needs of the application."""

    @property
    def commands(self) -> Commands: ...

    @property
    def filters(self) -> Filters: ...


class _Completions(Suggester):
    """The first completion as ghost text."""

    def __init__(self, complete: Callable[[str], list[str]]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        found = self._complete(value) if value else []
        return next((each for each in found if each.startswith(value)), None)


class _Entry(Input):
    """An entry that handles every key in the order in which it was typed.

    By themselves the keys that edit bubble up to the application and act after the characters typed behind them, as a
    slow line brings them. What is pasted may hold escape sequences: none of them reaches the terminal.
    """

    EDITING: ClassVar = {binding.key: binding.action for binding in Binding.make_bindings(Input.BINDINGS)}

    def __init__(self, special: Callable[[str], bool]) -> None:
        """`special` handles a key by name before the entry does, and says whether it did."""
        super().__init__(select_on_focus=False)
        self._special = special

    def validate_value(self, value: str) -> str:
        return inert(value)

    async def on_key(self, event: events.Key) -> None:
        action = self.EDITING.get(event.key)
        if self._special(event.key):
            action = None
        elif action is None:
            return
        event.stop()
        event.prevent_default()
        if action is not None:
            await self.run_action(action)


def note_cells(error: FilterError, text: str, width: int, scrolled: int = 0, *, insist: bool = False) -> list[Cell]:
    """A caret under the character of `text` that `error` is about, and what is wrong, beside it where there is room.

    `scrolled` are the cells of the entry that are out of sight at the left. An error that may only be unfinished is
    told quietly, unless `insist`.
    """
    style = "dim" if error.incomplete and not insist else "bad"
    said, caret = error.sentence, PROMPT_WIDTH + cell_len(text[: error.position]) - scrolled
    size = cell_len(said) + 1
    if PROMPT_WIDTH <= caret < width:
        if caret + 1 + size <= width:
            return [Cell(" " * caret), Cell(f"^ {said}", style)]
        if size <= caret:
            return [Cell(" " * (caret - size)), Cell(f"{said} ^", style)]
    return [Cell(" "), Cell(f"at {error.position + 1}: {said}", style)]


class CommandLine(Vertical):
    DEFAULT_CSS = """
    CommandLine {
        dock: bottom; height: auto; width: 1fr; background: $surface; display: none; layer: command;
        & > Horizontal { height: 1; }
        & > #command-note { display: none; }
        &.-filter > #command-note { display: block; }
    }
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
        self._focused_before: Widget | None = None
        """What has the keys again when the line closes."""

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(":", id="prompt", markup=False)
            yield _Entry(self._special_key)
            yield StyledLine(id="command-error")
        yield StyledLine(id="command-note")

    @property
    def _shell(self) -> CommandApp:
        return cast(CommandApp, self.app)

    @property
    def is_open(self) -> bool:
        return bool(self.display)

    def open(self, kind: Kind, text: str = "") -> None:
        """Shows the line and takes the keys."""
        self._kind, self._back, self._cycle = kind, 0, []
        self.query_one("#prompt", Static).update(kind)
        entry = self.query_one(Input)
        entry.suggester = _Completions(self._complete)
        self.set_class(kind == "/", "-filter")
        self._complain(None)
        self._note(None, text)
        self.display = True
        with entry.prevent(Input.Changed):
            entry.value = text
        entry.cursor_position = len(text)
        self._focused_before = self.screen.focused
        # At once, not by a message: what is typed ahead over a slow line belongs to the entry.
        self.screen.set_focus(entry)

    def close(self) -> None:
        """Hides the line; the screen has the keys again."""
        self.display = False
        before = self._focused_before
        self.screen.set_focus(before if before in self.screen.focus_chain else None)
        if self.screen.focused is None:
            self.screen.focus_next()

    def cancel(self) -> None:
        """Esc: a filter goes back to none, a command is forgotten."""
        if self._kind == "/":
            self._shell.filters.apply("")
        self.close()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._kind == "/" and self.is_open:
            self._note(self._shell.filters.typed(event.value), event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        if self._kind == "/":
            error = self._shell.filters.apply(event.value)
            if error is None:
                self.close()
            else:
                self._note(error, event.value, insist=True)
            return
        if not text:
            self.close()
            return
        self.history[:] = [*[old for old in self.history if old != text], text][-HISTORY:]
        said = self._shell.commands.run(text)
        if said is None:
            self.close()
        else:
            self._complain(said)

    def _special_key(self, key: str) -> bool:
        handler = {"escape": self.cancel, "tab": self._next_completion, "up": self._older, "down": self._newer}.get(key)
        if handler is not None:
            handler()
        else:
            self._cycle = []
        return handler is not None

    def _complete(self, text: str) -> list[str]:
        return (self._shell.commands if self._kind == ":" else self._shell.filters).complete(text)

    def _next_completion(self) -> None:
        entry = self.query_one(Input)
        if not self._cycle or entry.value != self._cycle[-1]:
            self._cycle = self._complete(entry.value)
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

    def _note(self, error: FilterError | None, text: str, *, insist: bool = False) -> None:
        """What is wrong with the filter, under the character it is about; else what helps to go on."""
        if self._kind != "/":
            return
        if error is None:
            cells = [Cell(f"  {self._shell.filters.hint(text)}", "dim")]
        else:
            entry = self.query_one(Input)
            cells = note_cells(error, text, self.screen.size.width, entry.scroll_offset.x, insist=insist)
        self.query_one("#command-note", StyledLine).set_cells(cells)

    def _complain(self, error: str | None) -> None:
        line = self.query_one("#command-error", StyledLine)
        width = len(error) + 2 if error else 0
        line.styles.width = width
        line.set_cells([Cell(f" {error}", "bad")] if error else [])
        if error and width > self.screen.size.width * 6 // 10:
            self.app.notify(error, severity="error", markup=False)  # the line has no room for all of it
