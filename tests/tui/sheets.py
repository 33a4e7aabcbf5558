"""What tests ask of a section of a sheet."""

from __future__ import annotations

from tui.widgets.sheet import Line, Section


def lines_of(section: Section) -> list[Line]:
    """Its lines of cells; prose is left out."""
    return [line for line in section.lines if isinstance(line, tuple)]
