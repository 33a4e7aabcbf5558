"""The rules of MIG one by one, on boards where each shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.nodes.mig.catalogue import Board, board_named
from backends.nodes.mig.geometry import Placement, Wanted, arrangements, faults, feasible, places, room, used_slices
from backends.nodes.mig.plan import Plan
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of_model
from backends.nodes.mig.wish import parse

A100 = board_named("A100-80GB")
A30 = board_named("A30")
RTX = board_named("RTX PRO 6000")


def at(board: Board, *spots: str) -> tuple[Placement, ...]:
    """("3g.40gb:0", ...) as a layout."""
    layout = []
    for spot in spots:
        name, _, start = spot.rpartition(":")
        profile = board.profile(name)
        assert profile is not None
        layout.append(Placement(profile, int(start)))
    return tuple(layout)


def wished(wish: str, model: str = "NVIDIA A100-SXM4-80GB") -> Plan:
    return plan(target_of_model(model), parse(wish))


def places_of(made: Plan) -> set[str]:
    return {f"{each.profile.name} {each.label}" for each in made.after or ()}


def test_instances_do_not_overlap() -> None:
    assert faults(A100, at(A100, "3g.40gb:0", "2g.20gb:2")) == ["3g.40gb 0:4 and 2g.20gb 2:2 overlap"]
    assert not faults(A100, at(A100, "3g.40gb:0", "2g.20gb:4"))


def test_a_profile_begins_where_the_table_says() -> None:
    assert faults(A100, at(A100, "2g.20gb:1")) == ["2g.20gb cannot begin at 1"]
    assert faults(A100, at(A100, "2g.20gb:6")) == ["2g.20gb cannot begin at 6"], "no two compute slices are left there"
    assert [each.start for each in places(A100, (), A100.profile("1g.20gb") or A100.profiles[0])] == [0, 2, 4, 6]


def test_two_3g_take_all_memory_and_strand_one_compute_slice() -> None:
    made = wished("3g.40gb,3g.40gb")
    assert places_of(made) == {"3g.40gb 0:4", "3g.40gb 4:4"}
    assert (made.stranded.compute_slices, made.stranded.memory_slices) == (1, 0)
    assert made.stranded.reasons == ("1 compute slice is stranded: 3g.40gb at 0:4 covers 4 and uses 3",)
    assert any("4g.40gb + 3g.40gb would compute with 7 slices" in note for note in made.notes)


def test_4g_and_3g_use_every_slice() -> None:
    made = wished("4g.40gb,3g.40gb")
    assert made.stranded.reasons == ()
    assert made.room is not None
    assert (made.room.free_units, made.room.free_slices) == ((), ())


def test_seven_1g_strand_the_memory_slice_without_a_compute_slice() -> None:
    made = wished("7x 1g.10gb")
    assert (made.stranded.compute_slices, made.stranded.memory_slices) == (0, 1)
    assert made.stranded.reasons == ("1 memory slice is stranded: unit 7 has no compute slice left",)
    assert not wished("6x 1g.10gb,1g.20gb").stranded.reasons


def test_one_instance_with_media_engines_per_gpu() -> None:
    assert wished("1g.10gb+me,3g.40gb").possible
    refused = wished("2x 1g.10gb+me")
    assert "at most 1 of 1g.10gb+me" in (refused.reason or "")
    for wish in ("1g.24gb+me,2g.48gb+me.all", "1g.24gb+me,1g.24gb+me.all"):
        refused = wished(wish, "RTX PRO 6000")
        assert "one instance with media engines (+me) per GPU" in (refused.reason or "")
    assert wished("1g.24gb+me,3x 1g.24gb-me", "RTX PRO 6000").possible, "-me has none"
    assert "media engines" in (wished("1g.6gb+me,2g.12gb+me", "A30").reason or "")


def test_each_profile_has_its_most() -> None:
    assert "takes at most 4 of 1g.20gb, not 5" in (wished("5x 1g.20gb").reason or "")
    assert "takes at most 1 of 4g.40gb, not 2" in (wished("2x 4g.40gb").reason or "")


def test_the_most_of_a_profile_binds_where_there_would_be_more_places() -> None:
    one = replace(A100.profiles[0], max_instances=2)
    few = replace(A100, profiles=(one, *A100.profiles[1:]))
    assert not places(few, (Placement(one, 0), Placement(one, 1)), one)
    assert faults(few, [Placement(one, start) for start in range(3)]) == ["3 1g.10gb, the board allows 2"]
    assert not any(names.count("1g.10gb") > 2 for names in feasible(few))


def test_the_order_of_creation_does_not_matter_because_places_are_given_where_it_would() -> None:
    made = wished("4x 1g.10gb + 1x 3g.40gb")
    assert places_of(made) == {"3g.40gb 4:4", *(f"1g.10gb {start}:1" for start in range(4))}
    (create,) = [step.command for step in made.steps if step.kind == "create"]
    assert create == "sudo nvidia-smi mig -i 0 -cgi 9:4,19:0,19:1,19:2,19:3 -C"


def test_names_are_enough_where_every_choice_of_the_driver_ends_the_same() -> None:
    (create,) = [step.command for step in wished("3g.40gb,3g.40gb").steps if step.kind == "create"]
    assert create == "sudo nvidia-smi mig -i 0 -cgi 3g.40gb,3g.40gb -C"


def test_numbers_that_were_not_read_from_a_board_are_not_typed() -> None:
    for model in ("B200", "GB300", "A30"):
        (create,) = [step.command for step in wished("all-balanced", model).steps if step.kind == "create"]
        entries = create.split("-cgi ")[1].split(" ")[0].split(",")
        assert all("g." in entry and ":" in entry for entry in entries), create


def test_the_grid_of_twelve_units() -> None:
    made = wished("2g.48gb,2x 1g.24gb", "RTX PRO 6000")
    assert places_of(made) == {"2g.48gb 0:6", "1g.24gb 6:3", "1g.24gb 9:3"}
    assert used_slices(RTX, at(RTX, "2g.48gb:6")[0]) == (2, 3)
    assert not made.stranded.reasons
    assert "5 memory slices are asked for, the GPU has 4" in (wished("2x 2g.48gb,1g.24gb", "RTX PRO 6000").reason or "")


def test_four_slices() -> None:
    assert wished("2g.12gb,2g.12gb", "A30").possible
    assert wished("all-balanced", "A30").wish == "all-balanced"
    assert places_of(wished("all-balanced", "A30")) == {"2g.12gb 0:2", "1g.6gb 2:1", "1g.6gb 3:1"}
    assert "5 compute slices are asked for" in (wished("4g.24gb,1g.6gb", "A30").reason or "")
    assert len(feasible(A30)) == 20


def test_free_slices_in_pieces_are_told_from_free_slices() -> None:
    left = room(A100, at(A100, "1g.10gb:0", "1g.10gb:3", "1g.10gb:5", "1g.10gb:6"))
    assert left.free_units == (1, 2, 4)
    assert [profile.name for profile in left.scattered] == ["1g.20gb", "2g.20gb"]
    assert {profile.name: count for profile, count in left.fits} == {"1g.10gb": 3, "1g.10gb+me": 1}
    assert left.stranded_units == (7,)
    assert left.is_fragmented
    whole = room(A100, at(A100, "3g.40gb:0"))
    assert (whole.scattered, whole.is_fragmented) == ((), False)
    corner = room(A100, at(A100, "1g.10gb:0"))
    assert [profile.name for profile in corner.scattered] == ["4g.40gb"]
    assert not corner.is_fragmented, "a 3g of the same size has its place"
    assert whole.free_units == (4, 5, 6, 7)
    assert whole.stranded_slices == (3,)


def test_a_single_3g_goes_where_it_strands_nothing() -> None:
    assert places_of(wished("3g.40gb")) == {"3g.40gb 4:4"}


def test_a_board_without_known_places_is_refused_with_the_question_to_the_board() -> None:
    refused = wished("1g.12gb", "RTX PRO 5000 Blackwell")
    assert not refused.possible
    assert "no placements are known" in (refused.reason or "")
    assert "-lgipp" in (refused.reason or "")
    assert refused.nearest == ()
    assert wished("all-disabled", "RTX PRO 5000 Blackwell").possible


def test_a_board_of_little_confidence_says_what_was_assumed() -> None:
    assert any("assumed from the family" in note and "-lgipp" in note for note in wished("3g.135gb", "B300").notes)
    assert not any("assumed" in note for note in wished("3g.40gb").notes)


def test_arrangements_are_bounded_and_pinned_ones_stand_where_they_must() -> None:
    one = A100.profile("1g.10gb")
    assert one is not None
    assert len(list(arrangements(A100, [Wanted(one)] * 3))) == 35
    assert {layout[0].start for layout in arrangements(A100, [Wanted(one, 2)])} == {2}
    assert list(arrangements(A100, [Wanted(one, 7)])) == []


# Nearest


@pytest.mark.parametrize(
    ("wish", "nearest"),
    [
        ("1g.5gb", ["1g.10gb", "2x 3g.40gb", "4g.40gb + 3g.40gb"]),
        ("all-1g.5gb", ["7x 1g.10gb", "2x 3g.40gb", "4g.40gb + 3g.40gb"]),
        ("2x 40gb", ["2x 3g.40gb", "3g.40gb + 4g.40gb"]),
        ("2x 3g", ["2x 3g.40gb"]),
        ("9g", ["7g.80gb"]),
        ("50gb", ["3g.40gb", "4g.40gb"]),
        ("10gb", ["1g.10gb"]),
        ("8x 1g.10gb", ["7x 1g.10gb"]),
        ("9999x 1g.10gb", ["7x 1g.10gb"]),
        ("2x 4g.40gb", ["4g.40gb", "4g.40gb + 3g.40gb"]),
        ("3g.40gb,3g.40gb,1g.10gb", ["2x 3g.40gb", "3g.40gb + 2g.20gb + 1g.10gb"]),
        ("3g.40gb:2", ["3g.40gb"]),
        ("3g.80gb", ["3g.40gb"]),
        ("3g.20gb,3g.20gb", ["2x 3g.40gb", "4g.40gb + 3g.40gb"]),
        ("99", []),
    ],
)
def test_what_is_nearest_is_defined(wish: str, nearest: list[str]) -> None:
    refused = wished(wish)
    assert not refused.possible
    assert [each.plan.wish for each in refused.nearest] == nearest
    assert all(each.plan.possible and each.plan.commands for each in refused.nearest)
    assert [each.plan.wish for each in wished(wish).nearest] == nearest, "the same wish, the same answer"


def test_a_name_with_different_numbers_on_different_boards_means_the_nearest_memory_first() -> None:
    assert [each.plan.wish for each in wished("1g.10gb", "H200").nearest][:2] == ["1g.18gb", "1g.35gb"]
    assert [each.plan.wish for each in wished("1g.5gb+me", "B200").nearest][:1] == ["1g.23gb+me"]
    assert [each.plan.wish for each in wished("1g.24gb+gfx", "H200").nearest][:1] == ["1g.18gb"], "no such number here"


def test_a_name_of_another_board_is_explained() -> None:
    reason = wished("1g.5gb").reason or ""
    assert "it is the 1/7 profile of the A100-40GB, which is 1g.10gb here" in reason
    assert "3g.40gb" in reason
    assert "no profile of any board" in (wished("3g.77gb").reason or "")
    assert "is a size and no profile: 3g.40gb and 4g.40gb have it" in (wished("40gb").reason or "")
    assert "number 99" in (wished("99").reason or "")
    assert "a 3-slice profile of the A100-40GB" in (wished("3g.20gb").reason or "")
