"""A node, and what happened on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from backends.domain.gpu import Gpu
from backends.domain.host import Host
from backends.domain.topology import Topology


@dataclass(frozen=True, slots=True)
class Stall:
    """An NVML call that has not come back: a sick GPU can hold a call for ever."""

    gpu_index: int | None = None
    call: str | None = None
    """An NVML function; else what the probe waits for besides NVML."""
    seconds: float | None = None

    @property
    def told(self) -> str:
        """`NVML hangs in nvmlDeviceGetPowerUsage of GPU 3`"""
        if self.call is not None and not self.call.startswith("nvml"):
            return f"the probe hangs in {self.call}"
        where = "" if self.gpu_index is None else f" of GPU {self.gpu_index}"
        return f"NVML hangs in {self.call or 'a call'}{where}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        return "does nvidia-smi hang there too? look at dmesg; a reboot may be all that helps"


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
    """Why the fallback is used and what to do about it, and what nvidia-smi warns of."""
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
    """Where XIDs are read from: kmsg, journal. None when the kernel log may not be read: XIDs of the past are unseen
    then, and of those to come there is what NVML tells."""
    gpus: tuple[Gpu, ...] = ()
    host: Host = field(default_factory=Host)
    topology: Topology | None = None
    """None where it was not read."""
    stall: Stall | None = None
    probe: ProbeCost = ProbeCost()


EVENT_KINDS: dict[str, str] = {
    "xid": "the driver reported an error of a GPU",
    "sxid": "the driver reported an error of an NVSwitch",
    "gpu_lost": "a GPU fell off the bus or is no longer listed",
    "gpu_back": "a lost GPU answers again",
    "ecc_double_bit": "an uncorrectable memory error",
    "connected": "a node is read: its values are live",
    "disconnected": "a node stopped answering: its values are stale",
    "down": "a node did not answer the first time it was asked",
    "stalled": "the driver of a node hangs: its values are from before",
    "resumed": "the driver of a node answers again",
    "change_begun": "a change, its undo or the rest of it was begun",
    "change_failed": "a step of a change failed, or its undo",
    "change_stopped": "a change was stopped between two steps",
    "change_cut_off": "nobody is at a change any more, and it has no end",
    "change_done": "a change was done to its end",
    "change_undone": "a change was taken back",
    "change_abandoned": "somebody took an open change over by hand",
}
"""What an event can be."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a time: an XID, a lost GPU, a connection that came or went, a turn of a change."""

    at: float
    """Seconds since the epoch."""
    node: str
    """Empty for a change that acts on no node."""
    kind: str
    """A key of `EVENT_KINDS`."""
    text: str
    gpu_index: int | None = None
    gpu_uuid: str | None = None
    pci_bus_id: str | None = None
    """Of the GPU; of the switch where it is an SXID."""
    code: int | None = None
    """The number of the XID or the SXID."""
    source: str | None = None
    """nvml, kernel, console or journal."""
    gi: int | None = None
    """The MIG GPU instance it happened in; None outside MIG, and where the driver does not tell."""
    ci: int | None = None
    """The compute instance of it."""
    pid: int | None = None
    """The process whose work met an XID, by its number on the node."""
    process: str | None = None
    """Its name, as the kernel cuts it."""
    fatal: bool | None = None
    """Of an SXID: whether the switch's work ended with it; None where the line does not say."""
    link: int | None = None
    """Of an SXID: the switch's port."""
    count: int = 1
    """How many it stands for: itself, and those of a run before it that are not told one by one."""
    first_at: float | None = None
    """When the first of those happened; None where it stands for itself alone."""
    who: str | None = None
    """Of a change: whose hand it was, alice@head01."""
    change: str | None = None
    """The id of that change."""

    @property
    def gpu_key(self) -> str | None:
        """`Gpu.key` of the GPU it is about; None where it is about the node."""
        index = None if self.gpu_index is None else f"gpu{self.gpu_index}"
        return self.gpu_uuid or self.pci_bus_id or index

    @property
    def begun_at(self) -> float:
        """When it happened, or the first of those that it stands for; seconds since the epoch."""
        return self.at if self.first_at is None else self.first_at

    @property
    def device(self) -> str | None:
        """The slot of what it is about in the kernel's spelling; where that is not known the GPU's UUID or index."""
        return short_bus_id(self.pci_bus_id) if self.pci_bus_id else self.gpu_key

    @property
    def key(self) -> str:
        """Identity within its site: what happened to what at which time; a site keeps one event of a key."""
        more = "".join(f" {each}" for each in (self.pid, self.link, self.change) if each is not None)
        return f"{self.at:.3f} {self.node} {self.gpu_key or '-'} {self.kind} {self.code or '-'}{more}"

    def is_of(self, gpu: Gpu) -> bool:
        """Whether it is about `gpu`: by UUID, else by slot, else by index, whichever both are known by."""
        if self.gpu_uuid is not None and gpu.uuid is not None:
            return self.gpu_uuid == gpu.uuid
        if self.pci_bus_id is not None and gpu.pci_bus_id is not None:
            return short_bus_id(self.pci_bus_id) == short_bus_id(gpu.pci_bus_id)
        return self.gpu_index is not None and self.gpu_index == gpu.index


@lru_cache(maxsize=8192)
def short_bus_id(bus_id: str) -> str:
    """00000000:9B:00.0 and 0000:9b:00 are the same slot: domain, bus and device in lower case."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest.partition('.')[0]}"
