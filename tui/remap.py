"""The keys of the configuration, checked against every screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding

from screens import MODES
from tui.actions import Action, RemapError, keymap
from tui.console_actions import GLOBAL

if TYPE_CHECKING:
    from tui.config import Settings


def screen_actions() -> list[Action]:
    """Of all screens: imports them, which only a configuration with keys needs."""
    from screens.changes import ChangesScreen
    from screens.events import EventsScreen
    from screens.fleet import FleetScreen
    from screens.logs import LogsScreen
    from screens.node import NodeScreen
    from screens.stack import StackScreen
    from screens.triage import TriageScreen

    return [
        *TriageScreen.ACTIONS,
        *FleetScreen.ACTIONS,
        *NodeScreen.ACTIONS,
        *StackScreen.ACTIONS,
        *EventsScreen.ACTIONS,
        *ChangesScreen.ACTIONS,
        *LogsScreen.ACTIONS,
    ]


def remapped(settings: Settings) -> dict[str, str]:
    """The user's keys by action id; raises ConfigError."""
    from tui.widgets.grid import Grid

    reserved = {mode.key: f"opens {mode.label}" for mode in MODES}
    for binding in Binding.make_bindings(Grid.BINDINGS):
        reserved[binding.key] = "moves in the list"
    try:
        return keymap(settings.keys, [*GLOBAL, *screen_actions()], reserved)
    except RemapError as error:
        raise settings.placed(error.action_id, error) from None
