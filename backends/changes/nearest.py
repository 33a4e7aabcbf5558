"""What somebody may have meant by a name that nobody has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

NAMES_TOLD = 12


def nearest(word: str, known: Sequence[str]) -> str:
    """`did you mean all-1g.10gb?`; all there are where none is near."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {', '.join(known[:NAMES_TOLD])}" if known else "there are none"
