"""Topics, and what fills them. Everything runs on one event loop."""

from backends.feed.backoff import Backoff
from backends.feed.clock import Clock, ManualClock, SystemClock
from backends.feed.collector import Collector, problem_of
from backends.feed.derived import Derived
from backends.feed.history import History
from backends.feed.topic import Reading, Topic, Unwatch

__all__ = [
    "Backoff",
    "Clock",
    "Collector",
    "Derived",
    "History",
    "ManualClock",
    "Reading",
    "SystemClock",
    "Topic",
    "Unwatch",
    "problem_of",
]
