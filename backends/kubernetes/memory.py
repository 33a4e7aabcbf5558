"""Keeps Python's cycle collector away from what has no cycles.

A list of thousands of objects makes millions of short-lived dictionaries and some ten thousand values that stay. None
of them is part of a cycle, so reference counting frees them; but their mere number makes the collector walk the whole
heap again and again, each time holding up every thread, the event loop's too, for a tenth of a second.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_sparing = 0
_was_enabled = False


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Inside nothing is collected; may be entered by many threads at once. A collector that was off stays off."""
    global _sparing, _was_enabled  # noqa: PLW0603 - the collector is the process's own
    with _lock:
        if not _sparing:
            _was_enabled = gc.isenabled()
            gc.disable()
        _sparing += 1
    try:
        yield
    finally:
        with _lock:
            _sparing -= 1
            if not _sparing and _was_enabled:
                gc.enable()


def spare_what_is_there() -> None:
    """No later collection walks what lives now; it is freed as ever when nothing refers to it any more."""
    gc.freeze()
