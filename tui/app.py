"""The console: modes, screens, theme, keys, palette, and the site behind them."""

from __future__ import annotations

import asyncio
import importlib
import os
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding
from textual.events import Event, InputEvent
from textual.screen import ModalScreen, Screen
from textual.scrollbar import ScrollBar, ScrollBarRender
from textual.widget import AwaitMount
from textual.widgets import Input

from backends.contract import ConfigError
from backends.domain import SiteSpec
from backends.feed import Clock, SystemClock, Unwatch
from screens import MODES
from themes import THEMES, for_environment
from tui.actions import Action, bindings
from tui.alerts import Alerts, alert_text
from tui.changing import Changing, ChangingConsole
from tui.chrome.header import Summary, summarize
from tui.chrome.modes import Alarm, alarm_of
from tui.console_actions import GLOBAL, Commands
from tui.destinations import Destinations
from tui.event_log import EventLog
from tui.filter_line import FilterLine
from tui.garbage import LOOK_SECONDS, Garbage
from tui.live import LiveScreen
from tui.widgets.cells import inert
from tui.widgets.glyphs import ASCII, Glyphs
from tui.widgets.glyphs import for_environment as glyphs_for_environment
from tui.widgets.scrollbar import AsciiScrollBar

if TYPE_CHECKING:
    from backends.site import Site
    from tui.config import Settings

ALERT_SECONDS = 10.0
"""How long a new critical finding stands on the screen."""
AGE_SECONDS = 5.0
"""How often the ages of what is not live are told anew; they are shown in steps of ten seconds."""

SiteFactory = Callable[[SiteSpec], "Site"]


class Console(ChangingConsole):
    """The application. It owns the site; the screens watch the site's topics."""

    TITLE = "gpudeck"
    ENABLE_COMMAND_PALETTE = False  # ours is `screens.palette`: Textual's fails when it is closed while it searches
    BINDINGS: ClassVar = [
        *bindings(GLOBAL),
        *[Binding(mode.key, f"open_mode('{mode.id}')", mode.label, show=False, id=f"mode.{mode.id}") for mode in MODES],
    ]
    DEFAULT_MODE = MODES[0].id
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {mode.id: mode.screen for mode in MODES[1:]}
    ENABLE_SELECT_AUTO_SCROLL = False

    def __init__(
        self,
        sites: tuple[SiteSpec, ...],
        settings: Settings,
        site_name: str | None = None,
        read_only: bool = False,
        theme: str | None = None,
        ascii_only: bool = False,
        site_factory: SiteFactory | None = None,
        clock: Clock | None = None,
    ) -> None:
        # Textual would draw the terminal's own colours as black on black; `mono` draws none. See https://no-color.org.
        environ = dict(os.environ)
        os.environ.pop("NO_COLOR", None)
        try:
            chosen = _theme_name(theme or settings.theme, environ)
        except ConfigError as error:
            raise (error if theme else settings.placed("theme", error)) from None
        # Whether the terminal's own colours are drawn as they are is decided in here; later it follows the theme.
        super().__init__(ansi_color=next(each.ansi for each in THEMES if each.name == chosen))
        self.set_reactive(App.ansi_color, None)
        self.site: Site | None = None
        self.clock: Clock = clock or SystemClock()
        self.site_error: str | None = None
        """Why there is no site although one was to be opened, in a sentence."""
        self.summary: Summary | None = None
        self.alarm: Alarm | None = None
        """What the header says of the findings; None before the first."""
        self.garbage = Garbage(self.clock)
        self.glyphs: Glyphs = ASCII if ascii_only else glyphs_for_environment(os.environ)
        self.read_only = read_only
        self.changing = Changing(self)
        self._sites = sites
        self._first_site = site_name
        self._site_factory = site_factory
        self._unwatches: list[Unwatch] = []
        self._alerts = Alerts()
        self._bell = settings.bell
        for each in THEMES:
            self.register_theme(each)
        self._environ = environ
        self.set_reactive(App.theme, chosen)  # no restyling: nothing is mounted
        self.stylesheet.set_variables(self.get_css_variables())
        self.remapped: dict[str, str] = {}
        if settings.keys:
            from tui.remap import remapped

            self.remapped = remapped(settings)
        self.set_keymap(self.remapped)
        self.set_class(self.glyphs.ascii, "-ascii")
        ScrollBar.renderer = AsciiScrollBar if self.glyphs.ascii else ScrollBarRender
        self.filters = FilterLine(self, settings.filters, settings.places)
        self.event_log = EventLog(self)
        self._destinations = Destinations(self)
        self.commands = Commands(self._destinations.commands())

    async def on_event(self, event: Event) -> None:
        if isinstance(event, InputEvent):
            self.garbage.note_input()
            if self.screen_stack and not self.screen.is_mounted:
                await AwaitMount(self.screen, [self.screen])  # keys in the packet of the one that opened it are for it
        await super().on_event(event)

    # The site

    def get_default_screen(self) -> Screen[Any]:
        """The home screen; made as a mode's screen is, all styles would be parsed anew before the first paint."""
        return MODES[0].screen()

    def on_mount(self) -> None:
        self.add_mode(MODES[0].id, MODES[0].screen)
        if not self._sites:
            from screens.offer import OfferScreen

            self.push_screen(OfferScreen(self.open_site))
        self.screen.call_after_refresh(self._first_painted)

    def _first_painted(self) -> None:
        self.garbage.start()
        self.set_interval(LOOK_SECONDS, self.garbage.look)
        self.set_interval(AGE_SECONDS, self._grow_old)
        self.run_worker(self.filters.load(), group="saved-filters")
        if self._sites:
            # What reads nodes loads only now: imports hold the interpreter's lock, in a thread too.
            self.open_site(next((site for site in self._sites if site.name == self._first_site), self._sites[0]))

    def open_site(self, spec: SiteSpec) -> None:
        """Leaves the site that is open and opens `spec`."""
        if not self.changing.may_leave():
            return
        if spec not in self._sites:
            self._sites = (*self._sites, spec)
        self.run_worker(self._open_site(spec), exclusive=True, group="site", description=f"site {spec.name}")

    async def _open_site(self, spec: SiteSpec) -> None:
        await self._close_site()
        self.site_error = None
        await self.action_open_mode(self.current_mode)
        try:
            factory = self._site_factory
            if factory is None:
                factory = await asyncio.to_thread(_load_site_factory)
            self.site = site = factory(spec)
            self._unwatches = [site.fleet.watch(self._fleet_changed), site.triage.watch(self._triage_changed)]
            self._fleet_changed(None)
            self._triage_changed(None)
            if isinstance(self.screen, LiveScreen):
                self.screen.watch_again()
            await site.start()
            self.run_worker(self.changing.tell_unfinished(), group="unfinished", exit_on_error=False)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one site, the console stays
            from backends.feed import problem_of

            self.log(traceback.format_exc())
            problem = problem_of(error, self.clock.now())
            self.site_error = f"{inert(spec.name)} was not opened: {problem.message}. {problem.hint}".strip()
            self.notify(self.site_error, severity="error", markup=False)
            await self._close_site()
            if isinstance(self.screen, LiveScreen):
                self.screen.watch_again()

    async def _close_site(self) -> None:
        await self.changing.close()
        site, self.site = self.site, None
        for unwatch in self._unwatches:
            unwatch()
        self._unwatches, self.alarm, self._alerts = [], None, Alerts()
        if site is not None:
            await site.close()
            self.garbage.note_gone()

    async def on_unmount(self) -> None:
        await self._close_site()
        self.garbage.stop()

    def _fleet_changed(self, _reading: object) -> None:
        if self.site is None or self.site.fleet.reading.value is None:
            return
        summary = summarize(self.site.spec, self.site.fleet.reading.value, self.clock.now())
        self._alerts.reading(summary.connecting, self.clock.monotonic())
        if summary != self.summary:
            self.summary = summary
            self.header_changed()

    def _triage_changed(self, _reading: object) -> None:
        triage = self.site.triage.reading.value if self.site is not None else None
        if triage is None:
            return
        alarm = alarm_of(triage)
        if alarm != self.alarm:
            self.alarm = alarm
            self.header_changed()
        self._alerts.hear(triage, self.clock.monotonic())
        self._alert()

    def _alert(self) -> None:
        """Tells of new critical findings whoever does not look at them."""
        told = self._alerts.due(self.clock.monotonic())
        if not told:
            return
        if self._bell:
            self.bell()
        if self.current_mode != MODES[0].id or len(self.screen_stack) > 1:
            self.notify(alert_text(told, self.glyphs), severity="error", timeout=ALERT_SECONDS, markup=False)

    def _grow_old(self) -> None:
        """Ages grow while nothing is received: then, and only then, the screen is drawn without a reading."""
        self._alert()
        self._fleet_changed(None)
        if self.summary is None or not (self.summary.failed or self.summary.oldest):
            return
        if isinstance(self.screen, LiveScreen):
            self.screen.redraw()

    # What header, footer and palette ask

    @property
    def tabs(self) -> tuple[tuple[str, str, str, bool], ...]:
        return tuple((mode.id, mode.key, mode.label, mode.id == self.current_mode) for mode in MODES)

    def actions_of(self, screen: Screen[Any]) -> tuple[Action, ...]:
        own = screen.offered_actions if isinstance(screen, LiveScreen) else ()
        lists = self.filters.target(screen) is not None
        return (*own, *(action for action in GLOBAL if lists or action.id != "app.filter"))

    async def run_action_id(self, action_id: str) -> None:
        """Runs an action as its key does."""
        known = {action.id: action.method for screen in self.screen_stack for action in self.actions_of(screen)}
        scope, _, method = action_id.partition(".")
        await self.run_action(f"{'app' if scope == 'app' else 'screen'}.{known.get(action_id, method)}")

    @property
    def saved_filters(self) -> Mapping[str, str]:
        return self.filters.saved.all

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        return self._sites

    def use_theme(self, name: str) -> None:
        """Raises ConfigError where there is no such theme."""
        self.theme = _theme_name(name, self._environ)

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("command", "filter", "write_window", "changes"):
            # In an entry they are characters; on a screen without a command line they mean nothing.
            return isinstance(self.screen, LiveScreen) and not isinstance(self.focused, Input)
        if action == "open_mode":
            return isinstance(self.screen, LiveScreen)
        if action == "palette":
            return not isinstance(self.screen, ModalScreen)  # a question is answered first
        return super().check_action(action, parameters)

    async def action_open_mode(self, mode: str) -> None:
        """Opens the mode at its first screen."""
        if mode != self.current_mode:
            await self.switch_mode(mode)
        for _ in self.screen_stack[1:]:
            self.pop_screen()  # not awaited: the caller may stand on the screen that goes

    async def action_command(self) -> None:
        if isinstance(self.screen, LiveScreen):
            (await self.screen.command_line()).open(":")

    async def action_filter(self) -> None:
        if not isinstance(self.screen, LiveScreen):
            return
        target = self.filters.target()
        if target is not None:
            (await self.screen.command_line()).open("/", target.filter_text)
        else:
            self.notify("This screen has no list to filter.", markup=False)

    async def action_back(self) -> None:
        if not self.filters.end() and len(self.screen_stack) > 1 and isinstance(self.screen, LiveScreen):
            self.pop_screen()

    def action_events(self) -> None:
        self.event_log.open_here()

    async def action_help(self) -> None:
        from screens.help import HelpScreen

        if isinstance(self.screen, HelpScreen):
            return
        groups: dict[str, list[Action]] = {}
        for action in self.actions_of(self.screen):
            groups.setdefault(action.group, []).append(action)
        filters = self.filters.help_of(self.screen)
        told = {f":{each.name}": each.help for each in self.commands.all}
        self.push_screen(HelpScreen(groups, self.remapped, self.glyphs, filters, told))

    async def action_palette(self) -> None:
        await self._destinations.open_palette()

    def action_next_theme(self) -> None:
        names = [each.name for each in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)]
        self.notify(f"Theme {self.theme}", timeout=2, markup=False)

    def action_next_site(self) -> None:
        if len(self._sites) < 2:
            self.notify("The configuration has one site.", timeout=2, markup=False)
            return
        if self.site is None:
            return  # one is being opened
        at = self._sites.index(self.site.spec)
        self.open_site(self._sites[(at + 1) % len(self._sites)])


def _load_site_factory() -> SiteFactory:
    """Runs in a thread: importing what reads nodes takes longer than a frame."""
    from tui.paths import state_path

    return partial(importlib.import_module("backends.site").Site, state_dir=state_path())


def _theme_name(name: str | None, environ: Mapping[str, str]) -> str:
    """`name` where there is such a theme, the environment's without one; raises ConfigError."""
    names = [each.name for each in THEMES]
    if name is None:
        return for_environment(environ)
    if name not in names:
        raise ConfigError(f"no theme is called {name!r}", f"there are: {', '.join(names)}")
    return name
