"""The directories that killed demos leave behind."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from backends.lab.files import LabFiles
from tui.commands.demo_files import LOCK, PREFIX, YOUNG_SECONDS, remove_abandoned


def left(parent: Path, name: str, *, young: bool = False) -> Path:
    """A demo's directory with the lock file of a lab."""
    directory = parent / f"{PREFIX}{name}"
    directory.mkdir()
    (directory / "id_ed25519").write_text("a key")
    lock = LabFiles(directory).lock
    lock.touch()
    at = lock.stat().st_mtime - (0.0 if young else YOUNG_SECONDS + 1.0)
    os.utime(lock, (at, at))
    return directory


def test_only_what_no_lab_holds_is_removed(tmp_path: Path) -> None:
    abandoned, runs, starts = left(tmp_path, "a"), left(tmp_path, "b"), left(tmp_path, "c", young=True)
    begun, other = tmp_path / f"{PREFIX}d", tmp_path / "something-else"
    begun.mkdir()
    other.mkdir()
    elsewhere = left(tmp_path / "something-else", "e")
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    descriptor = os.open(runs / LOCK, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        remove_abandoned(tmp_path)
    finally:
        os.close(descriptor)
    assert not abandoned.exists()
    assert all(each.exists() for each in (runs, starts, begun, elsewhere))
    remove_abandoned(tmp_path)
    assert not runs.exists()


def test_a_directory_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_abandoned(tmp_path / "nowhere")
