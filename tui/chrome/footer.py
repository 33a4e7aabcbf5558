"""The bottom line: the keys that matter here, from the registry of actions; a click is a key."""

from __future__ import annotations

from typing import Any, Protocol, cast

from textual import events
from textual.screen import Screen

from tui.actions import Action, keys_of
from tui.widgets.columns import Cell
from tui.widgets.line import StyledLine


class FooterApp(Protocol):
    """What the footer needs of the application."""

    def actions_of(self, screen: Screen[Any]) -> tuple[Action, ...]:
        """Of the screen, then of the application."""
        ...

    @property
    def remapped(self) -> dict[str, str]: ...

    async def run_action_id(self, action_id: str) -> None: ...


class Footer(StyledLine):
    DEFAULT_CSS = "Footer { dock: bottom; height: 1; width: 1fr; background: $panel; }"

    def __init__(self) -> None:
        super().__init__()
        self._spans: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        self.repaint_line()

    def on_resize(self, _event: events.Resize) -> None:
        self.repaint_line()

    def repaint_line(self) -> None:
        app = cast(FooterApp, self.app)
        width = self.size.width or self.app.size.width  # before the first layout too
        # Of the screen it stands on, which need not be the one on top: a resize reaches hidden screens too.
        actions = [action for action in app.actions_of(self.screen) if action.show and self._is_possible(action)]
        while len(actions) > 1 and self._width(actions, app.remapped) > width:
            actions.remove(max(actions, key=lambda action: action.rank))  # of equal ones the first
        cells, at = [Cell(" ")], 1
        self._spans = []
        for action in actions:
            keys = keys_of(action, app.remapped)
            cells += [Cell(keys, "accent"), Cell(f" {action.label}  ")]
            end = at + len(keys) + len(action.label) + 1
            self._spans.append((at, end, action.id))
            at = end + 2
        self.set_cells(cells)

    def _is_possible(self, action: Action) -> bool:
        """Whether the screen would take its key now; one with a `call` is offered by whoever lists it."""
        if action.call or action.id.startswith("app."):
            return True
        return self.screen.check_action(action.method, ()) is not False

    def _width(self, actions: list[Action], remapped: dict[str, str]) -> int:
        return 1 + sum(len(keys_of(action, remapped)) + len(action.label) + 3 for action in actions)

    async def on_click(self, event: events.Click) -> None:
        for start, end, action_id in self._spans:
            if start <= event.x < end:
                await cast(FooterApp, self.app).run_action_id(action_id)
