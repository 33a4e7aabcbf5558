"""Every value of one GPU as sections, what an on-call needs first at the top. Pure."""

from __future__ import annotations

from backends.domain import Gpu
from screens.gpu_values.errors import ecc, happened, remapping
from screens.gpu_values.identity import identity, licence, modes
from screens.gpu_values.lines import Build, Group, faded, folded
from screens.gpu_values.links import fabric, nvlink, pcie
from screens.gpu_values.load import clocks, memory, power, temperature, utilization
from screens.gpu_values.state import explained, state
from screens.gpu_values.work import mig, processes
from screens.node_pages.view import NodeView
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.sheet import Prose, Section


def _unread(_view: NodeView, gpu: Gpu) -> Group:
    """Fields that failed for a reason worth knowing."""
    return Group(Section("COULD NOT BE READ", tuple((Cell(fault, "warn"),) for fault in gpu.unread)))


GROUPS: tuple[Build, ...] = (
    utilization,
    power,
    temperature,
    clocks,
    memory,
    ecc,
    remapping,
    happened,
    nvlink,
    fabric,
    pcie,
    mig,
    processes,
    licence,
    identity,
    modes,
    _unread,
)
"""In the order of the page."""


def gpu_sections(view: NodeView, gpu: Gpu) -> list[Section]:
    """The state first. Groups without any value are named: where it is known why, there; else at the end."""
    groups = [build(view, gpu) for build in GROUPS]
    silent = [group.name for group in groups if not group.measured]
    known_why = [name for name in silent if explained(gpu, name)]
    others = [name for name in silent if name not in known_why]
    old = view.is_old(gpu)
    sections = [
        faded(folded(group.section)) if old and not group.lasting else folded(group.section)
        for group in groups
        if group.measured
    ]
    if others:
        sections.append(Section("NOT MEASURED", (Prose(f"{NOT_MEASURED}: {', '.join(others)}", "dim"),)))
    anything = any(group.measured for group in groups if group.name and not group.lasting)
    return [state(view, gpu, known_why, anything=anything), *sections]
