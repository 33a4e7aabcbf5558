"""Which lines of a store match a pattern: found in slices of a few milliseconds, and kept as lines come and go."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType

from backends.logs.pattern import Pattern
from backends.logs.store import LogStore

MOST_LINES_A_STEP = 500
"""Looked at between two glances at the time."""
FIRST_LINES = 16
STEP_SECONDS = 0.001
"""CPU time of a step; one that takes longer is followed by one of fewer lines."""
MARK_SECONDS = 0.003
"""CPU time for the marks of the lines in view."""
SLOWEST_SECONDS = 0.01
"""CPU time after which a step is broken off: an expression can take for ever on one line."""
TOO_LONG = "the expression takes too long"


class TooSlow(Exception):
    """The expression takes too long."""


class Search:
    """Numbers of the lines of `store` that match `pattern`, oldest first."""

    def __init__(self, pattern: Pattern, store: LogStore) -> None:
        self.pattern = pattern
        self._store = store
        self._matches: list[int] = []
        self._next = store.first
        self._lines_a_step = FIRST_LINES
        self._marked: dict[str, list[tuple[int, int]]] = {}
        """Text -> `spans`, of the lines that were asked for last."""
        self.problem: str | None = None
        """Why nothing more is looked for."""

    def __len__(self) -> int:
        return len(self._matches)

    @property
    def done(self) -> bool:
        """Every line that is kept was looked at."""
        return self.problem is not None or self._next >= self._store.end

    def advance(self, seconds: float) -> bool:
        """Looks at lines for about `seconds`; returns whether all are looked at."""
        self._forget_dropped()
        ends = time.perf_counter() + seconds
        while not self.done:
            began = time.thread_time()
            try:
                with bounded(SLOWEST_SECONDS):
                    found, looked_at = self._step()
            except TooSlow:
                if self._lines_a_step == 1:
                    self.problem = TOO_LONG
                self._lines_a_step = 1
            else:
                self._matches += found
                self._next += looked_at
                self._fit_step(time.thread_time() - began)
            if time.perf_counter() >= ends:
                break
        return self.done

    def marks(self, texts: Iterable[str]) -> Mapping[str, list[tuple[int, int]]]:
        """Where the pattern is in each of the lines in view; those that there is no time for come the next time."""
        former, self._marked = self._marked, {}
        ends, asked = time.thread_time() + MARK_SECONDS, 0
        try:
            with bounded(SLOWEST_SECONDS):
                for text in texts if self.problem is None else ():
                    known = former.get(text)
                    if known is None:
                        if asked and time.thread_time() > ends:
                            continue
                        asked += 1
                        known = self.pattern.spans(text)
                    self._marked[text] = known
        except TooSlow:
            if asked == 1:
                self.problem = TOO_LONG
        return self._marked

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the pattern is in one line; nothing once the search gave up."""
        return self.marks((text,)).get(text, [])

    def after(self, number: int) -> int | None:
        """The first match behind line `number`; round the end the first of all. None without a match."""
        if not self._matches:
            return None
        index = bisect_right(self._matches, number)
        return self._matches[index % len(self._matches)]

    def before(self, number: int) -> int | None:
        """The last match before line `number`; round the start the last of all. None without a match."""
        if not self._matches:
            return None
        return self._matches[bisect_left(self._matches, number) - 1]

    def rank(self, number: int) -> int | None:
        """Which match line `number` is, counted from 1; None when it is none."""
        index = bisect_left(self._matches, number)
        return index + 1 if index < len(self._matches) and self._matches[index] == number else None

    def _step(self) -> tuple[list[int], int]:
        """The matches among the next lines, and how many lines these are; changes nothing: it may be broken off."""
        start = self._next
        texts = self._store.texts(start, start + self._lines_a_step)
        found = [start + index for index, text in enumerate(texts) if self.pattern.is_in(text)]
        return [number for number in found if not self._store.is_note(number)], len(texts)

    def _fit_step(self, seconds: float) -> None:
        """The last step took `seconds`."""
        if seconds > STEP_SECONDS:
            self._lines_a_step = max(1, self._lines_a_step // 2)
        elif seconds < STEP_SECONDS / 2:
            self._lines_a_step = min(MOST_LINES_A_STEP, self._lines_a_step * 2)

    def _forget_dropped(self) -> None:
        first = self._store.first
        if self._matches and self._matches[0] < first:
            del self._matches[: bisect_left(self._matches, first)]
        self._next = max(self._next, first)


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raises TooSlow when the block takes more CPU time; elsewhere than in the main thread it is not bounded.

    A regular expression looks for signals while it runs, and for nothing else.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    inside = True

    def stop(_number: int, _frame: FrameType | None) -> None:
        if inside:
            raise TooSlow

    former = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        inside = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
