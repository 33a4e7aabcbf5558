"""The actions every screen has, and the commands of the `:` line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backends.domain import clean
from tui.actions import Action

GLOBAL: tuple[Action, ...] = (
    Action("app.command", "colon", "Command", "Type a command", group="Everywhere", rank=0, priority=True),
    Action(
        "app.filter", "slash", "Filter", "Narrow the list to what matches", group="Everywhere", rank=0, priority=True
    ),
    Action(
        "app.back", "escape", "Back", "Back to the screen before; ends a filter first", show=False, group="Everywhere"
    ),
    Action("app.events", "e", "Events", "What happened on the site or on this node", group="Everywhere", rank=2),
    Action("app.palette", "ctrl+p", "Palette", "Find anything by name", show=False, group="Everywhere", priority=True),
    Action(
        "app.next_site", "s", "Next site", "Open the next site of the configuration", show=False, group="Everywhere"
    ),
    Action("app.next_theme", "t", "Theme", "Change the colours", show=False, group="Everywhere"),
    Action(
        "app.write_window",
        "w,W",
        "Write",
        "Open or close the write window: while it is closed nothing can be changed",
        show=False,
        group="Everywhere",
    ),
    Action(
        "app.changes", "C", "Changes", "What was changed, what runs, what was cut off", show=False, group="Everywhere"
    ),
    Action("app.leave", "q,ctrl+c", "Quit", "Leave gpudeck", group="Everywhere", rank=0),
    Action("app.help", "question_mark", "Help", "The keys of this screen", group="Everywhere", rank=0),
)


@dataclass(frozen=True, slots=True)
class Command:
    """A word of the `:` line."""

    name: str
    help: str
    run: Callable[[str], str | None]
    """Takes the rest of the line; returns an error in one sentence, or None."""
    choices: Callable[[], Iterable[str]] = tuple
    aliases: tuple[str, ...] = ()
    takes_text: bool = False
    endings: Callable[[str], Iterable[str]] | None = None
    """What the rest of the line may become, where it is more than one of the choices."""


class Commands:
    """Runs and completes the lines of the `:` line."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.all = tuple(commands)
        self._by_name = {name: command for command in self.all for name in (command.name, *command.aliases)}

    def run(self, text: str) -> str | None:
        """Runs one line; an error in one sentence, or None."""
        word, _, rest = text.strip().partition(" ")
        command = self._by_name.get(word) or self._only(word)
        if command is None:
            near = difflib.get_close_matches(word, self._by_name, n=1, cutoff=0.6)
            return f"no command {clean(word, 20)!r}" + (f": {near[0]}?" if near else "")
        if rest.strip() and not command.takes_text:
            return f":{command.name} takes nothing behind it"
        return command.run(rest.strip())

    def _only(self, word: str) -> Command | None:
        """The one command whose name begins with `word`, as the line has shown it."""
        found = [command for command in self.all if word and command.name.startswith(word)]
        return found[0] if len(found) == 1 else None

    def complete(self, text: str) -> list[str]:
        """Whole lines that `text` may become, best first."""
        word, space, rest = text.partition(" ")
        if not space:
            return sorted(command.name for command in self.all if command.name.startswith(word))
        command = self._by_name.get(word)
        if command is None:
            return []
        choices = [choice for choice in command.choices() if choice.startswith(rest)]
        endings = command.endings(rest) if command.endings is not None else ()
        return [f"{word} {ending}" for ending in dict.fromkeys([*choices, *endings])]
