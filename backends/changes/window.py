"""The write window: a site may be changed for some minutes, for a reason, and is read-only again by itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from backends.contract import ChangeRefused
from backends.domain import ChangeSpec
from backends.feed import Clock, SystemClock, Topic

MOST_MINUTES = 480
REASON_LIMIT = 200


@dataclass(frozen=True, slots=True)
class WindowState:
    """What the header shows."""

    remaining_seconds: int | None = None
    """None while the window is closed."""
    reason: str = ""

    @property
    def is_open(self) -> bool:
        return self.remaining_seconds is not None

    @property
    def label(self) -> str:
        """`WRITE 14:32`; READ-ONLY while it is closed."""
        if self.remaining_seconds is None:
            return "READ-ONLY"
        return f"WRITE {self.remaining_seconds // 60:02d}:{self.remaining_seconds % 60:02d}"


CLOSED = WindowState()


class WriteWindow:
    """One site's window, for this process only; closed from the start.

    It ends when either clock says so. The monotonic one cannot be set back; the wall clock also runs while the machine
    sleeps. `state` counts down once a second while the window is open, and is silent while it is closed.
    """

    def __init__(
        self, site: str, spec: ChangeSpec | None = None, *, clock: Clock | None = None, read_only: bool = False
    ) -> None:
        self.site = site
        self.read_only = read_only
        self.spec = spec or ChangeSpec()
        self.state: Topic[WindowState] = Topic("write window")
        self._clock = clock or SystemClock()
        self._ends_monotonic = 0.0
        self._ends_wall = 0.0
        self._reason = ""
        self._counting: asyncio.Task[None] | None = None
        self._publish()

    @property
    def most_minutes(self) -> int:
        return min(self.spec.window_max_minutes, MOST_MINUTES)

    @property
    def is_open(self) -> bool:
        return self._remaining() > 0

    @property
    def reason(self) -> str:
        return self._reason

    def refusal(self) -> ChangeRefused | None:
        """Why nothing may be changed now; None while the window is open."""
        if self.read_only:
            return ChangeRefused("this gpudeck was started with --read-only", "start it without to change anything")
        if not self.is_open:
            return ChangeRefused(
                f"the write window of {self.site} is closed", "open it with w in the console, or use --yes"
            )
        return None

    def refusal_to_open(self, minutes: int, reason: str) -> ChangeRefused | None:
        """Why `open` would refuse; None when it would not."""
        if self.read_only:
            return ChangeRefused("this gpudeck was started with --read-only", "start it without to change anything")
        if not 1 <= minutes <= self.most_minutes:
            return ChangeRefused(
                f"a write window of {self.site} lasts 1 to {self.most_minutes} minutes, not {minutes}",
                "write_window_max_minutes in the configuration sets the most",
            )
        if self.spec.require_reason and not reason.strip():
            return ChangeRefused("a write window needs a reason", "a word or a ticket; it goes into the audit log")
        return None

    def open(self, minutes: int, reason: str) -> None:
        """Opens the window, or sets the end of an open one anew. Raises ChangeRefused."""
        refusal = self.refusal_to_open(minutes, reason)
        if refusal is not None:
            raise refusal
        self._reason = reason.strip()[:REASON_LIMIT]
        self._ends_monotonic = self._clock.monotonic() + minutes * 60
        self._ends_wall = self._clock.now() + minutes * 60
        self._publish()
        if self._counting is None:
            self._counting = asyncio.create_task(self._count(), name=f"write window {self.site}")

    def close(self) -> None:
        """Ends the window now; closed already, it stays closed."""
        self._ends_monotonic = self._ends_wall = 0.0
        self._reason = ""
        if self._counting is not None:
            self._counting.cancel()
            self._counting = None
        self._publish()

    def _remaining(self) -> float:
        if not self._ends_monotonic:
            return 0.0
        return min(self._ends_monotonic - self._clock.monotonic(), self._ends_wall - self._clock.now())

    def _publish(self) -> None:
        left = self._remaining()
        # Up, so that the last second is told as 00:01 and never as 00:00 of a window that is still open.
        state = WindowState(int(-(-left // 1)), self._reason) if left > 0 else CLOSED
        if state != self.state.reading.value:
            self.state.publish(state, self._clock.now())

    async def _count(self) -> None:
        while self.is_open:
            left = self._remaining()
            await self._clock.sleep(min(left, left % 1 or 1.0))
            self._publish()
        self._counting = None
        self.close()
