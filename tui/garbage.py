"""Python looks for reference cycles while nobody types.

The values of a site are freed by reference counts; only screens and what runs on the event loop make cycles. Left to
itself the collector starts in the middle of a paint: on a thousand nodes a look at the young objects takes 20 ms, a
look at all objects a quarter of a second, and no key is answered meanwhile.
"""

from __future__ import annotations

import gc

from backends.feed import Clock

LOOK_SECONDS = 2.0
"""How often `Garbage.look` is to be called."""
IDLE_SECONDS = 1.0
"""Nobody has typed for so long: the next key is not expected at once."""
MOST_SECONDS = 120.0
"""Young cycles are looked for at the latest then, somebody types or not. Waiting costs memory, some 3,000 objects a
second of typing, and hardly time: on a thousand nodes the look takes 0.1 s after 8 s and 0.2 s after 30 s."""
MIDDLE_SECONDS = 60.0
MIDDLE_IDLE_SECONDS = 5.0
FULL_SECONDS = 3600.0
FULL_IDLE_SECONDS = 60.0
GONE_SECONDS = 300.0
GONE_IDLE_SECONDS = 10.0
"""Of a screen or a site that was closed: each is a cycle, and old by then."""


class Garbage:
    """One per process: the collector is the process's own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._typed_at = self._young_at = self._middle_at = self._full_at = clock.monotonic()
        self._is_gone = False
        """Something large was closed since the last full look."""

    def start(self) -> None:
        """From now on; what lives already, classes and style sheets, is walked by a full look only."""
        gc.freeze()
        gc.disable()

    def stop(self) -> None:
        """Leaves the collector as Python starts with it."""
        gc.unfreeze()
        gc.enable()

    def note_input(self) -> None:
        """Somebody typed or clicked."""
        self._typed_at = self._clock.monotonic()

    def note_gone(self) -> None:
        """A screen or a site was closed."""
        self._is_gone = True

    def look(self) -> None:
        """Collects what is due now."""
        now = self._clock.monotonic()
        idle = now - self._typed_at
        wait, calm = (GONE_SECONDS, GONE_IDLE_SECONDS) if self._is_gone else (FULL_SECONDS, FULL_IDLE_SECONDS)
        if now - self._full_at >= wait and idle >= calm:
            self._full_at = self._middle_at = self._young_at = now
            self._is_gone = False
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        elif now - self._middle_at >= MIDDLE_SECONDS and idle >= MIDDLE_IDLE_SECONDS:
            self._middle_at = self._young_at = now
            gc.collect(1)
        elif idle >= IDLE_SECONDS or now - self._young_at >= MOST_SECONDS:
            self._young_at = now
            gc.collect(0)
