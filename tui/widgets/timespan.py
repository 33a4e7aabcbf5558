"""Which time charts show: how long, up to when, and where the cursor stands. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import floor

from backends.feed import window_start

ZOOMS: tuple[tuple[int, str], ...] = ((300, "5 min"), (900, "15 min"), (3600, "1 h"), (21600, "6 h"))
"""Seconds, and how they are called."""
REACH_SECONDS = 6 * 3600
"""How far back anything can be known."""
PAN_SHARE = 0.25
_TICKS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)
_TICK_CELLS = 10
"""The least distance of two ticks: a label and some air."""


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The time from `start` on that a row of `cells` shows."""

    start: float
    seconds: float
    cells: int
    cursor: float | None = None

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def cursor_cell(self) -> int | None:
        return None if self.cursor is None else self.cell(self.cursor)

    def cell(self, at: float) -> int | None:
        """The cell that shows `at`; None outside."""
        place = floor((at - self.start) / self.seconds * self.cells) if self.cells > 0 else -1
        return place if 0 <= place < self.cells else None

    def moment(self, cell: int) -> float:
        """The middle of what a cell shows."""
        return self.start + (cell + 0.5) * self.seconds / max(1, self.cells)

    def ticks(self) -> list[tuple[int, str]]:
        """Cells and local times of the marks of an axis, at whole minutes and hours."""
        a_cell = self.seconds / max(1, self.cells)
        step = next((step for step in _TICKS if step >= a_cell * _TICK_CELLS), _TICKS[-1])
        offset = datetime.fromtimestamp(self.start).astimezone().utcoffset()
        ahead = 0.0 if offset is None else offset.total_seconds()
        first = -(-(self.start + ahead) // step) * step - ahead
        found = []
        for number in range(int((self.end - first) // step) + 1):
            at = first + number * step
            cell = self.cell(at)
            if cell is not None:
                found.append((cell, datetime.fromtimestamp(at).astimezone().strftime("%H:%M")))
        return found


@dataclass(frozen=True, slots=True)
class TimeView:
    """What the user chose; a method returns the view after one more choice."""

    zoom: int = 1
    end: float | None = None
    """None follows the present."""
    cursor: float | None = None

    @property
    def seconds(self) -> int:
        return ZOOMS[self.zoom][0]

    @property
    def words(self) -> str:
        return ZOOMS[self.zoom][1]

    def span(self, now: float, points: int, cells: int) -> TimeSpan:
        """The time that `points` points in `cells` cells show; it begins where the history's first span does."""
        end = now if self.end is None else self.end
        return TimeSpan(window_start(end, self.seconds, max(1, points)), self.seconds, cells, self.cursor)

    def zoomed(self, step: int, now: float) -> TimeView:
        """A longer (1) or a shorter (-1) time; the cursor stays in sight, else the end stays what it was."""
        changed = replace(self, zoom=min(max(self.zoom + step, 0), len(ZOOMS) - 1))
        if self.cursor is not None:
            return changed.ending(self.cursor + changed.seconds / 2, now)
        return changed if self.end is None else changed.ending(self.end, now)

    def panned(self, step: int, now: float) -> TimeView:
        """A quarter of the time earlier (-1) or later (1)."""
        end = now if self.end is None else self.end
        return self.ending(end + step * PAN_SHARE * self.seconds, now)

    def pointed(self, cells: int, span: TimeSpan, now: float) -> TimeView:
        """The cursor moved by `cells`; without one in sight it appears at the end. It takes the view with it."""
        here = span.cursor_cell
        at = span.moment(span.cells - 1) if here is None else span.moment(here + cells)
        at = min(max(at, now - REACH_SECONDS), now)
        moved = replace(self, cursor=at)
        if span.cell(at) is None:
            return replace(moved.panned(-1 if at < span.start else 1, now), cursor=at)
        return moved

    def at_moment(self, at: float, now: float) -> TimeView:
        """The cursor at `at`, which comes into sight."""
        end = now if self.end is None else self.end
        moved = replace(self, cursor=at)
        return moved if end - self.seconds < at <= end else moved.ending(at + self.seconds / 2, now)

    def present(self) -> TimeView:
        """Follows the present, without a cursor."""
        return TimeView(self.zoom)

    def ending(self, end: float, now: float) -> TimeView:
        """Up to `end`, within what can be known; where that ends now, it goes on following the present."""
        within = max(end, now - REACH_SECONDS + self.seconds)
        return replace(self, end=None if within >= now else within)


def clock_time(at: float) -> str:
    """Local hours, minutes and seconds."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
