"""What triage found on the node and the chosen GPU, one line each."""

from __future__ import annotations

from backends.domain import Finding
from screens.node_pages.view import NodeView
from screens.triage_rows import state_of
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.sheet import Line, Section

STATE_WIDTH = 11


def findings_section(view: NodeView) -> Section:
    """Those of the node itself, of the chosen GPU, and of another that its faults follow from; how many more the other
    GPUs of the node have is said below them."""
    chosen = view.gpu.key if view.gpu is not None else None
    own = [each for each in view.findings if chosen in _gpus(each) or each.subject.gpu_key is None]
    lines: list[Line] = []
    for each in own:
        state = state_of(each, view.glyphs)
        since = units.clock_time(each.begun_at, view.now)
        whose = _whose(each) if chosen != each.subject.gpu_key else ""
        lines.append(
            (Cell(fit(state.text, STATE_WIDTH), state.style), Cell(f"{since}  ", "dim"), Cell(f"{whose}{each.claim}"))
        )
    others = len(view.findings) - len(own)
    if others:
        lines.append((Cell(f"{others} more on its other GPUs", "dim"),))
    return Section("FINDINGS", tuple(lines))


def _gpus(finding: Finding) -> set[str | None]:
    return {each.gpu_key for each in (finding.subject, *finding.others)}


def _whose(finding: Finding) -> str:
    return "node: " if finding.subject.gpu_key is None else f"gpu{finding.subject.gpu_index}: "
