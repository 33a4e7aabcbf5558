"""The themes, and which one a terminal gets.

States use Textual's own text variables, so that a foreign theme works too: see `STATE_VARIABLES`.
"""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

from themes.palette import PALETTES, Palette

STATE_VARIABLES: dict[str, str] = {
    "good": "text-success",
    "warn": "text-warning",
    "bad": "text-error",
    "accent": "text-accent",
    "stale": "text-disabled",
    "dim": "text-muted",
}
"""Style token of a cell -> the theme variable that colours it."""


def _rgb(palette: Palette) -> Theme:
    return Theme(
        name=palette.name,
        primary=palette.accent,
        secondary=palette.accent,
        accent=palette.accent,
        success=palette.good,
        warning=palette.warn,
        error=palette.bad,
        foreground=palette.foreground,
        background=palette.background,
        surface=palette.surface,
        panel=palette.panel,
        dark=palette.dark,
        variables={
            **{variable: getattr(palette, token) for token, variable in STATE_VARIABLES.items()},
            "foreground-muted": palette.dim,
            "block-cursor-background": palette.cursor,
            "block-cursor-foreground": palette.foreground,
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": palette.panel,
            "block-cursor-blurred-foreground": palette.foreground,
            "footer-key-foreground": palette.accent,
            "border": palette.accent,
            "border-blurred": palette.dim,
            "scrollbar": palette.cursor,
            "scrollbar-hover": palette.accent,
            "scrollbar-active": palette.accent,
            "scrollbar-background": palette.background,
            "scrollbar-background-hover": palette.background,
            "scrollbar-background-active": palette.background,
            "scrollbar-corner-color": palette.background,
        },
    )


def _terminal(name: str, accent: str, good: str, warn: str, bad: str, dim: str) -> Theme:
    """A theme in the terminal's own colours."""
    return Theme(
        name=name,
        primary=accent,
        secondary=accent,
        accent=accent,
        success=good,
        warning=warn,
        error=bad,
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        ansi=True,
        variables={
            "ansi-background": "ansi_black",
            "ansi-foreground": "ansi_white",
            "text-success": good,
            "text-warning": warn,
            "text-error": bad,
            "text-accent": accent,
            "text-disabled": dim,
            "text-muted": dim,
            "foreground-muted": dim,
            "block-cursor-background": "ansi_default",
            "block-cursor-foreground": "ansi_default",
            "block-cursor-text-style": "reverse",
            "block-cursor-blurred-background": "ansi_default",
            "block-cursor-blurred-text-style": "bold",
            "footer-key-foreground": accent,
            "border": accent,
            "border-blurred": dim,
            **dict.fromkeys(("scrollbar", "scrollbar-hover", "scrollbar-active"), accent),
            **dict.fromkeys(
                ("scrollbar-background", "scrollbar-background-hover", "scrollbar-background-active"), "ansi_default"
            ),
        },
    )


THEMES: tuple[Theme, ...] = (
    *(_rgb(palette) for palette in PALETTES),
    _terminal("ansi-16", "ansi_cyan", "ansi_green", "ansi_yellow", "ansi_bright_red", "ansi_default"),
    _terminal("mono", *["ansi_default"] * 5),
)
DEFAULT = "dark"


def for_environment(environ: Mapping[str, str]) -> str:
    """The theme's name for a terminal: `mono` under NO_COLOR, `ansi-16` where only 16 colours are sure, else dark."""
    if environ.get("NO_COLOR"):
        return "mono"
    term = environ.get("TERM", "")
    if term == "dumb":
        return "mono"
    rich_terminal = environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "256" in term or "direct" in term
    return DEFAULT if rich_terminal else "ansi-16"
