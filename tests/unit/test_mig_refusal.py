"""Why a wish cannot be, and what is nearest to it."""

from __future__ import annotations

import tracemalloc

import pytest

from backends.nodes.mig.catalogue import board_named
from backends.nodes.mig.geometry import feasible
from backends.nodes.mig.plan import Plan
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of_model
from backends.nodes.mig.wish import TEXT_LIMIT, parse
from tests.unit.mig_table import PLACED

MEGABYTE = 1024**2


def refused(key: str, wish: str) -> Plan:
    made = plan(target_of_model(key), parse(wish))
    assert not made.possible
    return made


@pytest.mark.parametrize("key", PLACED)
@pytest.mark.parametrize("words", [["20gb"], ["1g", "2g", "3g", "20gb"], [f"{size}gb" for size in range(1, 70)]])
def test_a_long_wish_of_sizes_costs_no_more_than_a_short_one(key: str, words: list[str]) -> None:
    feasible(board_named(key))  # read once for a board, whatever is asked for
    text = ",".join((words * 20)[:20])
    assert len(text) <= TEXT_LIMIT
    tracemalloc.start()
    try:
        refused(key, text)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * MEGABYTE


def test_equal_entries_are_one_of_so_many() -> None:
    one, many = refused("A100-80GB", "4x 20gb"), refused("A100-80GB", "20gb,2x 20gb,20gb")
    assert [each.plan.wish for each in many.nearest] == [each.plan.wish for each in one.nearest]
    assert many.reason == one.reason
    assert (many.reason or "").count("20gb is a size") == 1
