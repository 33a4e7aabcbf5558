"""The lines that are kept of a log: the newest ones, within a number of lines and of bytes. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from backends.domain import LogLine

MOST_LINES = 100_000
MOST_BYTES = 32 << 20
LINE_OVERHEAD = 112
"""Bytes of a line beside its text: the value, its time, its place in the list. Measured on CPython 3.11."""
NOTE = ""
"""The container of a line that the console itself put in: of something that happened to the log."""


def note(text: str) -> LogLine:
    """A line that no container wrote."""
    return LogLine(text, NOTE)


class LogStore:
    """Lines have numbers that they keep for life, counted from 0; the oldest go first."""

    def __init__(self, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._most_lines, self._most_bytes = most_lines, most_bytes
        self._lines: list[LogLine] = []
        self.first = 0
        """Number of the oldest line that is kept; as many were dropped before it."""
        self.missed = 0
        """Lines that never came here: they came faster than they could be read."""
        self.size = 0
        """Bytes, about."""

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def end(self) -> int:
        """Number of the line that comes next."""
        return self.first + len(self._lines)

    @property
    def containers(self) -> set[str]:
        """Of the kept lines."""
        return {line.container for line in self._lines} - {NOTE}

    def __getitem__(self, number: int) -> LogLine:
        """The line with `number`; raises IndexError for one that is not kept."""
        if not self.first <= number < self.end:
            raise IndexError(number)
        return self._lines[number - self.first]

    def between(self, start: int, stop: int) -> Sequence[LogLine]:
        """Lines `start` to before `stop`, as far as they are kept."""
        return self._lines[max(0, start - self.first) : max(0, stop - self.first)]

    def extend(self, lines: Sequence[LogLine], missed: int = 0) -> None:
        """Adds lines behind the others; `missed` were left out before them, and a note says so in their place."""
        if missed:
            self.missed += missed
            self._add([note(f"{missed:,} lines are missing here: they came faster than they could be read")])
        self._add(lines)
        self._shrink()

    def clear(self) -> None:
        """Forgets all lines; the numbers go on."""
        self.first, self.missed, self.size = self.end, 0, 0
        self._lines.clear()

    def _add(self, lines: Sequence[LogLine]) -> None:
        self._lines.extend(lines)
        self.size += sum([_size(line) for line in lines])

    def _shrink(self) -> None:
        too_many = max(0, len(self._lines) - self._most_lines)
        freed = sum([_size(line) for line in self._lines[:too_many]])
        while self.size - freed > self._most_bytes and too_many < len(self._lines) - 1:
            freed += _size(self._lines[too_many])
            too_many += 1
        if too_many:
            # At once: taking lines off one by one would move all others each time.
            del self._lines[:too_many]
            self.first += too_many
            self.size -= freed


def _size(line: LogLine) -> int:
    return sys.getsizeof(line.text) + LINE_OVERHEAD
