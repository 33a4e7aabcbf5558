"""The GPU stack as rows of a grid, and the line over it. Pure."""

from __future__ import annotations

from backends.domain import (
    NodeGpuCapacity,
    Operand,
    OperandPhase,
    OperandState,
    ResourceCount,
    Stack,
    StackHealth,
    StackNode,
)
from screens.cells import MISSING
from tui.widgets.columns import Cell, Column, LazyRows, Row
from tui.widgets.glyphs import NOT_MEASURED, Glyphs

PHASES: dict[OperandPhase, tuple[str, str]] = {
    OperandPhase.READY: ("good", "ok"),
    OperandPhase.STARTING: ("warn", "start"),
    OperandPhase.WAITING: ("stale", "wait"),
    OperandPhase.FAILING: ("bad", "fail"),
    OperandPhase.MISSING: ("bad", "none"),
    OperandPhase.PAUSED: ("accent", "pause"),
    OperandPhase.OFF: ("dim", "off"),
    OperandPhase.UNKNOWN: ("dim", NOT_MEASURED),
}
"""Style token and word of each phase."""
HEALTH: dict[StackHealth, tuple[str, str]] = {
    StackHealth.BLOCKED: ("bad", "blocked"),
    StackHealth.STARTING: ("warn", "start"),
    StackHealth.CHANGING: ("accent", "change"),
    StackHealth.WARNING: ("warn", "warning"),
    StackHealth.UNKNOWN: ("stale", "unknown"),
    StackHealth.READY: ("good", "ready"),
    StackHealth.OFF: ("dim", "off"),
}
SHORT: dict[str, str] = {
    "driver": "DRIVER",
    "toolkit": "TOOLKIT",
    "validator": "VALID",
    "device-plugin": "PLUGIN",
    "gfd": "GFD",
    "dcgm": "DCGM",
    "dcgm-exporter": "EXPORT",
    "mig-manager": "MIG",
    "node-status-exporter": "STATUS",
    "engine": "ENGINE",
    "fabric-manager": "FABRIC",
    "persistenced": "PERSIST",
    "cdi": "CDI",
    "mps": "MPS",
    "vgpu-manager": "VGPU",
    "vgpu-device-manager": "VGPUDEV",
    "vfio-manager": "VFIO",
    "sandbox-validator": "SB-VAL",
    "sandbox-device-plugin": "SB-PLUG",
    "kata-manager": "KATA",
    "cc-manager": "CC",
}
"""Titles of the columns, of every operand that a platform knows; another one is titled by its key."""
OPERAND_WIDTH = 7


def columns(operands: tuple[Operand, ...], *, instances: bool = False) -> tuple[Column, ...]:
    """Node, state, one column for each operand, then GPUs and any MIG instances as the scheduler counts them."""
    cut = (Column("instances", "MIG DEV", 7, "right", min_terminal_width=100),) if instances else ()
    return (
        Column("node", "NODE", 13, grow=20),
        Column("state", "STATE", 9),
        *(Column(each.key, _short(each.key), OPERAND_WIDTH, sortable=False) for each in operands),
        Column("gpus", "GPUS", 7, "right", min_terminal_width=100),
        *cut,
        Column("driver_version", "DRIVER VERSION", 14, min_terminal_width=120),
        Column("blocker", "WHAT BLOCKS", 24, grow=60, min_terminal_width=150, sortable=False),
    )


def _short(key: str) -> str:
    return SHORT.get(key, key.upper()[:OPERAND_WIDTH])


STATE = 1
"""The column that says how a node is."""


def rows(stack: Stack, glyphs: Glyphs, now: float, *, stale: bool = False, instances: bool = False) -> LazyRows:
    """A row a node, the worst first, else by name. `stale`: the last words of a platform that does not answer.

    `now`: seconds since the epoch.
    """
    order = list(HEALTH)
    listed = sorted(stack.nodes, key=lambda node: (order.index(node.health), node.name))
    return LazyRows(
        [node.name for node in listed],
        lambda index: Row(listed[index].name, _cells(listed[index], stack, glyphs, now, stale, instances), dim=stale),
    )


def _cells(node: StackNode, stack: Stack, glyphs: Glyphs, now: float, stale: bool, cut: bool) -> tuple[str | Cell, ...]:
    style, word = HEALTH[node.health]
    broken = _broken_changes(node, glyphs, now)
    cells = (
        node.name if node.schedulable else Cell(node.name, "warn"),
        Cell(f"{glyphs.of(style)} {word}", style),
        *(broken.get(each.key) or phase_cell(node.get(each.key), glyphs) for each in stack.operands),
        gpus_cell(node.capacity),
        *((counts_cell(node.capacity.instances),) if cut else ()),
        node.driver_version or MISSING,
        Cell(blocker_text(node), style),
    )
    if not stale:
        return cells
    faded = [cell if isinstance(cell, str) else Cell(cell.text, "stale") for cell in cells]
    faded[STATE] = Cell(f"{glyphs.stale} {word}", "stale")
    return tuple(faded)


def _broken_changes(node: StackNode, glyphs: Glyphs, now: float) -> dict[str, Cell]:
    """For the operands that run and make a change which failed, or is stuck: what blocks is that change."""
    mig, upgrade = node.mig, node.upgrade
    found = {}
    if mig is not None and (mig.state == "failed" or mig.stuck(now)):
        found["mig-manager"] = "fail" if mig.state == "failed" else "stuck"
    if upgrade is not None and (upgrade.step == "upgrade-failed" or upgrade.stuck(now)):
        found["driver"] = "upgr"
    runs = {state.operand for state in node.operands if state.phase in (OperandPhase.READY, OperandPhase.PAUSED)}
    return {key: Cell(f"{glyphs.bad} {word}", "bad") for key, word in found.items() if key in runs}


def phase_cell(state: OperandState | None, glyphs: Glyphs) -> Cell:
    """`✓ ok`; blank for an operand that this node has nothing to do with."""
    if state is None:
        return Cell("")
    style, word = PHASES[state.phase]
    return Cell(word if style == "dim" else f"{glyphs.of(style)} {word}", style)


def blocker_text(node: StackNode) -> str:
    """The first blocker in a line, or a note where nothing blocks; behind it whether the node is cordoned."""
    said = list(node.notes[:1])
    if node.blocker is not None:
        state = node.blocker.state
        where = f" in {state.container}" if state.container else ""
        said = [f"{node.blocker.title}{where}: {state.reason or state.message or PHASES[state.phase][1]}"]
    return "; ".join(said if node.schedulable else [*said, "cordoned"])


def summary(stack: Stack, glyphs: Glyphs) -> tuple[Cell, ...]:
    """One line over all: the operator's own verdict, how many nodes are how, what is not about a node, the release."""
    parts = []
    if stack.cluster is not None and stack.cluster.unwell:
        parts.append(Cell(f"{glyphs.bad} cluster {'failing' if stack.cluster.failing else 'not available'}", "bad"))
    for policy in stack.policies:
        style, _ = HEALTH[policy.health]
        said = policy.state or "unknown"
        if policy.reason and style != "good":
            said += f" ({policy.reason})"
        parts.append(Cell(f"{glyphs.of(style)} {policy.kind} {said}", style))
    for health, (style, word) in HEALTH.items():
        number = sum(node.health is health for node in stack.nodes)
        if number:
            parts.append(Cell(f"{number} {word}", style if style != "good" else ""))
    counts = (
        ("cordoned", sum(not node.schedulable for node in stack.nodes)),
        ("to approve", sum(each.waits_for_approval for each in stack.operators)),
        ("unwell by OLM", sum(not each.healthy for each in stack.operators)),
        ("short of pods", sum(each.ready < each.wanted for each in stack.components)),
        ("firing", 0 if stack.monitoring is None else len(stack.monitoring.alerts) + stack.monitoring.more_alerts),
        ("not permitted", len(stack.not_permitted)),
    )
    parts += [Cell(f"{glyphs.warn} {number} {word}", "warn") for word, number in counts if number]
    return (*parts, Cell(stack.title, "dim"))


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
