"""The last minutes and hours of many series, in memory that is bounded over all of them.

A group is what is sampled together, a GPU: its series share one time axis. A key is `group/column`; a group alone means
its first column. Each series is kept twice: the last five minutes in buckets of five seconds, and the last hours in
buckets of a minute. A bucket holds the least, the mean and the greatest of its samples, so that a spike survives; one
without a sample is a gap, and is told as None.

Memory. A value takes two bytes, as a multiple of its column's resolution: the fine buckets of a series take 360 bytes,
a minute 6. A column that a group never measured takes nothing. While there is room the minutes reach back six hours;
with more series less far, the same for all, and `budget_bytes` are not exceeded: at six series a GPU that is six hours
for 3,000 GPUs, an hour for 8,000. `python -m tests.bench history` measures it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor
from typing import NamedTuple

from backends.feed.track import PARTS, Step, Track, merged

BUDGET_BYTES = 48 << 20
TRACK_BYTES = 2000
"""Of a group beside its buckets, as measured: objects, key, counters, running samples, the room arrays keep to grow."""
STEP_BYTES = 200
VALUE_BYTES = 2


class Point(NamedTuple):
    """What a series was in a span of time."""

    low: float
    mean: float
    high: float


class History:
    """Takes samples of groups, and tells what one series was."""

    def __init__(
        self,
        columns: Mapping[str, float] | None = None,
        counters: Sequence[str] = (),
        *,
        capacity: int = 60,
        bucket_seconds: float = 5.0,
        minute_buckets: int = 12,
        minutes_kept: int = 360,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        """`columns` are the names and resolutions of a group's series; a value of more than 32,767 times its
        resolution is kept as a gap. The default is one column with a resolution of a tenth. A "minute" is
        `minute_buckets` fine buckets."""
        if minute_buckets > capacity:
            raise ValueError("a minute is made of the fine buckets that are kept")
        resolutions = {"value": 0.1} if columns is None else columns
        self.capacity = capacity
        self.bucket_seconds = bucket_seconds
        self.minute_buckets = minute_buckets
        self.minutes_kept = minutes_kept
        self.budget_bytes = budget_bytes
        self._columns = {name: place for place, name in enumerate(resolutions)}
        self._resolutions = tuple(resolutions.values())
        self._counters = {name: place for place, name in enumerate(counters)}
        self._tracks: dict[str, Track] = {}
        self._columns_held = 0
        self._steps_held = 0
        self._minutes = minutes_kept

    def __len__(self) -> int:
        """How many groups."""
        return len(self._tracks)

    @property
    def minutes(self) -> int:
        """How many minutes of each series are kept now, at most."""
        return self._minutes

    @property
    def minute_seconds(self) -> float:
        return self.bucket_seconds * self.minute_buckets

    # Writing

    def record(
        self, group: str, at: float, values: Sequence[float | None], counts: tuple[int | None, ...] | None = None
    ) -> None:
        """One sample, at `at` seconds since the epoch: a value for each column and a count for each counter.

        None is not measured. A group that never measured anything is not kept, nor one that the budget has no room for.
        """
        track = self._tracks.get(group)
        if track is None:
            measured = (*values, *(counts or ()))
            if all(value is None for value in measured) or not self._make_room(floor(at / self.bucket_seconds)):
                return
            track = self._tracks[group] = Track(self.capacity, self.minute_buckets, len(self._resolutions))
            self._share()
        if any(values[column] is not None for column in track.unmeasured):
            self._widen(track, [column for column in track.unmeasured if values[column] is not None])
        if not track.begin(floor(at / self.bucket_seconds), self._minutes):
            return
        track.sample(values, self._resolutions)
        if counts is not None and counts != track.counts:
            more = track.count(at, counts, self.minute_seconds)
            if more:
                self._steps_held += more
                self._share()

    def push(self, key: str, at: float, value: float | None) -> None:
        """One sample of one series; None leaves a gap."""
        group, column = self._find(key)
        values: list[float | None] = [None] * len(self._resolutions)
        values[column] = value
        self.record(group, at, values)

    def forget(self, prefix: str) -> None:
        """Drops every group whose key starts with `prefix`."""
        for group in self.groups(prefix):
            self._drop(group)
        self._share()

    # Reading

    def series(self, key: str, now: float) -> tuple[float | None, ...]:
        """Means of the `capacity` buckets before the running one, oldest first; the running one last when it has data.

        Empty for a series that was never measured.
        """
        track, place, resolution = self._track(key)
        if track is None:
            return ()
        last = max(track.bucket, floor(now / self.bucket_seconds) - 1)
        found = (track.fine_bucket(place, number) for number in range(last - self.capacity + 1, last + 1))
        return tuple(None if each is None else each[1] * resolution for each in found)

    def window(self, key: str, now: float, seconds: float, points: int) -> tuple[Point | None, ...]:
        """The `seconds` up to `now` in `points` spans of equal length, oldest first; None where nothing was measured.

        Spans lie at whole multiples of their length since the epoch, so that they stay what they are while time goes
        on; the last is the running one (`window_start` tells when the first begins). Spans shorter than the buckets
        repeat them.
        """
        track, place, resolution = self._track(key)
        if track is None or points <= 0:
            return (None,) * max(0, points)
        width = seconds / points
        first = _first_span(now, seconds, points)
        fine_from = max(track.first_fine, track.bucket - self.capacity) * self.bucket_seconds
        spans: list[Point | None] = []
        for number in range(first, first + points):
            begin = number * width
            if begin >= fine_from:
                covered = [track.fine_bucket(place, each) for each in _covered(begin, width, self.bucket_seconds)]
            else:
                covered = [track.minute(place, each) for each in _covered(begin, width, self.minute_seconds)]
            told = merged(covered)
            spans.append(None if told is None else Point(*(value * resolution for value in told)))
        return tuple(spans)

    def steps(self, key: str) -> tuple[Step, ...]:
        """The changes of a counter since it was first read, oldest first; the last few."""
        group, _, name = key.rpartition("/")
        track = self._tracks.get(group)
        return () if track is None or track.steps is None else tuple(track.steps.get(self._counters[name], ()))

    def measured(self, key: str) -> bool:
        """Whether the series ever had a value."""
        return self._track(key)[0] is not None

    def groups(self, prefix: str = "") -> tuple[str, ...]:
        """The groups whose key starts with `prefix`, the longest known first."""
        return tuple(group for group in self._tracks if group.startswith(prefix))

    # Inside

    def _find(self, key: str) -> tuple[str, int]:
        group, _, name = key.rpartition("/")
        column = self._columns.get(name) if group else None
        return (key, 0) if column is None else (group, column)

    def _track(self, key: str) -> tuple[Track | None, int, float]:
        """The group of `key`, the place of its column there and its resolution; None for what was never measured."""
        group, column = self._find(key)
        track = self._tracks.get(group)
        if track is None or column not in track.columns:
            return None, 0, 0.0
        return track, track.columns.index(column), self._resolutions[column]

    def _drop(self, group: str) -> None:
        track = self._tracks.pop(group)
        self._columns_held -= len(track.columns)
        self._steps_held -= sum(len(steps) for steps in (track.steps or {}).values())

    def _make_room(self, bucket: int) -> bool:
        """Room for one more group, if need be by dropping the one that has been silent longest."""
        if self._fixed_bytes(1, len(self._resolutions)) <= self.budget_bytes:
            return True
        silent = min(self._tracks, key=lambda group: self._tracks[group].bucket, default=None)
        if silent is None or self._tracks[silent].bucket > bucket - self.capacity:
            return False
        self._drop(silent)
        return True

    def _widen(self, track: Track, columns: Sequence[int]) -> None:
        if self._fixed_bytes(0, len(columns)) <= self.budget_bytes:
            track.widen(columns)
            self._columns_held += len(columns)
            self._share()

    def _fixed_bytes(self, more_groups: int = 0, more_columns: int = 0) -> int:
        """What is held whether there are minutes or not."""
        fine = (self._columns_held + more_columns) * self.capacity * PARTS * VALUE_BYTES
        return (len(self._tracks) + more_groups) * TRACK_BYTES + fine + self._steps_held * STEP_BYTES

    def _share(self) -> None:
        """Lets every series reach back equally far: as far as the budget allows."""
        a_minute = max(1, self._columns_held * PARTS * VALUE_BYTES)
        minutes = min(self.minutes_kept, max(0, self.budget_bytes - self._fixed_bytes()) // a_minute)
        if minutes < self._minutes:
            for track in self._tracks.values():
                track.trim(minutes)
        self._minutes = minutes


def window_start(now: float, seconds: float, points: int) -> float:
    """When the first span of a `History.window` begins, seconds since the epoch."""
    return _first_span(now, seconds, points) * (seconds / points)


def _first_span(now: float, seconds: float, points: int) -> int:
    return floor(now / (seconds / points)) + 1 - points


def _covered(begin: float, width: float, bucket_seconds: float) -> Iterable[int]:
    """Numbers of the buckets that stand for a span: those that begin in it, else the one its middle lies in."""
    if width < bucket_seconds:
        return (floor((begin + width / 2) / bucket_seconds),)
    return range(ceil(begin / bucket_seconds), ceil((begin + width) / bucket_seconds))
