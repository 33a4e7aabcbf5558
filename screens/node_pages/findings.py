"""What triage found on the node and the chosen GPU, one line each."""

from __future__ import annotations

from screens.node_pages.view import NodeView
from screens.triage_rows import state_of
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.sheet import Line, Section

STATE_WIDTH = 11


def findings_section(view: NodeView) -> Section:
    """Those of the node itself and of the chosen GPU; how many other GPUs of the node have is said below them."""
    chosen = view.gpu.key if view.gpu is not None else None
    own = [each for each in view.findings if each.subject.gpu_key in (None, chosen)]
    lines: list[Line] = []
    for each in own:
        state = state_of(each, view.glyphs)
        since = units.clock_time(each.begun_at, view.now)
        whose = "node: " if each.subject.gpu_key is None and chosen is not None else ""
        lines.append(
            (Cell(fit(state.text, STATE_WIDTH), state.style), Cell(f"{since}  ", "dim"), Cell(f"{whose}{each.claim}"))
        )
    others = len(view.findings) - len(own)
    if others:
        lines.append((Cell(f"{others} more on its other GPUs", "dim"),))
    return Section("FINDINGS", tuple(lines))
