"""The map of a GPU: which state it is in, in words, and the drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from backends.domain import Gpu, Mig, MigInstance, Vgpu, clean
from backends.nodes.mig.catalogue import board_named, boards
from backends.nodes.mig.geometry import Placement, room
from backends.nodes.mig.picture import picture
from backends.nodes.mig.planner import plan
from backends.nodes.mig.target import target_of
from backends.nodes.mig.wish import configurations, parse
from tests.tui.fleets import HOSTILE
from tests.unit.mig_table import PLACED, rows, valid_layouts
from tests.unit.migs import A100, mig_gpu, node, plain_gpu, process
from tui.widgets.glyphs import ASCII, UNICODE
from tui.widgets.mig_cells import Box, Line, gaps, grid_lines, signs, slice_states, unit_width
from tui.widgets.mig_plan import plan_lines
from tui.widgets.mig_text import Paper, map_lines, others_lines
from tui.widgets.wrap import wrapped, wrapped_command


def text(lines: list[Line]) -> str:
    return "\n".join("".join(cell.text for cell in line).rstrip() for line in lines)


def drawn(gpu: Gpu, width: int = 54, ascii_only: bool = False) -> str:
    return text(map_lines(picture(gpu), Paper(width, ASCII if ascii_only else UNICODE)))


# States


@pytest.mark.parametrize(
    ("gpu", "state", "headline", "style"),
    [
        (plain_gpu(), "off", "MIG off", "dim"),
        (mig_gpu(), "empty", "MIG on, no instances", "warn"),
        (mig_gpu("3g.40gb:0", "3g.40gb:4"), "on", "MIG on: 2x 3g.40gb", "accent"),
        (
            replace(plain_gpu(), mig=Mig(enabled=False, pending=True)),
            "pending",
            "MIG off, change pending: on after the next reset",
            "warn",
        ),
        (
            replace(mig_gpu("3g.40gb:0"), mig=Mig(enabled=True, pending=False)),
            "pending",
            "MIG on, change pending: off after the next reset",
            "warn",
        ),
        (Gpu(name="NVIDIA L40S"), "absent", "no MIG on this board", "dim"),
        (Gpu(name=A100), "absent", "NVML tells no MIG mode", "dim"),
        (Gpu(name="L40S-24C", vgpu=Vgpu("vgpu", licensed=False)), "guest", "vGPU guest, NOT LICENSED", "bad"),
        (Gpu(name="L40S-24C", vgpu=Vgpu("vgpu")), "guest", "vGPU guest, licence n/a", "dim"),
        (
            Gpu(name="L40S-24C", vgpu=Vgpu("vgpu", True, "NVIDIA RTX Virtual Workstation", "2027-01-01 00:00")),
            "guest",
            "vGPU guest, licensed for NVIDIA RTX Virtual Workstation until 2027-01-01 00:00",
            "good",
        ),
    ],
)
def test_each_state_has_its_own_words(gpu: Gpu, state: str, headline: str, style: str) -> None:
    seen = picture(gpu)
    assert (seen.state, seen.headline, seen.style) == (state, headline, style)


def test_a_guest_is_told_what_nvml_cannot_tell_there() -> None:
    (note,) = picture(Gpu(name="L40S-24C", vgpu=Vgpu("vgpu", licensed=True))).notes
    assert "neither the MIG layout of the board nor its other guests" in note


def test_places_that_were_not_read_are_never_shown_as_read() -> None:
    seen = picture(mig_gpu("2g.20gb", "2g.20gb", "3g.40gb", processes=(process(1, 3),)))
    assert seen.places == "supposed"
    assert seen.room is None, "what is free is not known either"
    said = drawn(mig_gpu("2g.20gb", "2g.20gb", "3g.40gb"))
    assert "placement not readable (root only): a possible" in said
    assert "3g.40gb ?" in said
    assert "comp │  ?     ?  │  ?     ?  │  ?     ?     ?        │" in said, "no slice is called used"
    assert [line.split()[3] for line in said.splitlines() if line.startswith("  2g.20gb ")] == ["n/a", "n/a"]


def test_places_that_follow_from_the_table_are_said_to() -> None:
    seen = picture(mig_gpu("4g.40gb", "3g.40gb"))
    assert seen.places == "deduced"
    assert any("can stand in one way only" in note for note in seen.notes)
    assert seen.room is not None


def test_places_and_profiles_that_nobody_knows_are_listed_without_a_drawing() -> None:
    odd = (MigInstance(4, 0, "MIG-4", "3g.99gb"),)
    seen = picture(replace(mig_gpu(), mig=Mig(True, True, 7, odd)))
    assert seen.places == "unknown"
    said = text(map_lines(seen, Paper(54, UNICODE)))
    assert "3g.99gb" in said
    assert "┌" not in said
    unknown_board = picture(Gpu(name="NVIDIA X900", mig=Mig(True, True, 7, odd)))
    assert any("not in the MIG table" in note for note in unknown_board.notes)


def test_a_layout_against_the_table_is_said_to_be() -> None:
    seen = picture(replace(mig_gpu(), mig=Mig(True, True, 7, (MigInstance(1, 0, None, "3g.40gb", (2, 4)),))))
    assert any("against the table: 3g.40gb cannot begin at 2" in note for note in seen.notes)


def test_processes_that_were_not_read_do_not_make_an_instance_idle() -> None:
    said = drawn(mig_gpu("3g.40gb:0", processes=None))
    assert "processes n/a" in said
    assert "idle" not in said
    assert "idle" in drawn(mig_gpu("3g.40gb:0"))


def test_gpus_that_say_the_same_share_a_line() -> None:
    maps = [picture(each) for each in (plain_gpu(0), mig_gpu("3g.40gb:0", index=1), plain_gpu(2), Gpu(index=3))]
    said = text(others_lines(maps, Paper(54, UNICODE)))
    assert "GPU 0 2  MIG off" in said
    assert "GPU 1  A100-SXM4-80GB" in said
    assert "GPU 3  no MIG on this board" in said


# The drawing


def test_the_drawing_of_three_instances() -> None:
    gpu = mig_gpu("3g.40gb:0", "2g.20gb:4", "1g.10gb:6", processes=(process(1, 1), process(2, 1), process(3, 3)))
    assert drawn(gpu).splitlines()[1:11] == [
        "  MIG on: 3g.40gb + 2g.20gb + 1g.10gb",
        "unit  0     1     2     3     4     5     6     7",
        "     ┌───────────────────────┬───────────┬─────┬─────┐",
        "     │ 3g.40gb               │ 2g.20gb   │ 1g  │waste│",
        "     │ gi 1, 2 processes     │ gi 3 1p   │ gi 7│     │",
        "mem  │██████                 │███        │█    │╳╳╳╳╳│",
        "comp │  ■     ■     ■     ╳  │  ■     ■  │  ■  │     │",
        "     └───────────────────────┴───────────┴─────┴─────┘",
        "  ■ used  □ free  ╳ stranded  ╱ fragmented",
        "  INSTANCE     GI CI    AT     SM USED/TOTAL GiB",
    ]


def test_the_same_from_ascii() -> None:
    said = drawn(mig_gpu("1g.10gb:0", "1g.10gb:3", "1g.10gb:5", "1g.10gb:6"), ascii_only=True)
    assert said.isascii()
    assert said.splitlines()[1:8] == [
        "unit  0     1     2     3     4     5     6     7",
        "     +-----+-----------+-----+-----+-----+-----+-----+",
        "     | 1g  | fragmented| 1g  | frag| 1g  | 1g  |waste|",
        "     | gi 7|           | gi 8|     | gi 9|gi 10|     |",
        "mem  |#    |///////////|#    |/////|#    |#    |xxxxx|",
        "comp |  #  |  o     o  |  #  |  o  |  #  |  #  |     |",
        "     +-----+-----------+-----+-----+-----+-----+-----+",
    ]
    assert "! fragmented: 3 compute and 3 memory slices free," in said


def test_more_room_makes_wider_units_and_whole_names() -> None:
    said = drawn(mig_gpu("1g.10gb:0"), 100)
    assert "│ 1g.10gb  │" in said
    assert max(len(line) for line in said.splitlines()) <= 100


def test_a_level_above_nothing_shows_and_one_below_everything_leaves_room() -> None:
    board = board_named(A100)
    boxes = [Box(0, 4, ("a",), fill=0.1), Box(4, 4, ("b",), fill=0.0)]
    memory = text(grid_lines(board, boxes, ("used",) * 7, 54, ascii=True)[4:5])
    assert memory == "mem  |#                      |                       |"


@pytest.mark.parametrize("width", [30, 54, 85, 240])
@pytest.mark.parametrize("key", PLACED)
def test_every_layout_of_every_board_fits_its_width(key: str, width: int) -> None:
    board = board_named(key)
    for number, layout in enumerate(sorted(valid_layouts(key))):
        if number % 17:
            continue
        taken = [(start, rows(key)[name]["size"]) for name, start in layout]
        placed = tuple(_placements(key, layout))
        left = room(board, placed)
        boxes = [Box(start, size, (name,)) for (name, _), (start, size) in zip(layout, taken, strict=True)]
        boxes += gaps(board, taken, left, signs(ascii=False))
        lines = grid_lines(board, boxes, slice_states(board, placed, left), width, ascii=False)
        lengths = {len(text([line])) for line in lines[1:]}
        assert lengths == {5 + board.units * unit_width(board, width) + 1}
        assert width < 54 or max(lengths) <= width
        assert sum(box.size for box in boxes) == board.units, "every unit is in one box"


def _placements(key: str, layout: tuple[tuple[str, int], ...]) -> Iterator[Placement]:
    board = board_named(key)
    for name, start in layout:
        profile = board.profile(name)
        assert profile is not None
        yield Placement(profile, start)


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_names_keep_the_drawing_in_shape(evil: str) -> None:
    said = clean(evil)
    odd = (MigInstance(1, 0, said, said, (0, 4)), MigInstance(2, 0, said, "1g.10gb", (4, 1)))
    gpu = mig_gpu(processes=(process(1, 1, user=said, command=said),))
    gpu = replace(gpu, mig=Mig(True, True, 7, odd))
    lines = map_lines(picture(gpu), Paper(54, UNICODE))
    grid = [text([line]) for line in lines if text([line]).startswith(("     │", "mem", "comp"))]
    assert {len(line) for line in grid} == {54}
    made = plan(target_of(node(gpu), gpu), parse("3g.40gb"))
    assert all(cell.text.isprintable() for line in plan_lines(made, Paper(54, UNICODE)) for cell in line)


def test_a_plan_shows_before_and_after_in_marks() -> None:
    gpu = mig_gpu("3g.40gb:0", "2g.20gb:4", processes=(process(1, 1), process(2, 3)))
    said = text(plan_lines(plan(target_of(node(gpu), gpu), parse("3g.40gb,3g.40gb")), Paper(54, UNICODE)))
    assert "  stays  3g.40gb 0:4" in said
    assert "  goes   2g.20gb 4:2" in said
    assert "  new    3g.40gb 4:4" in said
    assert "│ gi 1 stays, 1 process │ goes 1p   │           │" in said
    assert "│ gi 1 stays, 1 process │ new                   │" in said
    assert "▲ blocked now by 1: see below" in said
    assert "✖ pid 2 alice python train.py in 2g.20gb (gi 3)" in said


def test_a_plan_for_every_configuration_of_every_board_can_be_drawn() -> None:
    for board in boards():
        for name in configurations(board):
            gpu = plain_gpu(model=board.names[0])
            made = plan(target_of(node(gpu, driver=None), gpu), parse(name))
            for width in (54, 85):
                lines = plan_lines(made, Paper(width, ASCII, wrapped, wrapped_command))
                assert all(cell.text.isascii() for line in lines for cell in line), name
                # A list of profiles is one word of the command, and stays one.
                assert all(len(text([line])) <= width or "," in text([line]) for line in lines), name


def test_commands_are_whole_where_they_are_copied_from() -> None:
    gpu = plain_gpu()
    made = plan(target_of(node(gpu), gpu), parse("7x 1g.10gb"))
    said = text(plan_lines(made, Paper(60, UNICODE)))
    for command in made.commands:
        assert f"    {command}" in said.splitlines()
    folded = text(plan_lines(made, Paper(54, UNICODE, wrapped, wrapped_command)))
    assert "    nvidia-smi mig -i 0 -cgi 19,19,19,19,19,19,19 -C" in folded.splitlines(), "numbers where names are long"
    assert "    nvidia-smi -i 0 \\\n    --query-gpu=mig.mode" in folded, "a shell takes the folded command as one"
