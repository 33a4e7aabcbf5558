"""The one registry of what a user can do: it feeds the keys, the footer, the palette, the command line and the help.

A screen lists its actions in `ACTIONS` and has a method `action_<name>` for each id `<screen>.<name>` without a `call`.
Users remap keys by action id in the configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual.binding import Binding

from backends.contract import ConfigError
from tui.action_ids import unknown_action


@dataclass(frozen=True, slots=True)
class Action:
    """Something a key does."""

    id: str
    """<screen>.<name>, or app.<name>; stable, because configurations name it."""
    key: str
    """Textual key names, separated by commas."""
    label: str
    """One or two words for the footer."""
    help: str
    """One sentence for the help and the palette."""
    show: bool = True
    """Whether the footer shows it."""
    group: str = ""
    rank: int = 1
    """Where the footer has no room the highest goes first; 0 stays longest."""
    priority: bool = False
    """Taken before the focused widget sees the key: what is typed ahead behind it goes where the action leads."""
    call: str = ""
    """What Textual calls, where the method takes an argument: `page('host')`."""

    @property
    def method(self) -> str:
        return self.call or self.id.partition(".")[2]


def bindings(actions: Iterable[Action]) -> list[Binding]:
    """Textual bindings; an action of the application is found from every screen."""
    return [
        Binding(
            key=action.key,
            action=f"app.{action.method}" if action.id.startswith("app.") else action.method,
            description=action.label,
            show=action.show,
            tooltip=action.help,
            id=action.id,
            priority=action.priority,
        )
        for action in actions
    ]


class RemapError(ConfigError):
    """A key of the configuration that cannot be; `action_id` says which entry."""

    def __init__(self, action_id: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.action_id = action_id


def keymap(keys: Mapping[str, str], actions: Iterable[Action], reserved: Mapping[str, str] = {}) -> dict[str, str]:
    """The user's keys by action id; raises ConfigError for an unknown id or a key that is taken twice on one screen.

    `reserved` are keys that no action may take, with what they do.
    """
    known = {action.id: action for action in actions}
    for action_id in keys:
        if action_id not in known:
            raise RemapError(action_id, *unknown_action(action_id, known))
    taken: dict[tuple[str, str], str] = {}
    for action in known.values():
        scope = action.id.partition(".")[0]
        for key in _split(keys.get(action.id, action.key)):
            if action.id in keys and key in reserved:
                raise RemapError(
                    action.id, f"[keys] the key {key!r} of {action.id} {reserved[key]}", "choose another key"
                )
            for place in (scope, "app"):
                other = taken.get((place, key))
                if other is not None and other != action.id and (action.id in keys or other in keys):
                    at = action.id if action.id in keys else other
                    raise RemapError(
                        at, f"[keys] the key {key!r} is both {other} and {action.id}", "choose another key"
                    )
            taken[scope, key] = action.id
    return dict(keys)


def keys_of(action: Action, remapped: Mapping[str, str]) -> str:
    """The keys of `action` as a person reads them: "q", "ctrl+p", "space"."""
    return " ".join(_KEY_WORDS.get(key, key) for key in _split(remapped.get(action.id, action.key)))


_KEY_WORDS = {
    "question_mark": "?",
    "slash": "/",
    "colon": ":",
    "escape": "esc",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "comma": ",",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
}


def _split(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",") if key.strip()]
