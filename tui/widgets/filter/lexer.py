"""The text of a filter as tokens, each with its place."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tui.widgets.filter.errors import FilterError

Kind = Literal["word", "string", "saved", "operator", "&", "|", "!", "(", ")"]

OPERATORS: dict[str, str] = {
    "!=": "!=",
    "!~": "!~",
    "<=": "<=",
    ">=": ">=",
    "==": "=",
    "~=": "~",
    "=~": "~",
    "=": "=",
    "<": "<",
    ">": ">",
    "~": "~",
}
"""As they may be written -> what they mean; the longer ones first."""
CONNECTIVES: dict[str, Kind] = {"&&": "&", "||": "|", "&": "&", "|": "|", "(": "(", ")": ")"}
NOT_MEASURED = ("na", "n/a")
"""Values that ask for what was not measured."""
LONGEST_VALUE = 256
"""Of a comparison that the console writes: as long as a name may be."""
_ENDS_A_WORD = frozenset('()&|<>=~"')


class Token(NamedTuple):
    kind: Kind
    text: str
    """Of a string what is between the quotes, of a saved filter its name."""
    at: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """Raises FilterError for a quote that is not closed; everything else is a token."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = _token(text, at)
        found.append(token)
        at = token.end
    return found


def is_bare_word(text: str) -> bool:
    """Whether `text` can be written without quotes and is then read as the same word."""
    tokens = [] if '"' in text else tokens_of(text)
    return len(tokens) == 1 and tokens[0].kind == "word" and tokens[0].text == text


def as_value(text: str) -> str:
    """`text` as the value of a comparison that means just this text; in quotes only where it needs them."""
    plain = is_bare_word(text) and "*" not in text and text.lower() not in NOT_MEASURED
    return text if plain else quoted(text)


def equals(field: str, text: str) -> str:
    """A comparison that holds for `text` alone; for a very long text for all that begin so."""
    return f"{field}={as_value(text)}" if len(text) <= LONGEST_VALUE else f"{field}~{as_value(text[:LONGEST_VALUE])}"


def quoted(text: str) -> str:
    """`text` as a string of the language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _token(text: str, at: int) -> Token:
    for written, kind in CONNECTIVES.items():
        if text.startswith(written, at):
            return Token(kind, kind, at, at + len(written))
    for written, operator in OPERATORS.items():
        if text.startswith(written, at):
            return Token("operator", operator, at, at + len(written))
    if text[at] == "!":
        return Token("!", "!", at, at + 1)
    if text[at] == '"':
        return _string(text, at)
    if text[at] == "@":
        end = _end_of_word(text, at + 1)
        return Token("saved", text[at + 1 : end], at, end)
    end = _end_of_word(text, at)
    return Token("word", text[at:end], at, end)


def _end_of_word(text: str, at: int) -> int:
    while at < len(text):
        character = text[at]
        # A "!" inside a word belongs to it, as in a name; only "!=" and "!~" compare.
        if character.isspace() or character in _ENDS_A_WORD or text.startswith(("!=", "!~"), at):
            return at
        at += 1
    return at


def _string(text: str, start: int) -> Token:
    kept: list[str] = []
    at = start + 1
    while at < len(text):
        if text[at] == '"':
            return Token("string", "".join(kept), start, at + 1)
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        kept.append(text[at])
        at += 1
    raise FilterError("this quote is not closed", start, incomplete=True)
