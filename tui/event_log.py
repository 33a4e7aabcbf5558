"""How the event log is opened: by its key, from a node for that node, and by `:events [filter]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from textual.screen import Screen

from tui.console_actions import Command
from tui.live import LiveScreen
from tui.widgets.filter import Filter, FilterError, parse


class EventsApp(Protocol):
    """What is needed of the application."""

    @property
    def screen(self) -> Screen[Any]: ...

    @property
    def saved_filters(self) -> Mapping[str, str]: ...

    def push_screen(self, screen: Screen[Any]) -> Any: ...

    def call_later(self, callback: Callable[..., Any], *args: Any) -> bool: ...


class EventLog:
    """Opens the screen; there is never one on top of another."""

    def __init__(self, app: EventsApp) -> None:
        self._app = app

    def command(self) -> Command:
        return Command("events", "what happened", self._run, takes_text=True, endings=self._endings)

    def open(self, filter_text: str) -> None:
        """`filter_text` is a filter of the events, or blank; raises FilterError."""
        from screens.events import EventsScreen

        on_top = self._app.screen
        if isinstance(on_top, EventsScreen):
            on_top.apply_filter(filter_text)
        elif isinstance(on_top, LiveScreen):
            self._app.push_screen(EventsScreen(filter_text, self._parsed(filter_text)))

    def open_here(self) -> None:
        """Of the node whose screen is on top, else of the site."""
        from screens.events import EventsScreen

        on_top = self._app.screen
        if isinstance(on_top, LiveScreen) and not isinstance(on_top, EventsScreen):
            node = getattr(on_top, "node_name", None)
            self._app.push_screen(EventsScreen.of_node(node if isinstance(node, str) else None))

    def _run(self, text: str) -> str | None:
        try:
            self._parsed(text)
        except FilterError as error:
            return error.sentence
        self._app.call_later(self.open, text)
        return None

    def _parsed(self, text: str) -> Filter:
        from screens.event_fields import EVENT_FIELDS

        return parse(text, EVENT_FIELDS, self._app.saved_filters)

    def _endings(self, text: str) -> list[str]:
        from screens.event_fields import EVENT_FIELDS
        from tui.widgets.filter.completion import complete

        return complete(text, EVENT_FIELDS, sorted(self._app.saved_filters))
