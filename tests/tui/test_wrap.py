"""Texts and commands folded into lines: nothing lost, nothing wider than asked for."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.tui.fleets import HOSTILE
from tui.widgets.wrap import wrapped, wrapped_command

WORDS = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30), max_size=20)


def test_words_stay_whole_where_they_fit() -> None:
    assert wrapped("the board lost its power", 10) == ["the board", "lost its", "power"]
    assert wrapped("", 10) == []
    assert wrapped("x", 0) == []


def test_a_long_word_is_broken_and_a_long_text_is_cut_with_a_mark() -> None:
    assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrapped("one two three four", 5, most=2) == ["one", "two…"]
    assert wrapped("abcdefghij", 4, most=1, ellipsis="~") == ["abc~"]


@given(WORDS, st.integers(4, 60))
def test_no_line_is_wider_and_no_word_is_lost(words: list[str], width: int) -> None:
    text = " ".join(words)
    lines = wrapped(text, width, most=10_000)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize("evil", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
def test_hostile_text_is_inert_and_bounded(evil: str) -> None:
    lines = wrapped(evil, 40)
    assert len(lines) <= 12
    assert all(line.isprintable() and cell_len(line) <= 40 for line in lines)


def test_a_command_is_folded_so_that_a_shell_takes_it_whole() -> None:
    command = "kubectl drain dgx01 --ignore-daemonsets --delete-emptydir-data --grace-period=60"
    assert wrapped_command(command, 44) == [
        "kubectl drain dgx01 --ignore-daemonsets \\",
        "--delete-emptydir-data --grace-period=60",
    ]


def test_a_command_is_not_folded_within_quotes() -> None:
    command = "ssh dgx01 'for i in 0 1 2; do nvidia-smi -i $i -r; done' && echo \"it is done\" a\\ b"
    lines = wrapped_command(command, 20)
    assert "'for i in 0 1 2; do nvidia-smi -i $i -r; done' \\" in lines
    assert _joined(lines) == shlex.split(command)


@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12) | st.just("a b"), min_size=1))
def test_a_folded_command_is_the_same_command(words: list[str]) -> None:
    command = shlex.join(words)
    assert _joined(wrapped_command(command, 16)) == words


def _joined(lines: list[str]) -> list[str]:
    """What a shell reads: a backslash before the end of a line joins it with the next."""
    return shlex.split("\n".join(lines).replace("\\\n", ""))
