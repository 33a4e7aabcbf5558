"""Which lines of a log that is read again were told before."""

from __future__ import annotations

import pytest

from backends.feed import Stamps


def told(stamps: Stamps, *lines: str) -> list[bool]:
    return [stamps.fresh(f"2026-11-25T08:31:{line}Z") for line in lines]


def test_lines_that_come_twice_are_known_and_later_ones_are_new() -> None:
    stamps = Stamps()
    assert told(stamps, "17.1", "17.2", "18.000000001") == [True, True, True]
    stamps.cut()
    assert told(stamps, "17.1", "17.2", "18.000000001", "18.000000002") == [False, False, False, True]


def test_of_lines_with_the_same_time_as_many_are_known_as_were_told() -> None:
    stamps = Stamps()
    told(stamps, "17", "18", "18")
    stamps.cut()
    assert told(stamps, "17", "18", "18", "18", "19") == [False, False, False, True, True]


def test_trailing_zeros_of_a_fraction_mean_nothing() -> None:
    stamps = Stamps()
    told(stamps, "17.12")
    stamps.cut()
    assert told(stamps, "17.120000000", "17.120000001") == [False, True]


def test_a_log_that_was_cut_before_its_first_line_is_all_new() -> None:
    stamps = Stamps()
    stamps.cut()
    assert told(stamps, "17") == [True]


def test_two_cuts_in_a_row_forget_nothing() -> None:
    stamps = Stamps()
    told(stamps, "17", "18")
    stamps.cut()
    assert told(stamps, "17") == [False]
    stamps.cut()
    assert told(stamps, "17", "18", "19") == [False, False, True]


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("2026-11-25T08:31:17Z", 1_795_595_477.0),
        ("2026-11-25T08:31:17.5Z", 1_795_595_477.5),
        ("2026-11-25T09:31:17.250000000+01:00", 1_795_595_477.25),
        ("2026-11-25T09:31:17+01:00", 1_795_595_477.0),
        ("hello", None),
        ("2026-13-45T99:99:99Z", None),
        ("", None),
    ],
)
def test_times_in_any_zone(stamp: str, at: float | None) -> None:
    assert Stamps().at(stamp) == at
