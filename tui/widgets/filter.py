"""What `/` narrows a list to: words that must all be there, `!words` that must not."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len

STATE_WORDS = ("lost", "stale", "down", "mig", "hot", "idle", "busy", "ok")
"""Words a row carries for its state, besides its own text."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a filter looks at: the row's own text in lower case, and the words of its state."""

    text: str
    states: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Filter:
    wanted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """False when every row passes."""
        return bool(self.wanted or self.refused)

    def matches(self, subject: Subject) -> bool:
        return all(_holds(subject, word) for word in self.wanted) and not any(
            _holds(subject, word) for word in self.refused
        )


def _holds(subject: Subject, word: str) -> bool:
    # A state word asks for the state; a node called "hotel" is found by any longer part of its name.
    return word in subject.states if word in STATE_WORDS else word in subject.text


def parse(text: str) -> Filter:
    """The filter `text` means; never fails. Words are parts of names, in any case; a lone `!` means nothing yet."""
    words = text.lower().split()
    return Filter(
        wanted=tuple(word for word in words if not word.startswith("!")),
        refused=tuple(word[1:] for word in words if word.startswith("!") and len(word) > 1),
    )


def shortened(text: str, width: int = 30) -> str:
    """`text` for a message about it, at most `width` cells wide."""
    kept = "".join(character if character.isprintable() else " " for character in text[: width * 2])
    while cell_len(kept) > width:
        kept = kept[:-2] + "…"
    return kept
