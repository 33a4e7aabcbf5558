"""The names of `themes.THEMES`, for whoever may not import Textual."""

from __future__ import annotations

THEME_NAMES = ("dark", "light", "high-contrast", "colour-blind", "ansi-16", "mono")
