"""What a change is asked about with: everything it will do, whom it hits, and how it is taken back, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, chop_cells

from backends.changes.change import Change, Permission
from backends.changes.preflight import Preflight
from backends.changes.step import Step
from tui.widgets.cells import inert
from tui.widgets.columns import Cell
from tui.widgets.glyphs import Glyphs
from tui.widgets.sheet import Line, Section

LABEL = 8
"""Cells of the words before a step's lines: effect, verify, undo."""


def change_sections(
    change: Change, found: Preflight | None, width: int, glyphs: Glyphs, news: Sequence[str] = ()
) -> list[Section]:
    """The whole change for a sheet of `width` cells. Without `found`, dry runs and permissions are still asked for.

    `news` is what it hits since it was asked about before.
    """
    sections = [
        Section("It hits more than when you were asked", _marked(news, "bad", width, glyphs)),
        Section("Refused", _marked(found.obstacles if found else (), "bad", width, glyphs)),
        Section("Look at this", _marked(found.warnings if found else (), "warn", width, glyphs)),
        Section("Hits", _hits(change, width)),
        Section("Seen just now besides", _marked(found.news(change) if found else (), "bad", width, glyphs)),
        *(
            Section(f"Step {number} of {len(change.steps)}", _step(step, _effects(found, number - 1), width))
            for number, step in enumerate(change.steps, 1)
        ),
        Section("Permissions", _permissions(found.permissions, width, glyphs) if found else ()),
        Section("Reason", folded(change.reason or "none was given", width)),
    ]
    return [section for section in sections if section.lines]


def _effects(found: Preflight | None, index: int) -> tuple[str, ...]:
    return found.previews[index].effects if found is not None and index < len(found.previews) else ()


def _marked(texts: Iterable[str], style: str, width: int, glyphs: Glyphs) -> tuple[Line, ...]:
    return tuple(
        (Cell(mark, style), Cell(line, style))
        for text in texts
        for mark, line in _hung(text, width, f"{glyphs.of(style)} ")
    )


def _hits(change: Change, width: int) -> tuple[Line, ...]:
    lines: list[Line] = []
    for text in change.radius.lines:
        style = "warn" if text.startswith("not known") else ""
        lines += folded(text, width, style)
    return tuple(lines)


def _step(step: Step, effects: Sequence[str], width: int) -> tuple[Line, ...]:
    lines = [line for text in step.describe().split("\n") for line in folded(text, width, "accent")]
    for effect in effects:
        lines += _labelled("effect", effect, width)
    lines += _labelled("verify", step.verified_by(), width)
    undo = step.undo()
    if undo is not None:
        for number, text in enumerate(undo.describe().split("\n")):
            lines += _labelled("undo" if number == 0 else "", text, width)
    if undo is None or step.undo_note:
        lines += _labelled("" if undo is not None else "undo", step.undo_note or "there is none", width, "warn")
    return tuple(lines)


def _permissions(permissions: Iterable[Permission], width: int, glyphs: Glyphs) -> tuple[Line, ...]:
    words = {True: ("good", "granted"), False: ("bad", "not granted"), None: ("warn", "could not be asked")}
    lines: list[Line] = []
    for each in permissions:
        style, word = words[each.granted]
        text = f"{each.what}: {word}" + (f" ({each.why})" if each.why else "")
        lines += [(Cell(mark, style), Cell(line)) for mark, line in _hung(text, width, f"{glyphs.of(style)} ")]
    return tuple(lines)


def _labelled(label: str, text: str, width: int, style: str = "") -> list[Line]:
    lines = whole_lines(text, max(1, width - LABEL))
    return [(Cell(f"{label if n == 0 else '':<{LABEL}}", "dim"), Cell(line, style)) for n, line in enumerate(lines)]


def _hung(text: str, width: int, mark: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(whole_lines(text, max(1, width - len(mark)))):
        yield (mark if number == 0 else " " * len(mark)), line


def folded(text: str, width: int, style: str = "") -> tuple[Line, ...]:
    """`text` in as many lines as it needs."""
    return tuple((Cell(line, style),) for line in whole_lines(text, width))


def whole_lines(text: str, width: int) -> list[str]:
    """All of `text` in lines of at most `width` cells, broken between words where that is possible."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines += _lines_of(inert(paragraph), max(2, width))
    return lines


def _lines_of(text: str, width: int) -> list[str]:
    """An indent stays in front of every line, and leaves room for a wide character."""
    indent = " " * max(0, min(len(text) - len(text.lstrip(" ")), width // 2, width - 2))
    return [indent + line for line in _filled(text.strip(" "), width - len(indent))]


def _filled(text: str, width: int) -> list[str]:
    lines = [""]
    used = 0
    for word in text.split(" "):
        size = cell_len(word)
        if used and used + 1 + size > width:
            lines.append("")
            used = 0
        elif used:
            word, size = f" {word}", size + 1
        pieces = chop_cells(word, width - used) if size > width - used else [word]
        lines[-1] += pieces[0] if pieces else ""
        lines += pieces[1:]
        used = cell_len(lines[-1])
    return lines
