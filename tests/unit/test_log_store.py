"""What is kept of a log: the newest lines, within bounds."""

from __future__ import annotations

import gc

import pytest

from backends.domain import LogLine
from backends.logs import NOTE, LogStore


def lines(*numbers: int) -> list[LogLine]:
    return [LogLine(f"line {number}", "main", float(number)) for number in numbers]


def test_the_oldest_go_and_the_others_keep_their_numbers() -> None:
    store = LogStore(most_lines=3)
    store.extend(lines(0, 1))
    store.extend(lines(2, 3, 4))
    assert (len(store), store.first, store.end) == (3, 2, 5)
    assert store[4].text == "line 4"
    with pytest.raises(IndexError):
        store[1]
    assert [line.text for line in store.between(0, 4)] == ["line 2", "line 3"]


def test_bytes_are_bounded_too_and_the_newest_line_stays_however_long_it_is() -> None:
    store = LogStore(most_bytes=10_000)
    store.extend([LogLine("x" * 4000, "main")] * 5)
    assert 0 < len(store) < 5
    assert store.size <= 10_000
    store.extend([LogLine("y" * 50_000, "main")])
    assert [line.text[0] for line in store.between(store.first, store.end)] == ["y"]
    assert store.first == 5


def test_the_size_is_what_the_kept_lines_take() -> None:
    store, fresh = LogStore(most_lines=10), LogStore()
    store.extend(lines(*range(25)))
    fresh.extend(lines(*range(15, 25)))
    assert store.size == fresh.size
    store.clear()
    assert (store.size, len(store), store.first) == (0, 0, 25)


def test_lines_that_never_came_leave_a_note_in_their_place() -> None:
    store = LogStore()
    store.extend(lines(0))
    store.extend(lines(1), missed=12_345)
    assert [line.container for line in store.between(0, 9)] == ["main", NOTE, "main"]
    assert "12,345 lines are missing here" in store[1].text
    assert store.missed == 12_345
    assert store.containers == {"main"}
    assert [store.is_note(number) for number in range(3)] == [False, True, False]
    store.clear()
    assert store.containers == set()


def test_what_is_kept_is_none_of_the_garbage_collectors_business() -> None:
    """It walks what was made since its last walk: of a fast log that would be every line that is kept."""
    store = LogStore()
    gc.collect()
    before = len(gc.get_objects())
    store.extend(lines(*range(10_000)))
    gc.collect()
    assert len(gc.get_objects()) - before < 1000


def test_a_hundred_thousand_lines_take_a_few_milliseconds() -> None:
    """Taken off one by one the oldest would cost seconds: the store stays full all the time."""
    import time

    store, batch = LogStore(most_lines=50_000), lines(*range(2000))
    began = time.process_time()
    for _ in range(100):
        store.extend(batch)
    assert time.process_time() - began < 2.0
    assert store.first == 150_000
