"""A filter that was read, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui.widgets.filter.expression import Expression

STATE_MEANINGS: dict[str, str] = {
    "lost": "fell off the bus",
    "stale": "the node, or its driver, has stopped answering",
    "down": "the node has never answered",
    "mig": "MIG is on",
    "hot": "slowed down by heat, or at the board's limit",
    "idle": "0 % busy",
    "busy": "50 % busy or more",
    "ok": "without trouble of its own or of its node",
}
STATE_WORDS = tuple(STATE_MEANINGS)
"""Words a row carries for its state, besides its own text."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a filter looks at: a row's own text in lower case, the words of its state, and the value behind the row."""

    text: str
    states: frozenset[str] = frozenset()
    item: Any = None
    """What the getters of the grid's fields take; None for a row of text alone."""


def _everything(_subject: Subject) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that can be asked; equal to another that means the same. `Filter()` lets everything pass."""

    expression: Expression | None = None
    matches: Callable[[Subject], bool] = field(default=_everything, compare=False, repr=False)
    fields: frozenset[str] = frozenset()
    """The fields it asks for, so that only what is needed is looked up."""
    of_the_moment: bool = False
    """It asks for something that depends on the time of asking."""

    def __bool__(self) -> bool:
        """False when every row passes."""
        return self.expression is not None

    def __str__(self) -> str:
        """A text that means the same."""
        return "" if self.expression is None else str(self.expression)


class Verdicts:
    """What a filter said of each row, kept for as long as filter and subject are the same objects."""

    def __init__(self) -> None:
        self._filter: Filter | None = None
        self._kept: dict[str, tuple[Subject, bool]] = {}

    def holds(self, match: Filter, key: str, subject: Subject) -> bool:
        """`match.matches(subject)`, where `key` is the row's identity."""
        if match.of_the_moment:
            return match.matches(subject)
        if match is not self._filter:
            self.clear()
            self._filter = match
        known = self._kept.get(key)
        if known is not None and known[0] is subject:
            return known[1]
        verdict = match.matches(subject)
        self._kept[key] = (subject, verdict)
        return verdict

    def clear(self) -> None:
        self._kept.clear()
