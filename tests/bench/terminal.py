"""A program in a pseudo terminal, and what it costs: bytes written, CPU, memory, time from a key to the paint."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SYNC_QUERY = b"\x1b[?2026$p"
SYNC_ANSWER = b"\x1b[?2026;2$y"


class Terminal:
    """Starts `argv` in a pseudo terminal of `columns` x `rows` and plays the terminal."""

    def __init__(
        self, argv: Sequence[str], *, columns: int = 160, rows: int = 50, env: Mapping[str, str] | None = None
    ) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            list(argv),
            stdin=slave,
            stdout=slave,
            stderr=slave,  # where Textual draws
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # its end is a SIGHUP
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})},
        )
        os.close(slave)
        self._master = master
        self.bytes_read = 0
        self.seen = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(self, seconds: float) -> bytes:
        """What the program wrote within `seconds`, or until its first pause after something was written."""
        if self._master < 0:
            time.sleep(min(seconds, 0.05))
            return b""
        ready, _, _ = select.select([self._master], [], [], max(0.0, seconds))
        if not ready:
            return b""
        try:
            chunk = os.read(self._master, 1 << 16)
        except OSError:
            return b""
        self.bytes_read += len(chunk)
        self.seen = (self.seen + chunk)[-200_000:]
        if SYNC_QUERY in chunk:
            os.write(self._master, SYNC_ANSWER)
        return chunk

    def wait_for(self, text: bytes, seconds: float) -> float:
        """Seconds from the start until `text` was written; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"{text!r} was not painted; the end of the output: {self.seen[-300:]!r}")
            self.read(0.05)
        return time.monotonic() - self.started

    def watch(self, seconds: float) -> int:
        """Bytes written within `seconds`."""
        before, deadline = self.bytes_read, time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.read(left)
        return self.bytes_read - before

    def key_to_paint(self, key: bytes, seconds: float = 2.0) -> float:
        """Seconds from `key` to the first byte written after it, with the output quiet before."""
        while self.read(0.0):
            pass
        start = time.monotonic()
        os.write(self._master, key)
        if not self.read(seconds):
            raise TimeoutError(f"{key!r} painted nothing within {seconds} s")
        return time.monotonic() - start

    def press(self, key: bytes) -> None:
        os.write(self._master, key)

    def key_to_text(self, key: bytes, text: bytes, seconds: float = 5.0) -> float:
        """Seconds from `key` until `text` is written, however much else is written meanwhile."""
        while self.read(0.0):
            pass
        start, written = time.monotonic(), b""
        os.write(self._master, key)
        while text not in written:
            if time.monotonic() - start > seconds:
                raise TimeoutError(f"{key!r} did not paint {text!r} within {seconds} s")
            written += self.read(0.05)
        return time.monotonic() - start

    def wait(self, seconds: float = 20.0) -> int:
        """The exit status, what the program writes until then read; raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the program has not ended; the end of the output: {self.seen[-300:]!r}")
            self.read(0.05)
        while self.read(0.0):
            pass
        return self._process.returncode

    def hang_up(self) -> None:
        """The terminal goes, as it does when an SSH session is dropped; nothing can be read afterwards."""
        os.close(self._master)
        self._master = -1

    @property
    def modes(self) -> list[Any]:
        """What `stty` shows."""
        return termios.tcgetattr(self._master)

    def cpu_seconds(self) -> float:
        """CPU of the program so far, its threads included, its children not."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)
            deadline = time.monotonic() + 3
            while self._process.poll() is None and time.monotonic() < deadline:
                self.read(0.05)
        self._process.wait()
        if self._master >= 0:
            os.close(self._master)


def gpudeck(*arguments: str) -> list[str]:
    """The command line of the console of this checkout."""
    return [str(Path(sys.executable).with_name("gpudeck")), *arguments]
