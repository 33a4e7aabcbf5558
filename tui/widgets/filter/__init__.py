"""What `/` narrows a list to: `temp>85 & node~dgx-0 & !mig`.

A grid has a `FieldTable` (see `tui.widgets.filter.fields`), which says what its rows can be asked for, and makes a
`Subject` of each row:

    match = parse("temp>85 & !mig", GPU_FIELDS)          # FilterError: what is wrong, and at which character
    match.matches(Subject(text, states, item))           # `item` is what the getters of the table take
    verdicts = Verdicts()
    verdicts.holds(match, key, subject)                  # asks again only about a subject that is another object

Words next to each other must all hold, as with `&`. A bare word is part of the row's text or close to a word of it;
a quoted one is part of the text as it stands. A value that was not measured fulfils no comparison; `temp=na` asks for
it. The package draws nothing, and what reads a text loads with the first text: a console without a filter pays little.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tui.widgets.filter.errors import FilterError
from tui.widgets.filter.match import STATE_WORDS, Filter, Subject, Verdicts

if TYPE_CHECKING:
    from tui.widgets.filter.expression import Expression
    from tui.widgets.filter.fields import FieldTable

__all__ = ["STATE_WORDS", "Filter", "FilterError", "Subject", "Verdicts", "parse", "shortened"]

_NONE_SAVED: Mapping[str, str] = {}


def parse(text: str, fields: FieldTable | None = None, saved: Mapping[str, str] = _NONE_SAVED) -> Filter:
    """The filter `text` means; `saved` are the filters that `@name` stands for.

    Raises FilterError, except without `fields`: in a list of plain texts every text is a filter, and one that is no
    expression is taken as words, of which a `!` refuses the one it stands before.
    """
    from tui.widgets.filter.fields import WORDS_ONLY
    from tui.widgets.filter.parser import Parser

    if fields is not None:
        return _filter(Parser(text, fields, saved).expression(), fields)
    try:
        return _filter(Parser(text, WORDS_ONLY, saved).expression(), WORDS_ONLY)
    except FilterError:
        return _filter(_plain_words(text), WORDS_ONLY)


def _filter(expression: Expression | None, fields: FieldTable) -> Filter:
    if expression is None:
        return Filter()
    from tui.widgets.filter.evaluate import compiled
    from tui.widgets.filter.expression import fields_in

    names = frozenset(fields_in(expression))
    moment = any(each.of_the_moment for each in fields.fields if each.name in names)
    return Filter(expression, compiled(expression, fields), names, moment)


def _plain_words(text: str) -> Expression | None:
    from tui.widgets.filter.expression import All, Not, Phrase, StateWord

    terms: list[Expression] = []
    for word in text.lower().split():
        bare = word.removeprefix("!")
        if bare:
            term = StateWord(bare) if bare in STATE_WORDS else Phrase(bare)
            terms.append(Not(term) if word.startswith("!") else term)
    if len(terms) < 2:
        return terms[0] if terms else None
    return All(tuple(terms))


def shortened(text: str, width: int = 30) -> str:
    """`text` for a message about it, at most `width` cells wide."""
    from rich.cells import cell_len

    kept = "".join(character if character.isprintable() else " " for character in text[: width * 2])
    while cell_len(kept) > width:
        kept = kept[:-2] + "…"
    return kept
