"""Which lines of a log that is read again were told before, by the times that the runtime wrote before them. Pure."""

from __future__ import annotations

from datetime import datetime


class Stamps:
    """Feed it the time of each line in order; after `cut` it tells lines that were told already from new ones.

    A log is asked for again from the last time on, in whole seconds: some lines come twice.
    """

    def __init__(self) -> None:
        self.last = ""
        """Time of the last line as the runtime wrote it; empty before the first."""
        self._at_last = 0
        """Lines that carry it."""
        self._told_until: str | None = None
        self._left = 0
        self._second: tuple[str | None, float] = (None, 0.0)

    def at(self, stamp: str) -> float | None:
        """Seconds since the epoch of an RFC 3339 time; None for what is no time.

        Only another second is parsed: a busy log writes thousands of lines in each.
        """
        second, digits, zone = _parts(stamp)
        known, seconds = self._second
        if second + zone != known:
            try:
                seconds = datetime.fromisoformat(second + zone).timestamp()
            except ValueError:
                return None
            self._second = (second + zone, seconds)
        return seconds + (float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0)

    def cut(self) -> None:
        """The lines from here on may have been told before."""
        if self.last:
            self._told_until, self._left = _sortable(self.last), self._at_last

    def fresh(self, stamp: str) -> bool:
        """Whether the next line, which carries `stamp`, was not told before."""
        if self._told_until is not None:
            now = _sortable(stamp)
            if now < self._told_until:
                return False
            if now == self._told_until and self._left > 0:
                self._left -= 1
                return False
            self._told_until = None
        self._at_last = self._at_last + 1 if stamp == self.last else 1
        self.last = stamp
        return True


def _sortable(stamp: str) -> str:
    """A time whose fraction always has nine digits: Go leaves trailing zeros out. One log keeps to one time zone."""
    second, digits, _ = _parts(stamp)
    return f"{second}.{digits:0<9}"


def _parts(stamp: str) -> tuple[str, str, str]:
    """`2026-11-25T08:31:17`, the digits of the fraction, the zone: containerd writes the local one of its node."""
    rest = stamp[19:]
    zone_at = -1 if rest.endswith("Z") else -6
    return stamp[:19], rest[:zone_at].removeprefix("."), rest[zone_at:]
