"""Text from outside becomes inert."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.domain import clean


@pytest.mark.parametrize(
    ("hostile", "inert"),
    [
        ("plain name", "plain name"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1bPdevice\x1b\\after", "after"),
        ("a\tb\nc\r\nd", "a b c d"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("[@click=app.bell]x[/]", "[@click=app.bell]x[/]"),
        ("日本語", "日本語"),
        ("\ud800lone", "lone"),
    ],
)
def test_hostile_text_is_inert(hostile: str, inert: str) -> None:
    assert clean(hostile) == inert


def test_a_cut_is_marked() -> None:
    assert clean("x" * 10_000, 10) == "x" * 9 + "…"
    assert clean("\x1b[0m" * 10_000, 10) == "…"


@given(st.text(max_size=400), st.integers(1, 80))
def test_nothing_that_moves_a_cursor_is_left(text: str, limit: int) -> None:
    result = clean(text, limit)
    assert len(result) <= limit
    assert all(unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") for char in result)
    assert not any(char in "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" for char in result)


@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)
