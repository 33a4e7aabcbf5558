"""Where the words of the command line and the entries of the palette lead: modes, nodes, sites, themes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.command import CommandPalette

from backends.contract import ConfigError
from screens import MODES
from themes import THEMES
from tui.console_actions import Command

if TYPE_CHECKING:
    from tui.app import Console


class Destinations:
    """Belongs to the application."""

    def __init__(self, app: Console) -> None:
        self._app = app

    def commands(self) -> list[Command]:
        """The words of the `:` line."""
        app = self._app
        return [
            *[Command(mode.id, f"go to {mode.label}", partial(self._to_mode, mode.id)) for mode in MODES],
            Command("node", "open a node", self._to_node, self._nodes, aliases=("n",), takes_text=True),
            *app.filters.commands(),
            app.event_log.command(),
            Command(
                "site", "open another site", self._to_site, lambda: [spec.name for spec in app.sites], takes_text=True
            ),
            Command(
                "theme", "change the colours", self._to_theme, lambda: [each.name for each in THEMES], takes_text=True
            ),
            *app.changing.commands(),
            Command("help", "the keys", self._to_help),
            Command("quit", "leave gpudeck", self._to_exit, aliases=("q", "exit")),
        ]

    def palette_entries(self) -> tuple[tuple[str, str, Callable[[], object]], ...]:
        app = self._app
        # The palette itself is the screen on top; what it offers belongs to the one below.
        below = next(screen for screen in reversed(app.screen_stack) if not isinstance(screen, CommandPalette))
        actions = [
            (f"{action.label}: {action.help}", "", lambda each=action: app.run_action_id(each.id))
            for action in app.actions_of(below)
            if action.id not in ("app.palette", "app.back")
        ]
        nodes = [(f"Node {name}", "", lambda each=name: self._to_node(each)) for name in self._nodes()]
        themes = [(f"Theme {each.name}", "", lambda each=each: self._to_theme(each.name)) for each in THEMES]
        sites = [(f"Site {spec.name}", "", lambda each=spec: app.open_site(each)) for spec in app.sites]
        return (*actions, *nodes, *sites, *themes)

    def _nodes(self) -> list[str]:
        return [node.name for node in self._app.site.spec.nodes] if self._app.site else []

    # Each returns what is wrong with the word behind it, if anything

    def _to_help(self, _rest: str) -> str | None:
        self._app.call_later(self._app.action_help)
        return None

    def _to_exit(self, _rest: str) -> str | None:
        self._app.action_leave()
        return None

    def _to_mode(self, mode: str, _rest: str) -> str | None:
        self._app.call_later(self._app.action_open_mode, mode)
        return None

    def _to_node(self, name: str) -> str | None:
        from screens.node import NodeScreen

        if name not in self._nodes():
            near = difflib.get_close_matches(name, self._nodes(), n=1, cutoff=0.5)
            return f"no node {name!r}" + (f": {near[0]}?" if near else "") if name else "which node?"
        self._app.call_later(self._app.push_screen, NodeScreen(name))
        return None

    def _to_site(self, name: str) -> str | None:
        sites = self._app.sites
        spec = next((site for site in sites if site.name == name), None)
        if spec is None:
            return f"no site {name!r}; there is {', '.join(site.name for site in sites)}"
        if self._app.site is None or spec != self._app.site.spec:
            self._app.open_site(spec)
        return None

    def _to_theme(self, name: str) -> str | None:
        try:
            self._app.use_theme(name)
        except ConfigError as error:
            return f"{error.message}; {error.hint}"
        return None
