"""The audit log: who did what, when, where and why, one JSON line each, only ever appended.

A file that has grown past its bound is renamed and a new one begun; no line is ever dropped, and gpudeck removes no
old file. Each line is written in one piece under a lock, so that several consoles can share the log.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends.changes.actor import Actor
from backends.changes.files import directory_of, failed, open_file, open_private, write_all
from backends.domain.redact import redacted

NAME = "audit.jsonl"
ROTATE_BYTES = 5 << 20
LINE_LIMIT = 64 << 10
_TEXT_LIMIT = 4_000
_TRIES = 100
_PAUSE_SECONDS = 0.02


class AuditLog:
    """Appends lines to `directory/audit.jsonl`. `append` blocks on the disk: call it in a thread."""

    def __init__(
        self, directory: Path, actor: Actor, rotate_bytes: int = ROTATE_BYTES, *, shared: bool = False
    ) -> None:
        """`shared`: the directory is a group's."""
        self.path = directory / NAME
        self._shared = shared
        self._actor = actor
        self._rotate_bytes = rotate_bytes

    def append(self, event: str, at: float, *, site: str, outcome: str, **values: Any) -> None:
        """One line, synced; secrets are taken out. Raises JournalFailed."""
        line = {
            "at": at,
            "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "site": site,
            "outcome": outcome,
            **values,
            "who": self._actor.to_json(),
            "pid": os.getpid(),
        }
        directory_of(self.path.parent, shared=self._shared)
        try:
            self._append(_encoded(line))
        except OSError as error:
            raise failed("written", self.path, error) from None

    def tail(self, lines: int) -> list[dict[str, Any]]:
        """The newest lines of the file in use, oldest first; what is no JSON object is left out. Raises OSError."""
        try:
            descriptor = open_private(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return []
        with os.fdopen(descriptor, "rb") as opened:
            opened.seek(max(0, os.fstat(descriptor).st_size - lines * LINE_LIMIT // 16))
            raw = opened.read().split(b"\n")
        found = []
        for line in raw[-lines - 1 :]:
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    found.append(value)
        return found[-lines:]

    def _append(self, line: bytes) -> None:
        for _ in range(_TRIES):
            descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, shared=self._shared)
            try:
                _lock(descriptor)
                if not self._is_in_use(descriptor):
                    continue  # another console has just rotated it
                if os.fstat(descriptor).st_size >= self._rotate_bytes and self._rotated():
                    continue
                _write_line(descriptor, line)
                return
            finally:
                os.close(descriptor)
        raise OSError(errno.EBUSY, "it is rotated again and again", str(self.path))

    def _is_in_use(self, descriptor: int) -> bool:
        mine = os.fstat(descriptor)
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def _rotated(self) -> bool:
        """Moves the full file to a free name; False where that is not allowed, as for an append-only file (chattr +a).

        The caller holds the lock.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        for number in range(_TRIES):
            kept = self.path.with_name(f"audit-{stamp}-{number:02d}.jsonl")
            if os.path.lexists(kept):
                continue
            try:
                self.path.rename(kept)
            except OSError:
                return False
            return True
        return False


def _lock(descriptor: int) -> None:
    """Waits for the lock, but not for ever: its holder may be stopped. Raises OSError."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    raise OSError(errno.EBUSY, "another process holds it")


def _encoded(line: Mapping[str, Any]) -> bytes:
    """One JSON line without secrets, bounded."""
    text = json.dumps(redacted(_bounded(line)), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    if len(text) > LINE_LIMIT:
        short = {key: value for key, value in line.items() if key in ("at", "time", "event", "site", "outcome", "who")}
        text = json.dumps(redacted({**_bounded(short), "cut": True}), separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _TEXT_LIMIT else value[: _TEXT_LIMIT - 1] + "…"
    if isinstance(value, Mapping):
        return {str(key): _bounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded(each) for each in value]
    return value


def _write_line(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line  # a write was cut off here once: that half line stays, this one stands alone
    write_all(descriptor, line)
    os.fsync(descriptor)
