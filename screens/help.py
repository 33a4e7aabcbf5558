"""The keys of the screen below and of the whole application, made from the registry of actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import Static

from screens import MODES
from tui.actions import Action, keys_of
from tui.widgets.dialog import Dialog
from tui.widgets.glyphs import Glyphs


class HelpScreen(Dialog[None]):
    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar = [
        Binding("escape,q,question_mark", "dismiss", "Close", id="help.close"),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(
        self,
        groups: Mapping[str, Iterable[Action]],
        remapped: Mapping[str, str],
        glyphs: Glyphs,
        filters: Text | None = None,
        commands: Mapping[str, str] | None = None,
    ) -> None:
        """`filters` is the help about the filters of the screen below, where it has a list; `commands` says what each
        command of the `:` line does."""
        super().__init__()
        self._text = help_text(groups, remapped, glyphs, filters, commands or {})

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help-body"):
            yield Static(self._text, id="help-text")

    def on_mount(self) -> None:
        self.query_one("#help-body").focus()

    def action_scroll(self, lines: int) -> None:
        self.query_one("#help-body", VerticalScroll).scroll_relative(y=lines, animate=False)


_LIST_KEYS = (
    ("enter", "Open what is selected; so does a double click"),
    ("up down k j", "Select; so does a click"),
    ("pgup pgdn", "A screenful; home g and end G go to the ends"),
    ("shift+left right", "Scroll the columns; H and L too"),
    ("tab", "Behind : and / the next completion"),
    *((mode.key, f"Opens {mode.label}; so does a click on its tab") for mode in MODES),
)


def help_text(
    groups: Mapping[str, Iterable[Action]],
    remapped: Mapping[str, str],
    glyphs: Glyphs,
    filters: Text | None = None,
    commands: Mapping[str, str] | None = None,
) -> Text:
    """The whole help as text: keys by group, the commands, the signs, the filters, how keys are remapped."""
    text = Text()
    for title, actions in groups.items():
        text.append(f"{title}\n", style="bold")
        for action in actions:
            text.append(f"  {keys_of(action, remapped):<16} ", style="bold")
            text.append(f"{action.help}")
            text.append(f"  {action.id}\n", style="dim")
        text.append("\n")
    text.append("Lists\n", style="bold")
    for keys, does in _LIST_KEYS:
        text.append(f"  {keys:<16} ", style="bold")
        text.append(f"{does}\n")
    if commands:
        text.append("\nCommands\n", style="bold")
    for name, does in (commands or {}).items():
        text.append(f"  {name:<16} ", style="bold")
        text.append(f"{does}\n")
    text.append("\nSigns\n", style="bold")
    for sign, meaning in (
        (glyphs.bad, "critical: lost, failed, unreachable"),
        (glyphs.warn, "warning: look at it"),
        (glyphs.note, "note"),
        (glyphs.good, "well"),
        (glyphs.stale, "stale: the last value, older than it should be"),
        ("n/a", "not measured; never shown as 0"),
    ):
        text.append(f"  {sign:<16} {meaning}\n")
    if filters is not None:
        text.append(filters)
    text.append("\nKeys are changed in the configuration, by the grey ids above:\n")
    text.append('  [keys]\n  "fleet.flat" = "x"\n', style="bold")
    text.append("\nesc, q or ? closes this.\n")
    return text
