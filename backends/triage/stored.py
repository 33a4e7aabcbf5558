"""What the files of the state directory hold: numbers that anybody may have edited; how one is written whole."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAST_MOMENT = 253_402_300_799.0
"""The end of the year 9999: no calendar tells later times."""


def number(value: Any) -> float:
    """A finite number; raises TypeError or ValueError for anything else that JSON can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no number")
    try:
        told = float(value)
    except OverflowError as error:
        raise ValueError("too large") from error
    if not math.isfinite(told):
        raise ValueError("not finite")
    return told


def moment(value: Any) -> float:
    """Seconds since the epoch; raises TypeError or ValueError."""
    at = number(value)
    if not 0 <= at <= LAST_MOMENT:
        raise ValueError("no time")
    return at


def maybe(read: Callable[[Any], float], value: Any) -> float | None:
    """None for None; raises what `read` raises."""
    return None if value is None else read(value)


def write_whole(file: Path, content: bytes) -> None:
    """Puts `content` (0600) in the place of `file`: a reader sees the old one or the new one. Raises OSError."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
