"""A node, and what happened on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from backends.domain.gpu import Gpu
from backends.domain.host import Host
from backends.domain.topology import Topology


@dataclass(frozen=True, slots=True)
class Stall:
    """An NVML call that has not come back: a sick GPU can hold a call for ever."""

    gpu_index: int | None = None
    call: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ProbeCost:
    """What reading the node costs the node."""

    cpu_percent: float | None = None
    """Of one core, over the probe's life so far."""
    sample_milliseconds: float | None = None
    """Wall time of the last fast sample of all GPUs."""


@dataclass(frozen=True, slots=True)
class Node:
    """One reading of a node. Frozen; `None` means not measured."""

    name: str = ""
    """As the site's configuration calls it."""
    hostname: str | None = None
    transport: str | None = None
    """nvml (the probe) or nvidia-smi (the fallback)."""
    transport_note: str | None = None
    """Why the fallback is used, and what to do about it."""
    os: str | None = None
    kernel: str | None = None
    driver: str | None = None
    cuda: str | None = None
    """Highest CUDA version the driver supports, 13.1; not an installed toolkit."""
    nvml: str | None = None
    privileged: bool | None = None
    """The probe runs as root; without it MIG placements and other users' commands stay n/a."""
    boot_at: float | None = None
    cpu_count: int | None = None
    load_1m: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    clock_skew_seconds: float | None = None
    """The node's clock minus this machine's; includes the network delay."""
    kernel_log: str | None = None
    """Where XIDs are read from: kmsg, journal; None when the kernel log may not be read."""
    gpus: tuple[Gpu, ...] = ()
    host: Host = field(default_factory=Host)
    topology: Topology | None = None
    """None where it was not read."""
    stall: Stall | None = None
    probe: ProbeCost = ProbeCost()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a time: an XID, a lost GPU, a connection that came or went."""

    at: float
    """Seconds since the epoch."""
    node: str
    kind: str
    """xid, gpu_lost, ecc_double_bit, connected, disconnected."""
    text: str
    gpu_index: int | None = None
    gpu_uuid: str | None = None
    pci_bus_id: str | None = None
    code: int | None = None
    """The XID number."""
    source: str | None = None
    """nvml, kernel or console."""
