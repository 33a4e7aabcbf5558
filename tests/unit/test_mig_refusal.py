"""Why a wish cannot be, and what is nearest to it."""

from __future__ import annotations

import re
import tracemalloc
from itertools import combinations_with_replacement

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


def attributes(name: str) -> set[str]:
    return set(re.findall(r"[+-][a-z.]+", name))


@pytest.mark.parametrize("key", PLACED)
def test_nobody_is_offered_an_attribute_that_was_not_asked_for(key: str) -> None:
    plain = [each.name for each in board_named(key).profiles if each.is_plain]
    for count in range(1, 5):
        for names in combinations_with_replacement(plain, count):
            made = plan(target_of_model(key), parse(",".join(names)))
            offered = {each.profile.name for near in made.nearest for each in near.plan.after or ()}
            assert offered <= set(plain), names


def test_an_attribute_that_was_asked_for_may_be_offered() -> None:
    made = refused("A100-80GB", "2x 1g.10gb+me")
    assert "1g.10gb+me" in {each.plan.wish for each in made.nearest}
    other = refused("RTX-PRO-6000-96GB", "5x 1g.24gb+gfx")
    assert {
        name for near in other.nearest for each in near.plan.after or () for name in attributes(each.profile.name)
    } == {"+gfx"}
