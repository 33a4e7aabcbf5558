"""What is likely behind a text of somebody else's: words in it, and what they have meant so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    words: tuple[str, ...]
    """Any of them, in any line."""
    text: str
    step: str


def holding(causes: Iterable[Cause], lines: Iterable[str]) -> Iterator[Cause]:
    """Those whose words stand in `lines`, in the order of `causes`."""
    told = tuple(lines)
    return (each for each in causes if any(word in line for word in each.words for line in told))
