"""The NVSwitch fabric of a node as cells and lines: Fabric Manager, and where each GPU stands in the fabric. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from backends.domain import Gpu, Node
from backends.fabric import NOT_RUNNING, is_switched, service_state
from backends.triage.words import ranges
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Section

LABEL_WIDTH = 16
_SERVICE_STYLES = {"active": "good", "activating": "warn", "missing": "dim", None: "dim"}
_STATES: dict[str | None, tuple[str, str]] = {
    "not_started": ("bad", "not in the fabric"),
    "in_progress": ("warn", "still joining the fabric"),
    "completed": ("good", "in the fabric"),
    "not_supported": ("dim", "no fabric"),
    None: ("dim", f"{NOT_MEASURED}: boards tell of it from Hopper on"),
}
_HEALTH: dict[str | None, tuple[str, str]] = {
    "unhealthy": ("bad", "unhealthy"),
    "limited_capacity": ("warn", "limited capacity"),
    "healthy": ("good", "healthy"),
}
_RANK = ("bad", "warn", "good", "dim")


def fabric_cells(node: Node, glyphs: Glyphs) -> list[Cell]:
    """What is wrong with the fabric, for one line; nothing where nothing is, or where there is no switch."""
    gpus = _answering(node)
    if not is_switched(gpus):
        return []
    said: list[Cell] = []
    service = service_state(node)
    if service in NOT_RUNNING:
        said.append(Cell(f"{glyphs.bad} Fabric Manager {service}", "bad"))
    for (style, words), own in _alike(gpus):
        if style in ("bad", "warn"):
            said.append(Cell(f"{glyphs.of(style)} GPU {ranges(gpu.index for gpu in own)} {words}", style))
    return said


def fabric_section(node: Node, glyphs: Glyphs) -> Section:
    """Nothing on a machine without NVSwitches."""
    gpus = _answering(node)
    if not is_switched(gpus):
        return Section("NVSWITCH FABRIC", ())
    lines: list[Line] = [(Cell(f"{'Fabric Manager':<{LABEL_WIDTH}}"), _service(service_state(node), glyphs))]
    for (style, words), own in _alike(gpus):
        label = f"GPU {ranges(gpu.index for gpu in own)}"
        lines.append((Cell(f"{label:<{LABEL_WIDTH - 1}} "), Cell(_signed(style, words, glyphs), style)))
    return Section("NVSWITCH FABRIC", tuple(lines))


def _answering(node: Node) -> tuple[Gpu, ...]:
    return tuple(gpu for gpu in node.gpus if not gpu.lost)


def _service(state: str | None, glyphs: Glyphs) -> Cell:
    if state is None:
        return Cell(f"{NOT_MEASURED}: its service could not be asked", "dim")
    if state == "missing":
        return Cell("no service of this machine; it may run in a container", "dim")
    style = "bad" if state in NOT_RUNNING else _SERVICE_STYLES.get(state, "warn")
    return Cell(_signed(style, state, glyphs), style)


def _signed(style: str, words: str, glyphs: Glyphs) -> str:
    return words if style == "dim" else f"{glyphs.of(style)} {words}"


def _alike(gpus: Sequence[Gpu]) -> list[tuple[tuple[str, str], list[Gpu]]]:
    """(style, words) and the GPUs of which it is so, the worst first."""
    kinds: defaultdict[tuple[str, str], list[Gpu]] = defaultdict(list)
    for gpu in gpus:
        kinds[_standing(gpu)].append(gpu)
    return sorted(kinds.items(), key=lambda kind: (_RANK.index(kind[0][0]), kind[1][0].index))


def _standing(gpu: Gpu) -> tuple[str, str]:
    fabric = gpu.fabric
    style, words = _STATES.get(fabric.state, ("warn", f"fabric state {fabric.state}"))
    if fabric.state == "completed" and fabric.status not in (None, 0):
        return "bad", f"failed to join the fabric (NVML status {fabric.status})"
    if fabric.state != "completed" or fabric.health is None:
        return style, words
    health, said = _HEALTH.get(fabric.health, ("warn", fabric.health))
    return health, f"{words}, {said}"
