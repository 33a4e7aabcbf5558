"""SIGTERM and SIGHUP on the console: it is left in order, as by its key, and the terminal is given back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
TERMINAL = (0, 1, 2)


class Ending:
    """While it is entered, the first signal ends the process with 128 + its number; what is open is closed before.

    One that is ignored from outside, as `nohup` does with SIGHUP, stays ignored.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        """The first signal that came."""
        self._closing = False
        self._leave: Callable[[int], object] | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    @property
    def exit_code(self) -> int | None:
        """None where no signal came."""
        return None if self.number is None else 128 + self.number

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def run(self, leave: Callable[[int], object], console: Callable[[], object]) -> None:
        """Runs `console`, whose loop is told `leave` with the exit code; later signals wait for what is cleaned up."""
        self._leave = leave
        try:
            console()
        finally:
            self._closing = True

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            let_go_of_terminal()
        first, self.number = self.number is None, self.number or number
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if first and not self._closing:
                raise SystemExit(128 + number) from None
        else:
            if self._leave is not None:
                loop.call_soon_threadsafe(self._leave, 128 + self.number)


def let_go_of_terminal() -> None:
    """Where it is gone, what is still written leads nowhere: a write that fails would end its thread, and hang us."""
    if os.isatty(0):
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in TERMINAL:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
