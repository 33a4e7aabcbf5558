"""The signs of state. A state is always a glyph and a word and a colour, never a colour alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NOT_MEASURED = "n/a"
SEVERITIES: Mapping[str, tuple[str, str]] = {
    "critical": ("bad", "critical"),
    "warning": ("warn", "warning"),
    "info": ("accent", "note"),
}
"""The style token, and by it the glyph, and the word of each severity of a finding."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of signs; each takes exactly one terminal cell."""

    bad: str
    warn: str
    note: str
    good: str
    stale: str
    unfolded: str
    folded: str
    ascending: str
    descending: str
    ellipsis: str
    dot: str
    ascii: bool

    def of(self, style: str) -> str:
        """The glyph of a style token ("bad", "warn", "good", "stale"; anything else is a note)."""
        return {"bad": self.bad, "warn": self.warn, "good": self.good, "stale": self.stale}.get(style, self.note)


UNICODE = Glyphs("✖", "▲", "●", "✓", "◌", "▾", "▸", "↑", "↓", "…", "·", ascii=False)
ASCII = Glyphs("X", "!", "*", "+", "?", "-", "+", "^", "v", "~", "-", ascii=True)


def for_environment(environ: Mapping[str, str]) -> Glyphs:
    """ASCII for a locale that is not UTF-8 and for the Linux console; `GPUDECK_ASCII=1` forces it."""
    if environ.get("GPUDECK_ASCII", "0") not in ("", "0") or environ.get("TERM") in ("linux", "dumb"):
        return ASCII
    locale = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "UTF-8")
    return UNICODE if locale.upper().replace("-", "").partition(".")[2] in ("UTF8", "") and locale != "C" else ASCII
