"""What the MIG map of a GPU shows: its state in words, what stands where, and what is left. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from backends.domain import Gpu, Node, Vgpu
from backends.nodes.mig.catalogue import Board, UnknownBoard, board_for
from backends.nodes.mig.geometry import Layout, Room, Stranded, counted, faults, room, stranded
from backends.nodes.mig.target import GpuInstance, deduced, gpu_instances, placed, possible_layout
from backends.resets import reset_of

State = Literal["guest", "absent", "off", "pending", "empty", "on"]
Places = Literal["read", "deduced", "supposed", "unknown"]

GUEST_NOTE = (
    "seen from a vGPU guest: NVML tells neither the MIG layout of the board nor its other guests; power, temperature, "
    "ECC and links are the host's to read"
)
SUPPOSED_NOTE = "placement not readable (root only): a possible arrangement, not where they stand"


@dataclass(frozen=True, slots=True)
class GpuMap:
    """One GPU as the map draws it."""

    index: int
    name: str | None
    state: State
    headline: str
    """The state in words: MIG on, MIG off, on after the next reset, ..."""
    style: str
    """Style token of the headline."""
    board: Board | None = None
    instances: tuple[GpuInstance, ...] = ()
    """With the places that are drawn, read or not: see `places`."""
    places: Places = "read"
    room: Room | None = None
    """Known only where the places are."""
    stranded: Stranded = field(default_factory=Stranded)
    notes: tuple[str, ...] = ()

    @property
    def is_drawn(self) -> bool:
        """There is a grid to draw."""
        return self.board is not None and self.board.has_placements and self.state in ("on", "empty", "pending")


def picture(gpu: Gpu, node: Node | None = None) -> GpuMap:
    """The map of a GPU of `node`."""
    if gpu.vgpu.mode == "vgpu":
        words, style = _licence(gpu.vgpu)
        return GpuMap(gpu.index, gpu.name, "guest", f"vGPU guest, {words}", style, notes=(GUEST_NOTE,))
    mig = gpu.mig
    try:
        board = board_for(gpu.name, gpu.pci_device_id)
    except UnknownBoard:
        board = None
    if gpu.lost:
        return GpuMap(gpu.index, gpu.name, "absent", "MIG n/a: the GPU is lost", "bad", board)
    if mig.enabled is None:
        said = "no MIG on this board" if board is None else "NVML tells no MIG mode"
        return GpuMap(gpu.index, gpu.name, "absent", said, "dim", board)
    instances = gpu_instances(mig.instances, gpu.processes)
    if board is None:
        notes = ("this board is not in the MIG table: its grid is not known",)
        state, headline, style = _mode(mig.enabled, mig.pending, instances)
        return GpuMap(gpu.index, gpu.name, state, headline, style, None, instances, "unknown", notes=notes)
    return _on_board(gpu, board, instances, node)


def _on_board(gpu: Gpu, board: Board, instances: tuple[GpuInstance, ...], node: Node | None) -> GpuMap:
    state, headline, style = _mode(gpu.mig.enabled, gpu.mig.pending, instances)
    notes = []
    if gpu.mig.enabled is False and state == "off" and board.has_placements:
        most = [f"{each.max_instances}x {each.name}" for each in board.profiles if each.is_plain]
        notes.append(f"one GPU for everybody on it; MIG could make of it {', '.join(most)} or a mixture")
    if state == "empty":
        notes.append(
            "no CUDA work runs on this GPU until an instance is made; one without a compute instance is hidden"
        )
    if gpu.mig.pending is not None and gpu.mig.pending != gpu.mig.enabled:
        reset = reset_of(gpu, node)
        whole = ", of all GPUs of the node together," if reset.together else ""
        notes.append(
            f"a client held the GPU when the mode was changed: {reset.command}{whole} or a reboot ends the wait"
        )
    seen, places = _located(board, instances)
    left, lost = None, Stranded()
    if gpu.mig.enabled and places in ("read", "deduced"):
        layout: Layout = tuple(placed(board, each) for each in seen)
        notes += [f"against the table: {fault}" for fault in faults(board, layout)]
        left = room(board, layout)
        lost = stranded(board, left)
    elif places == "supposed":
        notes.append(SUPPOSED_NOTE)
    elif places == "unknown":
        notes.append("placement not readable (root only), and the table has no place for these profiles")
    if places == "deduced":
        notes.append("placement not readable (root only), but these profiles can stand in one way only")
    return GpuMap(gpu.index, gpu.name, state, headline, style, board, seen, places, left, lost, tuple(notes))


def _located(board: Board, instances: tuple[GpuInstance, ...]) -> tuple[tuple[GpuInstance, ...], Places]:
    """The instances with places, and how sure they are."""
    if all(each.placement is not None for each in instances):
        return instances, "read"
    known = deduced(board, instances)
    if all(each.placement is not None for each in known):
        return known, "deduced"
    supposed = possible_layout(board, instances)
    return (instances, "unknown") if supposed is None else (supposed, "supposed")


def _mode(enabled: bool | None, pending: bool | None, instances: tuple[GpuInstance, ...]) -> tuple[State, str, str]:
    """State, words and style token."""
    mode = "on" if enabled else "off"
    if pending is not None and pending != enabled:
        return "pending", f"MIG {mode}, change pending: {'on' if pending else 'off'} after the next reset", "warn"
    if not enabled:
        return "off", "MIG off", "dim"
    if not instances:
        return "empty", "MIG on, no instances", "warn"
    counts: dict[str, int] = {}
    for each in instances:
        counts[each.profile or "n/a"] = counts.get(each.profile or "n/a", 0) + 1
    return "on", f"MIG on: {counted(counts)}", "accent"


def _licence(vgpu: Vgpu) -> tuple[str, str]:
    """The licence in words, and its style token."""
    if vgpu.licensed is None:
        return "licence n/a", "dim"
    if not vgpu.licensed:
        return "NOT LICENSED", "bad"
    product = f" for {vgpu.license_product}" if vgpu.license_product else ""
    expiry = f" until {vgpu.license_expiry}" if vgpu.license_expiry else ""
    return f"licensed{product}{expiry}", "good"
