"""What is written to disk, and what is read back: cut, corrupt, full, hostile."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.changes import files as files_module
from backends.changes.actor import Actor, current
from backends.changes.files import write_all
from backends.changes.journal import Journal, path_of, read
from backends.changes.journals import read_all
from backends.changes.record import ChangeRecord, JournalCorrupt, Status, StepState, parse
from backends.contract import ChangeRefused, GpudeckError, JournalFailed
from tests.changes.steps import NOW, FileStep, change_of, desk_on, open_desk
from tests.tui.fleets import HOSTILE

ACTOR = Actor("alice", 1000, "head01")
STEPS = (FileStep("/a"), FileStep("/b"))
EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("applying", {"step": 0}),
    ("applied", {"step": 0, "said": "ok"}),
    ("verified", {"step": 0, "said": "seen"}),
    ("applying", {"step": 1}),
    ("failed", {"step": 1, "said": "broke", "effect": "unknown"}),
    ("undo", {}),
    ("undoing", {"step": 1}),
    ("undone", {"step": 1, "said": "gone"}),
    ("kept", {"step": 0, "said": "no undo"}),
    ("undo-finished", {}),
)


def written(directory: Path, **change: Any) -> Journal:
    journal = Journal.create(directory, change_of(*STEPS, **change), ACTOR, NOW)
    for number, (event, values) in enumerate(EVENTS, 1):
        journal.write(event, NOW + number, **values)
    journal.close()
    return journal


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[ChangeRecord]]:
    """A journal, and its record after each line."""
    journal = written(tmp_path_factory.mktemp("journal"))
    content = journal.path.read_bytes()
    lines = content.splitlines(keepends=True)
    return content, [parse(b"".join(lines[:count])) for count in range(1, len(lines) + 1)]


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    journal = written(tmp_path / "changes")
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    assert stat.S_IMODE(written(open_to_all).path.parent.stat().st_mode) == 0o700


def test_writer_and_reader_see_the_same(tmp_path: Path) -> None:
    journal = written(tmp_path)
    assert read(journal.path) == journal.record
    assert journal.record.status is Status.UNDONE
    assert [step.state for step in journal.record.steps] == [StepState.KEPT, StepState.UNDONE]
    assert journal.record.steps[0].describe == "write 'done' into /a"
    assert journal.record.steps[0].undo_describe == "remove /a"
    assert journal.record.actor == ACTOR


@given(data=st.data())
def test_any_cut_of_a_journal_is_the_record_of_its_whole_lines(
    whole: tuple[bytes, list[ChangeRecord]], data: st.DataObject
) -> None:
    content, records = whole
    cut = data.draw(st.integers(0, len(content)))
    lines = content[:cut].count(b"\n")
    if lines == 0:
        with pytest.raises(JournalCorrupt, match="no step had been started"):
            parse(content[:cut])
        return
    record = parse(content[:cut])
    assert record.torn_bytes == cut - content[:cut].rindex(b"\n") - 1
    assert record.steps == records[lines - 1].steps
    assert record.status == records[lines - 1].status


@given(data=st.data())
def test_a_changed_byte_is_a_record_or_a_named_error(
    whole: tuple[bytes, list[ChangeRecord]], data: st.DataObject
) -> None:
    content = bytearray(whole[0])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(JournalCorrupt):
        record = parse(bytes(content))
        assert record.summary
        assert set(record.offers) <= {"resume", "undo", "abandon"}


@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_a_named_error(content: bytes) -> None:
    with contextlib.suppress(JournalCorrupt):
        parse(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "undo", "login"]), inner),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["n", "event", "step", "at", "said", "effect", "why"]), JSON)))
def test_any_events_behind_a_good_beginning_are_a_record_or_a_named_error(
    whole: tuple[bytes, list[ChangeRecord]], events: list[dict[str, Any]]
) -> None:
    first = whole[0].splitlines(keepends=True)[0]
    rest = b"".join(json.dumps({**event, "n": number}).encode() + b"\n" for number, event in enumerate(events, 1))
    with contextlib.suppress(JournalCorrupt):
        parse(first + rest)


@given(
    st.dictionaries(st.sampled_from(["id", "site", "title", "reason", "who", "targets", "steps", "told", "at"]), JSON)
)
def test_any_beginning_is_a_record_or_a_named_error(values: dict[str, Any]) -> None:
    line = json.dumps({"n": 0, "event": "begin", "v": 1, **values}).encode() + b"\n"
    with contextlib.suppress(JournalCorrupt):
        parse(line)


def test_a_cut_line_is_taken_off_before_the_journal_goes_on(tmp_path: Path) -> None:
    journal = written(tmp_path)
    content = journal.path.read_bytes()
    journal.path.write_bytes(content + b'{"n":11,"ev')
    again = Journal.reopen(tmp_path, journal.record.id)
    assert again.record.torn_bytes == 11
    again.write("abandoned", NOW + 60, why="done by hand")
    again.close()
    assert journal.path.read_bytes().startswith(content + b'{"n":11,"event":"abandoned"')
    assert read(journal.path).status is Status.ABANDONED


def test_a_corrupt_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    good = written(tmp_path)
    (tmp_path / "20200101T000000-broken.journal").write_bytes(b"\x00\xff nonsense\n")
    (tmp_path / "20200101T000001-renamed.journal").write_bytes(good.path.read_bytes())
    (tmp_path / "20200101T000002-folder.journal").mkdir()
    (tmp_path / "20200101T000003-link.journal").symlink_to(good.path)
    os.mkfifo(tmp_path / "20200101T000004-fifo.journal")
    with (tmp_path / "20200101T000005-huge.journal").open("wb") as huge:
        huge.truncate(1 << 30)
    records, unreadable = read_all(tmp_path)
    assert [record.id for record in records] == [good.record.id]
    assert [each.path.name.split("-")[1].split(".")[0] for each in unreadable] == [
        "huge", "fifo", "link", "folder", "renamed", "broken",
    ]  # fmt: skip
    for each in unreadable:
        assert str(each.path) in each.why
    assert "line 1 is no JSON" in unreadable[-1].why
    assert "is the journal of" in unreadable[-2].why


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc/passwd", "a/b", ".hidden"])
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(GpudeckError, match="is no change"):
        path_of(tmp_path, name)


def test_journals_of_other_sites_are_not_listed(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path, change_id="20231114T221321-bbbbbb", site="other")
    assert [record.site for record in read_all(tmp_path, "other")[0]] == ["other"]
    assert len(read_all(tmp_path)[0]) == 2


def test_a_secret_never_gets_into_it(tmp_path: Path) -> None:
    with pytest.raises(ChangeRefused, match=r"step 2 .* holds what looks like a secret \(secret\)"):
        Journal.create(tmp_path, change_of(FileStep("/a"), FileStep("/b", secret="hunter2")), ACTOR, NOW)
    assert list(tmp_path.iterdir()) == []
    journal = Journal.create(tmp_path, change_of(*STEPS, reason="token=abcdef1234"), ACTOR, NOW)
    journal.write("applying", NOW, step=0)
    journal.write("failed", NOW, step=0, said="curl --password hunter2 said 401", effect="none")
    journal.close()
    content = journal.path.read_text()
    assert "hunter2" not in content
    assert "abcdef1234" not in content


def test_hostile_text_in_it_is_inert(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, change_of(*STEPS, title="".join(HOSTILE)[:3000]), ACTOR, NOW)
    journal.write("applying", NOW, step=0)
    record = journal.write("failed", NOW, step=0, said="\n".join(HOSTILE), effect="none")
    journal.close()
    assert read(journal.path) == record
    for text in (record.title, *record.steps[0].said.split("\n")):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert len(text) <= 2000


# A disk that fails


@contextlib.contextmanager
def failing(number: int, error: int = errno.ENOSPC, *, half: bool = False) -> Iterator[None]:
    """From the given line of the journal on nothing more can be written."""
    lines = 0

    def write(descriptor: int, payload: bytes) -> None:
        nonlocal lines
        lines += 1
        if lines < number:
            return write_all(descriptor, payload)
        if half:
            os.write(descriptor, payload[: len(payload) // 2])
        raise OSError(error, os.strerror(error))

    before = files_module.write_all
    files_module.write_all = write
    try:
        yield
    finally:
        files_module.write_all = before


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("number", range(1, 9))
async def test_on_a_full_disk_nothing_is_done_that_cannot_be_written_down(
    tmp_path: Path, number: int, half: bool
) -> None:
    desk = await open_desk(tmp_path / "state")
    steps = [FileStep(str(tmp_path / name)) for name in "ab"]
    with failing(number, half=half), pytest.raises(JournalFailed, match="No space left") as caught:
        await desk.run(change_of(*steps))
    assert "free some space" in caught.value.hint
    # begin, then applying, applied and verified of each step: the file is there from the "applied" that failed on.
    assert len(list(tmp_path.glob("?"))) == number // 3
    records, unreadable = read_all(tmp_path / "state" / "changes")
    assert unreadable == []
    if number == 1:
        assert records == []
    else:
        assert records[0].torn_bytes == 0
        assert f"gpudeck changes resume {records[0].id}" in caught.value.hint
        assert (await desk.resume(records[0].id)).status is Status.DONE
    await desk.close()


async def test_a_file_size_limit_is_the_same(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1800, hard))
    try:
        with pytest.raises(JournalFailed) as caught:
            await desk.run(change_of(*(FileStep(str(tmp_path / name)) for name in "abcdefgh")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "ulimit" in caught.value.hint
    await desk.close()


async def test_a_state_directory_that_cannot_be_written_refuses_the_change(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    desk = desk_on(tmp_path / "state")
    with pytest.raises(JournalFailed, match="cannot be made"):
        await desk.open_window(5, "why not")
    assert not desk.window.is_open
    await desk.close()


def test_a_link_in_the_place_of_a_journal_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    directory = tmp_path / "changes"
    directory.mkdir()
    change = change_of(*STEPS)
    (directory / f"{change.id}.journal").symlink_to(victim)
    with pytest.raises(JournalFailed):
        Journal.create(directory, change, ACTOR, NOW)
    assert victim.read_text() == "precious"


def test_the_actor_is_who_runs_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    actor = current({"SUDO_USER": "bo\x1b[31mb", "SSH_CONNECTION": "192.0.2.7 5022 192.0.2.1 22"})
    assert actor.uid == os.getuid()
    assert (actor.sudo_user, actor.ssh_from) == ("bob", "192.0.2.7")
    assert actor.host
    assert current({}).sudo_user is None
    assert Actor.from_json(actor.to_json()) == actor
    assert Actor.from_json("nonsense").login == "unknown"
    assert Actor("root", 0, "head01", sudo_user="alice").label == "root (alice)@head01"
