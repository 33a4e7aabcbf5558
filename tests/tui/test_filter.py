"""What `/` matches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.widgets.filter import STATE_WORDS, Subject, parse, shortened

ROW = Subject("dgx07 gpu3 nvidia h100 80gb hbm3 alice", frozenset({"lost", "hot"}))


def test_words_are_all_wanted_in_any_case() -> None:
    assert parse("H100 alice").matches(ROW)
    assert not parse("h100 bob").matches(ROW)


def test_a_bang_refuses() -> None:
    assert parse("dgx !bob").matches(ROW)
    assert not parse("dgx !ALICE").matches(ROW)
    assert parse("!").matches(ROW)


def test_state_words_ask_for_the_state() -> None:
    assert parse("lost hot").matches(ROW)
    assert not parse("stale").matches(ROW)
    assert not parse("!lost").matches(ROW)
    assert not parse("hot").matches(Subject("hotel01"))
    assert parse("hotel").matches(Subject("hotel01"))


@given(st.text(), st.text(), st.sets(st.sampled_from(STATE_WORDS)))
def test_never_raises_and_a_word_and_its_refusal_never_agree(text: str, row: str, states: set[str]) -> None:
    subject = Subject(row.lower(), frozenset(states))
    parse(text).matches(subject)
    word = text.split(maxsplit=1)[0] if text.split() else ""
    if word and not word.startswith("!"):
        assert parse(word).matches(subject) != parse(f"!{word}").matches(subject)


@given(st.text(alphabet=" \t\n"), st.text())
def test_empty_matches_all(text: str, row: str) -> None:
    assert not parse(text)
    assert parse(text).matches(Subject(row))


@given(st.text(), st.integers(4, 40))
def test_shortened_fits(text: str, width: int) -> None:
    assert cell_len(shortened(text, width)) <= width
    assert shortened(text, width).isprintable()
