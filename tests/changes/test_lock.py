"""Two consoles at once on one site: the second sees the first."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from backends.changes.lock import STALE_SECONDS, STEP_SECONDS, Owner, SiteLock, lock_path, look
from backends.contract import ChangeRefused, JournalFailed
from backends.feed import ManualClock
from tests.changes.steps import GATES, NOW, FileStep, GatedStep, change_of, open_desk

ROOT = Path(__file__).parents[2]
OWNER = Owner(
    os.getpid(), "head01", "alice@head01", "20231114T221320-aaaaaa", "MIG of dgx07 gpu3", "not begun", NOW, NOW
)

HOLDER = """
import sys, time
from pathlib import Path
from tests.changes.test_lock import OWNER
from backends.changes.lock import SiteLock
lock = SiteLock.acquire(Path(sys.argv[1]), OWNER, OWNER.since)
lock.beat("step 2 of 3, applying", OWNER.since + 5)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "site.lock")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_the_second_is_told_who_what_where_and_since(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(ChangeRefused) as caught:
        SiteLock.acquire(tmp_path / "site.lock", OWNER, NOW + 180)
    assert caught.value.message == (
        f"this site is being changed by alice@head01 (pid {OWNER.pid}) since 3 min: "
        "MIG of dgx07 gpu3, step 2 of 3, applying"
    ).replace(str(OWNER.pid), str(_pid(tmp_path)))
    held = look(tmp_path / "site.lock", NOW + 180, "head01")
    assert held.alive
    assert held.owner is not None
    assert held.owner.step == "step 2 of 3, applying"


def _pid(tmp_path: Path) -> int:
    return int(json.loads((tmp_path / "site.lock").read_text())["pid"])


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    held = look(tmp_path / "site.lock", NOW + 6, "head01")
    assert (held.alive, held.owner is not None) == (False, True)
    SiteLock.acquire(tmp_path / "site.lock", OWNER, NOW + 6).release()


def test_on_another_host_only_the_heartbeat_tells(tmp_path: Path) -> None:
    path = tmp_path / "site.lock"
    path.write_text(json.dumps(asdict(OWNER)))
    elsewhere = replace(OWNER, host="head02")
    with pytest.raises(ChangeRefused, match="alice@head01"):
        SiteLock.acquire(path, elsewhere, NOW + STALE_SECONDS - 1)
    assert look(path, NOW + STALE_SECONDS - 1, "head02").alive
    assert not look(path, NOW + STALE_SECONDS + 1, "head02").alive
    SiteLock.acquire(path, elsewhere, NOW + STALE_SECONDS + 1).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"pid": "x"}', b"null", b"[" * 9000])
def test_a_record_that_makes_no_sense_is_nobody(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.lock"
    path.write_bytes(content)
    assert look(path, NOW, "head01").owner is None
    SiteLock.acquire(path, OWNER, NOW).release()


def test_a_held_lock_without_a_record_is_another_console(tmp_path: Path) -> None:
    path = tmp_path / "site.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ChangeRefused, match="by another console"):
            SiteLock.acquire(path, OWNER, NOW)


def test_it_is_released_and_its_file_says_nobody(tmp_path: Path) -> None:
    path = tmp_path / "site.lock"
    lock = SiteLock.acquire(path, OWNER, NOW)
    lock.release()
    lock.release()
    lock.beat("late", NOW)
    assert path.read_bytes() == b""
    assert path.stat().st_mode & 0o777 == 0o600
    assert look(path, NOW, "head01").owner is None


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalFailed, match="cannot be opened"):
        SiteLock.acquire(tmp_path / "site.lock", OWNER, NOW)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_refuses_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(JournalFailed, match="cannot be locked") as caught:
        SiteLock.acquire(tmp_path / "site.lock", OWNER, NOW)
    assert "XDG_STATE_HOME" in caught.value.hint


@pytest.mark.parametrize("site", ["prod", "../../etc", "a/b", "\x1b[31m", "", "." * 300, "名前"])
def test_every_site_has_a_file_of_its_own_inside_the_directory(tmp_path: Path, site: str) -> None:
    path = lock_path(tmp_path, site)
    assert path.parent == tmp_path
    assert path.name.isascii()
    assert path.name.isprintable()
    assert len(path.name) < 100
    assert path != lock_path(tmp_path, site + "_")


async def test_the_second_console_sees_the_running_change_of_the_first(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    first, second = await open_desk(tmp_path / "state", clock), await open_desk(tmp_path / "state")
    gated = GatedStep(str(tmp_path / "a"))
    reached, go_on = GATES.setdefault(gated.path, (asyncio.Event(), asyncio.Event()))
    task = first.launch(first.run(change_of(gated)))
    await reached.wait()
    view = await second.look()
    assert view.held.alive
    assert view.is_running(view.records[0])
    assert view.offers(view.records[0]) == ()
    other = change_of(FileStep(str(tmp_path / "b")), change_id="20231114T221321-bbbbbb", targets=())
    with pytest.raises(ChangeRefused, match="is being changed by"):
        await second.run(other)
    with pytest.raises(ChangeRefused, match="is being changed by"):
        await second.undo(view.records[0].id)
    await clock.advance(STEP_SECONDS)
    async with asyncio.timeout(10):
        while (await second.look()).held.owner.step == "not begun":  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
    with pytest.raises(ChangeRefused, match="step 1 of 1, applying"):
        await second.run(other)
    go_on.set()
    await task
    assert not (await second.look()).held.alive
    assert (await second.run(other)).status == "done"
    await first.close()
    await second.close()
