"""The colours of the RGB themes. `tests/tui/test_themes.py` holds each to its contrast on its background."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """Colour only says state: one accent, and a colour per state."""

    name: str
    dark: bool
    background: str
    surface: str
    panel: str
    cursor: str
    foreground: str
    dim: str
    stale: str
    accent: str
    good: str
    warn: str
    bad: str


PALETTES: tuple[Palette, ...] = (
    Palette(
        name="dark",
        dark=True,
        background="#101418",
        surface="#151a20",
        panel="#1c232b",
        cursor="#22303f",
        foreground="#d8dee6",
        dim="#99a5b3",
        stale="#a9a1be",
        accent="#6cb6ff",
        good="#7bc96f",
        warn="#e8b339",
        bad="#ff7b72",
    ),
    Palette(
        name="light",
        dark=False,
        background="#fafbfc",
        surface="#f2f4f6",
        panel="#e7ebef",
        cursor="#d3e4f8",
        foreground="#1b2129",
        dim="#5a6572",
        stale="#655b7d",
        accent="#0a58b5",
        good="#1c6b2c",
        warn="#845000",
        bad="#b3161b",
    ),
    Palette(
        name="high-contrast",
        dark=True,
        background="#000000",
        surface="#000000",
        panel="#1a1a1a",
        cursor="#00285a",
        foreground="#ffffff",
        dim="#c8c8c8",
        stale="#d8c8ff",
        accent="#7fd4ff",
        good="#5cff5c",
        warn="#ffe14d",
        bad="#ff9d94",
    ),
    # Blue for well and orange for trouble stay apart without red-green sight; severity is lightness as well as hue.
    Palette(
        name="colour-blind",
        dark=True,
        background="#101418",
        surface="#151a20",
        panel="#1c232b",
        cursor="#22303f",
        foreground="#d8dee6",
        dim="#99a5b3",
        stale="#a8a8b8",
        accent="#9ad0f5",
        good="#56a8e9",
        warn="#f0e442",
        bad="#f0842c",
    ),
)
