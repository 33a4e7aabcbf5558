"""The part of PromQL that the lab's monitoring answers, at one instant. Pure.

Selectors with matchers, `group`, `count`, `sum` and `max` with `by`, a comparison with a number with or without
`bool`, and `or`. Anything else is refused, as Prometheus refuses what it cannot parse.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

NAME = "__name__"
_TOKENS = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(=~|!~|!=|<=|>=|==|[<>={}(),])|([A-Za-z_:][\w:]*)|(\d+(?:\.\d+)?))')
_AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "group": lambda _: 1.0,
    "count": lambda values: float(len(values)),
    "sum": sum,
    "max": max,
}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "=~": lambda value, wanted: re.fullmatch(wanted, value) is not None,
    "!~": lambda value, wanted: re.fullmatch(wanted, value) is None,
}


@dataclass(frozen=True, slots=True)
class Series:
    labels: Mapping[str, str]
    """With `__name__`."""
    value: float


class NotUnderstood(ValueError):
    """Says where."""


def evaluate(query: str, series: Iterable[Series]) -> list[Series]:
    """The instant vector of `query`. Raises NotUnderstood."""
    parser = _Parser(query, tuple(series))
    found = parser.union()
    parser.end()
    return found


class _Parser:
    """Evaluates while it reads; one function for each level of binding."""

    def __init__(self, query: str, series: tuple[Series, ...]) -> None:
        self._series = series
        self._tokens = _tokens(query)
        self._at = 0

    def union(self) -> list[Series]:
        found = self._comparison()
        while self._take("or"):
            there = {_identity(each.labels) for each in found}
            found += [each for each in self._comparison() if _identity(each.labels) not in there]
        return found

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise NotUnderstood(f"unexpected {self._peek()!r}")

    def _comparison(self) -> list[Series]:
        found = self._vector()
        while (sign := self._peek()) in _COMPARISONS:
            self._at += 1
            holds, as_number, wanted = _COMPARISONS[sign], self._take("bool"), self._number()
            if as_number:
                found = [Series(_nameless(each.labels), float(holds(each.value, wanted))) for each in found]
            else:
                found = [each for each in found if holds(each.value, wanted)]
        return found

    def _vector(self) -> list[Series]:
        if self._take("("):
            found = self.union()
            self._need(")")
            return found
        if self._peek() in _AGGREGATIONS:
            return self._aggregation()
        return self._selector()

    def _aggregation(self) -> list[Series]:
        combine = _AGGREGATIONS[self._next()]
        self._need("by")
        self._need("(")
        labels = []
        while not self._take(")"):
            labels.append(self._next())
            self._take(",")
        self._need("(")
        groups: dict[frozenset[tuple[str, str]], list[float]] = {}
        for each in self.union():
            key = frozenset((label, each.labels[label]) for label in labels if each.labels.get(label))
            groups.setdefault(key, []).append(each.value)
        self._need(")")
        return [Series(dict(key), combine(values)) for key, values in groups.items()]

    def _selector(self) -> list[Series]:
        wanted: list[tuple[str, str, str]] = []
        if self._peek() != "{":
            name = self._next()
            if not re.fullmatch(r"[A-Za-z_:][\w:]*", name):
                raise NotUnderstood(f"unexpected {name!r}")
            wanted.append((NAME, "=", name))
        if self._take("{"):
            while not self._take("}"):
                wanted.append((self._next(), self._sign(), self._text()))
                self._take(",")
        if not wanted:
            raise NotUnderstood("vector selector must contain at least one non-empty matcher")
        return [
            each
            for each in self._series
            if all(_MATCHES[sign](each.labels.get(label, ""), value) for label, sign, value in wanted)
        ]

    def _sign(self) -> str:
        sign = self._next()
        if sign not in _MATCHES:
            raise NotUnderstood(f"unexpected {sign!r} in a matcher")
        return sign

    def _text(self) -> str:
        token = self._next()
        if not token.startswith('"'):
            raise NotUnderstood(f"unexpected {token!r}, a string was expected")
        return re.sub(r"\\(.)", r"\1", token[1:-1])

    def _number(self) -> float:
        token = self._next()
        try:
            return float(token)
        except ValueError:
            raise NotUnderstood(f"unexpected {token!r}, a number was expected") from None

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise NotUnderstood("unexpected end of input")
        self._at += 1
        return token

    def _take(self, token: str) -> bool:
        found = self._peek() == token
        self._at += found
        return found

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise NotUnderstood(f"unexpected {self._peek() or 'end of input'!r}, {token!r} was expected")


def _tokens(query: str) -> list[str]:
    found, at = [], 0
    text = query.rstrip()
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            raise NotUnderstood(f"unexpected character at {at}")
        found.append(next(group for group in match.groups() if group is not None))
        at = match.end()
    return found


def _nameless(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key != NAME}


def _identity(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(_nameless(labels).items())
