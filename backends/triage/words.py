"""Figures as words of a sentence: findings are read aloud."""

from __future__ import annotations

from collections.abc import Iterable

_GIB = 1024**3


def gib(count: int) -> str:
    """1536 MiB -> `1.5 GiB`."""
    return f"{count / _GIB:.1f} GiB"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `2 h 05 min`, `3 days`."""
    whole = max(0, int(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} days"


def listed(items: Iterable[object], most: int = 6) -> str:
    """`0, 3 and 5`; beyond `most` the rest is counted."""
    words = [str(item) for item in items]
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def ranges(numbers: Iterable[int]) -> str:
    """`0-3, 7` of 0, 1, 2, 3, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
