"""A log as a file: a new one, readable by its owner alone, or none at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from backends.contract import GpudeckError
from backends.domain import LogLine, clean
from backends.logs.store import NOTE

LINES_A_WRITE = 2000


def as_text(line: LogLine, *, timestamps: bool, container: bool) -> str:
    """`2026-11-25T08:31:17.123456+00:00 [main] text`, with what is asked for; local time."""
    if line.container == NOTE:
        return f"--- {line.text} ---"
    parts = [stamp(line.at)] if timestamps else []
    if container:
        parts.append(f"[{line.container}]")
    return " ".join([*parts, line.text])


def stamp(at: float | None) -> str:
    """Local time with its offset, in microseconds; `-` where the runtime did not say."""
    return "-" if at is None else datetime.fromtimestamp(at).astimezone().isoformat(timespec="microseconds")


def write_new(path: Path, lines: Iterable[LogLine], *, timestamps: bool, container: bool) -> int:
    """Writes a file that must not be there yet, with 0600; returns its bytes. Raises GpudeckError, and leaves nothing.

    For a thread of its own: it waits for the disk.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise GpudeckError(f"{_named(path)} is there already", "choose another name: no file is overwritten") from None
    except OSError as error:
        raise _failed(path, error) from None
    try:
        with os.fdopen(handle, "wb") as opened:
            for block in _blocks(as_text(line, timestamps=timestamps, container=container) for line in lines):
                opened.write(block)
            opened.flush()
            os.fsync(opened.fileno())
            return opened.tell()
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise _failed(path, error) from None


def _blocks(texts: Iterable[str]) -> Iterator[bytes]:
    rest = iter(texts)
    while block := list(islice(rest, LINES_A_WRITE)):
        yield ("\n".join(block) + "\n").encode("utf-8", "replace")


def _failed(path: Path, error: OSError) -> GpudeckError:
    said = clean(error.strerror or type(error).__name__)
    return GpudeckError(f"{_named(path)} was not written: {said}", "choose another directory")


def _named(path: Path) -> str:
    return clean(path.name, 60)
