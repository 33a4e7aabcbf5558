"""SIGTERM, and a terminal that goes: the console cleans up behind itself."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.changes.journals import read_all
from backends.changes.record import Status, StepState
from tests.bench.terminal import Terminal

ALTERNATE, MAIN = b"\x1b[?1049h", b"\x1b[?1049l"
DEMO = [sys.executable, "-m", "tui.cli", "demo", "--nodes", "2"]
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])


@contextmanager
def terminal(argv: list[str], directory: Path) -> Iterator[Terminal]:
    """`argv` in a terminal, with a directory for what is temporary."""
    opened = Terminal(argv, columns=100, rows=30, env={"TMPDIR": str(directory)})
    try:
        yield opened
    finally:
        opened.close()


def wait_for_file(path: Path, console: Terminal) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, console.seen[-300:]
        console.read(0.05)


def given_back(console: Terminal) -> bool:
    return console.seen.rfind(MAIN) > console.seen.rfind(ALTERNATE) >= 0


@BOTH
def test_a_signal_gives_the_terminal_back_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with terminal(DEMO, tmp_path) as console:
        before = console.modes
        console.wait_for(b"2/2", 60)
        assert console.modes != before
        assert list(tmp_path.iterdir()), "the demo's directory"
        os.kill(console.pid, number)
        assert console.wait() == 128 + number
        assert given_back(console)
        assert console.modes == before
        assert list(tmp_path.iterdir()) == []
        assert b"Traceback" not in console.seen


def test_a_dropped_session_leaves_nothing(tmp_path: Path) -> None:
    with terminal(DEMO, tmp_path) as console:
        console.wait_for(b"2/2", 60)
        console.hang_up()
        assert console.wait() == 128 + signal.SIGHUP
        assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_signal_before_the_first_screen_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with terminal(DEMO, tmp_path) as console:
        while not list(tmp_path.glob("gpudeck-demo-*/*")):
            console.read(0.01)
        os.kill(console.pid, number)
        assert console.wait() == 128 + number
        assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_running_change_stops_before_its_next_step(
    number: signal.Signals, tmp_path: Path, nobodys_machine: Path
) -> None:
    argv = [sys.executable, "-m", "tests.e2e.changing_console", str(tmp_path)]
    with terminal(argv, tmp_path) as console:
        wait_for_file(tmp_path / "begun", console)
        os.kill(console.pid, number)
        assert console.wait() == 128 + number
        assert given_back(console)
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
    (record,), unreadable = read_all(nobodys_machine / ".local" / "state" / "gpudeck" / "changes")
    assert not unreadable
    assert (record.status, record.why) == (Status.STOPPED, "the console was closed")
    assert [step.state for step in record.steps] == [StepState.VERIFIED, StepState.PENDING]
