"""The simulated fleet: machines with GPUs, and the faults that scenarios put on them.

A `SimNode` and its `SimGpu`s hold identity, which follows from the seed, and fault state, which scenarios change at run
time. What moves by itself (load, power, heat, processes) is computed in `backends.lab.dynamics` from the time alone.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections import Counter
from dataclasses import dataclass, field

from backends.lab.boards import A100_80GB_PROFILES, MACHINES, MIG_LAYOUTS, MIX, Board, Machine, MigProfile

EPOCH = 1_760_000_000.0
"""Around when the simulated machines booted, seconds since the epoch."""

HOSTILE_GPU_NAME = "\x1b[31mH100\x1b]0;owned\x07 [@click=app.bell]x[/] \u202egpj.\u200f \u6f22\u5b57 " + "A" * 10_000
"""What a hostile driver could call a GPU: colours, a title, markup, reversed and wide text, no end."""


def digest(*parts: object) -> int:
    """A 64-bit number that follows from `parts` alone, on every machine."""
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class SimMig:
    """A compute instance that fills its GPU instance."""

    position: int
    """MIG device index on its GPU."""
    profile: MigProfile
    gi: int
    start: int
    uuid: str
    number: int = 0
    """Stays when the devices are numbered anew: its work follows from it."""
    compute: bool = True
    """False: a GPU instance without its compute instance, which is no MIG device yet."""
    created_at: float = 0.0
    """Work comes into it with the next window of its node's schedule."""


@dataclass(slots=True)
class GpuFaults:
    """What is wrong with a GPU; the defaults are a sound one. Times are seconds since the epoch."""

    lost: bool = False
    hot_since: float | None = None
    """HW thermal slowdown since then."""
    warm: bool = False
    """SW thermal slowdown: the driver takes clocks away before the hardware does."""
    braked: bool = False
    """HW power brake: the machine's power supply takes clocks away."""
    serves: bool = False
    """No fault: it always has work below its power limit."""
    slow_percent: int | None = None
    """Share of the clock it still reaches, for no reason that the driver gives."""
    leaked_bytes: int = 0
    """Memory that is in use and belongs to no process; the GPU runs nothing else then."""
    pcie_width: int | None = None
    pcie_replays: int = 0
    links_down: frozenset[int] = frozenset()
    link_errors: int = 0
    """Replay and CRC errors on each link that is down."""
    ecc_corrected: int = 0
    ecc_uncorrected: int = 0
    remapped_uncorrectable: int = 0
    remap_pending: bool = False
    remap_failed_at: float | None = None
    """Remapping has failed from this time on."""
    ecc_storm_since: float | None = None
    """One corrected error a second from then on."""
    recovery_action: int = 0
    """NVML_GPU_RECOVERY_ACTION_*."""
    persistence: bool = True
    mig_pending: bool | None = None
    """The MIG mode after the next reset, where that is another."""
    fabric_state: int = 3
    """NVML_GPU_FABRIC_STATE_*; 3 is completed."""
    vbios: str | None = None
    """Another one than its board's."""
    held_idle: bool = False
    """A workload holds it and runs nothing on it."""
    unasked: bool = False
    """Its work runs on it without having been given it."""
    intruder: str | None = None
    """One more process on it: in a `pod` of its own, an `orphan` of a container that is gone, on the `host`."""

    def corrected_at(self, now: float) -> int:
        """Corrected ECC errors counted up to `now`."""
        storm = 0 if self.ecc_storm_since is None else int(max(0.0, now - self.ecc_storm_since))
        return self.ecc_corrected + storm


@dataclass(slots=True)
class SimGpu:
    index: int
    board: Board
    name: str
    uuid: str
    serial: str
    pci_bus_id: str
    """As NVML writes it, with a domain of eight digits."""
    pci_bus: int
    seed: int
    mig: tuple[SimMig, ...] = ()
    mig_on: bool = False
    mig_made: int = 0
    """Instances made at run time, to give each a UUID of its own."""
    changed_at: float = 0.0
    """When the MIG mode was changed last, or its work was taken off; work comes back with the next window."""
    closed_since: float | None = None
    """New work is kept off since then, and what ran before goes on; None while anything may start."""
    faults: GpuFaults = field(default_factory=GpuFaults)

    @property
    def mig_wanted(self) -> bool:
        """The mode that was asked for; another one than `mig_on` is pending."""
        return self.mig_on if self.faults.mig_pending is None else self.faults.mig_pending


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the kernel log; it is there from `at` on."""

    number: int
    at: float
    text: str
    """As the driver writes it, with slot and code."""
    gpu_index: int | None = None
    code: int | None = None
    """Of an XID, which NVML tells of too."""


@dataclass(slots=True)
class HostFaults:
    """What is wrong around the GPUs of a node; the defaults are a sound one."""

    services_down: frozenset[str] = frozenset()
    """Those that run elsewhere and have failed here."""
    ports_down: frozenset[str] = frozenset()
    """RDMA devices, mlx5_0."""
    scratch_used_percent: float | None = None
    no_gpu_runtime: bool = False
    """The container engine knows neither an NVIDIA runtime nor a CDI device."""


@dataclass(slots=True)
class SimNode:
    name: str
    machine: Machine
    index: int
    """Place in the fleet."""
    seed: int
    boot_at: float
    gpus: tuple[SimGpu, ...]
    hostile: bool = False
    host_faults: HostFaults = field(default_factory=HostFaults)
    # What scenarios switch.
    reachable: bool = True
    accepts_key: bool = True
    has_python: bool = True
    cuts_probe: bool = False
    driver: str | None = None
    """Another one than its machine's."""
    clock_ahead_seconds: float = 0.0
    licensed: bool = True
    stalled: tuple[int, str] | None = None
    """GPU and NVML call that does not come back: the values stand still."""
    boots: int = 0
    """Boots since the lab began: each ends what ran on the node, its connections too."""
    stopped: set[str] = field(default_factory=set)
    """Services that somebody has stopped."""
    contained: bool = False
    """A platform runs its work: all of it in containers."""
    still_at: float | None = None
    """The time its work stands still at; None where time passes."""
    log: list[LogLine] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def driver_version(self) -> str:
        return self.driver or self.machine.driver

    def reboot(self, now: float) -> None:
        self.boot_at = now
        self.boots += 1

    def write_xid(self, at: float, gpu: SimGpu, code: int, text: str) -> LogLine:
        """Adds an XID line in the driver's wording; `text` is what follows the code."""
        # The kernel log writes the short form of the bus id: four digits of domain, no function.
        short = gpu.pci_bus_id[4:].rsplit(".", 1)[0].lower()
        return self._write(at, f"NVRM: Xid (PCI:{short}): {code}, {text}", gpu.index, code)

    def write_sxid(self, at: float, switch: int, code: int, text: str) -> LogLine:
        """Adds an SXID line; `switch` counts the node's NVSwitches, `text` is what follows the code."""
        return self._write(at, f"nvidia-nvswitch{switch}: SXid (PCI:0000:{0xC1 + switch:02x}:00.0): {code}, {text}")

    def _write(self, at: float, text: str, gpu_index: int | None = None, code: int | None = None) -> LogLine:
        line = LogLine(next(self._numbers), at, text, gpu_index, code)
        self.log.append(line)
        return line


def devices(gpu: SimGpu) -> tuple[SimMig, ...]:
    """The MIG devices: GPU instances with a compute instance."""
    return tuple(mig for mig in gpu.mig if mig.compute)


def fleet_size(prefix: str, machines: int) -> int:
    """The fewest nodes of a fleet with so many machines of a kind."""
    size = 0
    while machines:
        machines -= MACHINES[MIX[size % len(MIX)]].prefix == prefix
        size += 1
    return size


def fleet(nodes: int, seed: int, *, hostile: bool = False) -> tuple[SimNode, ...]:
    """`nodes` machines in the order of their names; the same for the same arguments.

    With `hostile` the first GPU of the first node has a hostile name, and processes have hostile commands and users.
    """
    kinds = [MIX[number % len(MIX)] for number in range(nodes)]
    numbers: Counter[str] = Counter()
    width = max(2, len(str(nodes)))
    names: list[tuple[str, str]] = []
    for kind in kinds:
        numbers[kind] += 1
        names.append((f"{MACHINES[kind].prefix}-{numbers[kind]:0{width}d}", kind))
    built = [_node(name, MACHINES[kind], index, seed) for index, (name, kind) in enumerate(sorted(names))]
    if hostile and built:
        for node in built:
            node.hostile = True
        built[0].gpus[0].name = HOSTILE_GPU_NAME
    return tuple(built)


def _node(name: str, machine: Machine, index: int, seed: int) -> SimNode:
    node_seed = digest(seed, name)
    gpus = tuple(_gpu(name, machine, gpu_index, bus, node_seed) for gpu_index, bus in enumerate(machine.gpu_buses))
    boot_at = EPOCH + node_seed % 3_000_000
    return SimNode(name, machine, index, node_seed, boot_at, gpus)


def _gpu(node: str, machine: Machine, index: int, bus: str, node_seed: int) -> SimGpu:
    seed = digest(node_seed, index)
    number = int(node.rsplit("-", 1)[1])
    mig: tuple[SimMig, ...] = ()
    # Two GPUs of each DGX A100 are cut up, each node differently.
    if machine.prefix == "dgx-a100" and index in (1, 7):
        layout = MIG_LAYOUTS[(number * 2 + (index == 7)) % len(MIG_LAYOUTS)]
        mig = _cut(seed, layout)
    return SimGpu(
        index=index,
        board=machine.board,
        name=machine.board.name,
        uuid=f"GPU-{_uuid(seed, 'gpu')}",
        serial=f"165{seed % 10**10:010d}",
        pci_bus_id=f"00000000:{bus}:00.0",
        pci_bus=int(bus, 16),
        seed=seed,
        mig=mig,
        mig_on=bool(mig),
    )


def _cut(seed: int, layout: tuple[tuple[str, int], ...]) -> tuple[SimMig, ...]:
    used: Counter[int] = Counter()
    instances = []
    for position, (name, start) in enumerate(layout):
        profile = A100_80GB_PROFILES[name]
        gi = profile.first_gi + used[profile.first_gi]
        used[profile.first_gi] += 1
        instances.append(SimMig(position, profile, gi, start, mig_uuid(seed, position), number=position))
    return tuple(instances)


def mig_uuid(*parts: object) -> str:
    return f"MIG-{_uuid(parts[0], 'mig', *parts[1:])}"


def _uuid(*parts: object) -> uuid.UUID:
    return uuid.UUID(int=(digest(*parts, 0) << 64) | digest(*parts, 1), version=4)
