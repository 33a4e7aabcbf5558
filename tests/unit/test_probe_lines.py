"""What the probe writes: bounded, whatever processes there are and whatever they are called."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.nodes import probe_lines

LINES: Any = probe_lines
"""Untyped: it runs on any Python of a node."""
WORST = ["\x01" * 400, "\ufffd" * 400, '"' * 400, "\ud800" * 400, "a" * 400]


def sample(count: int, command: str, **more: Any) -> dict[str, Any]:
    processes = [{"pid": pid, "kind": "compute", "user": "ada", "command": command} for pid in range(count)]
    return {"index": 0, "processes": processes, "processes_omitted": 0, "unread": [], **more}


def size(samples: list[dict[str, Any]]) -> int:
    return sum(len(LINES.encoded(process)) + 1 for each in samples for process in each["processes"] or ())


def test_what_is_no_text_is_written_all_the_same() -> None:
    line = LINES.encoded({"mount": "/raid\udcff", "user": "訓", "command": "a\x1b[2J\n"})
    assert json.loads(line) == {"mount": "/raid?", "user": "訓", "command": "a\x1b[2J\n"}
    assert b"\n" not in line


@given(st.text(st.characters(), max_size=60), st.integers(0, 80))
def test_a_text_takes_no_more_bytes_than_it_may(text: str, limit: int) -> None:
    short = LINES.within(text, limit)
    assert text.startswith(short)
    assert len(LINES.encoded(short)) - 2 <= limit
    if short != text:
        assert len(LINES.encoded(text[: len(short) + 1])) - 2 > limit


def test_what_fits_is_left_as_it_is() -> None:
    samples = [sample(64, "python train.py") for _ in range(16)]
    assert LINES.fit(samples) is samples
    close = [sample(64, '"' * 300) for _ in range(8)]
    assert LINES.fit(close) is close, "six bytes a character would be too much, the two it takes are not"


@pytest.mark.parametrize("command", WORST)
def test_the_longest_command_lines_go_first(command: str) -> None:
    samples = [sample(64, command), sample(2, "python train.py"), {"index": 2, "processes": None}]
    fitted = LINES.fit(samples, 10_000)
    assert size(fitted) <= 10_000
    assert [len(each["processes"] or ()) for each in fitted] == [64, 2, 0]
    assert fitted[0]["processes_omitted"] == 0
    left_out = sum("command" not in process for process in fitted[0]["processes"])
    assert fitted[0]["unread"] == [f"command lines: {left_out} left out, they are too long together"]
    assert fitted[1:] == samples[1:]
    assert all("command" in process for process in samples[0]["processes"]), "what was read stays what it was"


def test_then_processes_of_the_fullest_gpus_are_counted_instead() -> None:
    samples = [sample(64, "x" * 400, processes_omitted=9), sample(3, "python")]
    fitted = LINES.fit(samples, 2_000)
    assert size(fitted) <= 2_000
    assert len(fitted[1]["processes"]) == 3
    assert len(fitted[0]["processes"]) + fitted[0]["processes_omitted"] == 64 + 9
    assert [process["pid"] for process in fitted[0]["processes"]] == list(range(len(fitted[0]["processes"])))


def test_a_sample_that_is_fitted_twice_is_the_same() -> None:
    samples = [sample(64, "x" * 400) for _ in range(16)]
    assert LINES.fit(samples, 9_000) == LINES.fit(samples, 9_000)


@given(st.lists(st.lists(st.text(st.characters(), max_size=90), max_size=6), max_size=4), st.integers(0, 1200))
def test_any_processes_fit_and_none_is_forgotten(commands: list[list[str]], limit: int) -> None:
    samples = [
        {"processes": [{"pid": pid, "command": each} for pid, each in enumerate(gpu)], "processes_omitted": 0}
        for gpu in commands
    ]
    fitted = LINES.fit(samples, limit)
    assert size(fitted) <= limit
    told = [len(each["processes"]) + each["processes_omitted"] for each in fitted]
    assert told == [len(gpu) for gpu in commands]
