"""How the console changes its site: one desk per open site, made when it is first needed, and the questions before."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from textual.app import App

from backends.contract import GpudeckError
from tui.chrome.header import Header
from tui.console_actions import Command
from tui.widgets.cells import inert
from tui.widgets.columns import Cell

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from backends.changes.change import BlastRadius, Change
    from backends.changes.desk import ChangeDesk
    from backends.changes.record import ChangeRecord
    from backends.changes.window import WindowState
    from backends.feed import Reading, Unwatch
    from backends.site import Site
    from tui.widgets.glyphs import Glyphs

    Doing = Callable[[Change, BlastRadius], Coroutine[Any, Any, ChangeRecord]]
    """Makes the change that was said yes to, as long as it hits no more than the radius."""

NOTICE_SECONDS = 8.0
READ_ONLY = ("this gpudeck was started with --read-only", "")
CLOSED = ("the write window is closed", "Write window")
"""Why a change can only be looked at, and the way out of that."""


class ChangingApp(Protocol):
    """What this needs of the application."""

    read_only: bool

    @property
    def site(self) -> Site | None: ...

    @property
    def glyphs(self) -> Glyphs: ...

    def header_changed(self) -> None:
        """What the header says of the write window is another."""
        ...


class ChangingConsole(App[None]):
    """What of the application is about changes."""

    changing: Changing

    def header_changed(self) -> None:
        """The header draws what the application says now."""
        for header in self.screen.query(Header) if self.screen_stack else ():
            header.repaint_lines()

    def action_leave(self) -> None:
        if self.changing.may_leave():
            self.exit()

    def action_write_window(self) -> None:
        self.changing.ask_window()

    def action_changes(self) -> None:
        self.changing.open_screen()


class Changing:
    """Belongs to the application; `close` with each site."""

    def __init__(self, app: ChangingApp) -> None:
        self._app = app
        self._textual = cast(App[Any], app)
        self.desk: ChangeDesk | None = None
        self._unwatch: Unwatch | None = None
        self._warned_of_leaving = False

    @property
    def mark(self) -> Cell | None:
        """What the header says while the write window is open; None while it is closed."""
        state = None if self.desk is None else self.desk.window.state.reading.value
        if state is None or not state.is_open:
            return None
        return Cell(f"{self._app.glyphs.warn} {state.label}", "bad")

    @property
    def busy(self) -> bool:
        return self.desk is not None and self.desk.busy

    # The desk

    async def open_desk(self) -> ChangeDesk | None:
        """The site's desk; None without a site. Raises GpudeckError, OSError where the state directory fails."""
        site = self._app.site
        if site is None or self.desk is not None:
            return self.desk
        module = await asyncio.to_thread(importlib.import_module, "backends.changes.desk")
        from tui.paths import state_dir

        if self._app.site is site and not self._has_desk():
            desk = module.ChangeDesk(site.spec, site, state_dir(), read_only=self._app.read_only)
            self._unwatch = desk.window.state.watch(self._window_changed)
            desk.start()
            self.desk = desk
        return self.desk

    def _has_desk(self) -> bool:
        return self.desk is not None

    async def close(self) -> None:
        """Ends with the site: a running step gets a little time, its journal tells the rest."""
        desk, self.desk = self.desk, None
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if desk is not None:
            await desk.close()
            self._app.header_changed()

    def _window_changed(self, reading: Reading[WindowState]) -> None:
        self._app.header_changed()
        if reading.value is not None and not reading.value.is_open and self.busy:
            self._tell("The write window has closed: the change stops before its next step.", "warning")

    async def tell_unfinished(self) -> None:
        """Says what a former console left unfinished; looks at the disk only where there are journals at all."""
        from tui.paths import state_dir

        site = self._app.site
        shared = None if site is None else site.spec.changes.directory
        try:
            there = await asyncio.to_thread(lambda: any((shared or state_dir() / "changes").glob("*.journal")))
            desk = await self.open_desk() if there else None
            view = None if desk is None else await desk.look()
        except (GpudeckError, OSError):
            return  # the changes screen tells it to whoever asks
        if view is None:
            return
        from backends.changes.former import step_place
        from backends.changes.report import status_word

        left = view.left_open
        if left:
            more = f", and {len(left) - 1} more" if len(left) > 1 else ""
            place = f"{status_word(left[0], running=False)}, {step_place(left[0])}"
            self._tell(f"A change was left unfinished: {left[0].title} ({place}){more}. See :changes", "warning")

    # What a person asks for

    def commands(self) -> tuple[Command, ...]:
        """The words of the `:` line."""
        return (
            Command("changes", "what was changed, what runs", lambda _rest: self.open_screen()),
            Command("write", "open or close the write window", lambda _rest: self.ask_window()),
        )

    def ask_window(self) -> None:
        self._work(self._ask_window, "write window")

    def open_screen(self, chosen: str | None = None) -> None:
        async def show() -> None:
            if await self.open_desk() is not None:
                self._show(chosen)

        self._work(show, "changes screen")

    def propose(self, change: Change) -> None:
        """Asks about a new change, and makes it when the answer is yes."""

        async def ask() -> None:
            desk = await self.open_desk()
            if desk is not None:
                await self._ask_about(desk, change, "Apply", desk.run)

        self._work(ask, "change")

    def plan(self, planned: Callable[[], Awaitable[Change | None]]) -> None:
        """Makes a change first, out of what is there, and then asks about it; None: it is not wanted after all."""

        async def ask() -> None:
            change = await planned()
            desk = None if change is None else await self.open_desk()
            if change is not None and desk is not None:
                await self._ask_about(desk, change, "Apply", desk.run)

        self._work(ask, "platform change")

    def again(self, record: ChangeRecord, what: str) -> None:
        """Asks about resume, undo or abandon of a former change, and does it."""

        async def ask() -> None:
            from backends.changes.former import remaining, undoing

            desk = await self.open_desk()
            if desk is None:
                return
            if what == "abandon":
                await self._abandon(desk, record)
                return
            again = desk.undo if what == "undo" else desk.resume
            former = undoing(record) if what == "undo" else remaining(record)
            change = await desk.with_radius(former)
            await self._ask_about(desk, change, what.capitalize(), lambda _change, seen: again(record.id, seen))

        self._work(ask, what)

    def may_leave(self) -> bool:
        """False, once, while a change runs: leaving would cut it off."""
        if not self.busy or self._warned_of_leaving:
            return True
        self._warned_of_leaving = True
        self._tell("A change is running: it would stop before its next step. Once more to leave.", "warning")
        return False

    # How it is done

    async def _ask_window(self) -> bool:
        """Whether the window is open afterwards."""
        from screens.write_window import WriteWindowScreen

        desk = await self.open_desk()
        if desk is None:
            return False
        if desk.window.read_only:
            self._tell("This gpudeck was started with --read-only: nothing can be changed.", "warning")
            return False
        wish = await self._textual.push_screen_wait(WriteWindowScreen(desk.window, desk.spec.demo))
        if wish is not None and wish.minutes:
            await desk.open_window(wish.minutes, wish.reason)
        elif wish is not None:
            desk.close_window()
        return desk.window.is_open

    async def _ask_about(self, desk: ChangeDesk, change: Change, verb: str, do: Doing) -> None:
        """Shows the change to anybody at any time; to make it, the write window has to be open."""
        from screens.confirm import ConfirmScreen

        if not desk.window.is_open:
            shut = (
                "this gpudeck was started with --read-only" if desk.window.read_only else "the write window is closed"
            )
            unlock = "" if desk.window.read_only else "Write window"
            look = ConfirmScreen(change, lambda: desk.preflight(change), unlock, shut=shut)
            if not await self._textual.push_screen_wait(look) or not await self._ask_window():
                return
            change = await desk.with_radius(change)  # the window took its time
        await self._offer(desk, replace(change, reason=change.reason or desk.window.reason), verb, do)

    async def _offer(self, desk: ChangeDesk, change: Change, verb: str, do: Doing, news: Sequence[str] = ()) -> None:
        """Asks, and has it done when the answer is yes. What hits more by then, `news`, is asked about anew."""
        from backends.changes.radius import HitsMore
        from screens.confirm import ConfirmScreen

        question = ConfirmScreen(change, lambda: desk.preflight(change), verb, news)
        if not await self._textual.push_screen_wait(question) or question.found is None:
            return

        def ended(task: asyncio.Task[ChangeRecord]) -> None:
            error = None if task.cancelled() else task.exception()
            if isinstance(error, HitsMore):
                self._work(lambda: self._offer(desk, error.change, verb, do, error.news), "change")
            else:
                self._ended(task)

        desk.launch(do(change, question.found.radius)).add_done_callback(ended)
        self._warned_of_leaving = False
        self._show(change.id)

    async def _abandon(self, desk: ChangeDesk, record: ChangeRecord) -> None:
        from screens.ask import AskScreen

        question = "Nothing on the site is touched. Why is it closed?"
        why = await self._textual.push_screen_wait(AskScreen(f"Abandon: {record.title}", question, "Abandon"))
        if why is not None:
            await desk.abandon(record.id, why)

    def _ended(self, task: asyncio.Task[ChangeRecord]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._fail(error)
            return
        record = task.result()
        self._tell(f"{record.title}: {record.summary}", "information" if record.ended else "error")

    def _show(self, chosen: str | None) -> None:
        from screens.changes import ChangesScreen

        if not isinstance(self._textual.screen, ChangesScreen):
            self._textual.push_screen(ChangesScreen(chosen))

    def _work(self, work: Callable[[], Awaitable[Any]], name: str) -> None:
        async def guarded() -> None:
            try:
                await work()
            except (GpudeckError, OSError) as error:
                self._fail(error)

        self._textual.run_worker(guarded(), exclusive=True, group="change", exit_on_error=False, description=name)

    def _fail(self, error: BaseException) -> None:
        said = (
            f"{error.message}. {error.hint}" if isinstance(error, GpudeckError) else f"{type(error).__name__}: {error}"
        )
        self._tell(said.strip(), "error")

    def _tell(self, text: str, severity: SeverityLevel) -> None:
        self._textual.notify(inert(text), severity=severity, timeout=NOTICE_SECONDS, markup=False)
