"""A topic holds one reading and tells its watchers when it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from backends.domain import Problem

T = TypeVar("T")
Unwatch = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Reading(Generic[T]):
    """The last good value beside the latest error.

    `at` is when `value` was received (seconds since the epoch); `error` is None as soon as a new value arrives.
    """

    value: T | None = None
    at: float | None = None
    error: Problem | None = None


class Topic(Generic[T]):
    """Publishers call `publish` and `fail`; screens `watch`. Runs on the event loop's thread only."""

    def __init__(self, name: str, on_demand: Callable[[bool], None] | None = None) -> None:
        """`on_demand(True)` is called with the first watcher, `on_demand(False)` after the last one left."""
        self.name = name
        self.reading: Reading[T] = Reading()
        self._on_demand = on_demand
        self._watchers: dict[int, Callable[[Reading[T]], None]] = {}
        self._next_token = 0

    @property
    def demand(self) -> int:
        """How many watch this topic."""
        return len(self._watchers)

    def watch(self, listener: Callable[[Reading[T]], None]) -> Unwatch:
        """`listener` hears every later reading; the returned function ends that and may be called twice."""
        token = self._next_token
        self._next_token += 1
        self._watchers[token] = listener
        if len(self._watchers) == 1 and self._on_demand is not None:
            self._on_demand(True)

        def unwatch() -> None:
            if self._watchers.pop(token, None) is not None and not self._watchers and self._on_demand is not None:
                self._on_demand(False)

        return unwatch

    def publish(self, value: T, at: float) -> None:
        """A new value; a former error is over."""
        self._tell(Reading(value=value, at=at))

    def amend(self, value: T) -> None:
        """The last value with something said about it: its age and its error stay what they are."""
        self._tell(Reading(value=value, at=self.reading.at, error=self.reading.error))

    def fail(self, problem: Problem) -> None:
        """The latest attempt failed; the last good value stays."""
        self._tell(Reading(value=self.reading.value, at=self.reading.at, error=problem))

    def _tell(self, reading: Reading[T]) -> None:
        self.reading = reading
        for listener in list(self._watchers.values()):
            listener(reading)
