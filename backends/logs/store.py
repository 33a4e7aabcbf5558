"""The lines that are kept of a log: the newest ones, within a number of lines and of bytes. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from backends.domain import LogLine

MOST_LINES = 100_000
MOST_BYTES = 32 << 20
LINE_OVERHEAD = 56
"""Bytes of a line beside its text: its time, its place in three lists. Measured on CPython 3.11."""
NOTE = ""
"""The container of a line that the console itself put in: of something that happened to the log."""


def note(text: str) -> LogLine:
    """A line that no container wrote."""
    return LogLine(text, NOTE)


class LogStore:
    """Lines have numbers that they keep for life, counted from 0; the oldest go first.

    They are kept as columns of texts, names and numbers, which the garbage collector has no business with: walking
    100,000 values would hold the event loop up for 25 ms each time.
    """

    def __init__(self, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._texts: list[str] = []
        self._containers: list[str] = []
        self._times: list[float | None] = []
        self.first = 0
        """Number of the oldest line that is kept; as many were dropped before it."""
        self.missed = 0
        """Lines that never came here: they came faster than they could be read."""
        self.size = 0
        """Bytes, about."""
        self.containers: frozenset[str] = frozenset()
        """Of every line since the last `clear`."""

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def end(self) -> int:
        """Number of the line that comes next."""
        return self.first + len(self._texts)

    def __getitem__(self, number: int) -> LogLine:
        """The line with `number`; raises IndexError for one that is not kept."""
        if not self.first <= number < self.end:
            raise IndexError(number)
        at = number - self.first
        return LogLine(self._texts[at], self._containers[at], self._times[at])

    def between(self, start: int, stop: int) -> Iterator[LogLine]:
        """Lines `start` to before `stop`, as far as they are kept now; each is made when it is asked for."""
        part = self._part(start, stop)
        return map(LogLine, self._texts[part], self._containers[part], self._times[part])

    def texts(self, start: int, stop: int) -> Sequence[str]:
        """The texts of lines `start` to before `stop`, as far as they are kept."""
        return self._texts[self._part(start, stop)]

    def is_note(self, number: int) -> bool:
        """Whether the console itself put in the line, which must be kept."""
        return self._containers[number - self.first] == NOTE

    def extend(self, lines: Sequence[LogLine], missed: int = 0) -> None:
        """Adds lines behind the others; `missed` were left out before them, and a note says so in their place."""
        if missed:
            self.missed += missed
            self._add([note(f"{missed:,} lines are missing here: they came faster than they could be read")])
        self._add(lines)
        self._shrink()

    def clear(self) -> None:
        """Forgets all lines; the numbers go on."""
        self.first, self.missed, self.size, self.containers = self.end, 0, 0, frozenset()
        for column in (self._texts, self._containers, self._times):
            column.clear()

    def _part(self, start: int, stop: int) -> slice:
        return slice(max(0, start - self.first), max(0, stop - self.first))

    def _add(self, lines: Sequence[LogLine]) -> None:
        texts = [line.text for line in lines]
        containers = [line.container for line in lines]
        self._texts += texts
        self._containers += containers
        self._times += [line.at for line in lines]
        self.size += _size(texts)
        if not self.containers.issuperset(containers):
            self.containers |= set(containers) - {NOTE}

    def _shrink(self) -> None:
        too_many = max(0, len(self._texts) - self._most_lines)
        freed = _size(self._texts[:too_many])
        while self.size - freed > self._most_bytes and too_many < len(self._texts) - 1:
            freed += _size(self._texts[too_many : too_many + 1])
            too_many += 1
        if too_many:
            # At once: taking lines off one by one would move all others each time.
            for column in (self._texts, self._containers, self._times):
                del column[:too_many]
            self.first += too_many
            self.size -= freed


def _size(texts: Sequence[str]) -> int:
    return sum(map(sys.getsizeof, texts)) + LINE_OVERHEAD * len(texts)
