"""What the end of a filter may become, and what to say while it is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tui.widgets.filter.errors import FilterError
from tui.widgets.filter.fields import Field, FieldTable
from tui.widgets.filter.lexer import NOT_MEASURED, as_value, tokens_of

Values = Callable[[str], Iterable[str]]
"""The values a field has in the list at the moment, by the field's name."""
MOST_OFFERED = 50
GRAMMAR = "a b: both, a | b: either, !a: not, ( )"


@dataclass(frozen=True, slots=True)
class Ending:
    """The unfinished end of a text."""

    start: int
    word: str
    field: Field | None
    """Whose value is being typed; None where a term begins."""
    may_be_missing: bool = False
    """`na` may be asked for here."""


def ending(text: str, fields: FieldTable) -> Ending | None:
    """None where nothing can be completed: behind a blank, in a string, at the start."""
    try:
        tokens = tokens_of(text)
    except FilterError:
        return None
    if not tokens:
        return None
    last, before = tokens[-1], tokens[:-1]
    if last.kind == "operator":
        start, before = len(text), tokens
    elif last.kind in ("word", "saved") and last.end == len(text):
        start = last.at
    else:
        return None
    operator = before[-1] if before and before[-1].kind == "operator" else None
    if operator is None:
        return Ending(start, text[start:], None)
    name = before[-2] if len(before) > 1 and before[-2].kind == "word" else None
    field = fields.find(name.text) if name is not None else None
    return None if field is None else Ending(start, text[start:], field, operator.text in ("=", "!="))


def complete(text: str, fields: FieldTable, saved: Iterable[str] = (), values: Values = lambda _field: ()) -> list[str]:
    """Whole texts that `text` may become, best first: fields, state words, saved filters, or a field's values."""
    end = ending(text, fields)
    if end is None:
        return []
    typed = end.word.lower()
    if end.field is not None:
        offered = [each for each in (*end.field.choices, *values(end.field.name)) if each.lower().startswith(typed)]
        found = [as_value(each) for each in offered]
        if end.may_be_missing and NOT_MEASURED[0].startswith(typed):
            found.append(NOT_MEASURED[0])
    else:
        aliases = (alias for field in fields.fields for alias in field.aliases)
        names = (f"@{name}" for name in saved) if end.word.startswith("@") else (field.name for field in fields.fields)
        found = [each for each in (*names, *sorted(fields.words), *aliases) if each.startswith(typed)]
    return [text[: end.start] + each for each in list(dict.fromkeys(found))[:MOST_OFFERED]]


def hint(text: str, fields: FieldTable) -> str:
    """What helps at the end of `text`: the fields that begin so, or how terms are put together."""
    end = ending(text, fields)
    if end is None or not fields.fields:
        names = " ".join(field.name for field in fields.fields)
        return f"{GRAMMAR}  tab: {names}" if names else GRAMMAR
    if end.field is not None:
        return explained(end.field)
    begun = [field for field in fields.fields if field.name.startswith(end.word.lower())]
    return "  ".join(explained(field) for field in begun) if begun else GRAMMAR


def explained(field: Field) -> str:
    """`temp (C): temperature of the GPU`."""
    unit = f" ({field.unit.symbol})" if field.unit.symbol else ""
    return f"{field.name}{unit}: {field.help}"
