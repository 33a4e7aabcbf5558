"""Topics, and what fills them. Everything runs on one event loop.

The names are loaded when they are first asked for: the console's first paint needs the clock and the topics alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.feed.backoff import Backoff
    from backends.feed.clock import Clock, ManualClock, SystemClock
    from backends.feed.collector import Collector, problem_of
    from backends.feed.derived import Derived
    from backends.feed.follow import Follow
    from backends.feed.history import History, Point, window_start
    from backends.feed.stamps import Stamps
    from backends.feed.tasks import closing, end
    from backends.feed.topic import Reading, Topic, Unwatch
    from backends.feed.track import Step

__all__ = [
    "Backoff",
    "Clock",
    "Collector",
    "Derived",
    "Follow",
    "History",
    "ManualClock",
    "Point",
    "Reading",
    "Stamps",
    "Step",
    "SystemClock",
    "Topic",
    "Unwatch",
    "closing",
    "end",
    "problem_of",
    "window_start",
]

_HOMES = {
    "Backoff": "backoff",
    "Clock": "clock",
    "ManualClock": "clock",
    "SystemClock": "clock",
    "Collector": "collector",
    "problem_of": "collector",
    "Derived": "derived",
    "Follow": "follow",
    "History": "history",
    "Point": "history",
    "window_start": "history",
    "Stamps": "stamps",
    "closing": "tasks",
    "end": "tasks",
    "Reading": "topic",
    "Topic": "topic",
    "Unwatch": "topic",
    "Step": "track",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value
