"""Searching a log: words, expressions, in slices, and never for ever."""

from __future__ import annotations

import signal

import pytest

from backends.domain import LogLine
from backends.logs import LogStore, Pattern, PatternError, Search, compile_pattern
from backends.logs.store import note


def pattern(text: str) -> Pattern:
    made = compile_pattern(text)
    assert made is not None
    return made


def store_of(*texts: str, most: int = 1000) -> LogStore:
    store = LogStore(most_lines=most)
    store.extend([LogLine(text, "main") for text in texts])
    return store


def searched(text: str, store: LogStore) -> Search:
    search = Search(pattern(text), store)
    while not search.advance(1.0):
        pass
    return search


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("error", "an ERROR", True),
        ("Error", "an ERROR", False),
        ("Error", "an Error", True),
        ("a.c", "abc", False),
        ("a.c", "xa.c", True),
        ("~a.c", "abc", True),
        ("~A.c", "abc", False),
        ("~^\\S+ done", "Step done", True),
        ("ärger", "ÄRGER", True),
        ("straße", "strasse", False),
    ],
)
def test_small_letters_match_any_case_and_a_tilde_makes_an_expression(text: str, line: str, found: bool) -> None:
    assert pattern(text).is_in(line) is found
    assert bool(pattern(text).spans(line)) is found


def test_spans_are_places_in_the_line_as_it_is() -> None:
    assert pattern("err").spans("İ err Err") == [(2, 5), (6, 9)], "small letters of the line may be more than it has"
    assert pattern("~x*").spans("abc") == []


@pytest.mark.parametrize("text", ["", "  ", "~"])
def test_nothing_is_looked_for(text: str) -> None:
    assert compile_pattern(text) is None


def test_a_bad_expression_says_where() -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern("~ab(c")
    assert caught.value.position == 3
    assert "not a regular expression" in caught.value.message
    with pytest.raises(PatternError):
        compile_pattern("x" * 1000)


def test_next_and_previous_go_round_the_ends() -> None:
    search = searched("hit", store_of("hit", "no", "hit", "no", "hit"))
    assert len(search) == 3
    assert [search.after(-1), search.after(0), search.after(3), search.after(4)] == [0, 2, 4, 0]
    assert [search.before(5), search.before(4), search.before(1), search.before(0)] == [4, 2, 0, 4]
    assert (search.rank(2), search.rank(3)) == (2, None)
    nothing = searched("absent", store_of("a"))
    assert (nothing.after(0), nothing.before(0), len(nothing)) == (None, None, 0)


def test_it_goes_on_with_what_comes_and_forgets_what_goes() -> None:
    store = store_of(*["hit"] * 4, most=5)
    search = searched("hit", store)
    store.extend([LogLine("hit", "main"), LogLine("no", "main"), LogLine("hit", "main")])
    assert not search.done
    assert search.advance(1.0)
    assert (len(search), search.after(-1), search.before(99)) == (4, 2, 6)


def test_lines_that_were_dropped_before_they_were_looked_at_are_passed_over() -> None:
    store = store_of("hit", most=3)
    search = Search(pattern("hit"), store)
    store.extend([LogLine("hit", "main")] * 10)
    assert search.advance(1.0)
    assert len(search) == 3


def test_what_the_console_itself_says_is_no_match() -> None:
    store = store_of("a hit")
    store.extend([note("no hit")])
    assert len(searched("hit", store)) == 1


def test_a_long_search_comes_in_slices() -> None:
    store = store_of(
        *["a line that is as long as lines are, more or less, and has no match at all"] * 300_000, most=10**6
    )
    search = Search(pattern("~l[io]ne that is not$"), store)
    slices = 1
    while not search.advance(0.005):
        slices += 1
    assert slices > 5, "all of it takes over 100 ms of CPU"


def test_an_expression_that_takes_for_ever_is_given_up() -> None:
    former = signal.getsignal(signal.SIGVTALRM)
    evil = pattern("~(a+)+$")
    store = store_of("a" * 60 + "b")
    search = Search(evil, store)
    assert search.spans(store[0].text) == []
    assert search.problem == "the expression takes too long"
    search = Search(evil, store)
    assert search.advance(1.0)
    assert search.problem is not None
    assert signal.getsignal(signal.SIGVTALRM) is former


def test_a_step_that_was_broken_off_is_taken_again_line_by_line_and_finds_nothing_twice() -> None:
    store = store_of("aa", *["no"] * 5, "aa", "a" * 60 + "b", "aa")
    search = searched("~(a+)+$", store)
    assert search.problem == "the expression takes too long"
    assert [search.after(-1), search.after(0), len(search)] == [0, 6, 2]


def test_where_there_is_no_time_for_all_marks_the_others_come_the_next_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.logs.search.MARK_SECONDS", 0.0)
    search = Search(pattern("x"), store_of())
    texts = ["x1", "no", "x2"]
    assert dict(search.marks(texts)) == {"x1": [(0, 1)]}
    assert dict(search.marks(texts)) == {"x1": [(0, 1)], "no": []}
    assert dict(search.marks(texts)) == {"x1": [(0, 1)], "no": [], "x2": [(0, 1)]}
    assert dict(search.marks(["x3"])) == {"x3": [(0, 1)]}, "what is out of view is forgotten"
