"""Where the words of the command line and the entries of the palette lead: modes, nodes, sites, themes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from backends.contract import ConfigError
from screens import MODES
from themes import THEMES
from tui.console_actions import Command

if TYPE_CHECKING:
    from screens.palette import Entry
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

    async def open_palette(self) -> None:
        """Returns when the palette takes keys: what is typed ahead is meant for it."""
        from screens.palette import PaletteScreen

        def chosen(run: Callable[[], object] | None) -> None:
            if run is not None:
                self._app.call_later(run)

        await self._app.push_screen(PaletteScreen(self._entries()), chosen)

    def _entries(self) -> list[Entry]:
        """Of the palette: the actions of the screen on top, nodes, sites, themes."""
        from screens.palette import Entry

        app = self._app
        return [
            *[
                Entry(f"{action.label}: {action.help}", partial(app.run_action_id, action.id))
                for action in app.actions_of(app.screen)
                if action.id not in ("app.palette", "app.back")
            ],
            *[Entry(f"Node {name}", partial(self._to_node, name)) for name in self._nodes()],
            *[Entry(f"Site {spec.name}", partial(app.open_site, spec)) for spec in app.sites],
            *[Entry(f"Theme {each.name}", partial(self._to_theme, each.name)) for each in THEMES],
        ]

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
