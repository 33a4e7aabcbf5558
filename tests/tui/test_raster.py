"""The dots of a curve: what is lit for which values, read back from the signs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.feed import Point
from tui.widgets.raster import ASCII_INK, BRAILLE, Ink, level, raster

INKS = pytest.mark.parametrize("ink", [BRAILLE, ASCII_INK], ids=["braille", "ascii"])


def flat(*values: float | None) -> tuple[Point | None, ...]:
    """Points that are one value each."""
    return tuple(None if value is None else Point(value, value, value) for value in values)


def lit(lines: tuple[str, ...], ink: Ink) -> list[set[int]]:
    """The dots of each column, counted from the bottom: what `raster` says, read back from its signs."""
    columns: list[set[int]] = [set() for _ in range(len(lines[0]) * ink.across)]
    for row, text in enumerate(reversed(lines)):
        for cell, sign in enumerate(text):
            bits = ink.signs.index(sign)
            for side in range(ink.across):
                for dot in range(ink.down):
                    if bits >> side * ink.down + dot & 1:
                        columns[cell * ink.across + side].add(row * ink.down + dot)
    return columns


def test_braille_signs_are_what_unicode_says() -> None:
    assert BRAILLE.signs[0] == " "
    assert BRAILLE.signs[0b00000001] == "⡀"
    assert BRAILLE.signs[0b00001000] == "⠁"
    assert BRAILLE.signs[0b00010000] == "⢀"
    assert BRAILLE.signs[0b11111111] == "⣿"
    assert len(set(BRAILLE.signs)) == 256


@INKS
def test_zero_is_a_dot_at_the_bottom_and_no_data_is_blank(ink: Ink) -> None:
    columns = lit(raster(flat(0.0, None, 0.0, None), 3, 0, 100, ink), ink)
    assert columns[:4] == [{0}, set(), {0}, set()]


def test_a_flat_three_percent_looks_like_three_percent() -> None:
    assert raster(flat(*[3.0] * 4), 4, 0, 100) == ("  ", "  ", "  ", "⣀⣀")
    assert raster(flat(*[100.0] * 4), 2, 0, 100) == ("⠉⠉", "  ")


def test_a_filled_curve_reaches_to_the_mean_and_dots_the_greatest() -> None:
    (column,) = lit(raster([Point(10, 30, 90)], 5, 0, 100, ASCII_INK, filled=True), ASCII_INK)
    assert column == {*range(level(30, 0, 100, 10) + 1), level(90, 0, 100, 10)}


POINT = st.one_of(
    st.none(),
    st.tuples(*[st.floats(-50, 250)] * 3).map(lambda each: Point(*sorted(each))),
    st.just(Point(math.nan, math.nan, math.nan)),
)


@INKS
@given(points=st.lists(POINT, max_size=40), rows=st.integers(1, 12), filled=st.booleans())
def test_every_value_is_drawn_where_it_belongs_and_nothing_else(
    ink: Ink, points: list[Point | None], rows: int, filled: bool
) -> None:
    lines = raster(points, rows, 0, 200, ink, filled=filled)
    assert len(lines) == rows
    cells = -(-len(points) // ink.across)
    assert {len(line) for line in lines} == {cells}
    if not points:
        return
    dots = rows * ink.down
    columns = lit(lines, ink)
    assert all(not column for column in columns[len(points) :])
    for number, (point, column) in enumerate(zip(points, columns, strict=False)):
        if point is None or math.isnan(point.low):
            assert column == set(), "a gap is blank"
            continue
        low, mean, high = (level(value, 0, 200, dots) for value in point)
        assert max(column) >= high
        if filled:
            assert column == {*range(mean + 1), high}
            continue
        assert set(range(low, high + 1)) <= column, "the whole span of the point"
        before = points[number - 1] if number else None
        extra = column - set(range(low, high + 1))
        if before is None or math.isnan(before.low):
            assert extra == set(), "nothing joins across a gap"
        else:
            reach = range(level(before.low, 0, 200, dots), level(before.high, 0, 200, dots) + 1)
            assert not extra & set(reach), "a riser ends where the point before is"


@given(st.floats(-1e9, 1e9), st.floats(-1e3, 1e3), st.floats(0, 1e3), st.integers(1, 80))
def test_a_level_is_always_inside_and_rises_with_the_value(value: float, lo: float, span: float, dots: int) -> None:
    here = level(value, lo, lo + span, dots)
    assert 0 <= here < dots
    assert level(value + 1, lo, lo + span, dots) >= here
