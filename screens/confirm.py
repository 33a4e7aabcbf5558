"""The question before a change: it is told in full, the answer is no unless somebody says yes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from backends.changes.change import Change
from backends.changes.preflight import Preflight
from backends.contract import GpudeckError
from tui.widgets.cells import inert
from tui.widgets.change_dialog import change_sections
from tui.widgets.choice import Choice
from tui.widgets.columns import Cell
from tui.widgets.dialog import Dialog
from tui.widgets.glyphs import UNICODE, Glyphs
from tui.widgets.line import StyledLine
from tui.widgets.sheet import Sheet

EMPTY = "type the name here"


class ConfirmScreen(Dialog[bool]):
    """True when the change is to be made. `look` asks permissions and dry runs while the question is on the screen."""

    CSS_PATH = "confirm.tcss"
    BINDINGS: ClassVar = [
        Binding("escape,q", "cancel", "Cancel", id="confirm.cancel"),
        Binding("pagedown,j,space", "scroll(1)", show=False),
        Binding("pageup,k", "scroll(-1)", show=False),
    ]
    AUTO_FOCUS = "#confirm-cancel"

    def __init__(
        self,
        change: Change,
        look: Callable[[], Awaitable[Preflight]],
        verb: str = "Apply",
        news: Sequence[str] = (),
        *,
        shut: str = "",
    ) -> None:
        """`news`: what the change hits by now and did not when it was asked about before.

        `shut`: why it can only be looked at; `verb` is then the way out of that, if there is one.
        """
        super().__init__()
        self._change = change
        self._look = look
        self._verb = verb
        self._news = tuple(news)
        self._shut = shut
        self._found: Preflight | None = None
        self._failed = ""

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm-body"):
            yield StyledLine(id="confirm-title")
            sheet = Sheet(id="confirm-sheet")
            sheet.can_focus = False  # the answers and the name take turns with tab; the screen's keys scroll
            yield sheet
            if self._change.typed_name is not None and not self._shut:
                yield from self.name_entry()
            yield StyledLine(id="confirm-state")
            with Horizontal(id="confirm-choices"):
                yield Choice("Close" if self._shut else "Cancel", id="confirm-cancel")
                if self._verb:
                    yield Choice(self._verb, id="confirm-apply", danger=not self._shut, disabled=True)
                yield StyledLine(id="confirm-keys")

    @staticmethod
    def name_entry() -> tuple[StyledLine, Input]:
        """Where the name is typed."""
        return (
            StyledLine(id="confirm-typing"),
            Input(id="confirm-name", select_on_focus=False, placeholder=EMPTY),
        )

    async def on_mount(self) -> None:
        self.query_one("#confirm-title", StyledLine).set_cells([Cell(self._change.title, "accent")])
        self.query_one("#confirm-keys", StyledLine).set_cells([Cell("pgup pgdn scroll", "dim")])
        self._draw()
        self.run_worker(self._ask(), exit_on_error=False, description="look before a change")

    async def _ask(self) -> None:
        try:
            found = await self._look()
        except GpudeckError as error:
            self._failed = f"{error.message} {error.hint}".strip()
        else:
            if found.typed_name(self._change) is not None and not self._shut and not self.query(Input):
                await self.query_one("#confirm-body").mount(*self.name_entry(), after="#confirm-sheet")
            self._found = found
        self._draw()

    @property
    def found(self) -> Preflight | None:
        """What the answer rests on; None while it is still asked for."""
        return self._found

    @property
    def wanted_name(self) -> str | None:
        """What must be typed; None: nothing, as far as is known."""
        return self._change.typed_name if self._found is None else self._found.typed_name(self._change)

    @property
    def glyphs(self) -> Glyphs:
        """The shell's signs."""
        signs = getattr(self.app, "glyphs", UNICODE)
        return signs if isinstance(signs, Glyphs) else UNICODE

    def on_resize(self, _event: events.Resize) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        sheet = self.query_one(Sheet)
        width = max(20, sheet.scrollable_content_region.width - 3)
        sheet.set_sections(change_sections(self._change, self._found, width, self.glyphs, self._news))
        self.query_one("#confirm-state", StyledLine).set_cells([self._state()])
        refused = self._found is not None and bool(self._found.obstacles)
        for line in self.query("#confirm-typing").results(StyledLine):
            line.set_cells([] if refused else self._asking())
        for entry in self.query(Input):
            entry.disabled = refused  # there is nothing to be said yes to
        for choice in self.query("#confirm-apply").results(Choice):
            choice.disabled = not self._may_apply

    def _asking(self) -> list[Cell]:
        return [Cell("It can end work. To go on type  "), Cell(self.wanted_name or "", "bad")]

    def on_key(self, event: events.Key) -> None:
        """What is typed while the entry is empty goes into it, although Cancel has the keys: the name was asked for.

        So does what came in one go with it, and was on its way to Cancel when the entry took the keys.
        """
        entry = next(iter(self.query(Input)), None)
        typed = event.character or ""
        if entry is None or entry.disabled or not typed:
            return
        if not (typed.isprintable() if self.focused is entry else typed.isalnum() and not entry.value):
            return
        event.stop()
        event.prevent_default()
        self.set_focus(entry)
        entry.insert_text_at_cursor(typed)

    @property
    def _typed(self) -> bool:
        wanted = self.wanted_name
        return bool(self._shut) or wanted is None or self.query_one(Input).value.strip() == inert(wanted)

    @property
    def _may_apply(self) -> bool:
        return self._found is not None and not self._found.obstacles and self._typed

    def _state(self) -> Cell:
        if self._failed:
            return Cell(f"{self.glyphs.bad} {self._failed}", "bad")
        if self._found is None:
            return Cell("asking for permissions and dry runs ...", "dim")
        if self._found.obstacles:
            return Cell(f"{self.glyphs.bad} refused: {self._found.obstacles[0]}", "bad")
        if not self._typed:
            missing = "the name is not typed yet" if not self.query_one(Input).value else "that is not the name yet"
            return Cell(f"{self.glyphs.warn} {missing}: type it, or tab to the entry", "warn")
        if self._shut:
            return Cell(f"{self.glyphs.warn} only looked at: {self._shut}", "warn")
        return Cell(f"{self.glyphs.good} it can be done", "good")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the entry does nothing but go on to the answer: a name typed by habit must not start anything.

        A wrong name keeps the keys: what is typed next mends it.
        """
        event.stop()
        if event.value and not self._typed:
            return
        self.query_one("#confirm-apply" if self._may_apply else "#confirm-cancel", Choice).focus()

    def on_choice_chosen(self, event: Choice.Chosen) -> None:
        event.stop()
        self.dismiss(event.choice.id == "confirm-apply" and self._may_apply)

    def action_cancel(self) -> None:
        self.dismiss(False)

    def action_scroll(self, direction: int) -> None:
        sheet = self.query_one(Sheet)
        sheet.scroll_relative(y=direction * max(1, sheet.size.height - 1), animate=False)
