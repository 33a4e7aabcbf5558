"""A log as a file: new, private, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.contract import GpudeckError
from backends.domain import LogLine
from backends.logs import write_new
from backends.logs.store import note

LINES = [LogLine("one", "main", 1_700_000_000.25), LogLine("zwei ✓", "side")]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    size = write_new(path, [*LINES, note("cut")], timestamps=False, container=True)
    assert path.read_text("utf-8") == "[main] one\n[side] zwei ✓\n--- cut ---\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == size


def test_times_carry_their_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write_new(path, LINES, timestamps=True, container=False)
    first, second = path.read_text("utf-8").splitlines()
    stamp, _, text = first.partition(" ")
    from datetime import datetime

    assert datetime.fromisoformat(stamp).timestamp() == 1_700_000_000.25
    assert text == "one"
    assert second == "- zwei ✓"


def test_nothing_is_overwritten_nor_written_through_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a.log", tmp_path / "link"
    path.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for there in (path, link):
        with pytest.raises(GpudeckError, match="is there already"):
            write_new(there, LINES, timestamps=False, container=False)
    assert path.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GpudeckError, match="No such file or directory"):
        write_new(tmp_path / "no" / "a.log", LINES, timestamps=False, container=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = tmp_path / "a.log", os.open

    def full(name: Path, flags: int, mode: int = 0o777) -> int:
        handle = opened(name, flags, mode)
        if name != path:
            return handle
        os.close(handle)
        return opened("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(GpudeckError, match="No space left on device"):
        write_new(path, LINES, timestamps=False, container=False)
    assert not path.exists()
