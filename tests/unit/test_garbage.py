"""Cycles are collected while nobody types."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from backends.feed import ManualClock
from tui.garbage import FULL_SECONDS, GONE_SECONDS, MOST_SECONDS, Garbage


class Ring:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000.0)


@pytest.fixture
def garbage(clock: ManualClock) -> Iterator[Garbage]:
    started = Garbage(clock)
    started.start()
    yield started
    started.stop()


async def test_nothing_is_collected_while_somebody_types_and_all_young_cycles_right_after(
    garbage: Garbage, clock: ManualClock
) -> None:
    ring = weakref.ref(Ring())
    for _ in range(8):
        garbage.note_input()
        await clock.advance(0.5)
        garbage.look()
    assert ring() is not None
    await clock.advance(1.0)
    garbage.look()
    assert ring() is None


async def test_who_types_on_and_on_does_not_fill_the_memory(garbage: Garbage, clock: ManualClock) -> None:
    ring = weakref.ref(Ring())
    await clock.advance(MOST_SECONDS)
    garbage.note_input()
    garbage.look()
    assert ring() is None


async def test_what_lived_long_before_it_became_a_cycle_is_found_by_the_full_look(
    garbage: Garbage, clock: ManualClock
) -> None:
    kept = Ring()
    ring = weakref.ref(kept)
    for _ in range(3):
        await clock.advance(70.0)
        garbage.look()
    gc.freeze()
    del kept
    await clock.advance(70.0)
    garbage.look()
    assert ring() is not None
    await clock.advance(FULL_SECONDS)
    garbage.look()
    assert ring() is None


async def test_what_was_closed_is_not_kept_for_an_hour(garbage: Garbage, clock: ManualClock) -> None:
    kept = Ring()
    ring = weakref.ref(kept)
    for _ in range(3):
        await clock.advance(70.0)
        garbage.look()
    garbage.note_gone()
    del kept
    await clock.advance(GONE_SECONDS)
    garbage.look()
    assert ring() is None


def test_the_collector_is_left_as_it_was() -> None:
    garbage = Garbage(ManualClock(0.0))
    garbage.start()
    assert not gc.isenabled()
    garbage.stop()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
