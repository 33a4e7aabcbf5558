"""What a grid can be asked for: its fields as a table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backends.domain import clean
from tui.widgets.filter.lexer import NOT_MEASURED
from tui.widgets.filter.match import STATE_MEANINGS

Scalar = float | str | bool
Value = Scalar | tuple[Scalar, ...] | frozenset[str] | None
"""Of several values one must hold; None was not measured, and no comparison holds for it."""
Kind = Literal["number", "text", "version", "flag"]

_ORDER = ("<", "<=", ">", ">=")
OPERATORS_OF: dict[Kind, tuple[str, ...]] = {
    "number": ("=", "!=", *_ORDER),
    "text": ("=", "!=", "~", "!~"),
    "version": ("=", "!=", "~", "!~", *_ORDER),
    "flag": ("=", "!="),
}


@dataclass(frozen=True, slots=True)
class Unit:
    """What may stand behind a number, and by what it is multiplied to be in the unit of the getter."""

    symbol: str = ""
    """The unit of a bare number, for people."""
    suffixes: Mapping[str, float] = field(default_factory=lambda: {"": 1.0})
    """In lower case; the empty one is a bare number's."""


_KIB = 1024.0
COUNT = Unit()
CELSIUS = Unit("C", {"": 1.0, "c": 1.0, "°c": 1.0})
WATTS = Unit("W", {"": 1.0, "w": 1.0, "kw": 1000.0})
PERCENT = Unit("%", {"": 1.0, "%": 1.0})
MEGAHERTZ = Unit("MHz", {"": 1.0, "mhz": 1.0, "ghz": 1000.0})
SECONDS = Unit("s", {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0})
BYTES = Unit(
    "GiB",
    {
        "": _KIB**3,
        **{
            f"{letter}{rest}": _KIB**power
            for power, letter in enumerate("kmgt", 1)
            for rest in ("", "b", "ib")  # 40g, 40gb and 40gib are what the screens show as 40.0 GiB
        },
    },
)
"""The getter counts bytes, people GiB."""
UNIT_WORDS = frozenset(
    suffix for unit in (CELSIUS, WATTS, PERCENT, MEGAHERTZ, SECONDS, BYTES) for suffix in unit.suffixes if suffix
)
"""Words that a number before them makes a unit: `67 °C`, `58.2 GiB`."""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a row can be asked for."""

    name: str
    kind: Kind
    get: Callable[[Any], Value]
    """Of `Subject.item`; None where it was not measured."""
    help: str
    """A few words for the help, without a full stop."""
    example: str
    """A filter that shows its use; a test parses it."""
    aliases: tuple[str, ...] = ()
    unit: Unit = COUNT
    choices: tuple[str, ...] = ()
    """Values worth offering where there are only a few."""
    of_the_moment: bool = False
    """It depends on the time of asking: what was said of a row once does not hold later."""


class FieldTable:
    """The fields of one grid and the words that ask for a state there, each with its meaning."""

    def __init__(self, fields: Iterable[Field] = (), words: Mapping[str, str] | None = None) -> None:
        self.fields = tuple(fields)
        self.words: Mapping[str, str] = STATE_MEANINGS if words is None else words
        self._by_name: dict[str, Field] = {}
        for each in self.fields:
            for name in (each.name, *each.aliases):
                if name in self._by_name or name in NOT_MEASURED or name != name.lower():
                    raise ValueError(f"a filter cannot tell two fields called {name!r} apart")
                self._by_name[name] = each

    def find(self, name: str) -> Field | None:
        """The field of that name or alias, in any case."""
        return self._by_name.get(name.lower())

    @property
    def names(self) -> tuple[str, ...]:
        """Every name and alias."""
        return tuple(self._by_name)

    def nearest(self, name: str) -> str:
        """A hint for a name that is no field; empty where there are no fields."""
        near = difflib.get_close_matches(clean(name, 32).lower(), self._by_name, n=1, cutoff=0.5)
        if near:
            return f"did you mean {near[0]}?"
        return f"tab completes: {', '.join(each.name for each in self.fields[:4])} ..." if self.fields else ""


WORDS_ONLY = FieldTable()
"""For a list of plain texts."""
