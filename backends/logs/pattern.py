"""What a log is searched for: words, or behind `~` a regular expression; small letters match any case. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backends.domain import clean

REGEX_SIGN = "~"
LONGEST = 200


class PatternError(ValueError):
    """A text that is no regular expression."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        """Of the character in the text that it is about, counted from 0."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Made by `compile_pattern`."""

    text: str
    """As it was typed."""
    regex: re.Pattern[str]
    needle: str | None = None
    """Of a search for words: what is looked for; None for a regular expression."""
    fold: bool = False
    """The case does not matter."""

    def is_in(self, line: str) -> bool:
        if self.needle is not None and line.isascii():
            # The usual case, several times as fast as an expression.
            return self.needle in (line.lower() if self.fold else line)
        return self.regex.search(line) is not None

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Where it is in `line`, from and to; not where it matches nothing at all."""
        return [match.span() for match in self.regex.finditer(line) if match.end() > match.start()]


def compile_pattern(text: str) -> Pattern | None:
    """The pattern that `text` means; None for nothing. Raises PatternError.

    A capital letter makes the case matter.
    """
    words = text.strip()
    if not words or words == REGEX_SIGN:
        return None
    if len(words) > LONGEST:
        raise PatternError(f"longer than {LONGEST} characters", LONGEST)
    expression = words.startswith(REGEX_SIGN)
    wanted = words[1:] if expression else words
    fold = not any(letter.isupper() for letter in _plain_letters(wanted, expression))
    flags = re.IGNORECASE if fold else re.NOFLAG
    try:
        regex = re.compile(wanted if expression else re.escape(wanted), flags)
    except (re.error, OverflowError, RecursionError) as error:
        place = getattr(error, "pos", None) or 0
        said = clean(getattr(error, "msg", "") or "too large", 80)
        raise PatternError(f"not a regular expression: {said}", place + text.index(REGEX_SIGN) + 1) from None
    needle = None if expression or not wanted.isascii() else wanted
    return Pattern(words, regex, needle, fold)


def _plain_letters(wanted: str, expression: bool) -> str:
    """Without the classes of an expression: `\\S` asks for no capital letter."""
    return re.sub(r"\\.", "", wanted) if expression else wanted
