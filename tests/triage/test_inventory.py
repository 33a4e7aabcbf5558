"""Which GPUs each node has shown: over restarts, with many writers, and forgotten on purpose."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from backends.domain import Finding, Fleet, NodeReading
from backends.triage.boards import Board, Boards, forgotten, merged, shown
from backends.triage.engine import Triager
from backends.triage.inventory import FILE_NAME, KEPT, LOCK_NAME, RENEW_SECONDS, SCHEMA, Inventory, _locked
from tests.triage.makers import NOW, bus, gpu, live, node
from tests.triage.test_engine import SPEC, lasting

MORNING = NOW + 8 * 3600


def readings(count: int, at: float = NOW) -> NodeReading:
    return live(node(*(gpu(index) for index in range(count))), at)


def boards(count: int, at: float, fewer_at: float | None = None, first: int = 0) -> Boards:
    return Boards(tuple(Board(f"GPU-n1-{index}", bus(index)) for index in range(first, first + count)), at, fewer_at)


def written(inventory: Inventory) -> None:
    inventory.take(inventory.exchange(inventory.pending))


def watched(directory: Path, count: int, at: float, seconds: int = 6) -> Triager:
    """A console that looks at one node with so many GPUs from `at` on, and ends."""
    triager = Triager(SPEC, inventory=Inventory("site", directory))
    lasting(triager, Fleet((readings(count),)), at, seconds)
    triager.note_inventory()
    written(triager.inventory)
    return triager


def missing(triager: Triager) -> Finding:
    (found,) = triager._last.findings
    assert found.rule == "gpu-missing"
    return found


def test_a_gpu_that_vanished_over_night_is_told_by_a_console_that_starts_in_the_morning(tmp_path: Path) -> None:
    watched(tmp_path, 8, NOW)
    found = missing(watched(tmp_path, 7, MORNING))
    assert found.claim == "shows 7 GPUs; it had 8"
    assert found.since == MORNING
    assert [(line.text, line.at) for line in found.evidence[1:]] == [
        ("the last reading with 8 GPUs", NOW + 6),
        ("the first with fewer: missing since then at the latest", MORNING),
        (f"no longer listed: {bus(7)} (GPU-n1-7)", None),
    ]
    assert any(step.target == "gpudeck inventory forget n1" for step in found.steps)
    assert missing(watched(tmp_path, 7, MORNING + 9000)).since == MORNING, "known since the first console saw it"


def test_one_reading_is_enough_and_lowers_nothing(tmp_path: Path) -> None:
    watched(tmp_path, 8, NOW)
    triager = Triager(SPEC, inventory=Inventory("site", tmp_path))
    triage = triager.run(Fleet((readings(7, MORNING),)), (), MORNING, at_once=True)
    assert [each.rule for each in triage.findings] == ["gpu-missing"]
    triager.note_inventory()
    written(triager.inventory)
    known = Inventory("site", tmp_path).of("n1")
    assert known is not None
    assert (known.count, known.at, known.fewer_at) == (8, NOW + 6, MORNING)


def test_gpus_that_are_back_are_no_longer_missing(tmp_path: Path) -> None:
    watched(tmp_path, 8, NOW)
    watched(tmp_path, 7, MORNING)
    assert watched(tmp_path, 8, MORNING + 100)._last.findings == ()
    known = Inventory("site", tmp_path).of("n1")
    assert known is not None
    assert known.fewer_at is None


def test_a_node_that_was_forgotten_is_held_against_what_it_shows(tmp_path: Path) -> None:
    watched(tmp_path, 8, NOW)
    running = Triager(SPEC, inventory=Inventory("site", tmp_path))
    lasting(running, Fleet((readings(7),)), MORNING, 6)
    assert missing(running).subject.node == "n1"
    assert Inventory("site", tmp_path).forget("n1", MORNING + 10)
    assert not Inventory("site", tmp_path).forget("n1", MORNING + 11), "once"
    running.take_inventory(running.inventory.exchange(running.inventory.pending), MORNING + 12)
    assert lasting(running, Fleet((readings(7),)), MORNING + 12, 30).findings == ()
    running.note_inventory()
    written(running.inventory)
    assert watched(tmp_path, 7, MORNING + 100)._last.findings == ()
    assert missing(watched(tmp_path, 6, MORNING + 200)).claim == "shows 6 GPUs; it had 7"


def test_a_writer_who_knew_it_before_does_not_bring_back_what_was_forgotten(tmp_path: Path) -> None:
    watched(tmp_path, 8, NOW)
    late = Triager(SPEC, inventory=Inventory("site", tmp_path))
    lasting(late, Fleet((readings(7),)), MORNING, 6)
    Inventory("site", tmp_path).forget("n1", MORNING + 10)
    watched(tmp_path, 7, MORNING + 20)
    late.note_inventory()
    written(late.inventory)
    known = Inventory("site", tmp_path).of("n1")
    assert known is not None
    assert known.count == 7


def test_the_same_sites_of_another_name_and_other_machines_are_apart(tmp_path: Path) -> None:
    watched(tmp_path, 8, NOW)
    assert Inventory("other", tmp_path).of("n1") is None
    other = Triager(SPEC, inventory=Inventory("site", tmp_path))
    replaced = live(node(gpu(0, "new"), gpu(1, "new"), name="n1"))
    assert lasting(other, Fleet((replaced,)), MORNING, 6).findings == ()


def test_a_node_without_a_driver_misses_nothing() -> None:
    known = boards(8, NOW)
    assert shown(known, node(driver=None), NOW + 5) == known
    assert shown(known, node(), NOW + 5) == boards(8, NOW, NOW + 5)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (boards(8, NOW, NOW + 9), boards(8, NOW + 5, NOW + 7), boards(8, NOW + 5, NOW + 7)),
        (boards(8, NOW, NOW + 9), boards(8, NOW + 20), boards(8, NOW + 20)),
        (boards(8, NOW), boards(7, NOW + 20), boards(8, NOW)),
        (boards(8, NOW), boards(4, NOW + 20, first=20), boards(4, NOW + 20, first=20)),
        (boards(8, NOW), forgotten(NOW + 1), forgotten(NOW + 1)),
    ],
)
def test_two_readers_know_the_same_whoever_wrote_last(one: Boards, other: Boards, both: Boards) -> None:
    assert merged(one, other) == merged(other, one) == both


def test_many_writers_at_once_lose_nothing_but_their_turn(tmp_path: Path) -> None:
    def write(number: int) -> None:
        inventory = Inventory("site", tmp_path)
        inventory.note(f"n{number}", boards(8, NOW + number))
        while inventory.pending:
            written(inventory)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Inventory("site", tmp_path).nodes) == {f"n{number}" for number in range(12)}
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_NAME, FILE_NAME]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_while_another_writes_nothing_waits_and_nothing_is_lost(tmp_path: Path) -> None:
    inventory = Inventory("site", tmp_path)
    inventory.note("n1", boards(8, NOW))
    with _locked(tmp_path / FILE_NAME):
        written(inventory)
    assert inventory.pending
    assert inventory.warning is None
    written(inventory)
    assert not inventory.pending


def test_a_node_that_is_well_is_written_once_an_hour(tmp_path: Path) -> None:
    inventory = Inventory("site", tmp_path)
    inventory.note("n1", boards(8, NOW))
    written(inventory)
    inventory.note("n1", boards(8, NOW + RENEW_SECONDS - 1))
    assert not inventory.pending
    inventory.note("n1", boards(8, NOW + RENEW_SECONDS))
    assert inventory.pending


OTHERS = {"site": "other", "node": "n9", "gpus": [["GPU-a", None]], "at": NOW, "fewer_at": None, "forgotten_at": None}


def document(*nodes: dict[str, object], schema: object = SCHEMA) -> bytes:
    return json.dumps({"schema": schema, "nodes": nodes}).encode()


def noted(directory: Path) -> Inventory:
    inventory = Inventory("site", directory)
    inventory.note("n1", boards(8, NOW))
    written(inventory)
    return inventory


DAMAGED = {
    "empty": b"",
    "cut off": b"{",
    "a list": b"[1]",
    "a text": b'"x"',
    "no list of nodes": b'{"schema": "gpudeck/gpus/1", "nodes": {}}',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_told_and_kept_aside(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damaged)
    triager = Triager(SPEC, inventory=Inventory("site", tmp_path))
    triage = lasting(triager, Fleet((readings(8),)), NOW, 1)
    assert [each.rule for each in triage.findings] == ["inventory"]
    written(triager.inventory)
    assert json.loads((tmp_path / FILE_NAME).read_text())["nodes"][0]["node"] == "n1"
    (aside,) = tmp_path.glob(f"{FILE_NAME}.damaged-*")
    assert aside.read_bytes() == damaged
    assert aside.name in (triager.inventory.warning or ""), "told as long as this process lasts"
    triager.inventory.note("n2", boards(8, NOW))
    written(triager.inventory)
    assert aside.name in (triager.inventory.warning or "")


@pytest.mark.parametrize(
    "broken",
    [{"site": 1}, {**OTHERS, "at": 10**400}, {**OTHERS, "at": 1e300}, {**OTHERS, "at": True}, {**OTHERS, "gpus": 1}],
)
def test_a_node_that_cannot_be_read_costs_itself(tmp_path: Path, broken: dict[str, object]) -> None:
    (tmp_path / FILE_NAME).write_bytes(document(broken, OTHERS))
    assert "1 of 2 nodes" in (Inventory("other", tmp_path).warning or "")
    noted(tmp_path)
    assert set(Inventory("other", tmp_path).nodes) == {"n9"}
    assert set(Inventory("site", tmp_path).nodes) == {"n1"}
    (aside,) = tmp_path.glob(f"{FILE_NAME}.damaged-*")
    assert aside.read_bytes() == document(broken, OTHERS)


def test_forgetting_a_node_keeps_a_damaged_file_aside_too(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(document({"site": 1}, OTHERS))
    assert Inventory("other", tmp_path).forget("n9", NOW + 1)
    (aside,) = tmp_path.glob(f"{FILE_NAME}.damaged-*")
    assert aside.read_bytes() == document({"site": 1}, OTHERS)


def test_what_is_known_outlasts_a_file_that_is_damaged_under_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(document(OTHERS))
    inventory = noted(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"{")
    inventory.take(inventory.exchange({}))
    assert inventory.of("n1") is not None
    inventory.note("n2", boards(8, NOW))
    written(inventory)
    assert set(Inventory("site", tmp_path).nodes) == {"n1", "n2"}
    assert set(Inventory("other", tmp_path).nodes) == {"n9"}


def test_a_file_of_another_version_is_left_as_it_is(tmp_path: Path) -> None:
    newer = document(OTHERS, schema="gpudeck/gpus/2")
    (tmp_path / FILE_NAME).write_bytes(newer)
    inventory = noted(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == newer
    assert "another version of gpudeck" in (inventory.warning or "")
    assert inventory.of("n1") is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_NAME, FILE_NAME]


def test_a_file_that_may_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = document(OTHERS)
    (tmp_path / FILE_NAME).write_bytes(before)
    opened = Path.open

    def refused(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == FILE_NAME:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)
    inventory = noted(tmp_path)
    assert "Permission denied" in (inventory.warning or "")
    monkeypatch.undo()
    assert (tmp_path / FILE_NAME).read_bytes() == before
    written(inventory)
    assert inventory.warning is None, "the rights are back"
    assert set(Inventory("other", tmp_path).nodes) == {"n9"}


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    inventory = Inventory("site", tmp_path / "state")
    inventory.note("n1", boards(8, NOW))
    written(inventory)
    assert inventory.warning is not None
    assert "cannot be written" in inventory.warning
    assert inventory.of("n1") is not None


def test_the_file_is_bounded(tmp_path: Path) -> None:
    inventory = Inventory("site", tmp_path)
    for number in range(KEPT + 5):
        inventory.note(f"n{number}", boards(1, NOW + number))
    written(inventory)
    known = Inventory("site", tmp_path).nodes
    assert len(known) == KEPT
    assert "n0" not in known


def test_a_site_without_a_directory_keeps_nothing() -> None:
    inventory = Inventory("site")
    inventory.note("n1", boards(8, NOW))
    assert inventory.pending == {}
