"""The console with a watch on its event loop: how long it is held up at a time, in CPU time, and by what.

CPU time of the thread, not time of the clock: on a machine that others use too it tells the same. With `--stacks` a
thread looks what a step is at that has run for `SLOW_SECONDS` already.

    python -m tests.bench.steps FILE [--stacks] [what gpudeck takes]      # runs the console in this terminal
    kill -USR1 PID                                                        # writes FILE, and measures anew
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from tests.bench.terminal import Terminal

SLOW_SECONDS = 0.005
LOOK_SECONDS = 0.002
KEPT = 20
FRAMES = 14


class Watch:
    """Measures every callback of the event loop from `reset` on."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, str]] = []
        """(seconds of CPU, what ran), those over SLOW_SECONDS."""
        self.count = 0
        self.collections: list[tuple[float, int]] = []
        """(seconds of CPU, generation) of the garbage collector."""
        self.stacks: Counter[str] = Counter()
        self._began: float | None = None
        self._clock = time.pthread_getcpuclockid(threading.main_thread().ident or 0)
        self._collecting = 0.0

    def reset(self) -> None:
        self.steps.clear()
        self.collections.clear()
        self.stacks.clear()
        self.count = 0

    def start(self, *, stacks: bool) -> None:
        run = asyncio.events.Handle._run
        watch = self

        def timed(handle: Any) -> None:
            watch._began = began = time.thread_time()
            run(handle)
            seconds, watch._began = time.thread_time() - began, None
            watch.count += 1
            if seconds > SLOW_SECONDS:
                watch.steps.append((seconds, _name(handle)))

        asyncio.events.Handle._run = timed  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self._collected)
        if stacks:
            threading.Thread(target=self._look, daemon=True).start()

    def told(self) -> dict[str, Any]:
        """Milliseconds, the longest first."""
        slow = sorted(self.steps, reverse=True)
        return {
            "steps": self.count,
            "over": {f"{limit} ms": sum(seconds * 1000 > limit for seconds, _ in slow) for limit in (5, 10, 20, 50)},
            "longest": [(round(seconds * 1000, 1), name) for seconds, name in slow[:KEPT]],
            "collections": [(round(each * 1000, 1), of) for each, of in sorted(self.collections, reverse=True)[:5]],
            "stacks": self.stacks.most_common(KEPT),
        }

    def _collected(self, phase: str, about: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.thread_time()
        elif threading.current_thread() is threading.main_thread():
            self.collections.append((time.thread_time() - self._collecting, about["generation"]))

    def _look(self) -> None:
        main = threading.main_thread().ident or 0
        while True:
            time.sleep(LOOK_SECONDS)
            began = self._began
            if began is not None and time.clock_gettime(self._clock) - began > SLOW_SECONDS:
                frame = sys._current_frames().get(main)
                if frame is not None:
                    self.stacks[_stack(frame)] += 1


def _stack(frame: FrameType) -> str:
    found = traceback.extract_stack(frame)[-FRAMES:]
    return " > ".join(f"{Path(each.filename).stem}.{each.name}:{each.lineno}" for each in found)


def _name(handle: Any) -> str:
    callback = handle._callback
    task = getattr(callback, "__self__", None)
    return f"task {task.get_name()}" if isinstance(task, asyncio.Task) else repr(callback)[:120]


class Watched:
    """The watch of a console that runs in a terminal."""

    def __init__(self, out: Path, *, stacks: bool = False) -> None:
        self.out = out
        self._options = ["--stacks"] if stacks else []

    def command(self, *arguments: str) -> list[str]:
        """The command line of the console, as `gpudeck` of the terminal."""
        return [sys.executable, "-m", "tests.bench.steps", str(self.out), *self._options, *arguments]

    def told(self, terminal: Terminal) -> dict[str, Any]:
        """What was measured since the last time; raises TimeoutError."""
        self.out.unlink(missing_ok=True)
        os.kill(terminal.pid, signal.SIGUSR1)
        ends = time.monotonic() + 10
        while not self.out.exists():
            terminal.watch(0.05)
            if time.monotonic() > ends:
                raise TimeoutError("the console told nothing of its event loop")
        told: dict[str, Any] = json.loads(self.out.read_text())
        return told


def main() -> None:
    from tui.cli import main as gpudeck

    out, rest, watch = Path(sys.argv[1]), sys.argv[2:], Watch()
    stacks = rest[:1] == ["--stacks"]

    def told(_number: int, _frame: FrameType | None) -> None:
        part = out.with_suffix(".part")
        part.write_text(json.dumps(watch.told()))
        part.replace(out)
        watch.reset()

    signal.signal(signal.SIGUSR1, told)
    watch.start(stacks=stacks)
    sys.exit(gpudeck(rest[1:] if stacks else rest))


if __name__ == "__main__":
    main()
