"""The help about filters, made from the table of the list it is about: no field is left out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from tui.widgets.cells import inert

if TYPE_CHECKING:
    from tui.widgets.filter.fields import Field, FieldTable

LEFT_WIDTH = 20
HELP_WIDTH = 49
"""What 80 columns leave beside it."""
GRAMMAR = (
    ("a b   a & b", "both"),
    ("a | b", "either"),
    ("!a   !(a b)", "not; and, or, not are words only in quotes"),
    ("dgx7", "part of the row, or close to a name: dgx-07"),
    ('"two words"', "this text as it stands in the row"),
    ("temp>85", "numbers, versions: = != < <= > >="),
    ("mem>40 GiB", "with a unit, as the screens write it: 85 C, 10 m"),
    ("node~dgx*7", "texts: = whole, ~ part, != !~ not; * is anything"),
    ("temp=na", "not measured: nothing else holds for it"),
    ("@name", "a saved filter"),
    (":save name", "saves the filter in force; :forget name"),
)


def filter_help(fields: FieldTable, saved: Mapping[str, str]) -> Text:
    """The grammar, the words, every field by an example, with its unit and other names, and the saved filters.

    Neighbours with the same choices, as the operands of a stack, have them under the last one.
    """
    text = Text()
    _title(text, "Filter, after /")
    for written, meaning in GRAMMAR:
        _line(text, written, meaning)
    if fields.words:
        _title(text, "Words for a state")
        for word, meaning in fields.words.items():
            _line(text, word, meaning)
    if fields.fields:
        _title(text, "Fields of this list")
        for choices, alike in groupby(fields.fields, lambda field: field.choices):
            for field in alike:
                _line(text, field.example, _about(field))
            for line in wrap(" ".join(choices), HELP_WIDTH):
                _line(text, "", line)
    _title(text, "Saved filters")
    for name, meaning in sorted(saved.items()):
        _line(text, f"@{name}", meaning)
    if not saved:
        text.append("  none; those of the configuration stand in [filters]\n", style="dim")
    return text


def _about(field: Field) -> str:
    unit = f", {field.unit.symbol}" if field.unit.symbol else ""
    also = f" (or {', '.join(field.aliases)})" if field.aliases else ""
    return f"{field.help}{unit}{also}"


def _title(text: Text, title: str) -> None:
    text.append(f"\n{title}\n", style="bold")


def _line(text: Text, left: str, right: str) -> None:
    text.append(f"  {inert(left):<{LEFT_WIDTH}} ", style="bold")
    text.append(f"{inert(right)}\n")
