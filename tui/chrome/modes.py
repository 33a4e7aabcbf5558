"""The header's second line: the modes, where the user is, and at the right what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from tui.widgets.cells import fit, inert
from tui.widgets.columns import Cell
from tui.widgets.glyphs import SEVERITIES

if TYPE_CHECKING:
    from backends.domain import Finding, Triage
    from tui.widgets.glyphs import Glyphs

Tabs = tuple[tuple[str, str, str, bool], ...]
"""(mode id, key, label, current)"""

MOST_COUNTED = 99
"""More are told as 99+, so that the counts take at most nine cells."""
WORST_FROM = 14
"""The worst finding is told in words where it gets at least so many cells: a name, and that something is said of it."""
WORST_WISH = 24
"""So many cells crumbs leave it, where that can be had by shortening the modes and then the crumbs."""
LEAST_NAME = 8
"""A crumb is shortened to no less, so that it can be told from its like."""
NAME_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is wrong and not acknowledged; equal values paint nothing."""

    critical: int = 0
    warning: int = 0
    info: int = 0
    worst: tuple[str, str, str] | None = None
    """(severity, subject, claim) of the worst finding."""
    unread: int = 0
    """Nodes that could not be looked at."""
    just_seen: int = 0
    """What is seen and not yet a finding."""


def alarm_of(triage: Triage) -> Alarm | None:
    """What the header says of `triage`; None when it has looked at nothing."""
    if not (triage.nodes_seen or triage.findings):
        return None
    counts = {"critical": 0, "warning": 0, "info": 0}
    for finding in triage.findings:
        if finding.acknowledged is None:
            counts[finding.severity] += 1
    worst = triage.worst
    told = None if worst is None else (str(worst.severity), worst.subject.label, _claim(worst))
    unread = max(0, triage.nodes_total - triage.nodes_seen)
    return Alarm(**counts, worst=told, unread=unread, just_seen=triage.just_seen)


def _claim(finding: Finding) -> str:
    return finding.claim if finding.gone_at is None else f"clearing: {finding.claim}"


class Span(NamedTuple):
    """Cells of the line, from and to, that open a mode when they are clicked."""

    start: int
    end: int
    mode: str


def mode_line(
    tabs: Tabs, crumbs: tuple[str, ...], alarm: Alarm | None, width: int, glyphs: Glyphs
) -> tuple[list[Cell], list[Span]]:
    """The line, and where it can be clicked: a tab opens its mode, what is wrong opens the first one.

    Crumbs that leave no room for the worst finding shorten the other modes to their keys, then each other, and are cut
    where the line ends; the counts stay.
    """
    counts = count_cells(alarm, glyphs)
    room = width - _length(counts) - 2
    left = room - (WORST_WISH + 3 if crumbs and alarm is not None and alarm.worst is not None else 0)
    words = [f"[{key} {label}]" if current else f" {key} {label} " for _, key, label, current in tabs]
    if 1 + sum(map(len, words)) + _length(_trail(crumbs, width, glyphs)) > left:
        words = [text if tab[3] else f" {tab[1]} " for text, tab in zip(words, tabs, strict=True)]
    trail = _trail(crumbs, left - 1 - sum(map(len, words)), glyphs)
    cells, spans = [Cell(" ")], []
    at = 1
    for (mode, _, _, current), text in zip(tabs, words, strict=True):
        cells.append(Cell(text, "tab" if current else ""))
        spans.append(Span(at, at + len(text), mode))
        at += len(text)
    cells = _cropped([*cells, *trail], room, glyphs)
    used = _length(cells)
    told = _right(alarm, counts, width - used - 1, glyphs)
    start = width - 1 - _length(told)
    if not told or start <= used:
        return cells, spans
    return [*cells, Cell(" " * (start - used)), *told], [Span(start, width, tabs[0][0]), *spans]


def count_cells(alarm: Alarm | None, glyphs: Glyphs) -> list[Cell]:
    """`✖1 ▲3`: how many of each; notes are counted where there is nothing worse. Empty when there is none."""
    if alarm is None:
        return []
    worse = [("critical", alarm.critical), ("warning", alarm.warning)]
    told = [each for each in worse if each[1]] or [("info", alarm.info)]
    cells: list[Cell] = []
    for severity, count in told:
        if count:
            style, _ = SEVERITIES[severity]
            number = str(count) if count <= MOST_COUNTED else f"{MOST_COUNTED}+"
            cells += [*([Cell(" ")] if cells else []), Cell(f"{glyphs.of(style)}{number}", style)]
    return cells


def _right(alarm: Alarm | None, counts: list[Cell], room: int, glyphs: Glyphs) -> list[Cell]:
    """The counts, and before them the worst finding in words where `room` cells are enough for it."""
    if alarm is None:
        return []
    if alarm.worst is None:
        said = f"no findings, {alarm.unread} unread" if alarm.unread else "no findings"
        style = "dim"
        if alarm.just_seen:
            said, style = f"{glyphs.warn} {alarm.just_seen} just seen", "warn"
        return [Cell(said, style)] if room > len(said) + 1 else []
    left = room - _length(counts) - 4
    if left < WORST_FROM:
        return counts
    severity, subject, claim = alarm.worst
    style, _ = SEVERITIES[severity]
    said = f"{glyphs.of(style)} {_shortened(subject, NAME_WIDTH, glyphs)}: {claim}"
    return [Cell(_shortened(said, left, glyphs), style), Cell("  "), *counts]


def _trail(crumbs: tuple[str, ...], room: int, glyphs: Glyphs) -> list[Cell]:
    """The crumbs, the longest shortened first while they take more than `room` cells."""
    arrow = Cell(" > " if glyphs.ascii else " › ", "dim")
    names = [_shortened(crumb, NAME_WIDTH, glyphs) for crumb in crumbs]
    widths = [cell_len(name) for name in names]
    while sum(widths) + 3 * len(widths) > room and max(widths, default=0) > LEAST_NAME:
        widths[widths.index(max(widths))] -= 1
    return [
        cell
        for name, width in zip(names, widths, strict=True)
        for cell in (arrow, Cell(_end_of(name, width, glyphs), "name"))
    ]


def _end_of(name: str, width: int, glyphs: Glyphs) -> str:
    """The end of `name` in at most `width` cells: nodes of one make differ there."""
    if cell_len(name) <= width:
        return name
    kept = name
    while cell_len(kept) >= width:
        kept = kept[1:]
    return glyphs.ellipsis + kept


def _shortened(text: str, width: int, glyphs: Glyphs) -> str:
    """`text` in at most `width` cells, unable to act."""
    said = inert(text[: width * 4 + 1])
    return said if cell_len(said) <= width else fit(said, width, ellipsis=glyphs.ellipsis).rstrip()


def _cropped(cells: list[Cell], width: int, glyphs: Glyphs) -> list[Cell]:
    kept: list[Cell] = []
    left = width
    for cell in cells:
        if left <= 0:
            break
        kept.append(Cell(_shortened(cell.text, left, glyphs), cell.style))
        left -= cell_len(kept[-1].text)
    return kept


def _length(cells: list[Cell]) -> int:
    return sum(cell_len(cell.text) for cell in cells)
