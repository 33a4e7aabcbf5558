"""A wish with a plus: what stands stays, whether it could be read where it stands or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.domain import Gpu, Mig, MigInstance
from backends.nodes.mig.document import document
from backends.nodes.mig.plan import Plan
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of
from backends.nodes.mig.wish import parse
from tests.unit.mig_table import PLACED, Place, PretendSmi, rows, valid_layouts, valid_sets
from tests.unit.migs import mig_gpu, node, process
from tests.unit.test_mig_property import target, wish_for
from tui.widgets.glyphs import ASCII
from tui.widgets.mig_plan import plan_lines
from tui.widgets.mig_text import Paper


def unplaced(*names: str, wish: str, **more: object) -> Plan:
    """By a login that is not root."""
    busy = tuple(process(100 + gi, gi) for gi in (1, 3, 4, 7, 8))
    gpu = mig_gpu(*names, processes=busy)
    return plan(target_of(node(gpu, privileged=False), gpu, None), parse(wish))


def said(made: Plan) -> str:
    return "\n".join("".join(cell.text for cell in line) for line in plan_lines(made, Paper(100, ASCII)))


def test_what_fits_wherever_the_others_stand_is_made_by_name_and_nothing_goes() -> None:
    made = unplaced("2g.20gb", "2g.20gb", wish="+1g.10gb")
    assert made.possible
    assert [each.gi for each in made.keeps] == [3, 4]
    assert (made.destroys, made.blockers) == ((), ())
    assert made.commands == (
        "sudo nvidia-smi mig -i 0 -cgi 1g.10gb -C",
        "sudo nvidia-smi mig -i 0 -lgi",
        "nvidia-smi -L",
    )
    assert made.after is None, "where it comes to stand is the driver's choice"
    assert [each.profile.name for each in made.adds] == ["1g.10gb"]
    told = said(made)
    assert "new    1g.10gb" in told
    assert "nothing moves" in told
    placements = document(made)["placements"]
    assert [(each["profile"], each["start"], each["kept"]) for each in placements] == [
        ("2g.20gb", None, True),
        ("2g.20gb", None, True),
        ("1g.10gb", None, False),
    ]


def test_the_configuration_of_the_node_holds_what_is_added() -> None:
    made = unplaced("2g.20gb", "2g.20gb", wish="+1g.10gb")
    assert made.mig_parted is not None
    assert 'mig-devices: {"2g.20gb": 2, "1g.10gb": 1}' in made.mig_parted.config


def test_what_may_not_fit_is_refused_and_root_is_asked_for() -> None:
    made = unplaced("2g.20gb", "1g.10gb", wish="+3g.40gb")
    assert not made.possible
    assert "read the node as root" in (made.reason or "")
    assert (made.commands, made.nearest) == ((), ())


def test_without_the_places_no_other_layout_is_offered_that_would_take_everything_away() -> None:
    made = unplaced("2g.20gb", "2g.20gb", "3g.40gb", wish="+1g.10gb")
    assert "beside what is there" in (made.reason or "")
    assert (made.possible, made.nearest) == (False, ())


def test_a_place_that_may_be_taken_is_not_tried() -> None:
    assert not unplaced("3g.40gb", wish="+1g.10gb:4").possible
    beside = unplaced("4g.40gb", wish="+1g.10gb:4")
    assert beside.possible, "one 4g can stand in one way only"
    assert [each.label for each in beside.creates] == ["4:1"]


def test_a_place_that_is_free_however_the_others_stand_is_named() -> None:
    made = unplaced("2g.20gb", "2g.20gb", wish="+1g.10gb:6")
    assert made.commands[0] == "sudo nvidia-smi mig -i 0 -cgi 1g.10gb:6 -C"


def test_what_stands_stays_though_its_gpu_instance_has_no_number() -> None:
    gpu = replace(mig_gpu(), mig=Mig(True, True, 7, (MigInstance(None, 0, "MIG-1", "3g.40gb", (0, 4)),)))
    made = plan(target_of(node(gpu), gpu), parse("+3g.40gb"))
    assert made.destroys == ()
    assert [each.label for each in made.creates] == ["4:4"]


def test_nothing_is_moved_to_make_room() -> None:
    gpu = mig_gpu("3g.40gb:0")
    made = plan(target_of(node(gpu), gpu), parse("+4x 1g.10gb"))
    assert not made.possible
    assert made.reason == "what is there stays for a +: beside 3g.40gb at 0:4 there is no place for 4x 1g.10gb"
    first = made.nearest[0]
    assert first.why == "as a whole layout, in which what is there may move"
    assert first.plan.wish == "3g.40gb + 4x 1g.10gb"
    assert [each.name for each in first.plan.destroys] == ["3g.40gb (gi 1)"]


def test_a_pinned_place_that_is_taken_is_refused_and_a_free_one_is_near() -> None:
    gpu = mig_gpu("3g.40gb:0")
    made = plan(target_of(node(gpu), gpu), parse("+1g.10gb:2"))
    assert not made.possible
    assert "no place for 1g.10gb:2" in (made.reason or "")
    near = [each for each in made.nearest if not each.plan.destroys]
    assert [each.plan.wish for each in near] == ["+1g.10gb"]


@st.composite
def situations(draw: st.DrawFn) -> tuple[str, tuple[Place, ...], tuple[str, ...]]:
    key = draw(st.sampled_from(PLACED))
    return key, draw(st.sampled_from(sorted(valid_layouts(key)))), draw(st.sampled_from(sorted(valid_sets(key))))


@given(situations())
def test_no_plus_ever_takes_anything_away_and_what_it_types_succeeds_wherever_they_stand(
    drawn: tuple[str, tuple[Place, ...], tuple[str, ...]],
) -> None:
    key, layout, asked = drawn
    started = target(key, layout, frozenset(range(len(layout))))
    hidden = replace(started, instances=tuple(replace(each, placement=None) for each in started.instances))
    made = plan(hidden, wish_for(asked, adds=True), near=False)
    assert made.destroys == ()
    assert made.blockers == ()
    assert not any(word in command for command in made.commands for word in ("-dci", "-dgi", "-mig"))
    if not made.possible:
        return
    names = tuple(sorted(name for name, _ in layout))
    smi = PretendSmi(key, mode=True)
    smi.worlds = {
        frozenset((name, start, number) for number, (name, start) in enumerate(each))
        for each in valid_layouts(key)
        if tuple(sorted(name for name, _ in each)) == names
    }
    for command in made.commands:
        smi.run(command)
    assert {tuple(sorted(name for name, _ in each)) for each in smi.layouts} == {tuple(sorted((*names, *asked)))}


@pytest.mark.parametrize("wish", ["+1g.10gb", "+2x 2g.20gb"])
def test_with_mig_off_a_plus_is_the_layout(wish: str) -> None:
    gpu = Gpu(index=0, name="NVIDIA A100-SXM4-80GB", mig=Mig(False, False, 7), processes=())
    made = plan(target_of(node(gpu), gpu), parse(wish))
    assert made.possible
    assert made.enabled
    assert "7g.80gb" in rows("A100-80GB")
