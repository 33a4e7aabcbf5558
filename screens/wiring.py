"""The wiring of a node as a drawing: a box per NUMA node, GPUs and NICs by the PCIe switches they share. Pure."""

from __future__ import annotations

from rich.cells import cell_len

from backends.domain import Gpu, Node, RdmaPort
from backends.nodes.topology import (
    Neighbours,
    NumaNode,
    TopologyMatrix,
    gpu_links,
    matrix,
    numa_nodes,
    switch_count,
)
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs
from tui.widgets.sheet import Line, Section

INNER = 33
"""Cells inside a box."""
NIC_WIDTH = 8
_ASCII = str.maketrans("┌┐└┘├─│═║╗╝╣×", "+++++-|=|+++x")


def wiring_section(node: Node, glyphs: Glyphs, stale: bool) -> Section:
    """The drawing; nothing for a node without GPUs."""
    if not node.gpus:
        return Section("WIRING", ())
    known = matrix(node)
    ports = {port.device: port for port in node.host.rdma or ()}
    rail = _Rail(node, glyphs)
    lines: list[Line] = [] if not rail.title else [(Cell(" " * (INNER + 5)), Cell(rail.title, "dim"))]
    boxes = numa_nodes(node)
    for number, box in enumerate(boxes):
        if number:
            # Devices of two NUMA nodes reach each other through the sockets.
            between = "│ SYS" if box.number is not None else ""
            lines.append((Cell(f"{between:^{INNER + 2}}", "dim"), *rail.beside(None)))
        lines.append((Cell(_top(box), "dim"), *rail.beside(None)))
        for group in box.groups:
            for left, gpu in _group(group, known, ports, glyphs):
                lines.append((Cell("│", "dim"), *left, Cell("│", "dim"), *rail.beside(gpu)))
        lines.append((Cell(f"└{'─' * INNER}┘", "dim"), *rail.beside(None)))
    drawn = [tuple(_signs(cell, glyphs, stale) for cell in line) for line in lines]
    return Section("WIRING", tuple(drawn))


def _signs(cell: Cell, glyphs: Glyphs, stale: bool) -> Cell:
    text = cell.text.translate(_ASCII) if glyphs.ascii else cell.text
    return Cell(text, "stale" if stale else cell.style)


def _top(box: NumaNode) -> str:
    name = "NUMA node unknown" if box.number is None else f"NUMA {box.number}"
    said = f" {name} ─ CPUs {box.cpus} " if box.cpus else f" {name} "
    kept = fit(said, min(cell_len(said), INNER - 1))
    return f"┌{kept}{'─' * (INNER - cell_len(kept))}┐"


def _group(
    group: Neighbours, known: TopologyMatrix, ports: dict[str, RdmaPort], glyphs: Glyphs
) -> list[tuple[list[Cell], Gpu | None]]:
    """The lines of devices behind the same switches: GPUs at the left, NICs at the right, paired in order."""
    count = max(len(group.gpus), len(group.nics))
    lines = []
    for place in range(count):
        gpu = group.gpus[place] if place < len(group.gpus) else None
        nic = group.nics[place] if place < len(group.nics) else None
        bracket = " " if count == 1 else "┌" if place == 0 else "└" if place == count - 1 else "├"
        cells = [Cell(f" {bracket} ", "dim"), _gpu_cell(gpu, glyphs)]
        level = None if gpu is None or nic is None else known.cell(f"GPU{gpu.index}", f"NIC{known.nics.index(nic)}")
        cells.append(Cell(f"{'' if level is None else f'─{level}─':<6}", "good"))
        cells += _nic_cells(nic, ports.get(nic or ""), glyphs)
        used = sum(cell_len(cell.text) for cell in cells)
        lines.append(([*cells, Cell(" " * (INNER - used))], gpu))
    return lines


def _gpu_cell(gpu: Gpu | None, glyphs: Glyphs) -> Cell:
    if gpu is None:
        return Cell(" " * 6)
    if gpu.lost:
        return Cell(fit(f"GPU{gpu.index}{glyphs.bad}", 6), "bad")
    return Cell(f"GPU{gpu.index:<3}")


def _nic_cells(nic: str | None, port: RdmaPort | None, glyphs: Glyphs) -> list[Cell]:
    if nic is None:
        return []
    cells = [Cell(fit(nic, NIC_WIDTH, ellipsis=glyphs.ellipsis))]
    if port is None:
        return cells
    cells.append(Cell(f"{units.number(port.rate_gbps):>4} ", "dim"))
    if port.state not in (None, "active"):
        cells.append(Cell(fit(f"{glyphs.warn}{port.state}", 5, ellipsis=glyphs.ellipsis), "warn"))
    return cells


class _Rail:
    """The NVLinks at the right of the boxes: to the NVSwitches' rail, or the peers of each GPU by name."""

    def __init__(self, node: Node, glyphs: Glyphs) -> None:
        self.glyphs = glyphs
        self.node = node
        self.known = matrix(node)
        switched = [gpu for gpu in node.gpus if any(link.remote_kind == "switch" for link in gpu.links or ())]
        self._switched_keys = {gpu.key for gpu in switched}
        self._left = len(switched)
        self._begun = False
        count = switch_count(node)
        self.title = ""
        if switched:
            self.title = "NVSwitch" if count is None else f"NVSwitch ×{count}"

    def beside(self, gpu: Gpu | None) -> list[Cell]:
        """What stands at the right of a line."""
        if gpu is not None and gpu.key in self._switched_keys:
            return self._switched(gpu)
        passing = [Cell(f"{'║':>8}", "accent")] if self._begun and self._left else []
        if gpu is None or not gpu.links:
            return passing
        return [Cell(f"═ {self._peers(gpu)}", "accent")]

    def _switched(self, gpu: Gpu) -> list[Cell]:
        first, self._begun = not self._begun, True
        self._left -= 1
        corner = "═" if first and not self._left else "╗" if first else "╣" if self._left else "╝"
        links = gpu_links(gpu)
        if gpu.lost or links is None:
            return [Cell(" " * 7), Cell(corner, "accent")]
        style = "bad" if links.down else "accent"
        cells = [Cell(f"═{links.up:>2}/{links.total:<2}═", style), Cell(corner, "accent")]
        if links.down:
            numbers = ",".join(str(number) for number in links.down[:4])
            more = "" if len(links.down) <= 4 else "+"
            cells.append(Cell(f" {self.glyphs.bad} {numbers}{more} down", "bad"))
        return cells

    def _peers(self, gpu: Gpu) -> str:
        row = f"GPU{gpu.index}"
        peers = [
            f"{cell} GPU{other.index}"
            for other in self.node.gpus
            if other is not gpu and (cell := self.known.cell(row, f"GPU{other.index}") or "").startswith("NV")
        ]
        return "  ".join(peers) or NOT_MEASURED
