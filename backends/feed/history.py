"""The last minutes of many series, in bounded memory."""

from __future__ import annotations

from array import array
from math import isnan, nan


class History:
    """One ring per key: `capacity` buckets of `bucket_seconds`; a bucket holds the mean of its samples, None = gap."""

    def __init__(self, capacity: int = 60, bucket_seconds: float = 5.0) -> None:
        self.capacity = capacity
        self.bucket_seconds = bucket_seconds
        self._rings: dict[str, _Ring] = {}

    def __len__(self) -> int:
        return len(self._rings)

    def push(self, key: str, at: float, value: float | None) -> None:
        """One sample at `at` seconds since the epoch; None leaves a gap."""
        if value is None:
            return
        ring = self._rings.get(key)
        if ring is None:
            ring = self._rings[key] = _Ring(self.capacity)
        ring.push(int(at // self.bucket_seconds), value)

    def series(self, key: str, now: float) -> tuple[float | None, ...]:
        """The `capacity` buckets before the running one, oldest first; the running bucket comes last when it has data.

        Empty for a key that was never pushed.
        """
        ring = self._rings.get(key)
        return () if ring is None else ring.read(int(now // self.bucket_seconds))

    def forget(self, prefix: str) -> None:
        """Drops every series whose key starts with `prefix`."""
        for key in [key for key in self._rings if key.startswith(prefix)]:
            del self._rings[key]


class _Ring:
    __slots__ = ("_count", "_sum", "_values", "newest")

    def __init__(self, capacity: int) -> None:
        self._values = array("f", [nan] * capacity)
        self.newest: int | None = None
        self._sum = 0.0
        self._count = 0

    def push(self, bucket: int, value: float) -> None:
        capacity = len(self._values)
        if self.newest is None:
            self.newest = bucket
        elif bucket < self.newest:
            return  # a clock that stepped back must not rewrite the past
        elif bucket > self.newest:
            for skipped in range(self.newest + 1, min(bucket, self.newest + capacity) + 1):
                self._values[skipped % capacity] = nan
            self._values[bucket % capacity] = nan
            self.newest = bucket
            self._sum, self._count = 0.0, 0
        self._sum += value
        self._count += 1
        self._values[bucket % capacity] = self._sum / self._count

    def read(self, now_bucket: int) -> tuple[float | None, ...]:
        capacity = len(self._values)
        if self.newest is None:
            return ()
        last = max(self.newest, now_bucket - 1)
        values: list[float | None] = []
        for bucket in range(last - capacity + 1, last + 1):
            if bucket > self.newest or bucket <= self.newest - capacity:
                values.append(None)
            else:
                value = self._values[bucket % capacity]
                values.append(None if isnan(value) else value)
        return tuple(values)
