"""Close enough: `dgx7` is meant for `dgx-07`, and not for `dgx-17`.

A word is close to a name when its characters stand in the name in the same order and most of them either follow the
one before them directly or begin a part of the name. A part begins after a sign such as `-`, where letters and digits
meet, and behind the leading zeros of a number. Digits allow nothing looser: a number is found by its beginning.
"""

from __future__ import annotations

from functools import lru_cache

SHORTEST = 3
"""Shorter words are close to everything: they must stand in the text as they are."""
LONGEST_NAME = 32
"""Longer names are identifiers such as UUIDs, whose digits would be close to anything."""
ACCEPTED = 0.6
"""Least share of the score of a perfect match."""
_IMPOSSIBLE = float("-inf")


@lru_cache(maxsize=16384)
def is_close(word: str, name: str) -> bool:
    """Whether `word` is meant for `name`; both in lower case, without blanks."""
    if not SHORTEST <= len(word) <= len(name) <= LONGEST_NAME or not _in_order(word, name):
        return False
    return _score(word, name) >= ACCEPTED * len(word)


def _in_order(word: str, name: str) -> bool:
    at = -1
    for character in word:
        at = name.find(character, at + 1)
        if at < 0:
            return False
    return True


def _score(word: str, name: str) -> float:
    """The best way to find `word` in `name`: +1 for each character in a good place, -1 for each other one."""
    begins = _beginnings(name)
    if not begins:
        return _IMPOSSIBLE
    best = [1.0 if here == word[0] and at in begins else _IMPOSSIBLE for at, here in enumerate(name)]
    for character in word[1:]:
        following = [_IMPOSSIBLE] * len(name)
        skipped = _IMPOSSIBLE  # the best that ends before the character before this one
        for at in range(1, len(name)):
            if name[at] == character:
                follows = best[at - 1] + 1.0
                jumps = skipped + (1.0 if at in begins else (_IMPOSSIBLE if character.isdigit() else -1.0))
                following[at] = max(follows, jumps)
            skipped = max(skipped, best[at - 1])
        best = following
    return max(best)


def _beginnings(name: str) -> frozenset[int]:
    found = set()
    zeros = True
    for at, character in enumerate(name):
        before = name[at - 1] if at else " "
        new_number = character.isdigit() and not before.isdigit()
        zeros = new_number or (zeros and before == "0")
        if not character.isalnum():
            continue
        if not before.isalnum() or character.isdigit() != before.isdigit() or (character.isdigit() and zeros):
            found.add(at)
    return frozenset(found)
