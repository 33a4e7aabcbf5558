"""A screen that follows topics while it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from textual.screen import Screen
from textual.timer import Timer

from backends.feed import Clock, Topic, Unwatch
from tui.actions import Action, bindings
from tui.chrome.footer import Footer
from tui.chrome.header import Header
from tui.widgets.glyphs import UNICODE, Glyphs

if TYPE_CHECKING:
    from backends.site import Site
    from tui.chrome.command_line import CommandLine
    from tui.garbage import Garbage

SHOW_SECONDS = 0.25
"""Shortest time between two repaints: a burst of readings costs one."""


class LiveApp(Protocol):
    """What a live screen needs of the application."""

    @property
    def site(self) -> Site | None: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def saved_filters(self) -> Mapping[str, str]: ...

    @property
    def garbage(self) -> Garbage: ...


class LiveScreen(Screen[None]):
    """Watches `topics()` while it is on top, and calls `show()` once per burst; hidden, it costs nothing."""

    ACTIONS: ClassVar[tuple[Action, ...]] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        cls.BINDINGS = [*bindings(cls.__dict__.get("ACTIONS", ()))]
        super().__init_subclass__(**keywords)

    def __init__(self) -> None:
        super().__init__()
        self._unwatches: list[Unwatch] = []
        self._pending: Timer | None = None
        self._shown_at = float("-inf")
        self._on_top = False

    def topics(self) -> Iterable[Topic[Any]]:
        """What `show` reads."""
        return ()

    def show(self) -> None:
        """Draws the topics' readings; called on the event loop while the screen is on top."""

    def crumbs(self) -> tuple[str, ...]:
        """Where the user is, for the header; empty on a mode's first screen."""
        return ()

    @property
    def offered_actions(self) -> tuple[Action, ...]:
        """Those of `ACTIONS` that are possible here: the footer, the palette and the help show no other."""
        return self.ACTIONS

    async def command_line(self) -> CommandLine:
        """The screen's, made when it is first asked for: the first paint need not wait for it."""
        from tui.chrome.command_line import CommandLine

        for line in self.query(CommandLine):
            return line
        line = CommandLine()
        await self.mount(line)
        return line

    @property
    def site(self) -> Site | None:
        return cast(LiveApp, self.app).site

    @property
    def glyphs(self) -> Glyphs:
        """The shell's signs; the Unicode ones in an application that names none."""
        signs = getattr(self.app, "glyphs", UNICODE)
        return signs if isinstance(signs, Glyphs) else UNICODE

    @property
    def clock(self) -> Clock:
        return cast(LiveApp, self.app).clock

    @property
    def saved_filters(self) -> Mapping[str, str]:
        """Name -> text, for `@name` in a filter."""
        return cast(LiveApp, self.app).saved_filters

    def on_mount(self) -> None:
        self.mount(Header(), Footer())

    def on_screen_resume(self) -> None:
        self._on_top = True
        self.watch_again()

    def on_screen_suspend(self) -> None:
        self._on_top = False
        self._stop_watching()

    def on_unmount(self) -> None:
        self._stop_watching()
        cast(LiveApp, self.app).garbage.note_gone()

    def watch_again(self) -> None:
        """Watches the topics of the site as it is now, and draws at once."""
        self._stop_watching()
        if not self._on_top:
            return
        self._unwatches = [topic.watch(self._changed) for topic in self.topics()]
        self._show_now()

    def _stop_watching(self) -> None:
        for unwatch in self._unwatches:
            unwatch()
        self._unwatches = []
        if self._pending is not None:
            self._pending.stop()
            self._pending = None

    def _changed(self, _reading: object) -> None:
        if self._pending is not None:
            return
        wait = self._shown_at + SHOW_SECONDS - self.clock.monotonic()
        if wait <= 0:
            wait = 0.01
        self._pending = self.set_timer(wait, self._show_now)

    def _show_now(self) -> None:
        self._pending = None
        if self._on_top:
            self.redraw()

    def redraw(self) -> None:
        """Draws the screen and where the user is now."""
        if not (self.app.is_running and self.is_mounted):
            return  # its widgets are being made, or the console is closing and they go one by one
        self._shown_at = self.clock.monotonic()
        self.show()
        for header in self.query(Header):
            header.set_crumbs(self.crumbs())
            header.repaint_lines()  # what the application says may have changed while the screen was hidden
