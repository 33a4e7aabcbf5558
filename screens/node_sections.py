"""What the pages of a node share: labelled lines, its events. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Event
from screens.event_words import condition_of, name_of, runs, what
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Prose, Section

LABEL_WIDTH = 15
METER_WIDTH = 16
EVENTS_SHOWN = 20


def line(label: str, value: str | None, style: str = "", unit: str = "") -> Line:
    """`label value unit`; None and n/a are dim, and carry no unit."""
    head = Cell(fit(label, LABEL_WIDTH) + " ", "dim")
    if value is None or value == NOT_MEASURED:
        return head, Cell(NOT_MEASURED, "dim")
    return head, Cell(f"{value} {unit}" if unit else value, style)


def event_lines(event: Event, glyphs: Glyphs, where: str = "") -> tuple[Line, Prose]:
    """An event on a page: when, `where`, its name, and under it what happened."""
    condition, name = condition_of(event), name_of(event)
    told = f"{where} {name.removeprefix('gpu ')}" if where else name
    head = (Cell(f"{units.moment(event.at)}  ", "dim"), Cell(f"{glyphs.of(condition.style)} {told}", condition.style))
    return head, Prose(what(event), "", indent=2)


def events_section(events: Sequence[Event], glyphs: Glyphs) -> Section:
    """The newest events first, a run of one once."""
    lines: list[Line | Prose] = []
    for event in runs(events)[::-1][:EVENTS_SHOWN]:
        lines += event_lines(event, glyphs, "" if event.gpu_index is None else f"GPU {event.gpu_index}")
    return Section("EVENTS OF THIS NODE", tuple(lines) or ((Cell("none since the console started", "dim"),),))
