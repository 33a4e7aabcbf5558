"""What stands around the simulated boards: PCIe, NICs, disks, services, runtimes. Plain tables of facts.

Where GPUs and NICs of the DGX machines sit follows their user guides (bus numbers, `nvidia-smi topo -m`, CPU affinity);
the HGX and the PCIe server are laid out as such servers commonly are.
"""

from __future__ import annotations

from dataclasses import dataclass

TB = 10**12
GB = 10**9


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a PCI device sits."""

    path: tuple[str, ...]
    """Names of /sys from the root complex down to the device."""
    numa: int | None

    @property
    def bus_id(self) -> str:
        return self.path[-1]


@dataclass(frozen=True, slots=True)
class Nic:
    name: str
    slot: Slot
    rate_gbps: float
    link_layer: str
    netdev: str


@dataclass(frozen=True, slots=True)
class SimDisk:
    mount: str
    device: str
    kind: str
    total_bytes: int
    used_share: float
    """Of a machine that has run for a while; each machine differs a little from it."""


@dataclass(frozen=True, slots=True)
class Equipment:
    gpus: tuple[Slot, ...]
    """In NVML's order."""
    numa_cpus: tuple[str, ...]
    """CPU list of each NUMA node."""
    nics: tuple[Nic, ...]
    disks: tuple[SimDisk, ...]
    services: dict[str, str]
    """Of the services the probe asks for; one that is not named is missing."""
    runtimes: tuple[tuple[str, str], ...]
    kernel_modules: str
    peermem: bool


def _port(root: int, bus: int, *, function: int = 0, numa: int | None = 0) -> Slot:
    """A device below a root port of its own."""
    port = (f"pci0000:{root:02x}", f"0000:{root:02x}:01.0")
    return Slot((*port, f"0000:{bus:02x}:00.{function}"), numa)


def _switch(root: int, bus: int, *, place: int, numa: int, cascaded: bool = False) -> Slot:
    """A device on the PCIe switch of a root complex, at its port `place`; `cascaded` behind one more switch."""
    path = [
        f"pci0000:{root:02x}",
        f"0000:{root:02x}:01.0",
        f"0000:{root + 1:02x}:00.0",
        f"0000:{root + 2:02x}:{place:02x}.0",
    ]
    if cascaded:
        path += [f"0000:{bus - 2:02x}:00.0", f"0000:{bus - 1:02x}:00.0"]
    return Slot((*path, f"0000:{bus:02x}:00.0"), numa)


def _cpus(nodes: int, cpus: int) -> tuple[str, ...]:
    """CPU lists of machines with two threads a core: the second threads are numbered behind all first ones."""
    each, half = cpus // nodes // 2, cpus // 2
    return tuple(
        f"{node * each}-{(node + 1) * each - 1},{half + node * each}-{half + (node + 1) * each - 1}"
        for node in range(nodes)
    )


def _infiniband(name: str, slot: Slot, gbps: float) -> Nic:
    return Nic(name, slot, gbps, "infiniband", f"ibp{int(slot.bus_id[5:7], 16)}s0")


def _ethernet(name: str, slot: Slot, gbps: float) -> Nic:
    function = slot.bus_id[-1]
    return Nic(name, slot, gbps, "ethernet", f"enp{int(slot.bus_id[5:7], 16)}s0f{function}np{function}")


_DGX_SERVICES = {
    "nvidia-fabricmanager": "active",
    "nvidia-persistenced": "active",
    "nvidia-dcgm": "active",
    "nvidia-mig-manager": "inactive",
    "nvsm": "active",
}
_DOCKER = ("docker", "/run/docker.sock")
_CONTAINERD = ("containerd", "/run/containerd/containerd.sock")

_H100_COMPLEXES = ((0x15, 0), (0x37, 0), (0x48, 0), (0x59, 0), (0x97, 1), (0xB7, 1), (0xC7, 1), (0xD7, 1))
_H100_GPUS = (0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF)
_H100_NICS = (0x18, 0x40, 0x4F, 0x5E, 0x9A, 0xC0, 0xCE, 0xDC)
_A100_COMPLEXES = ((0x00, 3), (0x40, 1), (0x80, 7), (0xB0, 5))
"""Root complex and NUMA node of each pair of GPUs: the BIOS of the DGX A100 makes four NUMA nodes of each socket."""
_A100_GPUS = ((0x07, 0x0F), (0x47, 0x4E), (0x87, 0x90), (0xB7, 0xBD))
_A100_NICS = ((0x0C, 0x12), (0x4B, 0x54), (0x8D, 0x94), (0xBA, 0xCC))
_A100_NAMES = (("mlx5_0", "mlx5_1"), ("mlx5_2", "mlx5_3"), ("mlx5_6", "mlx5_7"), ("mlx5_8", "mlx5_9"))
_H200_GPUS = (0x0F, 0x2D, 0x44, 0x5B, 0x89, 0xA8, 0xC0, 0xD8)


def _dgx_h100() -> Equipment:
    places = list(zip(_H100_COMPLEXES, _H100_GPUS, _H100_NICS, strict=True))
    compute = (
        _infiniband(f"mlx5_{index}", _switch(root, nic, place=0, numa=numa), 400.0)
        for index, ((root, numa), _, nic) in enumerate(places)
    )
    return Equipment(
        gpus=tuple(_switch(root, gpu, place=2, numa=numa, cascaded=True) for (root, numa), gpu, _ in places),
        numa_cpus=_cpus(2, 224),
        nics=(*compute, _ethernet("mlx5_8", _port(0x26, 0x29, numa=0), 200.0)),
        disks=(
            SimDisk("/", "/dev/md0", "raid", int(1.888 * TB), 0.21),
            SimDisk("/raid", "/dev/md1", "raid", int(30.43 * TB), 0.46),
        ),
        services=_DGX_SERVICES,
        runtimes=(_DOCKER, _CONTAINERD),
        kernel_modules="open",
        peermem=True,
    )


def _dgx_a100() -> Equipment:
    gpus, compute = [], []
    for (root, numa), pair, nics, names in zip(_A100_COMPLEXES, _A100_GPUS, _A100_NICS, _A100_NAMES, strict=True):
        gpus += [_switch(root, bus, place=2 * place, numa=numa, cascaded=True) for place, bus in enumerate(pair)]
        compute += [
            _infiniband(name, _switch(root, bus, place=2 * place + 1, numa=numa, cascaded=True), 200.0)
            for place, (name, bus) in enumerate(zip(names, nics, strict=True))
        ]
    storage = [_ethernet(f"mlx5_{4 + port}", _port(0x60, 0x61, function=port, numa=2), 200.0) for port in range(2)]
    more = [_ethernet(f"mlx5_{10 + port}", _port(0xE0, 0xE1, function=port, numa=6), 200.0) for port in range(2)]
    return Equipment(
        gpus=tuple(gpus),
        numa_cpus=_cpus(8, 256),
        nics=(*compute[:4], *storage, *compute[4:], *more),
        disks=(
            SimDisk("/", "/dev/md0", "raid", int(1.888 * TB), 0.33),
            SimDisk("/raid", "/dev/md1", "raid", int(15.12 * TB), 0.58),
        ),
        services=_DGX_SERVICES,
        runtimes=(_DOCKER, _CONTAINERD),
        kernel_modules="proprietary",
        peermem=True,
    )


def _hgx_h200() -> Equipment:
    numa = [int(index >= len(_H200_GPUS) // 2) for index in range(len(_H200_GPUS))]
    compute = [
        _ethernet(f"mlx5_{index}", _switch(bus - 4, bus - 1, place=0, numa=node), 400.0)
        for index, (bus, node) in enumerate(zip(_H200_GPUS, numa, strict=True))
    ]
    bonded = [_ethernet(f"mlx5_{8 + port}", _port(0xF0, 0xF1, function=port, numa=1), 100.0) for port in range(2)]
    return Equipment(
        gpus=tuple(_switch(bus - 4, bus, place=1, numa=node) for bus, node in zip(_H200_GPUS, numa, strict=True)),
        numa_cpus=_cpus(2, 192),
        nics=(*compute, *bonded),
        disks=(
            SimDisk("/", "/dev/nvme0n1p2", "nvme", 944 * GB, 0.27),
            SimDisk("/scratch", "/dev/mapper/scratch-lv0", "nvme", int(13.97 * TB), 0.52),
        ),
        services={"nvidia-fabricmanager": "active", "nvidia-persistenced": "active"},
        runtimes=(_CONTAINERD,),
        kernel_modules="open",
        peermem=False,
    )


def _l40s() -> Equipment:
    # Each GPU has a root complex of its own: nothing but the CPU connects them.
    roots = ((0x00, 0x01, 0), (0x20, 0x25, 0), (0x80, 0x81, 1), (0xA0, 0xA5, 1))
    return Equipment(
        gpus=tuple(_port(root, bus, numa=numa) for root, bus, numa in roots),
        numa_cpus=_cpus(2, 64),
        nics=tuple(_ethernet(f"mlx5_{port}", _port(0xC0, 0xC1, function=port, numa=1), 100.0) for port in range(2)),
        disks=(
            SimDisk("/", "/dev/mapper/rhel-root", "disk", 446 * GB, 0.38),
            SimDisk("/scratch", "/dev/nvme0n1", "nvme", int(3.78 * TB), 0.41),
        ),
        services={"nvidia-persistenced": "active", "nvidia-dcgm": "active"},
        runtimes=(("podman", "/run/podman/podman.sock"),),
        kernel_modules="open",
        peermem=False,
    )


def _vm() -> Equipment:
    return Equipment(
        gpus=(_port(0x00, 0x02, numa=None),),
        numa_cpus=("0-15",),
        nics=(),
        disks=(SimDisk("/", "/dev/sda2", "disk", 206 * GB, 0.55),),
        services={"nvidia-persistenced": "active", "nvidia-gridd": "active"},
        runtimes=(_DOCKER, _CONTAINERD),
        kernel_modules="proprietary",
        peermem=False,
    )


EQUIPMENT: dict[str, Equipment] = {
    "dgx-h100": _dgx_h100(),
    "dgx-a100": _dgx_a100(),
    "hgx-h200": _hgx_h200(),
    "l40s": _l40s(),
    "vm": _vm(),
}
"""By the prefix of the machine."""


def ancestor(first: Slot, second: Slot) -> int:
    """nvmlGpuTopologyLevel_t of two devices, as nvml.h describes it: by what their paths share, then by NUMA node."""
    shared = 0
    while shared < min(len(first.path), len(second.path)) and first.path[shared] == second.path[shared]:
        shared += 1
    if shared == 0:
        return 40 if first.numa == second.numa else 50
    if shared == 1:
        return 30
    # Below the last common bridge, a port of the switch and the device: anything more is another switch.
    return 10 if max(len(first.path), len(second.path)) <= shared + 2 else 20


def cpu_mask(cpus: str) -> int:
    """ "0-1,4" -> 0b10011"""
    mask = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        mask |= (1 << int(last or first) + 1) - (1 << int(first))
    return mask
