"""What a filter means, as values. `str` of an expression is a text that means the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tui.widgets.filter.lexer import NOT_MEASURED, as_value, quoted


@dataclass(frozen=True, slots=True)
class Number:
    value: float
    """As written."""
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.value:.6f}".rstrip("0").rstrip(".") + self.suffix


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text in lower case, cut where a `*` stood: between two pieces anything may be."""

    pieces: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.pieces) > 1:
            return "*".join(self.pieces)
        return as_value(self.pieces[0])


@dataclass(frozen=True, slots=True)
class Flag:
    on: bool

    def __str__(self) -> str:
        return "yes" if self.on else "no"


Operand = Number | Pattern | Flag


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: part of the text, or close to a word of it."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Phrase:
    """A quoted text: part of the text as it stands."""

    text: str

    def __str__(self) -> str:
        return quoted(self.text)


@dataclass(frozen=True, slots=True)
class StateWord:
    word: str

    def __str__(self) -> str:
        return self.word


@dataclass(frozen=True, slots=True)
class Comparison:
    field: str
    """A name of the table, never an alias."""
    operator: str
    operand: Operand

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{self.operand}"


@dataclass(frozen=True, slots=True)
class Missing:
    """`field=na`: it was not measured; `field!=na`: it was."""

    field: str
    missing: bool

    def __str__(self) -> str:
        return f"{self.field}{'=' if self.missing else '!='}{NOT_MEASURED[0]}"


@dataclass(frozen=True, slots=True)
class Saved:
    """`@name`, with what that name meant when it was read."""

    name: str
    term: Expression

    def __str__(self) -> str:
        return f"@{self.name}"


@dataclass(frozen=True, slots=True)
class Not:
    term: Expression

    def __str__(self) -> str:
        return f"!({self.term})" if isinstance(self.term, All | AnyOf) else f"!{self.term}"


@dataclass(frozen=True, slots=True)
class All:
    """At least two terms, none of them an `All`."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " & ".join(f"({term})" if isinstance(term, AnyOf) else str(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least two terms, none of them an `AnyOf`."""

    terms: tuple[Expression, ...]

    def __str__(self) -> str:
        return " | ".join(str(term) for term in self.terms)


Expression = Word | Phrase | StateWord | Comparison | Missing | Saved | Not | All | AnyOf


def fields_in(expression: Expression | None) -> Iterator[str]:
    """The names of the fields it asks for, with repetitions."""
    match expression:
        case Comparison(field) | Missing(field):
            yield field
        case Not(term) | Saved(_, term):
            yield from fields_in(term)
        case All(terms) | AnyOf(terms):
            for term in terms:
                yield from fields_in(term)
        case _:
            return
