"""The changes of a site in a directory that a group shares: one lock, one list, one audit log for all its logins."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.changes.actor import Actor
from backends.changes.desk import ChangeDesk
from backends.changes.files import open_file
from backends.changes.former import undoing
from backends.changes.record import Status
from backends.changes.report import change_lines, listed
from backends.contract import ChangeRefused, JournalFailed
from backends.domain import ChangeSpec, SiteSpec
from tests.changes.steps import GATES, NOW, SITE, FileStep, GatedStep, Nowhere, change_of
from tests.changes.test_audit import ACTOR

ALICE, BOB = replace(ACTOR, login="alice", uid=4001), replace(ACTOR, login="bob", uid=4002)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o2770)
    return directory


async def desk_of(actor: Actor, state: Path, shared: Path) -> ChangeDesk:
    """The desk of a login with a state directory of its own."""
    desk = ChangeDesk(SiteSpec(SITE, changes=ChangeSpec(directory=shared)), Nowhere(), state, actor=actor)
    await desk.open_window(30, "INC-1")
    return desk


def modes(directory: Path) -> dict[str, str]:
    """Suffix of each file -> its mode."""
    return {path.suffix: f"{stat.S_IMODE(path.stat().st_mode):o}" for path in directory.iterdir()}


async def test_two_logins_see_one_change_at_a_time_and_end_each_others(tmp_path: Path, shared: Path) -> None:
    alice = await desk_of(ALICE, tmp_path / "alice", shared)
    bob = await desk_of(BOB, tmp_path / "bob", shared)
    gated = GatedStep(str(tmp_path / "a"))
    reached, go_on = GATES.setdefault(gated.path, (asyncio.Event(), asyncio.Event()))
    task = alice.launch(alice.run(change_of(gated)))
    await reached.wait()
    view = await bob.look()
    assert view.is_running(view.records[0])
    with pytest.raises(ChangeRefused, match=f"being changed by {ALICE.label}"):
        await bob.run(change_of(FileStep(str(tmp_path / "b")), change_id="20231114T221321-bbbbbb"))
    go_on.set()
    record = await task
    assert (record.status, record.last_by) == (Status.DONE, "")
    undone = await bob.undo(record.id)
    assert (undone.status, undone.actor.label, undone.last_by) == (Status.UNDONE, ALICE.label, BOB.label)
    told = change_lines(listed(shared, SITE, NOW, "head01")[0][0], "then")
    assert told[3:5] == [f"  who     {ALICE.label}", f"  last    {BOB.label}"]
    audit = [json.loads(line) for line in (shared / "audit.jsonl").read_text().splitlines()]
    assert {line["who"]["login"] for line in audit} == {"alice", "bob"}
    assert not (tmp_path / "alice").exists()
    await alice.close()
    await bob.close()


async def test_new_files_are_the_groups_whatever_the_umask(tmp_path: Path, shared: Path) -> None:
    before = os.umask(0o077)
    try:
        desk = await desk_of(ALICE, tmp_path / "state", shared)
        await desk.run(change_of(FileStep(str(tmp_path / "a"))))
        await desk.close()
    finally:
        os.umask(before)
    assert modes(shared) == {".journal": "660", ".lock": "660", ".jsonl": "660"}


@pytest.mark.parametrize("mode", [0o2777, 0o2775, 0o2771, 0o770, 0o2750, 0o700])
async def test_a_directory_that_is_not_one_groups_alone_is_refused(tmp_path: Path, shared: Path, mode: int) -> None:
    desk = await desk_of(ALICE, tmp_path / "state", shared)
    record = await desk.run(change_of(FileStep(str(tmp_path / "b")), change_id="20231114T221319-bbbbbb"))
    shared.chmod(mode)
    for look in (desk.look(), desk.with_radius(undoing(record)), desk.undo(record.id)):
        with pytest.raises(JournalFailed, match="its mode is"):
            await look
    with pytest.raises(JournalFailed, match=f"its mode is {mode:04o}, not 2770") as caught:
        await desk.run(change_of(FileStep(str(tmp_path / "a"))))
    assert caught.value.hint == f"as root: install -d -m 2770 -g GROUP {shared}"
    assert not (tmp_path / "a").exists()
    await desk.close()
    assert stat.S_IMODE(shared.stat().st_mode) == mode


async def test_a_shared_directory_is_not_made_by_whoever_comes_first(tmp_path: Path) -> None:
    desk = ChangeDesk(SiteSpec(SITE, changes=ChangeSpec(directory=tmp_path / "no")), Nowhere(), tmp_path / "state")
    with pytest.raises(JournalFailed, match="cannot be used: No such file or directory"):
        await desk.open_window(30, "INC-1")
    assert not (tmp_path / "no").exists()
    await desk.close()


def test_a_new_file_replaces_none_and_leaves_nothing_else(shared: Path) -> None:
    os.close(open_file(shared / "a", os.O_RDWR | os.O_CREAT, shared=True))
    with pytest.raises(FileExistsError):
        open_file(shared / "a", os.O_RDWR | os.O_CREAT | os.O_EXCL, shared=True)
    os.close(open_file(shared / "a", os.O_RDWR | os.O_CREAT, shared=True))
    assert [path.name for path in shared.iterdir()] == ["a"]


def test_a_file_that_another_made_meanwhile_is_opened(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(new: Path, path: Path) -> None:
        if not path.exists():
            path.write_text("theirs")
        link(new, path)

    monkeypatch.setattr(os, "link", late)
    descriptor = open_file(shared / "a", os.O_RDWR | os.O_CREAT, shared=True)
    assert os.read(descriptor, 10) == b"theirs"
    os.close(descriptor)
    assert [path.name for path in shared.iterdir()] == ["a"]


# Real logins

GROUP = 5001


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A directory that every user of this machine may look into."""
    directory = Path(tempfile.mkdtemp(prefix="gpudeck-shared-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def as_user(uid: int, groups: list[int], work: Callable[[], str]) -> str:
    """What `work` says in a process of that user; its error, if it raises one."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            os.umask(0o077)
            said = work()
        except BaseException as error:  # noqa: BLE001 - told to the test
            said = f"{type(error).__name__}: {error}"
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answers:
        said = answers.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be other users")
def test_real_users_of_the_group_share_and_others_are_kept_out(everybodys: Path) -> None:
    shared = everybodys / "shared"
    shared.mkdir()
    os.chown(shared, 0, GROUP)
    shared.chmod(0o2770)
    files = everybodys / "files"
    files.mkdir()
    files.chmod(0o777)
    change = change_of(FileStep(str(files / "a")))

    def do(login: str, what: str) -> Callable[[], str]:
        async def work() -> str:
            actor = replace(ACTOR, login=login, uid=os.getuid())
            desk = await desk_of(actor, everybodys / login, shared)
            record = await (desk.run(change) if what == "run" else desk.undo(change.id))
            await desk.close()
            return str(record.status)

        return lambda: asyncio.run(work())

    assert as_user(4001, [GROUP], do("alice", "run")) == "done"
    assert {path.stat().st_uid for path in shared.iterdir()} == {4001}
    assert {path.stat().st_gid for path in shared.iterdir()} == {GROUP}
    said = as_user(4003, [], do("carol", "undo"))
    assert said == f"JournalFailed: {shared} may not be written by this login"
    assert (files / "a").exists()
    assert as_user(4002, [GROUP], do("bob", "undo")) == "undone"
    assert not (files / "a").exists()
    (line,) = [json.loads(each) for each in (shared / "audit.jsonl").read_text().splitlines() if "undo-begun" in each]
    assert line["who"]["login"] == "bob"
