"""What the header says of how much of the site answers."""

from __future__ import annotations

from backends.domain import Fleet, NodeReading, SiteSpec
from tests.tui.fleets import NOW, h100, hanging, reading
from tui.chrome.header import site_cells, summarize
from tui.widgets.glyphs import UNICODE


def said(*readings: NodeReading) -> str:
    summary = summarize(SiteSpec("prod"), Fleet(readings), NOW)
    return "".join(cell.text for cell in site_cells(summary, 80, UNICODE))


def test_a_node_whose_driver_hangs_is_none_of_those_that_are_live() -> None:
    well, hung = reading("dgx01", h100(0)), hanging(h100(0))
    assert "2/2 nodes  ✓ live" in said(well, reading("dgx02", h100(0)))
    assert "▲ 1/2 nodes" in said(well, hung)
    assert "✓ live" not in said(well, hung)
