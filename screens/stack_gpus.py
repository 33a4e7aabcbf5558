"""The GPUs of a node of the stack: as the scheduler counts them, and what is really in use. Pure."""

from __future__ import annotations

from backends.allocation import InUse
from backends.domain import NodeGpuCapacity, ResourceCount, Stack
from screens.cells import MISSING
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.sheet import Line, Section

LABEL = 18
"""Columns of the labels on the sheet of the stack."""


def has_instances(stack: Stack) -> bool:
    """Whether MIG instances are counted beside GPUs."""
    return any(node.capacity.instances for node in stack.nodes)


def gpus_cell(capacity: NodeGpuCapacity) -> Cell:
    """What may be allocated of what is there, MIG instances left out."""
    if not capacity.resources:
        return MISSING if capacity.gpus is None else Cell(str(capacity.gpus))
    return counts_cell(capacity.whole)


def counts_cell(counts: tuple[ResourceCount, ...]) -> Cell:
    """`7/8`: what may be allocated of what is there; blank where there is none."""
    if not counts:
        return Cell("")
    allocatable, total = sum(count.allocatable for count in counts), sum(count.capacity for count in counts)
    return Cell(f"{allocatable}/{total}", "warn" if allocatable < total else "")


def gpus_section(capacity: NodeGpuCapacity, used: InUse | None) -> Section:
    if not capacity.resources:
        return Section("GPUS", () if used is None else (pair("in use", _in_use(capacity, used)),))
    lines: list[Line] = [(Cell(f"{'RESOURCE':<28} HAS  MAY GIVE  REQUESTED", "dim"),)]
    for each in capacity.resources:
        short = each.allocatable < each.capacity
        asked = NOT_MEASURED if each.requested is None else str(each.requested)
        text = f"{fit(each.resource, 28)} {each.capacity:>3}  {each.allocatable:>8}  {asked:>9}"
        lines.append((Cell(text, "warn" if short else ""),))
    lines.append(pair("in use by pods", None if used is None else _in_use(capacity, used)))
    if capacity.sharing is not None:
        lines.append(pair("shared by", f"{capacity.sharing}, {capacity.replicas or '?'} replicas of each GPU"))
    if capacity.mig_strategy not in (None, "none"):
        lines.append(pair("MIG strategy", capacity.mig_strategy))
    return Section("GPUS, AS THE SCHEDULER COUNTS THEM", tuple(lines))


def _in_use(capacity: NodeGpuCapacity, used: InUse) -> str:
    """What has a process of a pod: what is shared is counted once, whatever the scheduler counts."""
    gpus = f"{used.gpus} GPU{'' if used.gpus == 1 else 's'}"
    if not (used.instances or capacity.instances or capacity.mig_strategy == "single"):
        return gpus
    return f"{gpus}, {used.instances} MIG instance{'' if used.instances == 1 else 's'}"


def pair(label: str, value: str | None, style: str = "") -> Line:
    if value is None:
        return Cell(fit(label, LABEL) + " ", "dim"), Cell(NOT_MEASURED, "dim")
    return Cell(fit(label, LABEL) + " ", "dim"), Cell(value, style)
