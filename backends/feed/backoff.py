"""How long to wait after a failure."""

from __future__ import annotations

import random


class Backoff:
    """Exponential, bounded, with full jitter on the upper half so that a fleet does not reconnect in step."""

    def __init__(self, first: float = 1.0, most: float = 30.0, rng: random.Random | None = None) -> None:
        """Seconds of the first and of the longest wait."""
        self._first = first
        self._most = most
        self._failures = 0
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def reset(self) -> None:
        self._failures = 0

    def next(self) -> float:
        """Counts one failure and says how many seconds to wait."""
        ceiling = min(self._most, self._first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return ceiling * (0.5 + self._rng.random() / 2)
