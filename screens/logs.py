"""A log: followed, searched, saved. What is read and kept of it is `backends.logs`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Static

from backends.contract import GpudeckError
from backends.domain import LogQuery, LogSource
from backends.logs import LogStore, LogTail, PatternError, Search, TailState, compile_pattern, write_new
from screens.ask import AskScreen
from screens.logs_file import default_path, path_of
from screens.logs_rows import (
    RANGES,
    LogTarget,
    container_words,
    search_cells,
    source_cells,
    state_cells,
    target_words,
)
from screens.pick import PickScreen
from tui.actions import Action
from tui.live import LiveScreen
from tui.widgets.cells import inert
from tui.widgets.filter import FilterError, shortened
from tui.widgets.line import StyledLine
from tui.widgets.log_rows import CONTAINER_WIDTH
from tui.widgets.log_view import LogView

FRAME_SECONDS = 0.2
"""Between two paintings, however fast lines come: nobody reads faster, and a slow line has to carry each of them."""
FIRST_SECONDS = 0.02
"""After a pause: what comes at once is painted at once."""
SEARCH_SECONDS = 0.005
"""Searched at a time, before the keys are looked at again."""
SEARCH_PAUSE = 0.008
"""Between two slices: a search takes less than half of a core, and no key waits for it."""
PATH_LIMIT = 1000
NAME_WIDTH = 30
"""Of a container in the list to choose from, at most."""
SEARCH_HINT = "words, small letters match any case   ~ before a regular expression   n N next and previous match"


def open_logs(app: App[Any], target: LogTarget | None, others: Sequence[LogTarget] = ()) -> None:
    """Opens the log screen on `target`, where the `others` can be chosen; without a target it is asked for first."""
    if target is not None:
        app.push_screen(LogsScreen(target, others))
        return

    def picked(index: int | None) -> None:
        if index is not None:
            app.push_screen(LogsScreen(others[index], others))

    app.push_screen(PickScreen("Whose log", target_words(others)), picked)


class LogsScreen(LiveScreen):
    """The view under two lines about it."""

    CSS_PATH = "logs.tcss"
    ACTIONS: ClassVar[tuple[Action, ...]] = (
        Action("logs.follow", "f", "Follow", "Stay with the newest line, or stand still", group="Log"),
        Action("logs.next", "n", "Next", "Go to the next match", group="Log", rank=3),
        Action("logs.last", "N", "Last match", "Go to the match before", show=False, group="Log"),
        Action("logs.former", "p", "Former run", "The log of the run before, or of this one", group="Log"),
        Action("logs.container", "c", "Container", "Choose the container, init containers too", group="Log", rank=2),
        Action("logs.other", "o", "Other", "Another log of the same node", group="Log", rank=3),
        Action("logs.range", "r", "Range", "Which part of the log is read", group="Log", rank=3),
        Action("logs.times", "T", "Times", "Show when each line came", group="Log", rank=3),
        Action("logs.wrap", "z", "Wrap", "Fold long lines, or cut them", group="Log", rank=3),
        Action("logs.save", "S", "Save", "Write the lines that are kept to a file", group="Log", rank=3),
    )

    def __init__(self, target: LogTarget, others: Sequence[LogTarget] = ()) -> None:
        super().__init__()
        self.target = target
        self.filter_text = ""
        """What is searched for."""
        self._others = tuple(others)
        self._query = LogQuery()
        self._tail: LogTail | None = None
        self._search: Search | None = None
        self._goes_to_match = False
        """Once the search knows where one is."""
        self._current: int | None = None
        self._silent = False
        """It has said nothing for a while."""
        self._frame: Timer | None = None
        self._searching: Timer | None = None

    def compose(self) -> ComposeResult:
        yield StyledLine(id="logs-source")
        yield StyledLine(id="logs-state")
        yield Static(id="logs-problem", markup=False)
        yield LogView(LogStore(), moved=self._show_state, ellipsis=self.glyphs.ellipsis, id="logs-view")

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    @property
    def tail(self) -> LogTail | None:
        """What is read; None before a site is open."""
        return self._tail

    @property
    def filter_hint(self) -> str:
        return SEARCH_HINT

    def crumbs(self) -> tuple[str, ...]:
        return ("Log", self.target.title)

    def on_mount(self) -> None:
        self.view.focus()
        self.set_interval(1.0, self._grow_old)
        if self.target.source.name:
            self._read(self.target.source, self._query)
        else:
            self.call_after_refresh(self.action_container)

    def on_screen_resume(self) -> None:
        if self._tail is not None:
            self._tail.start()

    def on_screen_suspend(self) -> None:
        # A dialog over it leaves the log in view; behind another screen nobody looks.
        if self._tail is not None and not isinstance(self.app.screen, ModalScreen):
            self.run_worker(self._tail.pause(), group="pause")

    def on_unmount(self) -> None:
        if self._tail is not None:
            self._tail.stop()
        self._tail = self._search = None  # a closed screen lives on until its cycles are looked for

    # Reading

    def _read(self, source: LogSource, query: LogQuery) -> None:
        """Leaves what is read, and reads another log or another part of it."""
        self._query = query
        self.run_worker(self._begin(source, query), exclusive=True, group="read", description=source.name)

    async def _begin(self, source: LogSource, query: LogQuery) -> None:
        former, site = self._tail, self.site
        if former is not None:
            await former.close()
        if site is None:
            return
        self._tail = tail = LogTail(site.platform.backend, source, query, self.clock, self._lines_came)
        self._current, self._silent = None, False
        self.view.show(tail.store)
        if source.name:
            tail.start()
        self._look_for(self.filter_text)
        self.redraw()

    def _lines_came(self) -> None:
        """Asks for one painting, however many batches come before it."""
        if self._frame is None and self.is_mounted:
            wait = max(FIRST_SECONDS, self._shown_at + FRAME_SECONDS - self.clock.monotonic())
            self._frame = self.set_timer(wait, self._paint)

    def _paint_soon(self) -> None:
        """One painting for a burst of keys: each of them would cost one."""
        if self._frame is not None:
            self._frame.stop()
        self._frame = self.set_timer(FIRST_SECONDS, self._paint)

    def _paint(self) -> None:
        self._frame = None
        if self._on_top or isinstance(self.app.screen, ModalScreen):
            self.redraw()

    def _grow_old(self) -> None:
        if self.is_current:
            self._show_state()
            if self._tail is not None and not len(self._tail.store):
                self._silent = True
                self._show_problem(self._tail)

    def show(self) -> None:
        """Draws the log as it is now; costs what changed."""
        tail = self._tail
        if tail is None:
            return
        self._search_on()
        several = not tail.source.containers and bool(tail.source.namespace)
        names = max((len(name) for name in tail.store.containers), default=0) if several else 0
        self.view.set_look(containers=min(names, CONTAINER_WIDTH))
        self.view.redraw()  # and with it the line that tells how it goes
        self.query_one("#logs-source", StyledLine).set_cells(source_cells(tail), separator="  ")
        self._show_problem(tail)

    def _show_state(self) -> None:
        tail, view = self._tail, self.view
        if tail is None:
            return
        cells = state_cells(tail, self.glyphs, below=None if view.follow else tail.store.end - view.bottom)
        if self._search is not None:
            cells[1:1] = search_cells(self._search, shortened(self.filter_text), self._current)
        self.query_one("#logs-state", StyledLine).set_cells(cells, separator="  ")

    def _show_problem(self, tail: LogTail) -> None:
        text = ""
        if tail.problem is not None:
            text = f"{inert(tail.problem)}\n{inert(tail.hint)}".rstrip()
        elif not len(tail.store) and tail.state is TailState.ENDED:
            text = "Nothing was written."
        elif not len(tail.store) and tail.state is TailState.FOLLOWING and self._silent:
            text = "No line yet: what it writes from now on comes up here."
        problem = self.query_one("#logs-problem", Static)
        problem.display = bool(text)
        if str(problem.content) != text:
            problem.update(Text(text))

    # Searching: what `/` asks of the screen

    def apply_filter(self, text: str) -> None:
        """Looks for `text`; raises FilterError for no regular expression, and the search before stays."""
        try:
            self._look_for(text)
        except PatternError as error:
            raise FilterError(error.message, error.position, incomplete=True) from None
        self._paint_soon()

    def _look_for(self, text: str) -> None:
        pattern = compile_pattern(text)
        self.filter_text = pattern.text if pattern is not None else ""
        tail = self._tail
        self._search = Search(pattern, tail.store) if pattern is not None and tail is not None else None
        self._goes_to_match = self._search is not None
        self._current = None
        self.view.set_search(self._search)

    def _search_on(self) -> None:
        """A slice of the search; the rest comes after what else is to be done."""
        search = self._search
        if search is None:
            return
        if not search.advance(SEARCH_SECONDS):
            if self._searching is None:
                self._searching = self.set_timer(SEARCH_PAUSE, self._search_more)
        elif self._goes_to_match:
            view, self._goes_to_match = self.view, False
            if search.after(view.top - 1) not in range(view.top, view.bottom) and len(search):
                self._go_to(search.before(view.bottom))

    def _search_more(self) -> None:
        self._searching = None
        if self._on_top:
            self._search_on()
            self._show_state()

    def _go_to(self, number: int | None) -> None:
        self._goes_to_match = False
        if number is None:
            self.notify("No line has it." if self._search is not None else "/ looks for something.", timeout=2)
            return
        self._current = number
        self.view.go_to(number)

    def action_next(self) -> None:
        search = self._search
        start = self._current if self._current is not None else self.view.top - 1
        self._go_to(search.after(start) if search is not None else None)

    def action_last(self) -> None:
        search = self._search
        start = self._current if self._current is not None else self.view.bottom
        self._go_to(search.before(start) if search is not None else None)

    # What is shown, and how

    def action_times(self) -> None:
        view = self.view
        view.set_look(timestamps=not view.look.timestamps, containers=view.look.containers)

    def action_wrap(self) -> None:
        view = self.view
        view.set_look(wrap=not view.look.wrap, containers=view.look.containers)

    def action_follow(self) -> None:
        """The view stays with the end or stands still; a log that has ended is asked for anew."""
        tail, view = self._tail, self.view
        if tail is None or not tail.source.name:
            return
        if tail.state in (TailState.ENDED, TailState.FAILED):
            self._read(tail.source, replace(self._query, previous=False))
        elif view.follow:
            view.stand_still()
        else:
            view.action_end()

    def action_former(self) -> None:
        tail = self._tail
        if tail is not None and tail.source.name:
            self._read(tail.source, replace(self._query, previous=not self._query.previous))

    def action_range(self) -> None:
        self.run_worker(self._choose_range(), exclusive=True, group="choose")

    async def _choose_range(self) -> None:
        tail = self._tail
        if tail is None:
            return
        now = next(
            (at for at, each in enumerate(RANGES) if each[1:] == (self._query.tail_lines, self._query.since_seconds)), 0
        )
        index = await self.app.push_screen_wait(PickScreen("How much of the log", [words for words, *_ in RANGES], now))
        if index is not None:
            _, lines, seconds = RANGES[index]
            self._read(tail.source, replace(self._query, tail_lines=lines, since_seconds=seconds))

    def action_container(self) -> None:
        self.run_worker(self._choose_container(), exclusive=True, group="choose")

    async def _choose_container(self) -> None:
        tail, site = self._tail, self.site
        source = tail.source if tail is not None else self.target.source
        if site is None:
            return
        try:
            found = await LogTail(site.platform.backend, source, self._query, self.clock, _nothing).containers()
        except GpudeckError as error:
            self.notify(f"{error.message}. {error.hint}".strip(), severity="error", markup=False)
            self._leave_if_none()
            return
        pod = source.namespace is not None
        width = min(NAME_WIDTH, max((len(each.name) for each in found), default=0))
        words = [*(["     all containers"] if pod else []), *(container_words(each, width) for each in found)]
        if not words:
            self.notify(f"There is no container on {source.node or 'it'}.", markup=False)
            self._leave_if_none()
            return
        names = [*([()] if pod else []), *((each.name,) for each in found)]
        now = source.containers if pod else (source.name,)
        picked = await self.app.push_screen_wait(
            PickScreen("Whose log", words, names.index(now) if now in names else 0)
        )
        if picked is None:
            self._leave_if_none()
            return
        name = names[picked]
        self._read(replace(source, containers=name) if pod else replace(source, name=name[0]), self._query)

    def _leave_if_none(self) -> None:
        """A screen without a log shows nothing."""
        if not (self.target.source.name or (self._tail is not None and self._tail.source.name)) and self.is_current:
            self.app.pop_screen()

    def action_other(self) -> None:
        self.run_worker(self._choose_other(), exclusive=True, group="choose")

    async def _choose_other(self) -> None:
        if len(self._others) < 2:
            self.notify("There is no other log here.", timeout=2)
            return
        now = self._others.index(self.target) if self.target in self._others else 0
        picked = await self.app.push_screen_wait(PickScreen("Another log", target_words(self._others), now))
        if picked is not None:
            self.target = self._others[picked]
            self._read(self.target.source, replace(self._query, previous=False))

    # Saving

    def action_save(self) -> None:
        self.run_worker(self._save(), exclusive=True, group="choose")

    async def _save(self) -> None:
        """Asks until it is written or given up."""
        tail = self._tail
        if tail is None or not len(tail.store):
            self.notify("There is no line to save yet.", timeout=2)
            return
        answer = str(default_path(tail.source, self.clock.now()))
        said = "The file to write; it must not be there yet:"
        while True:
            asked = AskScreen("Save the log", said, "Save", PATH_LIMIT, answer)
            given = await self.app.push_screen_wait(asked)
            if given is None:
                return
            store, look = tail.store, self.view.look
            lines, count = store.between(store.first, store.end), len(store)
            path = path_of(given)
            try:
                size = await asyncio.to_thread(
                    write_new, path, lines, timestamps=look.timestamps, container=bool(look.containers)
                )
            except GpudeckError as error:
                answer, said = given, f"{error.message}: {error.hint}"
                continue
            self.notify(f"{count:,} lines, {size:,} bytes: {inert(str(path))}", markup=False)
            return


def _nothing() -> None:
    return
