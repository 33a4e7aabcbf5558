"""An expression as one function of a subject: the table is looked at once, not for each row."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from tui.widgets.filter.expression import (
    All,
    AnyOf,
    Comparison,
    Expression,
    Flag,
    Missing,
    Not,
    Number,
    Pattern,
    Phrase,
    Saved,
    StateWord,
    Word,
)
from tui.widgets.filter.fields import Field, FieldTable, Value
from tui.widgets.filter.fuzzy import SHORTEST, is_close
from tui.widgets.filter.match import Subject

Test = Callable[[Subject], bool]
ValueTest = Callable[[Any], bool]
"""Of one value that was measured."""

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_POSITIVE = {"!=": "=", "!~": "~"}
"""A refusal -> what it refuses."""


def compiled(expression: Expression, fields: FieldTable) -> Test:
    """Whether a subject is what the expression asks for."""
    match expression:
        case Word(text):
            return _word(text)
        case Phrase(text):
            return lambda subject: text in subject.text
        case StateWord(word):
            return lambda subject: word in subject.states
        case Missing(name, missing):
            return _missing(_field(fields, name), missing)
        case Comparison():
            return _comparison(_field(fields, expression.field), expression)
        case Saved(_, term):
            return compiled(term, fields)
        case Not(term):
            test = compiled(term, fields)
            return lambda subject: not test(subject)
        case All(terms):
            return _all(tuple(compiled(term, fields) for term in terms))
        case AnyOf(terms):
            return _any(tuple(compiled(term, fields) for term in terms))


def _field(fields: FieldTable, name: str) -> Field:
    field = fields.find(name)
    if field is None:
        raise KeyError(f"the expression was read with another table: no field {name}")
    return field


def _all(tests: tuple[Test, ...]) -> Test:
    def test(subject: Subject) -> bool:
        for each in tests:  # noqa: SIM110 - a generator would cost more than most tests
            if not each(subject):
                return False
        return True

    return test


def _any(tests: tuple[Test, ...]) -> Test:
    def test(subject: Subject) -> bool:
        for each in tests:  # noqa: SIM110 - as above
            if each(subject):
                return True
        return False

    return test


def _word(text: str) -> Test:
    if "*" in text:
        pieces = text.split("*")
        return lambda subject: _in_order(pieces, subject.text)
    if len(text) < SHORTEST:
        return lambda subject: text in subject.text

    def test(subject: Subject) -> bool:
        return text in subject.text or any(is_close(text, name) for name in subject.text.split())

    return test


def _missing(field: Field, missing: bool) -> Test:
    get = field.get

    def test(subject: Subject) -> bool:
        return ((None if subject.item is None else get(subject.item)) is None) is missing

    return test


def _comparison(field: Field, comparison: Comparison) -> Test:
    get = field.get
    refuses = comparison.operator in _POSITIVE
    positive = _POSITIVE.get(comparison.operator, comparison.operator)
    holds = _value_test(field, positive, comparison)

    def test(subject: Subject) -> bool:
        value: Value = None if subject.item is None else get(subject.item)
        if value is None:
            return False
        found = any(map(holds, value)) if isinstance(value, tuple | frozenset) else holds(value)
        return found is not refuses

    return test


def _value_test(field: Field, positive: str, comparison: Comparison) -> ValueTest:
    match comparison.operand:
        case Number(number, suffix):
            compare, limit = _ORDERS[positive], number * field.unit.suffixes[suffix]
            return lambda value: compare(value, limit)
        case Flag(on):
            return lambda value: value is on
        case Pattern(pieces):
            if field.kind == "version" and positive in _ORDERS and len(pieces) == 1 and _is_version(pieces[0]):
                return _version_test(pieces[0], _ORDERS[positive])
            return _text_test(pieces, whole=positive == "=")


def _text_test(pieces: tuple[str, ...], whole: bool) -> ValueTest:
    if len(pieces) == 1:
        (text,) = pieces
        return (lambda value: value.lower() == text) if whole else (lambda value: text in value.lower())
    return lambda value: _covers(pieces, value.lower()) if whole else _in_order(pieces, value.lower())


def _in_order(pieces: list[str] | tuple[str, ...], text: str) -> bool:
    """The pieces stand in `text` one behind the other; linear in its length."""
    at = 0
    for piece in pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


def _covers(pieces: tuple[str, ...], text: str) -> bool:
    """`text` is the pieces, with anything between them."""
    first, *middle, last = pieces
    inside = text[len(first) : len(text) - len(last)]
    long_enough = len(text) >= len(first) + len(last)
    return long_enough and text.startswith(first) and text.endswith(last) and _in_order(middle, inside)


def _is_version(text: str) -> bool:
    return all(part.isdecimal() for part in text.split("."))


def _version_test(text: str, compare: Callable[[Any, Any], bool]) -> ValueTest:
    """As precise as `text`: 580.65.06 is 580, and 580.65, and more than 575."""
    wanted = tuple(int(part) for part in text.split("."))

    def test(value: str) -> bool:
        numbers = _numbers(value)[: len(wanted)]
        return bool(numbers) and compare(numbers, wanted)

    return test


def _numbers(version: str) -> tuple[int, ...]:
    """6.8.0-49-generic is 6, 8, 0."""
    found: list[int] = []
    for part in version.split("."):
        digits = "".join(takewhile(str.isdecimal, part))
        if digits:
            found.append(int(digits))
        if digits != part:
            break
    return tuple(found)
