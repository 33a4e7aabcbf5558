"""The table of MIG profiles: what is in it, and which board a name means."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.domain import clean
from backends.nodes.mig.catalogue import Board, UnknownBoard, board_for, board_named, boards
from tests.tui.fleets import HOSTILE

EVERY_BOARD = pytest.mark.parametrize("board", boards(), ids=lambda board: board.key)

NAMES = {
    "NVIDIA A100-SXM4-40GB": "A100-40GB",
    "NVIDIA A100-PCIE-40GB": "A100-40GB",
    "NVIDIA A100-SXM4-80GB": "A100-80GB",
    "NVIDIA A100 80GB PCIe": "A100-80GB",
    "A100-SXM-80GB": "A100-80GB",
    "NVIDIA A800 40GB Active": "A100-40GB",
    "NVIDIA H100 80GB HBM3": "H100-80GB",
    "NVIDIA H100 PCIe": "H100-80GB",
    "NVIDIA H100 NVL": "H100-94GB",
    "NVIDIA H20": "H100-96GB",
    "NVIDIA GH200 480GB": "H100-96GB",
    "NVIDIA GH200 144G HBM3e": "GH200-144GB",
    "NVIDIA H200": "H200-141GB",
    "NVIDIA H200 NVL": "H200-141GB",
    "NVIDIA B200": "B200-180GB",
    "NVIDIA GB200": "GB200-186GB",
    "NVIDIA B300 SXM6 AC": "B300",
    "NVIDIA GB300": "GB300",
    "NVIDIA A30": "A30-24GB",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTX-PRO-6000-96GB",
    "NVIDIA RTX PRO 5000 Blackwell": "RTX-PRO-5000-48GB",
    "a100 80gb": "A100-80GB",
    "H200-141GB": "H200-141GB",
    "b300": "B300",
    "0x20B210DE": "A100-80GB",
    "0x2330": "H100-80GB",
}


@pytest.mark.parametrize(("name", "key"), NAMES.items())
def test_a_board_is_found_by_what_nvml_calls_it_by_short_names_and_by_its_pci_device(name: str, key: str) -> None:
    assert board_named(name).key == key


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("A100", "may mean A100-40GB or A100-80GB"),
        ("H100", "may mean H100-80GB or H100-94GB or H100-96GB"),
        ("NVIDIA L40S", "no GPU called 'NVIDIA L40S'"),
        ("NVIDIA H20-3e", "no GPU called"),  # the H20 of 141 GB has other profiles
        ("Quadro RTX 6000", "no GPU called"),
        ("A100-SXM4-160GB", "no GPU called"),
        ("0xFFFF", "no PCI device 0xFFFF10DE"),
        ("", "no GPU called"),
    ],
)
def test_what_is_not_known_for_sure_is_refused(name: str, said: str) -> None:
    with pytest.raises(UnknownBoard, match=re.escape(said)) as caught:
        board_named(name)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_an_unknown_board_is_told_the_nearest_and_all_there_are() -> None:
    with pytest.raises(UnknownBoard) as caught:
        board_named("NVIDIA A100-SXM5-80G")
    assert "did you mean A100-SXM4-80GB" in caught.value.hint
    assert all(board.key in caught.value.hint for board in boards())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_is_refused_in_a_bounded_inert_sentence(text: str) -> None:
    with pytest.raises(UnknownBoard) as caught:
        board_named(text)
    assert clean(caught.value.message) == caught.value.message
    assert len(caught.value.message) < 200


@given(st.text(max_size=60))
def test_any_text_is_a_board_or_an_error(text: str) -> None:
    try:
        board = board_named(text)
    except UnknownBoard:
        return
    assert board in boards()


def test_the_pci_device_outranks_the_name() -> None:
    assert board_for("NVIDIA Graphics Device", "0x233510de").key == "H200-141GB"
    assert board_for("NVIDIA A30", "0x000010DE").key == "A30-24GB"
    with pytest.raises(UnknownBoard, match="PCI device 0x000010DE"):
        board_for(None, "0x000010DE")


def test_no_name_and_no_device_belongs_to_two_boards() -> None:
    names = [name for board in boards() for name in {each.lower() for each in (board.key, *board.names)}]
    devices = [device for board in boards() for device in board.pci_device_ids]
    assert len(set(names)) == len(names)
    assert len(set(devices)) == len(devices)
    for board in boards():
        for name in board.names:
            assert board_named(f"NVIDIA {name}") is board


@EVERY_BOARD
def test_the_table_agrees_with_itself(board: Board) -> None:
    assert board.architecture in ("ampere", "hopper", "blackwell")
    assert board.confidence in ("high", "medium", "low")
    assert board.note.endswith(".")
    names = [name for profile in board.profiles for name in (profile.name, *profile.aliases)]
    assert len(set(names)) == len(names)
    numbers = [profile.id for profile in board.profiles if profile.id is not None]
    assert len(set(numbers)) == len(numbers)
    for profile in board.profiles:
        assert profile.compute_slices == int(profile.name.partition("g")[0])
        assert 1 <= profile.max_instances <= board.compute_slices
        if board.has_placements:
            assert max(profile.starts) + profile.size <= board.units
            assert all(start % board.units_per_slice == 0 for start in profile.starts)
        assert board.profile(profile.name) is profile
        assert board.profile(profile.name.replace("+", ".")) is profile, "as Kubernetes writes it"


FACTS: dict[str, dict[str, tuple[int, int, tuple[int, ...], int, int | None, int | None]]] = {
    # board: {profile: (number, most, starts, size, SMs, MiB)}, from the MIG user guide
    "A100-40GB": {
        "1g.5gb": (19, 7, (0, 1, 2, 3, 4, 5, 6), 1, 14, 4864),
        "1g.5gb+me": (20, 1, (0, 1, 2, 3, 4, 5, 6), 1, 14, 4864),
        "1g.10gb": (15, 4, (0, 2, 4, 6), 2, 14, 9856),
        "2g.10gb": (14, 3, (0, 2, 4), 2, 28, 9856),
        "3g.20gb": (9, 2, (0, 4), 4, 42, 19968),
        "4g.20gb": (5, 1, (0,), 4, 56, 19968),
        "7g.40gb": (0, 1, (0,), 8, 98, 40192),
    },
    "A100-80GB": {"3g.40gb": (9, 2, (0, 4), 4, 42, 40192), "7g.80gb": (0, 1, (0,), 8, 98, 80384)},
    "H100-80GB": {"1g.20gb": (15, 4, (0, 2, 4, 6), 2, 26, None), "7g.80gb": (0, 1, (0,), 8, 132, None)},
    "H200-141GB": {
        "1g.18gb": (19, 7, (0, 1, 2, 3, 4, 5, 6), 1, None, 16384),
        "3g.71gb": (9, 2, (0, 4), 4, None, 71424),
    },
    "A30-24GB": {"2g.12gb": (5, 2, (0, 2), 2, 28, None), "4g.24gb": (0, 1, (0,), 4, 56, None)},
    "RTX-PRO-6000-96GB": {
        "1g.24gb-me": (67, 4, (0, 3, 6, 9), 3, 46, None),
        "2g.48gb+me.all": (64, 1, (0, 6), 6, 94, None),
        "4g.96gb+gfx": (32, 1, (0,), 12, 188, None),
    },
}


@pytest.mark.parametrize("key", FACTS)
def test_profiles_are_those_of_the_user_guide(key: str) -> None:
    for name, fact in FACTS[key].items():
        each = board_named(key).profile(name)
        assert each is not None
        known = (each.id, each.max_instances, each.starts, each.size, each.multiprocessors, each.memory_mib)
        assert known == fact


def test_a_name_of_other_firmware_means_the_same_profile() -> None:
    board = board_named("GB200")
    assert board.profile("3g.95gb") is board.profile("3g.93gb")
    assert board.profile("7g.189gb") is board.profile("7g.186gb")


def test_the_file_is_read_when_it_is_asked_for_and_once() -> None:
    code = (
        "import backends.nodes.mig.catalogue as c; assert c.boards.cache_info().currsize == 0;"
        "c.board_named('H200'); c.board_named('B200'); assert c.boards.cache_info().misses == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
