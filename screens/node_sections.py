"""What the pages of a node share: labelled lines, and the section of its events. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Event
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Section

LABEL_WIDTH = 15
METER_WIDTH = 16
EVENTS_SHOWN = 20


def line(label: str, value: str | None, style: str = "", unit: str = "") -> Line:
    """`label value unit`; None and n/a are dim, and carry no unit."""
    head = Cell(fit(label, LABEL_WIDTH) + " ", "dim")
    if value is None or value == NOT_MEASURED:
        return head, Cell(NOT_MEASURED, "dim")
    return head, Cell(f"{value} {unit}" if unit else value, style)


def events_section(events: Sequence[Event], glyphs: Glyphs) -> Section:
    """The newest events first."""
    lines = []
    for event in list(events)[::-1][:EVENTS_SHOWN]:
        where = "" if event.gpu_index is None else f"GPU {event.gpu_index} "
        code = "" if event.code is None else f"{event.kind} {event.code} "
        style = "" if event.kind == "connected" else "warn"
        lines.append(
            (Cell(f"{units.moment(event.at)} ", "dim"), Cell(f"{glyphs.of(style)} {where}{code}{event.text}", style))
        )
    return Section("EVENTS OF THIS NODE", tuple(lines) or ((Cell("none since the console started", "dim"),),))
