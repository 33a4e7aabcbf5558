"""MIG layouts and the commands between them, against the simulated driver."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.changes.mig_commands import after, commands, hits
from backends.changes.mig_layout import (
    FULL,
    OFF,
    MigLayout,
    Place,
    not_made_again,
    paired,
    parse_instances,
    parse_mode,
    parse_wanted,
)
from backends.changes.mig_state import Holder, parse_holders
from backends.contract import ConfigError
from backends.domain import Mig, MigInstance
from backends.feed import ManualClock
from backends.lab.dynamics import Meter
from backends.lab.hardware import SimNode, fleet
from backends.lab.session import Node
from backends.lab.smi_mig import answer
from tests.changes.labs import idle_time

LGI = """\
+-------------------------------------------------------+
| GPU instances:                                        |
| GPU   Name             Profile  Instance   Placement  |
|                          ID       ID       Start:Size |
|=======================================================|
|   0  MIG 1g.10gb+me      20        7          6:1     |
+-------------------------------------------------------+
|   0  MIG 3g.40gb          9        2          0:4     |
+-------------------------------------------------------+
|   1  MIG 7g.80gb          0        0          0:8     |
+-------------------------------------------------------+
"""
LCI = """\
+--------------------------------------------------------------------+
| Compute instances:                                                 |
| GPU     GPU       Name             Profile   Instance   Placement  |
|       Instance                       ID        ID       Start:Size |
|         ID                                                         |
|====================================================================|
|   0      2       MIG 1c.3g.40gb       0         0          0:1     |
+--------------------------------------------------------------------+
|   0      2       MIG 2c.3g.40gb       1         1          1:2     |
+--------------------------------------------------------------------+
|   1      0       MIG 7g.80gb          4         0          0:7     |
+--------------------------------------------------------------------+
"""


def test_what_nvidia_smi_lists_is_read() -> None:
    assert parse_instances(LGI, LCI, 0) == (
        Place("1g.10gb+me", 6, 7, "20"),
        Place("3g.40gb", 0, 2, "9", ("1c", "2c")),
    )
    assert parse_instances(LGI, LCI, 1) == (Place("7g.80gb", 0, 0, "0", (FULL,)),)
    assert parse_instances(LGI, LCI, 3) == ()
    assert parse_mode("Enabled, Disabled\n") == (True, False)
    assert parse_mode("[N/A], [N/A]") is None
    assert parse_mode("GPU is lost") is None


def test_processes_are_read_with_their_instances() -> None:
    recorded = (Path(__file__).parents[1] / "data" / "nvidia_smi" / "tesla-t4.xml").read_text()
    t4 = "GPU-d37e67a5-91dd-3774-a5cb-99096249601a"
    assert parse_holders(recorded, t4) == [Holder(675, "/usr/lib/xorg/Xorg"), Holder(5762, "python")]
    cut = recorded.replace("<gpu_instance_id>N/A", "<gpu_instance_id>7").replace("python<", "a &lt;b&gt;\x1b[31m<")
    assert [(each.gi, each.words) for each in parse_holders(cut, t4) or ()][1] == (7, "5762 a <b>")
    assert parse_holders(recorded, "GPU-another") is None
    assert parse_holders("", t4) is None
    untold = f"<gpu id='0'><uuid>{t4}</uuid><processes>N/A</processes></gpu>"
    assert parse_holders(untold, t4) is None
    assert parse_holders(untold.replace("N/A", "\n"), t4) == []


def test_a_reading_is_a_layout() -> None:
    divided = Mig(
        True,
        True,
        7,
        (
            MigInstance(1, 0, "MIG-a", "1c.3g.40gb", (4, 4)),
            MigInstance(1, 1, "MIG-b", "2c.3g.40gb", (4, 4)),
            MigInstance(9, 0, "MIG-c", "1g.10gb", (0, 1)),
        ),
    )
    layout = MigLayout.of(divided)
    parts = Place("3g.40gb", 4, 1, computes=("1c", "2c"))
    assert layout == MigLayout(True, (parts, Place("1g.10gb", 0, 9, computes=(FULL,))))
    assert layout.words == "MIG on: 1g.10gb:0 3g.40gb:4 (1c 2c)"
    assert MigLayout.of(Mig(False, False)) == OFF
    assert MigLayout.from_json(layout.to_json()) == layout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("off", "MIG off"),
        ("on", "MIG on, no instances"),
        ("3g.40gb,3g.40gb:4", "MIG on: 3g.40gb 3g.40gb:4"),
        ("9:0, 1g.10gb+me:6", "MIG on: 9:0 1g.10gb+me:6"),
    ],
)
def test_a_wish_is_read(text: str, words: str) -> None:
    assert parse_wanted(text).words == words


@pytest.mark.parametrize("text", ["", "3g", "3g.40gb;reboot", "$(id)", "3g.40gb,", "3g.40gb:x", "-dgi"])
def test_a_wish_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_wanted(text)


def test_likeness_is_of_profiles_and_places_and_not_of_ids() -> None:
    by_name = MigLayout(True, (Place("3g.40gb", 0, 1, "9", (FULL,)), Place("3g.40gb", 4, 2, "9", (FULL,))))
    assert by_name.is_like(parse_wanted("9:4,9:0"))
    assert by_name.is_like(parse_wanted("3g.40gb,3g.40gb:0"))
    assert not by_name.is_like(parse_wanted("3g.40gb:0,3g.40gb:0"))
    assert not by_name.is_like(parse_wanted("3g.40gb:0"))
    for inside in ((), ("2c",)):
        assert not by_name.is_like(MigLayout(True, (by_name.places[0], replace(by_name.places[1], computes=inside))))


def test_only_what_is_to_be_made_anew_must_be_possible_to_make() -> None:
    part = Place("3g.40gb", 0, 1, computes=("1c",))
    unknown, whole = Place("unknown", None, 3, computes=(FULL,)), Place("3g.40gb", 4, 2, computes=(FULL,))
    layout = MigLayout(True, (part, whole))
    assert not_made_again(layout, OFF) == "3g.40gb:0 (1c): a GPU instance in parts is not made again"
    assert not_made_again(layout, MigLayout(True, (replace(part, computes=(FULL,)), whole))) != ""
    assert not_made_again(layout, MigLayout(True, (part,))) == ""
    assert not_made_again(MigLayout(True, (unknown, whole)), OFF) != ""
    assert not_made_again(MigLayout(True, (unknown, whole)), MigLayout(True, (unknown,))) == ""


def test_a_journal_from_before_places_told_their_compute_instances_is_read() -> None:
    places = [{"profile": "3g.40gb", "start": 0, "gi": 1, "profile_id": None}]
    read = [MigLayout.from_json({"enabled": True, "places": places, "computes": count}) for count in (1, 0)]
    assert [layout.words for layout in read] == ["MIG on: 3g.40gb:0", "MIG on: 3g.40gb:0 (no CI)"]
    with pytest.raises(ValueError, match="not told"):
        MigLayout.from_json({"enabled": True, "places": places, "computes": 2})


START = MigLayout(True, (Place("3g.40gb", 0, 1, computes=(FULL,)), Place("1g.10gb", 6, 9, computes=(FULL,))))
EMPTY = MigLayout(True, tuple(replace(place, computes=()) for place in START.places))


@pytest.mark.parametrize(
    ("line", "words", "ended"),
    [
        ("nvidia-smi -i 1 -mig 0", "MIG off", None),
        ("nvidia-smi -i 1 -mig 1", START.words, None),
        ("nvidia-smi mig -i 1 -dci", "MIG on: 3g.40gb:0 (no CI) 1g.10gb:6 (no CI)", None),
        ("nvidia-smi mig -i 1 -dci -gi 9", "MIG on: 3g.40gb:0 1g.10gb:6 (no CI)", {9}),
        ("nvidia-smi mig -i 1 -dgi -gi 9", "MIG on: 3g.40gb:0", {9}),
        ("nvidia-smi mig -i 1 -cgi 14:4 -C", "MIG on: 3g.40gb:0 14:4 1g.10gb:6", set()),
        ("nvidia-smi mig -i 1 -cgi 14:4", "MIG on: 3g.40gb:0 14:4 (no CI) 1g.10gb:6", set()),
    ],
)
def test_what_a_command_leaves_and_whose_work_it_ends(line: str, words: str, ended: set[int] | None) -> None:
    left = after(START, shlex.split(line))
    assert left is not None
    assert left.words == words
    assert hits(shlex.split(line)) == ended


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("-cci -gi 1", "3g.40gb:0 1g.10gb:6 (no CI)"),
        ("-cci 0,1 -gi 1", "3g.40gb:0 (1c 2c) 1g.10gb:6 (no CI)"),
        ("-cci 1c.3g.40gb -gi 1", "3g.40gb:0 (1c) 1g.10gb:6 (no CI)"),
        ("-cci 0 -gi 9", "3g.40gb:0 (no CI) 1g.10gb:6"),
        ("-cci 99 -gi 1", None),
    ],
)
def test_compute_instances_are_followed_by_name_and_by_number(words: str, told: str | None) -> None:
    left = after(EMPTY, shlex.split(f"nvidia-smi mig -i 1 {words}"))
    assert (None if left is None else left.words) == (None if told is None else f"MIG on: {told}")


@pytest.mark.parametrize("line", ["nvidia-smi -q", "nvidia-smi mig -lgi", "rm -rf /", "nvidia-smi mig -i 1 -dci -ci 0"])
def test_a_command_that_cannot_be_followed_is_none(line: str) -> None:
    assert after(START, shlex.split(line)) is None


# Against the driver of the lab

PROFILES = ("1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb", "1g.20gb")


def simulated() -> tuple[Node, int]:
    """A DGX A100 and its GPU 1, which is cut up, at a time when nothing runs on it."""
    hardware: SimNode = next(node for node in fleet(12, 7) if node.machine.prefix == "dgx-a100")
    node = Node(hardware, ManualClock(idle_time(hardware, 1)), 0.5)
    node.meter = Meter(hardware)
    return node, 1


def seen(node: Node, gpu: int) -> MigLayout:
    mode = parse_mode(_run(node, f"nvidia-smi -i {gpu} --query-gpu=mig.mode.current,mig.mode.pending"))
    assert mode is not None
    if not mode[0]:
        return OFF
    instances, computes = (_run(node, f"nvidia-smi mig -i {gpu} -{each}") for each in ("lgi", "lci"))
    return MigLayout(True, parse_instances(instances, computes, gpu))


def _run(node: Node, line: str) -> str:
    answered = answer(node, line)
    assert answered is not None
    return answered[1]


@given(st.lists(st.lists(st.sampled_from(PROFILES), max_size=7), max_size=4))
def test_the_commands_lead_from_any_layout_to_any_other_and_back(wishes: list[list[str]]) -> None:
    node, gpu = simulated()
    first = here = seen(node, gpu)
    for wish in wishes:
        wanted = MigLayout(enabled=True, places=tuple(Place(profile, computes=(FULL,)) for profile in wish))
        before, spared = here, len(paired(here, wanted).both)
        uuids = {mig.uuid for mig in node.hardware.gpus[gpu].mig}
        refused = False
        for argv in commands(str(gpu), here, wanted):
            expected = after(here, argv)
            answered = answer(node, shlex.join(argv))
            assert answered is not None
            refused = answered[0] != 0
            here = seen(node, gpu)
            if refused:
                assert "Insufficient Resources" in answered[1]
                break
            assert expected is not None
            assert here.is_like(expected)
        assert refused or here.is_like(wanted)
        assert len(uuids & {mig.uuid for mig in node.hardware.gpus[gpu].mig}) >= spared
        if refused:
            for argv in commands(str(gpu), here, before):
                assert (answer(node, shlex.join(argv)) or (1, ""))[0] == 0
            here = seen(node, gpu)
            assert here.is_like(before)
    for argv in [*commands(str(gpu), here, OFF), *commands(str(gpu), OFF, first)]:
        assert (answer(node, shlex.join(argv)) or (1, ""))[0] == 0
    assert seen(node, gpu).is_like(first)


def test_a_layout_that_is_there_needs_no_command() -> None:
    assert commands("1", START, START) == []
    assert commands("1", OFF, OFF) == []


def test_compute_instances_alone_are_made_again() -> None:
    assert commands("1", EMPTY, START) == [("nvidia-smi", "mig", "-i", "1", "-cci")]
    assert commands("1", START, EMPTY) == [("nvidia-smi", "mig", "-i", "1", "-dci")]
    half = MigLayout(True, (START.places[0], EMPTY.places[1]))
    assert commands("1", half, START) == [("nvidia-smi", "mig", "-i", "1", "-cci", "-gi", "9")]
    assert commands("1", START, half) == [("nvidia-smi", "mig", "-i", "1", "-dci", "-gi", "9")]
    part = MigLayout(True, (replace(START.places[0], computes=("1c",)), START.places[1]))
    assert [line[4:] for line in commands("1", part, START)] == [("-dci", "-gi", "1"), ("-cci", "-gi", "1")]


def test_what_both_layouts_have_is_left_alone() -> None:
    wanted = MigLayout(True, (START.places[0], Place("2g.20gb", 4, computes=(FULL,))))
    assert [" ".join(line[4:]) for line in commands("1", START, wanted)] == [
        "-dci -gi 9",
        "-dgi -gi 9",
        "-cgi 2g.20gb:4 -C",
    ]
    assert [" ".join(line[4:]) for line in commands("1", wanted, START)] == [
        "-dci -gi <ID of 2g.20gb:4>",
        "-dgi -gi <ID of 2g.20gb:4>",
        "-cgi 1g.10gb:6 -C",
    ]
    assert [" ".join(line[4:]) for line in commands("1", START, MigLayout(True, EMPTY.places[:1]))] == [
        "-dci",
        "-dgi -gi 9",
    ]
