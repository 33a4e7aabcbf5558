"""The GPUs of a node of the stack: as the scheduler counts them, and what is really in use. Pure."""

from __future__ import annotations

from backends.allocation import InUse
from backends.domain import NodeGpuCapacity, NodeMetrics, plural
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.sheet import Line, Section

LABEL = 18
"""Columns of the labels on the sheet of the stack."""


def gpus_section(capacity: NodeGpuCapacity, used: InUse | None, metrics: NodeMetrics | None = None) -> Section:
    """`metrics` say how many GPUs are busy where it is not known what is used."""
    if not capacity.resources:
        return Section("GPUS", () if used is None else (pair("in use", _in_use(capacity, used)),))
    lines: list[Line] = [(Cell(f"{'RESOURCE':<28} HAS  MAY GIVE  REQUESTED", "dim"),)]
    for each in capacity.resources:
        short = each.allocatable < each.capacity
        asked = NOT_MEASURED if each.requested is None else str(each.requested)
        text = f"{fit(each.resource, 28)} {each.capacity:>3}  {each.allocatable:>8}  {asked:>9}"
        lines.append((Cell(text, "warn" if short else ""),))
    lines.append(pair("in use by pods", None if used is None else _in_use(capacity, used)))
    if used is None and metrics is not None:
        told = None if metrics.busy is None else f"{metrics.busy} of {plural(metrics.gpus, 'GPU')}"
        lines.append(pair("busy, by DCGM", told))
    if capacity.sharing is not None:
        lines.append(pair("shared by", f"{capacity.sharing}, {capacity.replicas or '?'} replicas of each GPU"))
    if capacity.mig_strategy not in (None, "none"):
        lines.append(pair("MIG strategy", capacity.mig_strategy))
    return Section("GPUS, AS THE SCHEDULER COUNTS THEM", tuple(lines))


def _in_use(capacity: NodeGpuCapacity, used: InUse) -> str:
    """What has a process of a pod: what is shared is counted once, whatever the scheduler counts."""
    gpus = plural(used.gpus, "GPU")
    if not (used.instances or capacity.instances or capacity.mig_strategy == "single"):
        return gpus
    return f"{gpus}, {plural(used.instances, 'MIG instance')}"


def pair(label: str, value: str | None, style: str = "") -> Line:
    if value is None:
        return Cell(fit(label, LABEL) + " ", "dim"), Cell(NOT_MEASURED, "dim")
    return Cell(fit(label, LABEL) + " ", "dim"), Cell(value, style)
