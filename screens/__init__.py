"""The modes: what the number keys open. A screen is imported when it is first shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.live import LiveScreen


@dataclass(frozen=True, slots=True)
class Mode:
    id: str
    key: str
    label: str
    screen: Callable[[], LiveScreen]


def _triage() -> LiveScreen:
    from screens.triage import TriageScreen

    return TriageScreen()


def _fleet() -> LiveScreen:
    from screens.fleet import FleetScreen

    return FleetScreen()


def _stack() -> LiveScreen:
    from screens.stack import StackScreen

    return StackScreen()


MODES: tuple[Mode, ...] = (
    Mode("triage", "1", "Triage", _triage),
    Mode("fleet", "2", "Fleet", _fleet),
    Mode("stack", "3", "Stack", _stack),
)
"""In the order of the header; the first is the home screen, which a click on what is wrong opens."""
