"""Rows of a log: as wide as they may be, marked where something matches, inert."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from backends.domain import LogLine, clean
from backends.logs import compile_pattern
from backends.logs.store import note
from tests.tui.fleets import HOSTILE
from tui.widgets.columns import Cell
from tui.widgets.log_rows import CURRENT, MATCH, Look, height, level, row


def nothing(_text: str) -> list[tuple[int, int]]:
    return []


def line(text: str, container: str = "main", at: float | None = None) -> LogLine:
    return LogLine(text, container, at)


def texts(of: LogLine, look: Look, left: int = 0) -> list[str]:
    return ["".join(cell.text for cell in row(of, look, sub, left, nothing)) for sub in range(height(of, look))]


def test_a_wrapped_line_is_whole_and_no_row_is_too_wide() -> None:
    for text in ("x" * 205, "名前" * 60, "a名" * 50, "e\u0301x" * 100, ""):
        look = Look(40, wrap=True)
        rows = texts(line(text), look)
        assert "".join(rows) == text
        assert all(cell_len(each) <= 40 for each in rows)
        assert height(line(text), look) == len(rows)


def test_a_cut_line_can_be_moved_sideways() -> None:
    text = "".join(chr(ord("a") + index % 26) for index in range(200))
    assert texts(line(text), Look(40))[0].startswith("abcdef")
    assert texts(line(text), Look(40), left=26 * 3)[0].startswith("abcdef")
    assert texts(line("名前名前"), Look(40), left=4) == ["名前"]
    assert texts(line("short"), Look(40), left=16) == [""]


def test_time_and_container_stand_before_the_first_row_and_their_room_before_the_others() -> None:
    look = Look(60, wrap=True, timestamps=True, containers=6)
    first, second = texts(line("x" * 60, at=1_700_000_000.5), look)
    assert first[8:12] == ".500"
    assert first[13:20] == "main   "
    assert second == " " * 20 + "x" * 20
    assert texts(line("a"), look)[0].startswith("- ")


def test_a_narrow_terminal_keeps_room_for_the_text() -> None:
    assert Look(40, timestamps=True, containers=16).margin == 13
    assert Look(10, timestamps=True).text_width == 1


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("2026 ERROR it failed", "bad"),
        ("E1125 08:31:17 1 main.go] failed", "bad"),
        ("e1125 is a name", ""),
        ("level=warning msg=x", "warn"),
        ("W1125 08:31:17 1 main.go] odd", "warn"),
        ("no errors at all", ""),
        ("x" * 200 + " ERROR", ""),
        ("E: Unable to locate", ""),
    ],
)
def test_the_level_is_a_word_of_the_line(text: str, token: str) -> None:
    assert level(text) == token


def test_matches_are_marked_across_wrapped_rows() -> None:
    pattern = compile_pattern("needle")
    assert pattern is not None
    of, look = line("x" * 17 + "needle" + "y" * 10), Look(20, wrap=True)
    first = row(of, look, 0, 0, pattern.spans)
    second = row(of, look, 1, 0, pattern.spans, current=True)
    assert first == [Cell("x" * 17), Cell("nee", MATCH)]
    assert second == [Cell("dle", CURRENT), Cell("y" * 10)]
    assert row(of, Look(80), 0, 20, pattern.spans)[0] == Cell("dle", MATCH)


def test_what_the_console_says_looks_like_nothing_that_a_container_says() -> None:
    assert row(note("cut"), Look(80, timestamps=True), 0, 0, nothing)[-1] == Cell("--- cut ---", "warn")


@pytest.mark.parametrize("evil", HOSTILE)
@pytest.mark.parametrize("wrap", [True, False])
def test_hostile_lines_are_inert_whoever_forgot_to_clean_them(evil: str, wrap: bool) -> None:
    for text in (evil, clean(evil, 4096)):
        of, look = line(text, container=evil), Look(80, wrap=wrap, containers=8)
        for sub in range(height(of, look)):
            assert all(cell.text.isprintable() for cell in row(of, look, sub, 0, nothing))
