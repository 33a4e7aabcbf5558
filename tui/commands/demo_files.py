"""What demos that were killed have left in the temporary directory: keys of a simulated site, and its settings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from pathlib import Path

PREFIX = "gpudeck-demo-"
LOCK = "lab.lock"
"""As `backends.lab.files` names it: a lab that runs holds it."""
YOUNG_SECONDS = 60.0
"""A lab that is just starting has made the file and may not hold it yet."""


def remove_abandoned(directory: Path) -> None:
    """Removes the demos' directories of this user in `directory` whose lab has ended; what cannot be removed stays."""
    for each in directory.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_if_abandoned(each)


def _remove_if_abandoned(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if time.time() - os.fstat(descriptor).st_mtime < YOUNG_SECONDS:
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(descriptor)
