"""How a node is wired, from what was read of it: the matrix of `nvidia-smi topo -m`, the links, the nearest NICs. Pure.

PCIe levels come from the probe (`Node.topology`), NVLinks from each GPU's own `links`. As in nvidia-smi, NVLink
outranks PCIe: NV# is the number of links that lead straight to the other GPU, or to NVSwitches that both GPUs reach.
Only links that are up count, so that a GPU with a link down shows as NV17 with every peer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backends.domain import PCIE_LEVELS, Gpu, Node, RdmaPort, Topology, clean

LABEL_LIMIT = 64
"""Devices of one kind that are drawn and compared; no server has as many."""
NEAR = ("PIX", "PXB")
"""One PCIe switch or several lie between, and no CPU: GPUDirect RDMA runs at full speed."""

_RANK = {level: rank for rank, level in enumerate(PCIE_LEVELS)}
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TRAILING = ("CPU Affinity", "NUMA Affinity", "GPU NUMA ID")
_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_NIC_LINE = re.compile(r"\s*(NIC\d+):\s*(\S+)")
_ABSENT = frozenset({"", "N/A", "n/a"})


@dataclass(frozen=True, slots=True)
class TopologyMatrix:
    """Every two devices of a node: `labels` GPU0.. and NIC0.. name the rows and the columns of `cells`."""

    labels: tuple[str, ...] = ()
    cells: tuple[tuple[str | None, ...], ...] = ()
    """X, NV#, PIX, PXB, PHB, NODE, SYS; None where it could not be told."""
    cpu_affinity: tuple[str | None, ...] = ()
    """CPU list of each label; None for NICs, as nvidia-smi leaves it."""
    numa_affinity: tuple[str | None, ...] = ()
    nics: tuple[str, ...] = ()
    """What NIC0.. are called: mlx5_0."""

    @property
    def gpu_count(self) -> int:
        return len(self.labels) - len(self.nics)

    def cell(self, row: str, column: str) -> str | None:
        """The cell of two labels; raises ValueError for a label that is not there."""
        return self.cells[self.labels.index(row)][self.labels.index(column)]


@dataclass(frozen=True, slots=True)
class GpuLinks:
    """The NVLinks of one GPU in figures."""

    gpu: Gpu
    up: int
    total: int
    down: tuple[int, ...]
    """Numbers of the links that say they are down."""
    untold: tuple[int, ...]
    """Numbers of those that could not be asked."""
    mbytes_per_second: int | None
    """One way, over the links that are up."""
    replay_errors: int | None
    recovery_errors: int | None
    crc_flit_errors: int | None
    crc_data_errors: int | None

    @property
    def errors(self) -> int | None:
        counted = [
            count
            for count in (self.replay_errors, self.recovery_errors, self.crc_flit_errors, self.crc_data_errors)
            if count is not None
        ]
        return sum(counted) if counted else None


@dataclass(frozen=True, slots=True)
class NicChoice:
    """The RDMA device to use with a GPU, and why."""

    gpu: Gpu
    nic: str | None
    """None where the node has none, or none that is up."""
    level: str | None
    near: bool | None
    """GPUDirect RDMA can run between the two without a CPU in the way; None where that cannot be told."""
    reason: str
    passed_over: tuple[str, ...] = ()
    """Nearer ones that are down."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Devices behind the same PCIe switches; a device alone is its own group."""

    gpus: tuple[Gpu, ...]
    nics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NumaNode:
    number: int | None
    """None for devices whose NUMA node is not known."""
    cpus: str | None
    groups: tuple[Neighbours, ...]


# The matrix


def matrix(node: Node) -> TopologyMatrix:
    """The matrix of `node`; cells that nothing tells of are None."""
    gpus = node.gpus[:LABEL_LIMIT]
    nics = _nics(node.topology)
    count = len(gpus) + len(nics)
    cells: list[list[str | None]] = [[None] * count for _ in range(count)]
    places, wires = _places(node, gpus, nics), [_wires(gpu) for gpu in gpus]
    for row in range(count):
        cells[row][row] = "X"
        for column in range(row):
            cell = _level(node.topology, places[row], places[column])
            if row < len(gpus):
                cell = _between(wires[row], wires[column], cell)
            cells[row][column] = cells[column][row] = cell
    return TopologyMatrix(
        labels=(*(f"GPU{gpu.index}" for gpu in gpus), *(f"NIC{number}" for number in range(len(nics)))),
        cells=tuple(tuple(line) for line in cells),
        cpu_affinity=(*(gpu.cpu_affinity for gpu in gpus), *(None for _ in nics)),
        numa_affinity=(
            *(None if gpu.numa_node is None else str(gpu.numa_node) for gpu in gpus),
            *(None for _ in nics),
        ),
        nics=nics,
    )


def _nics(topology: Topology | None) -> tuple[str, ...]:
    return () if topology is None else topology.nics[:LABEL_LIMIT]


def _places(node: Node, gpus: Sequence[Gpu], nics: Sequence[str]) -> list[int | None]:
    """Where each device stands in `topology.levels`; None for a GPU that it does not list."""
    topology = node.topology
    if topology is None:
        return [None] * len(gpus)
    listed = {_slot(bus): position for position, bus in enumerate(topology.gpus)}
    first = len(topology.gpus)
    return [*(listed.get(_slot(gpu.pci_bus_id)) for gpu in gpus), *(first + number for number in range(len(nics)))]


def _slot(bus_id: str | None) -> str:
    """00000000:9B:00.0 and 0000:9b:00.0 are one place."""
    domain, _, rest = (bus_id or "").lower().partition(":")
    return f"{domain.lstrip('0')}:{rest}"


def _level(topology: Topology | None, row: int | None, column: int | None) -> str | None:
    if topology is None or row is None or column is None:
        return None
    levels = topology.levels
    if row >= len(levels) or column >= len(levels[row]):
        return None
    level = levels[row][column]
    return level if level in PCIE_LEVELS[1:] else None


class _Wires(NamedTuple):
    """Where the links of a GPU that are up lead."""

    slot: str
    lost: bool
    straight: Counter[str]
    switches: Counter[str]


def _wires(gpu: Gpu) -> _Wires:
    up = [link for link in gpu.links or () if link.active]
    return _Wires(
        _slot(gpu.pci_bus_id),
        gpu.lost,
        Counter(_slot(link.remote_pci_bus_id) for link in up if link.remote_kind == "gpu" and link.remote_pci_bus_id),
        # Where the driver does not name the switches they count as one: a node has one fabric.
        Counter(_slot(link.remote_pci_bus_id) for link in up if link.remote_kind == "switch"),
    )


def _between(first: _Wires, second: _Wires, level: str | None) -> str | None:
    if first.lost or second.lost:
        return None  # the links of a lost GPU cannot be asked, and it has no other way
    # Each GPU tells of its own end: a straight link is there when both do.
    bonded = min(first.straight[second.slot], second.straight[first.slot])
    bonded += sum(min(count, second.switches[switch]) for switch, count in first.switches.items())
    return f"NV{bonded}" if bonded else level


def switch_count(node: Node) -> int | None:
    """NVSwitches that the GPUs' links name; None where links lead to switches without a name."""
    ends = [
        (link.active, link.remote_pci_bus_id)
        for gpu in node.gpus
        for link in gpu.links or ()
        if link.remote_kind == "switch"
    ]
    if any(active and bus_id is None for active, bus_id in ends):
        return None
    return len({_slot(bus_id) for _, bus_id in ends if bus_id is not None})


# nvidia-smi's own matrix


def parse(text: str) -> TopologyMatrix:
    """The matrix in the output of `nvidia-smi topo -m`; raises ValueError when there is none.

    The header is underlined with escape sequences, columns are parted by tabs, and the ones behind the devices have
    blanks in their names and may be padded with further tabs.
    """
    lines = [_ANSI.sub("", line) for line in text[: 1 << 20].splitlines()]
    start = next((number for number, line in enumerate(lines) if _is_header(line)), None)
    if start is None:
        raise ValueError("that is no output of nvidia-smi topo -m")
    heads = [head.strip() for head in lines[start].split("\t")]
    trailing = [head for head in heads if head in _TRAILING]
    labels = [head for head in heads if head and head not in _TRAILING]
    rows = [_row(line, len(labels), trailing) for line in lines[start + 1 : start + 1 + len(labels)]]
    if [row[0] for row in rows] != labels:
        raise ValueError("the rows of nvidia-smi topo -m are not its columns")
    names = {match[1]: match[2] for line in lines if (match := _NIC_LINE.fullmatch(line))}
    gpus = [label for label in labels if re.fullmatch(r"GPU\d+", label)]
    nics = labels[len(gpus) :]
    return TopologyMatrix(
        labels=(*gpus, *(f"NIC{number}" for number in range(len(nics)))),
        cells=tuple(row[1] for row in rows),
        cpu_affinity=tuple(row[2].get("CPU Affinity") for row in rows),
        numa_affinity=tuple(row[2].get("NUMA Affinity") for row in rows),
        # Drivers before R515 name the columns by the devices.
        nics=tuple(clean(names.get(nic, nic)) for nic in nics),
    )


def _is_header(line: str) -> bool:
    heads = [head.strip() for head in line.split("\t")]
    return heads[0] == "" and len(heads) > 1 and heads[1] == "GPU0"


def _row(line: str, count: int, trailing: Sequence[str]) -> tuple[str, tuple[str | None, ...], dict[str, str | None]]:
    """Label, cells and what stands behind them."""
    words = [word.strip() for word in line.split("\t")]
    if len(words) < count + 1 or not _DEVICE.fullmatch(words[0]):
        raise ValueError(f"a row of nvidia-smi topo -m is cut: {clean(line, 60)}")
    behind = [word for word in words[count + 1 :] if word]
    values = dict(zip(trailing, behind, strict=False))
    cells = tuple(_told(clean(word, 16)) for word in words[1 : count + 1])
    return words[0], cells, {name: _told(clean(value)) for name, value in values.items()}


def _told(word: str) -> str | None:
    return None if word in _ABSENT else word


# Links


def gpu_links(gpu: Gpu) -> GpuLinks | None:
    """The GPU's NVLinks in figures; None for one that has none, or cannot be asked for them."""
    if not gpu.links:
        return None
    links = gpu.links
    return GpuLinks(
        gpu=gpu,
        up=sum(link.active is True for link in links),
        total=len(links),
        down=tuple(link.index for link in links if link.active is False),
        untold=tuple(link.index for link in links if link.active is None),
        mbytes_per_second=_total(link.speed_mbytes_per_second for link in links if link.active),
        replay_errors=_total(link.replay_errors for link in links),
        recovery_errors=_total(link.recovery_errors for link in links),
        crc_flit_errors=_total(link.crc_flit_errors for link in links),
        crc_data_errors=_total(link.crc_data_errors for link in links),
    )


def _total(counts: Iterable[int | None]) -> int | None:
    """None when none was counted."""
    counted = [count for count in counts if count is not None]
    return sum(counted) if counted else None


# GPUDirect


REASONS: dict[str, str] = {
    "PIX": "behind one PCIe switch",
    "PXB": "behind the same PCIe switches",
    "PHB": "through the CPU's host bridge",
    "NODE": "through the CPU, on one NUMA node",
    "SYS": "through both sockets",
}


def nearest_nics(node: Node) -> tuple[NicChoice, ...]:
    """For each GPU the nearest RDMA device that is up; GPUs share the ones that are as near as each other.

    The level is the one of NCCL and nvidia-smi: PIX and PXB keep the CPU out of the way. At NODE and SYS NCCL does not
    use GPUDirect RDMA unless it is told to (NCCL_NET_GDR_LEVEL).
    """
    known = matrix(node)
    ports = {} if node.host.rdma is None else _ports(node.host.rdma)
    gpus = node.gpus[:LABEL_LIMIT]
    levels = [dict(zip(known.nics, cells[known.gpu_count :], strict=True)) for cells in known.cells[: len(gpus)]]
    used: Counter[str] = Counter()
    choices: dict[int, NicChoice] = {}
    # Those with the nearest device choose first: one whose own is down takes what nobody is near to.
    for place in sorted(range(len(gpus)), key=lambda place: _best_rank(levels[place], ports)):
        choice = choices[place] = _choose(gpus[place], levels[place], ports, used)
        used.update(() if choice.nic is None else (choice.nic,))
    return tuple(choices[place] for place in range(len(gpus)))


def _best_rank(levels: dict[str, str | None], ports: dict[str, bool]) -> int:
    ranks = [_RANK[level] for name, level in levels.items() if level in _RANK and ports.get(name, True)]
    return min(ranks, default=len(_RANK))


def _ports(ports: Sequence[RdmaPort]) -> dict[str, bool]:
    """Whether a port of each device is up; a device that does not say so is taken for up."""
    up: dict[str, bool] = {}
    for port in ports:
        up[port.device] = up.get(port.device, False) or port.state in (None, "active")
    return up


def _choose(gpu: Gpu, levels: dict[str, str | None], ports: dict[str, bool], used: Counter[str]) -> NicChoice:
    if gpu.lost:
        return NicChoice(gpu, None, None, None, "the GPU is lost")
    if not levels:
        return NicChoice(gpu, None, None, None, "no RDMA device")
    told = [(_RANK[level], used[name], name) for name, level in levels.items() if level in _RANK]
    if not told:
        return NicChoice(gpu, None, None, None, "how near the RDMA devices are was not told")
    up = [each for each in told if ports.get(each[2], True)]
    if not up:
        down = tuple(each[2] for each in told)
        return NicChoice(gpu, None, None, False, "every RDMA device is down", down)
    rank, _, name = min(up, key=lambda each: each[:2])
    level = PCIE_LEVELS[rank]
    reason = REASONS[level]
    passed_over = tuple(each[2] for each in told if each[0] < rank)
    if passed_over:
        reason += f"; nearer, but down: {', '.join(passed_over)}"
    return NicChoice(gpu, name, level, level in NEAR, reason, passed_over)


# Who sits where


def numa_nodes(node: Node) -> tuple[NumaNode, ...]:
    """The devices by NUMA node, and in each by the PCIe switches they share; the ones without a number last."""
    known = matrix(node)
    gpus = node.gpus[:LABEL_LIMIT]
    ports = {port.device: port for port in node.host.rdma or ()}
    numa = [gpu.numa_node for gpu in gpus]
    numa += [ports[name].numa_node if name in ports else None for name in known.nics]
    boxes: dict[int | None, list[Neighbours]] = {}
    for group in _groups(node, len(gpus), known.nics):
        number = next((numa[place] for place in group if numa[place] is not None), None)
        boxes.setdefault(number, []).append(
            Neighbours(
                tuple(gpus[place] for place in group if place < len(gpus)),
                tuple(known.nics[place - len(gpus)] for place in group if place >= len(gpus)),
            )
        )
    ordered = sorted(boxes, key=lambda number: (number is None, number or 0))
    return tuple(NumaNode(number, _cpus(boxes[number]), tuple(boxes[number])) for number in ordered)


def _cpus(groups: Iterable[Neighbours]) -> str | None:
    return next((gpu.cpu_affinity for group in groups for gpu in group.gpus if gpu.cpu_affinity), None)


def _groups(node: Node, gpu_count: int, nics: Sequence[str]) -> list[list[int]]:
    """Positions of the devices that PIX or PXB connects, each group in the order of the devices."""
    places = _places(node, node.gpus[:gpu_count], nics)
    group_of = list(range(gpu_count + len(nics)))
    for device in range(len(group_of)):
        for other in range(device):
            ours, theirs = group_of[device], group_of[other]
            if ours != theirs and _level(node.topology, places[device], places[other]) in NEAR:
                group_of = [theirs if group == ours else group for group in group_of]
    return [[device for device, group in enumerate(group_of) if group == each] for each in dict.fromkeys(group_of)]
