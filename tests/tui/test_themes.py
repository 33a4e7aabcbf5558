"""Every state colour can be read on every background it stands on."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.color import Color
from textual.filter import ANSIToTruecolor

from backends.domain import Fleet
from tests.tui.consoles import build_on, opened
from themes import DEFAULT, STATE_VARIABLES, THEMES, for_environment
from themes.palette import PALETTES, Palette
from tui.theme_names import THEME_NAMES

TOKENS = ("foreground", *STATE_VARIABLES)


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""

    def luminance(colour: str) -> float:
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in Color.parse(colour).normalized
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.name)
@pytest.mark.parametrize("ground", ["background", "surface", "panel", "cursor"])
def test_contrast(palette: Palette, ground: str) -> None:
    wanted = 7.0 if palette.name == "high-contrast" else 4.5
    for token in TOKENS:
        ratio = contrast(getattr(palette, token), getattr(palette, ground))
        assert ratio >= wanted, f"{token} on {ground}: {ratio:.2f}"


def _deuteranopia(colour: str) -> tuple[float, float, float]:
    """How the colour looks without medium-wave cones (Machado 2009, severity 1, on linear RGB)."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in Color.parse(colour).normalized
    )
    return (
        0.367322 * red + 0.860646 * green - 0.227968 * blue,
        0.280085 * red + 0.672501 * green + 0.047413 * blue,
        -0.011820 * red + 0.042940 * green + 0.968881 * blue,
    )


def test_good_and_bad_stay_apart_without_green_cones() -> None:
    palette = next(palette for palette in PALETTES if palette.name == "colour-blind")
    states = [_deuteranopia(getattr(palette, token)) for token in ("good", "warn", "bad")]
    for index, one in enumerate(states):
        for other in states[index + 1 :]:
            assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.25


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
async def test_every_theme_loads_and_keeps_its_state_colours(theme: object) -> None:
    app: App[None] = App()
    for each in THEMES:
        app.register_theme(each)
    async with app.run_test() as pilot:
        app.theme = theme.name  # type: ignore[attr-defined]
        await pilot.pause()
        variables = app.get_css_variables()
        for token, variable in STATE_VARIABLES.items():
            palette = next((each for each in PALETTES if each.name == app.theme), None)
            if palette is not None:
                assert Color.parse(variables[variable]) == Color.parse(getattr(palette, token))
            else:
                assert variables[variable].startswith("ansi_")


def test_names_are_told_apart_and_the_default_exists() -> None:
    names = [theme.name for theme in THEMES]
    assert len(set(names)) == len(names)
    assert DEFAULT in names


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, "mono"),
        ({"TERM": "xterm-256color"}, DEFAULT),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, DEFAULT),
        ({"TERM": "linux"}, "ansi-16"),
        ({"TERM": "dumb"}, "mono"),
        ({}, "ansi-16"),
    ],
)
def test_the_terminal_chooses(environ: dict[str, str], name: str) -> None:
    assert for_environment(environ) == name


@pytest.mark.parametrize(("theme", "own"), [("mono", True), ("ansi-16", True), ("dark", False)])
async def test_the_terminals_own_colours_are_left_to_the_terminal(theme: str, own: bool) -> None:
    """From the first paint on, and after a change of the theme."""
    async with opened(build_on(Fleet(), theme=theme)) as console:

        def translated() -> bool:
            return any(isinstance(each, ANSIToTruecolor) for each in console.app.get_line_filters())

        assert translated() is not own
        console.app.theme = "dark"
        await console.pilot.pause()
        assert translated()
        console.app.theme = "mono"
        await console.pilot.pause()
        assert not translated()


def test_the_names_that_a_configuration_may_give_are_those_of_the_themes() -> None:
    assert tuple(theme.name for theme in THEMES) == THEME_NAMES
