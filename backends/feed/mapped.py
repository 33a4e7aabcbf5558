"""A topic made of another topic's readings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from backends.feed.topic import Reading, Topic, Unwatch

S = TypeVar("S")
T = TypeVar("T")


class Mapped(Generic[S, T]):
    """Publishes `make(value)` for every value of `source`, and its errors; it wants the source while it is wanted.

    The same value is made once: a source that tells it again, or an error beside it, brings the same object.
    """

    def __init__(self, name: str, source: Topic[S], make: Callable[[S], T]) -> None:
        self.topic: Topic[T] = Topic(name, self._demand_changed)
        self._source = source
        self._make = make
        self._made: tuple[S, T] | None = None
        self._unwatch: Unwatch | None = None

    def _demand_changed(self, wanted: bool) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if wanted:
            self._unwatch = self._source.watch(self._tell)
            if self._source.reading.at != self.topic.reading.at:
                self._tell(self._source.reading)

    def _tell(self, reading: Reading[S]) -> None:
        if reading.value is not None:
            if self._made is None or self._made[0] is not reading.value:
                self._made = (reading.value, self._make(reading.value))
            if reading.at is not None and reading.at != self.topic.reading.at:
                self.topic.publish(self._made[1], reading.at)
        if reading.error is not None:
            self.topic.fail(reading.error)
