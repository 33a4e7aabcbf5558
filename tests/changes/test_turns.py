"""What happens to a change stands in the event log of its site, whoever made it."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

import pytest

from backends.changes.actor import Actor
from backends.changes.journal import Journal
from backends.changes.mig import MigStep
from backends.changes.mig_layout import OFF, parse_wanted
from backends.changes.mig_state import MigGpu
from backends.changes.record import TURNS, TURNS_KEPT, ChangeRecord
from backends.changes.turns import CUT_OFF, SECONDS_BACK, TOLD, Turns
from backends.changes.unfinished import UnfinishedChanges
from backends.domain import EVENT_KINDS, Event, Identity, NodeSpec, SiteSpec
from backends.feed import ManualClock
from backends.site import Site
from tests.changes.steps import NOW, FileStep, Nowhere, change_of
from tests.changes.test_journal import ACTOR, EVENTS
from tests.changes.test_unfinished import CUT_OFF as LINES
from tests.changes.test_unfinished import hold, leave

BOB = "bob@head02"


def told(turns: Turns, record: ChangeRecord, running: str | None = None, now: float = NOW + 20) -> list[str]:
    return [f"{event.kind} {event.text}" for event in turns.new([record], running, now)]


def begun(directory: Path, *steps: Any) -> Journal:
    return Journal.create(directory, change_of(*steps or (FileStep("/a"), FileStep("/b"))), ACTOR, NOW)


def test_each_turn_is_told_once_with_whose_hand_it_was(tmp_path: Path) -> None:
    turns, journal = Turns(), begun(tmp_path)
    assert told(turns, journal.record, journal.record.id) == [
        "change_begun begun: write some files, by alice@head01: INC-1"
    ]
    journal.write("applying", NOW + 1, step=0)
    assert told(turns, journal.record, journal.record.id) == []
    journal.write("failed", NOW + 2, step=0, said="the file is not wanted\nask", effect="none")
    journal.close()
    failed = "change_failed failed at step 1 of 2: write some files, by alice@head01: the file is not wanted"
    assert told(turns, journal.record) == [failed]
    again = Journal.reopen(tmp_path, journal.record.id, BOB)
    again.write("undo", NOW + 3)
    again.write("undo-finished", NOW + 4)
    again.close()
    assert told(turns, again.record) == [
        f"change_begun undo begun: write some files, by {BOB}",
        f"change_undone undone: write some files, by {BOB}",
    ]


def test_what_a_journal_tells_as_a_turn_has_a_kind_and_words() -> None:
    assert set(TOLD) == TURNS | {CUT_OFF}
    assert {kind for kind, _ in TOLD.values()} == {kind for kind in EVENT_KINDS if kind.startswith("change_")}


def test_a_change_that_was_abandoned_says_why(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.write("stopped", NOW + 1, why="the write window has ended")
    journal.write("abandoned", NOW + 2, why="put right by hand")
    journal.close()
    assert told(Turns(), journal.record)[1:] == [
        "change_stopped stopped: write some files, by alice@head01: the write window has ended",
        "change_abandoned abandoned: write some files, by alice@head01: put right by hand",
    ]


def test_one_that_was_cut_off_is_told_when_a_second_look_finds_nobody_at_it(tmp_path: Path) -> None:
    journal, turns = begun(tmp_path), Turns()
    journal.write("applying", NOW + 1, step=0)
    journal.close()
    at_work = journal.record
    turns.new([at_work], at_work.id, NOW + 2)
    assert told(turns, at_work, None, NOW + 3) == []
    (cut,) = turns.new([at_work], None, NOW + 4)
    assert (cut.kind, cut.at) == ("change_cut_off", NOW + 4)
    assert cut.text == "cut off at step 1 of 2: write some files, by alice@head01"
    assert told(turns, at_work) == []
    resumed = Journal.reopen(tmp_path, at_work.id, BOB)
    resumed.write("resumed", NOW + 5)
    resumed.close()
    assert told(turns, resumed.record, at_work.id) == [f"change_begun resumed: write some files, by {BOB}"]
    turns.new([resumed.record], None, NOW + 6)
    assert [event.kind for event in turns.new([resumed.record], None, NOW + 7)] == ["change_cut_off"]


def test_one_that_was_found_cut_off_is_told_with_the_time_of_its_last_word(tmp_path: Path) -> None:
    journal, turns = begun(tmp_path), Turns()
    journal.write("applying", NOW + 1, step=0)
    journal.close()
    turns.new([journal.record], None, NOW + 900)
    assert [event.at for event in turns.new([journal.record], None, NOW + 901)] == [NOW + 1]


def test_an_end_between_the_look_at_the_journals_and_at_the_lock_is_no_cut(tmp_path: Path) -> None:
    journal, turns = begun(tmp_path), Turns()
    journal.write("applying", NOW + 1, step=0)
    turns.new([journal.record], None, NOW + 2)
    journal.write("finished", NOW + 2)
    journal.close()
    assert [event.kind for event in turns.new([journal.record], None, NOW + 3)] == ["change_done"]


def test_an_undo_that_was_stopped_waits_and_is_not_cut_off(tmp_path: Path) -> None:
    journal, turns = begun(tmp_path), Turns()
    for name, values in (*EVENTS[:6], ("undo-stopped", {"why": "asked to"})):
        journal.write(name, NOW + 1, **values)
    journal.close()
    kinds = [event.kind for _ in range(3) for event in turns.new([journal.record], None, NOW + 2)]
    assert kinds == ["change_begun", "change_failed", "change_begun", "change_stopped"]


def test_what_is_older_than_a_day_is_left_to_the_list_of_changes(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.write("applying", NOW + 1, step=0)
    journal.close()
    turns = Turns()
    assert [event for _ in range(3) for event in turns.new([journal.record], None, NOW + 2 * SECONDS_BACK)] == []


def test_the_turns_of_a_record_are_bounded(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    for number in range(2 * TURNS_KEPT):
        journal.write("resumed", NOW + number)
    journal.close()
    assert len(journal.record.turns) == TURNS_KEPT
    assert journal.record.turns[-1].number == 2 * TURNS_KEPT


def test_an_event_names_the_node_and_the_gpu_that_is_changed(tmp_path: Path) -> None:
    step = MigStep(MigGpu("dgx01", 3, "GPU-3"), ("nvidia-smi", "-i", "3", "-mig", "1"), OFF, parse_wanted("on"))
    other = dataclasses.replace(step, gpu=MigGpu("dgx01", 4, "GPU-4"))
    one, two = Turns(), Turns()
    journal = begun(tmp_path / "one", step, step)
    journal.close()
    (event,) = one.new([journal.record], None, NOW)
    assert (event.node, event.gpu_index, event.gpu_uuid) == ("dgx01", 3, "GPU-3")
    assert (event.who, event.change, event.source) == (ACTOR.label, journal.record.id, "journal")
    journal = begun(tmp_path / "two", step, other)
    journal.close()
    (event,) = two.new([journal.record], None, NOW)
    assert (event.node, event.gpu_index, event.gpu_uuid) == ("dgx01", None, None)


def test_a_change_of_no_node_is_told_without_one(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.close()
    assert [event.node for event in Turns().new([journal.record], None, NOW)] == [""]


@pytest.mark.parametrize("strange", [{"node": ["x"], "index": {}}, {"node": "dgx01", "index": 1, "uuid": []}])
def test_a_journal_of_strange_values_costs_nothing(tmp_path: Path, strange: dict[str, Any]) -> None:
    journal = begun(tmp_path)
    journal.close()
    record = dataclasses.replace(journal.record, documents=(strange,))
    assert [event.gpu_index for event in Turns().new([record], None, NOW)] == [None]


# As the site keeps them


def reader(state: Path, heard: list[Event], *nodes: NodeSpec) -> UnfinishedChanges:
    site = SiteSpec("lab", nodes=nodes)
    clock = ManualClock(NOW + 30)
    return UnfinishedChanges(state / "changes", site, Nowhere(clock), platform.node(), heard.append)


async def test_the_first_look_tells_nothing_yet(tmp_path: Path) -> None:
    leave(tmp_path, *LINES).close()
    heard: list[Event] = []
    read = reader(tmp_path, heard)
    await read()
    assert heard == []
    await read()
    assert [event.kind for event in heard] == ["change_begun"]
    await read()
    assert [event.kind for event in heard] == ["change_begun", "change_cut_off"]


async def test_a_change_that_somebody_is_at_is_not_cut_off(tmp_path: Path) -> None:
    leave(tmp_path, *LINES).close()
    heard: list[Event] = []
    read, lock = reader(tmp_path, heard), hold(tmp_path)
    for _ in range(4):
        await read()
    lock.release()
    assert [event.kind for event in heard] == ["change_begun"]


async def test_a_change_of_another_site_of_that_name_is_none_of_its_events(tmp_path: Path) -> None:
    there = Identity("192.0.2.7:22")
    change = change_of(FileStep("/a"), site="lab")
    Journal.create(tmp_path / "changes", change, Actor("eve", 1, "x"), NOW, {"node dgx01": there}).close()
    heard: list[Event] = []
    read = reader(tmp_path, heard, NodeSpec("dgx01", "192.0.2.8"))
    for _ in range(4):
        await read()
    assert heard == []


async def test_the_site_keeps_what_another_console_does(tmp_path: Path) -> None:
    site = Site(SiteSpec("lab", nodes=(NodeSpec("dgx01", "127.0.0.1:1"),)), clock=ManualClock(NOW), state_dir=tmp_path)
    try:
        journal = leave(tmp_path, *LINES)
        journal.write("finished", NOW + 6)
        journal.close()
        for _ in range(2):
            await site._triage.now()
        kept = [event for event in site._log.all() if event.change]
        assert [(event.kind, event.node) for event in kept] == [("change_begun", "dgx01"), ("change_done", "dgx01")]
    finally:
        await site.close()
