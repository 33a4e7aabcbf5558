"""The buckets of one group of a `History`: rows of small integers, two bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

GAP = -32768
MOST = 32767
"""A value is stored as a whole multiple of its resolution, up to this many, and less than nothing as far down."""
PARTS = 3
"""Of a bucket: least, mean, greatest."""
SAMPLES_KEPT = 64
"""Of one fine bucket: more than the fastest beat brings."""
STEPS_KEPT = 8
"""Of each counter."""

Bucket = tuple[int, float, int]
"""Least, mean and greatest, in multiples of the resolution."""


class Step(NamedTuple):
    """A change of a counter; a rise that goes on is one step."""

    at: float
    """Seconds since the epoch."""
    until: float
    before: int
    after: int


class Track:
    """One group: what is sampled together shares one time axis.

    `bucket` is the number of the running fine bucket. The `capacity` buckets before it lie in a ring, bucket `n` in row
    `n % capacity`; minutes, of `minute_buckets` each, lie in rows without holes from `first_minute` up to the running
    one. A row holds three values for each kept column.
    """

    __slots__ = (
        "_capacity",
        "_fine",
        "_minute_buckets",
        "_minutes",
        "_pending",
        "_stride",
        "bucket",
        "columns",
        "counts",
        "first_fine",
        "first_minute",
        "steps",
        "unmeasured",
    )

    def __init__(self, capacity: int, minute_buckets: int, columns: int) -> None:
        self._capacity = capacity
        self._minute_buckets = minute_buckets
        self._stride = 0
        self._pending = array("h")
        """The samples of the running bucket, row by row."""
        self._fine = array("h")
        self._minutes = array("h")
        self.bucket = -1
        self.first_fine = 0
        """Before it the ring tells nothing, even where minutes do: the clock was set back to it."""
        self.first_minute = 0
        self.columns: tuple[int, ...] = ()
        """Which are kept: those that were measured at least once."""
        self.unmeasured: tuple[int, ...] = tuple(range(columns))
        self.counts: tuple[int | None, ...] | None = None
        """The last known value of each counter."""
        self.steps: dict[int, list[Step]] | None = None

    # Reading. `place` is that of a column among the kept ones.

    def fine_bucket(self, place: int, number: int) -> Bucket | None:
        if number == self.bucket:
            return self._running(place)
        if not self.bucket - self._capacity <= number < self.bucket:
            return None
        return _bucket(self._fine, number % self._capacity * self._stride + place * PARTS)

    def minute(self, place: int, number: int) -> Bucket | None:
        """A closed minute, or what there is of the running one."""
        if number == self.bucket // self._minute_buckets:
            return self._minute_so_far(place)
        row = number - self.first_minute
        if row < 0 or row >= self._minute_rows():
            return None
        return _bucket(self._minutes, row * self._stride + place * PARTS)

    def _minute_rows(self) -> int:
        return len(self._minutes) // self._stride if self._stride else 0

    def _running(self, place: int) -> Bucket | None:
        samples: Sequence[int] = self._pending[place :: len(self.columns)]
        if GAP in samples:
            samples = [value for value in samples if value != GAP]
        return (min(samples), sum(samples) / len(samples), max(samples)) if samples else None

    def _minute_so_far(self, place: int) -> Bucket | None:
        first = self.bucket // self._minute_buckets * self._minute_buckets
        return merged([self.fine_bucket(place, number) for number in range(first, self.bucket + 1)])

    # Writing

    def begin(self, bucket: int, minutes: int) -> bool:
        """Makes `bucket` the running one and closes what lies before it, keeping at most `minutes` minutes.

        False for a bucket of the last minute: a clock that stepped back a little is waited for. Where it stepped back
        further, what was kept of the time that comes again is forgotten.
        """
        if bucket == self.bucket:
            return True
        if self.bucket < 0:
            self.bucket, self.first_minute = bucket, bucket // self._minute_buckets
            return True
        if bucket < self.bucket:
            if self.bucket - bucket <= self._minute_buckets:
                return False
            self._turn_back(bucket)
            return True
        self._close_minutes(bucket // self._minute_buckets, minutes)
        self._close_running()
        for skipped in range(self.bucket + 1, min(bucket, self.bucket + 1 + self._capacity)):
            self._clear(skipped)
        self.bucket = bucket
        return True

    def sample(self, values: Sequence[float | None], resolutions: Sequence[float]) -> None:
        """Adds a sample to the running bucket; `values` and `resolutions` are of all columns."""
        if len(self._pending) < SAMPLES_KEPT * len(self.columns):
            self._pending.extend([_stored(values[column], resolutions[column]) for column in self.columns])

    def count(self, at: float, counts: tuple[int | None, ...], joined_seconds: float) -> int:
        """Notes what changed; returns how many steps are kept now more than before.

        The first value of a counter is no change. A rise within `joined_seconds` of the last belongs to it.
        """
        known = self.counts or (None,) * len(counts)
        more = 0
        for place, (before, after) in enumerate(zip(known, counts, strict=True)):
            if before is not None and after is not None and before != after:
                more += self._note(place, Step(at, at, before, after), joined_seconds)
        self.counts = tuple(old if new is None else new for old, new in zip(known, counts, strict=True))
        return more

    def _note(self, place: int, step: Step, joined_seconds: float) -> int:
        if self.steps is None:
            self.steps = {}
        steps = self.steps.setdefault(place, [])
        if steps:
            last = steps[-1]
            if last.before < last.after < step.after and 0 <= step.at - last.until <= joined_seconds:
                steps[-1] = Step(last.at, step.at, last.before, step.after)
                return 0
        steps.append(step)
        if len(steps) > STEPS_KEPT:
            del steps[0]
            return 0
        return 1

    def widen(self, columns: Sequence[int]) -> None:
        """Keeps more columns, as gaps up to now; what was kept of the others stays."""
        before, old_stride, minute_rows = self.columns, self._stride, self._minute_rows()
        self.columns = tuple(sorted((*before, *columns)))
        self.unmeasured = tuple(column for column in self.unmeasured if column not in self.columns)
        self._stride = len(self.columns) * PARTS
        sources = [before.index(column) if column in before else None for column in self.columns]
        parts = [None if source is None else source * PARTS + part for source in sources for part in range(PARTS)]
        self._fine = _laid_out(self._fine, old_stride, parts, self._capacity)
        self._minutes = _laid_out(self._minutes, old_stride, parts, minute_rows)
        samples = len(self._pending) // len(before) if before else 0
        self._pending = _laid_out(self._pending, len(before), sources, samples)
        if not minute_rows:
            self.first_minute = max(0, self.bucket // self._minute_buckets)

    def trim(self, minutes: int) -> None:
        """Drops the oldest minutes until at most `minutes` are left."""
        excess = self._minute_rows() - minutes
        if excess > 0:
            # A slice is a new array: deleting from this one would keep its memory.
            self._minutes = self._minutes[excess * self._stride :]
            self.first_minute += excess

    def _close_running(self) -> None:
        row = array("h")
        for place in range(len(self.columns)):
            row.extend(_row(self._running(place)))
        at = self.bucket % self._capacity * self._stride
        self._fine[at : at + self._stride] = row
        del self._pending[:]

    def _close_minutes(self, following: int, minutes: int) -> None:
        """Appends the running minute and the silent ones before `following`."""
        running = self.bucket // self._minute_buckets
        if following == running:
            return
        silent = following - running - 1
        if silent >= minutes or not self._stride:
            self._minutes = array("h")
            self.first_minute = following
            return
        for place in range(len(self.columns)):
            self._minutes.extend(_row(self._minute_so_far(place)))
        self._minutes.extend(array("h", [GAP]) * (self._stride * silent))
        self.trim(minutes)

    def _turn_back(self, bucket: int) -> None:
        del self._pending[:]
        for number in range(max(bucket, self.bucket - self._capacity), self.bucket + 1):
            self._clear(number)
        minute = bucket // self._minute_buckets
        del self._minutes[max(0, minute - self.first_minute) * self._stride :]
        if not self._minutes:
            self.first_minute = minute
        self.bucket = self.first_fine = bucket

    def _clear(self, bucket: int) -> None:
        at = bucket % self._capacity * self._stride
        self._fine[at : at + self._stride] = array("h", [GAP]) * self._stride


def merged(buckets: Sequence[Bucket | None]) -> Bucket | None:
    """Several buckets as one, each with the same weight; None when all are gaps."""
    kept = [each for each in buckets if each is not None]
    if not kept:
        return None
    return min(each[0] for each in kept), sum(each[1] for each in kept) / len(kept), max(each[2] for each in kept)


def _stored(value: float | None, resolution: float) -> int:
    """A gap for what was not measured, is no number, or has no place in two bytes."""
    if value is None or not isfinite(value):
        return GAP
    multiple = round(value / resolution)
    return multiple if -MOST <= multiple <= MOST else GAP


def _bucket(rows: array[int], at: int) -> Bucket | None:
    low = rows[at]
    return None if low == GAP else (low, rows[at + 1], rows[at + 2])


def _row(bucket: Bucket | None) -> tuple[int, int, int]:
    return (GAP, GAP, GAP) if bucket is None else (bucket[0], round(bucket[1]), bucket[2])


def _laid_out(rows: array[int], stride: int, sources: Sequence[int | None], count: int) -> array[int]:
    """`count` rows of other columns: `sources` says where in the old row each value stands, None for a new one."""
    width = len(sources)
    laid = array("h", [GAP]) * (width * count)
    for place, source in enumerate(sources):
        if source is not None:
            laid[place::width] = rows[source::stride]
    return laid
