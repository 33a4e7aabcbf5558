"""Which journals are listed: the newest, and whatever nobody has brought to an end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.changes import journals
from backends.changes.journal import Journal
from backends.changes.journal import read as read_journal
from backends.changes.journals import Journals
from backends.changes.unfinished import UnfinishedChanges
from backends.domain import SiteSpec
from tests.changes.steps import NOW, SITE, FileStep, Nowhere, change_of, desk_on
from tests.changes.test_journal import ACTOR


def leave(directory: Path, number: int, *events: str) -> str:
    """The journal of a change, the higher the number the newer; its id."""
    change = change_of(FileStep("/a"), change_id=f"20260101T{number:06}.000-aaaa")
    journal = Journal.create(directory, change, ACTOR, NOW)
    for event in events:
        journal.write(event, NOW, **({} if event in ("finished", "abandoned") else {"step": 0}))
    journal.close()
    return change.id


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three journals are listed."""
    monkeypatch.setattr(journals, "LISTED", 3)
    return tmp_path / "changes"


async def test_an_old_change_that_was_cut_off_is_listed_for_ever(directory: Path) -> None:
    cut_off = leave(directory, 1, "applying")
    leave(directory, 2, "applying", "verified", "finished")
    (directory / "20260101T000003.000-dead.journal").write_text("{]\n")
    newest = [leave(directory, number, "applying", "verified", "finished") for number in range(4, 7)]
    desk = desk_on(directory.parent)
    view = await desk.look()
    assert [each.id for each in view.records] == [*reversed(newest), cut_off]
    assert [each.path.name for each in view.unreadable] == ["20260101T000003.000-dead.journal"]
    assert [each.id for each in await UnfinishedChanges(directory, SiteSpec(SITE), Nowhere(), "head01")()] == [cut_off]
    await desk.abandon(cut_off, "by hand")
    assert [each.id for each in (await desk.look()).records] == [*reversed(newest)]
    await desk.close()


def test_an_old_one_comes_back_when_it_is_undone_and_when_newer_ones_are_gone(directory: Path) -> None:
    ids = [leave(directory, number, "applying", "verified", "finished") for number in range(5)]
    read = Journals(directory)
    assert [each.id for each in read()[0]] == ids[:1:-1]
    again = Journal.reopen(directory, ids[0])
    again.write("undo", NOW)
    assert [each.id for each in read()[0]] == [*ids[:1:-1], ids[0]]
    again.write("undo-finished", NOW)
    again.close()
    assert [each.id for each in read()[0]] == ids[:1:-1]
    (directory / f"{ids[4]}.journal").unlink()
    assert [each.id for each in read()[0]] == [ids[3], ids[2], ids[1]]


def test_only_what_was_written_since_is_read_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [leave(directory, number, "applying", "verified", "finished") for number in range(5)]
    looked: list[str] = []
    before = read_journal

    def noted(path: Path) -> Any:
        looked.append(path.stem)
        return before(path)

    monkeypatch.setattr(journals, "read", noted)
    read = Journals(directory)
    first = read()
    assert sorted(looked) == ids
    looked.clear()
    assert read() == first
    assert looked == []
    newest = leave(directory, 7, "applying")
    assert [each.id for each in read()[0]] == [newest, *ids[:2:-1]]
    assert looked == [newest]
