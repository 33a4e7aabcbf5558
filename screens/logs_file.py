"""Where a log is saved."""

from __future__ import annotations

import contextlib
import os
import re
from datetime import datetime
from pathlib import Path

from backends.domain import LogSource
from tui.paths import state_dir


def path_of(given: str) -> Path:
    """With the home directory in the place of a tilde."""
    try:
        return Path(given).expanduser()
    except RuntimeError:  # a user whom nobody knows
        return Path(given)


def default_path(source: LogSource, now: float) -> Path:
    """In the current directory where that may be written, else where the console keeps the user's things."""
    moment = datetime.fromtimestamp(now).astimezone().strftime("%Y%m%d-%H%M%S")
    parts = [source.name, *source.containers, moment]
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts)).lstrip(".")[:150] + ".log"
    with contextlib.suppress(OSError):  # the directory may be gone
        here = Path.cwd()
        return (here if os.access(here, os.W_OK) else state_dir()) / name
    return Path(name)
