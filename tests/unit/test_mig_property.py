"""The planner against brute force: what it accepts is valid by the table, and what is valid by the table it accepts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.domain import GpuProcess
from backends.nodes.mig.catalogue import board_named
from backends.nodes.mig.plan import Plan
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import GpuInstance, Target
from backends.nodes.mig.wish import Asked, Wish
from tests.unit.mig_table import (
    PLACED,
    TABLE,
    Place,
    PretendSmi,
    is_valid,
    rows,
    unordered_wishes,
    valid_layouts,
    valid_sets,
)

EVERY_BOARD = pytest.mark.parametrize("key", PLACED)


def wish_for(names: tuple[str, ...] | list[str], adds: bool = False) -> Wish:
    return Wish(tuple(Asked(name) for name in names), adds=adds)


def target(key: str, layout: tuple[Place, ...] = (), busy: frozenset[int] = frozenset(), mode: bool = True) -> Target:
    """A GPU on which `layout` stands; the instances at the positions of `busy` have a process."""
    instances = tuple(
        GpuInstance(
            name,
            gi=position + 1,
            placement=(start, rows(key)[name]["size"]),
            cis=(0,),
            processes=(GpuProcess(pid=100 + position, gi=position + 1),) if position in busy else (),
        )
        for position, (name, start) in enumerate(layout)
    )
    processes = tuple(process for each in instances for process in each.processes or ())
    return Target(board_named(key), 0, key, enabled=mode, pending=mode, instances=instances, processes=processes)


def after(made: Plan) -> tuple[Place, ...]:
    assert made.after is not None
    return tuple((each.profile.name, each.start) for each in made.after)


def carried_out(key: str, made: Plan) -> PretendSmi:
    """The plan's commands, typed one by one."""
    started = made.target
    smi = PretendSmi(key, mode=bool(started.enabled), pending=started.pending)
    smi.worlds = {
        frozenset((each.profile or "", (each.placement or (0, 0))[0], each.gi or 0) for each in started.instances)
    }
    for command in made.commands:
        smi.run(command)
    return smi


@EVERY_BOARD
def test_every_valid_set_is_accepted_and_nothing_else_of_up_to_its_size(key: str) -> None:
    for names in valid_sets(key):
        made = plan(target(key, mode=False), wish_for(names), near=False)
        assert made.possible, names
        assert is_valid(key, after(made))
        assert tuple(sorted(name for name, _ in after(made))) == names
    for names in unordered_wishes(key, 3):
        assert plan(target(key), wish_for(names), near=False).possible == (names in valid_sets(key)), names


@st.composite
def wishes(draw: st.DrawFn) -> tuple[str, list[str]]:
    key = draw(st.sampled_from(PLACED))
    return key, draw(st.lists(st.sampled_from(list(rows(key))), max_size=9))


@given(wishes())
def test_a_wish_is_possible_exactly_when_a_layout_holds_it(drawn: tuple[str, list[str]]) -> None:
    key, names = drawn
    made = plan(target(key), wish_for(names))
    assert made.possible == (tuple(sorted(names)) in valid_sets(key))
    assert (made.reason is None) == made.possible
    if made.possible:
        assert is_valid(key, after(made))
    for near in made.nearest:
        assert near.plan.possible
        assert is_valid(key, after(near.plan))
    if not made.possible:
        assert made.nearest, "one instance always fits"


@st.composite
def situations(draw: st.DrawFn) -> tuple[str, tuple[Place, ...], frozenset[int], tuple[str, ...], bool]:
    """A board, what stands on it, which of it is busy, what is asked for, and whether that adds."""
    key = draw(st.sampled_from(PLACED))
    layout = draw(st.sampled_from(sorted(valid_layouts(key))))
    busy = draw(st.frozensets(st.integers(0, 7), max_size=8))
    asked = draw(st.sampled_from(sorted(valid_sets(key))))
    return key, layout, busy & frozenset(range(len(layout))), asked, draw(st.booleans())


@given(situations())
@settings(max_examples=300)
def test_from_any_layout_to_any_other(
    drawn: tuple[str, tuple[Place, ...], frozenset[int], tuple[str, ...], bool],
) -> None:
    key, layout, busy, asked, adds = drawn
    started = target(key, layout, busy)
    made = plan(started, wish_for(asked, adds), near=False)
    wanted = tuple(sorted((*asked, *(name for name, _ in layout)))) if adds else asked
    ends = [end for end in valid_layouts(key) if tuple(sorted(name for name, _ in end)) == wanted]
    assert made.possible == any(not adds or set(layout) <= set(end) for end in ends)
    if not made.possible:
        return
    assert not (adds and made.destroys)
    assert is_valid(key, after(made))
    assert tuple(sorted(name for name, _ in after(made))) == wanted
    assert {each.gi for each in (*made.keeps, *made.destroys)} == {each.gi for each in started.instances}
    assert not {each.gi for each in made.keeps} & {each.gi for each in made.destroys}
    for each in made.keeps:
        assert each.placement is not None
        assert (each.profile, each.placement[0]) in after(made), "what stays, stays where it is"
    assert carried_out(key, made).layouts == {after(made)}
    assert {each.pid for each in made.blockers} == {
        process.pid for each in made.destroys for process in each.processes or ()
    }


@given(situations())
@settings(max_examples=150)
def test_as_many_instances_stay_as_can_and_busy_ones_first(
    drawn: tuple[str, tuple[Place, ...], frozenset[int], tuple[str, ...], bool],
) -> None:
    key, layout, busy, asked, _ = drawn
    made = plan(target(key, layout, busy), wish_for(asked), near=False)

    def worth(kept: list[Place]) -> tuple[int, int]:
        positions = [layout.index(each) for each in kept]
        return sum(position in busy for position in positions), len(kept)

    best = max(
        worth([each for each in end if each in layout])
        for end in valid_layouts(key)
        if tuple(sorted(name for name, _ in end)) == asked
    )
    assert worth([(each.profile or "", (each.placement or (0, 0))[0]) for each in made.keeps]) == best


@EVERY_BOARD
def test_the_commands_make_every_layout_from_a_gpu_with_mig_off(key: str) -> None:
    for names in valid_sets(key):
        made = plan(target(key, mode=False), wish_for(names), near=False)
        smi = carried_out(key, made)
        assert smi.mode
        assert smi.layouts == {after(made)}


@EVERY_BOARD
def test_what_is_called_stranded_cannot_be_used_by_any_further_instance(key: str) -> None:
    table = rows(key)
    slices, memory, units = (TABLE[key][name] for name in ("compute_slices", "memory_slices", "placement_units"))
    for names in valid_sets(key):
        made = plan(target(key), wish_for(names), near=False)
        layout = after(made)
        further = [end for end in valid_layouts(key) if set(layout) <= set(end)]
        most = max(sum(table[name]["compute"] for name, _ in end) for end in further)
        assert made.stranded.compute_slices == slices - most, names
        used = {unit for end in further for name, start in end for unit in range(start, start + table[name]["size"])}
        assert made.stranded.memory_slices == (units - len(used)) * memory // units, names
        assert made.room is not None
        fits = Counter({profile.name: count for profile, count in made.room.fits})
        for name in table:
            more = max(sum(each == name for each, _ in end) for end in further) - names.count(name)
            assert fits[name] == more, (names, name)
