"""Which lines of a store match a pattern: found in slices of a few milliseconds, and kept as lines come and go."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from types import FrameType

from backends.logs.pattern import Pattern
from backends.logs.store import NOTE, LogStore

STEP_LINES = 500
"""Looked at between two glances at the time."""
SLOWEST_SECONDS = 0.04
"""CPU time that one step may take: an expression can take for ever on one line."""


class TooSlow(Exception):
    """The expression takes too long."""


class Search:
    """Numbers of the lines of `store` that match `pattern`, oldest first."""

    def __init__(self, pattern: Pattern, store: LogStore) -> None:
        self.pattern = pattern
        self._store = store
        self._matches: list[int] = []
        self._next = store.first
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
            try:
                with bounded(SLOWEST_SECONDS):
                    self._step()
            except TooSlow:
                self.problem = "the expression takes too long"
            if time.perf_counter() >= ends:
                break
        return self.done

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the pattern is in one line; nothing once the search gave up."""
        if self.problem is not None:
            return []
        try:
            with bounded(SLOWEST_SECONDS):
                return self.pattern.spans(text)
        except TooSlow:
            self.problem = "the expression takes too long"
            return []

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

    def _step(self) -> None:
        start = self._next
        lines = self._store.between(start, start + STEP_LINES)
        is_in = self.pattern.is_in
        self._matches += [
            start + index for index, line in enumerate(lines) if is_in(line.text) and line.container != NOTE
        ]
        self._next = start + len(lines)

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
