"""What the probe reads of a simulated machine besides NVML: the shape of the probe's own `Host`."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from backends.feed import Clock
from backends.lab.dynamics import Meter, mix
from backends.lab.equipment import EQUIPMENT, Equipment, Nic, SimDisk
from backends.lab.hardware import SimNode
from backends.lab.jobs import container_of
from backends.lab.systemd import state_of
from backends.nodes.probe_kernel import KernelLog

FACTS_SECONDS = 60.0
BLOCK_BYTES = 4096
SERVICES = (
    "nvidia-fabricmanager",
    "nvidia-persistenced",
    "nvidia-dcgm",
    "nvidia-mig-manager",
    "nvidia-imex",
    "nvidia-gridd",
    "nvsm",
)
HOSTILE_MOUNT = "/raid\x1b]0;owned\x07/[@click=app.bell]x[/]/\u202etuo"


class SimKernelLines:
    """The kernel log of a node, read from its beginning as /dev/kmsg is: a source of the probe's `KernelLog`."""

    def __init__(self, node: SimNode, clock: Clock, after: str | None) -> None:
        self._node = node
        self._clock = clock
        # The journal serves a login that may not open /dev/kmsg.
        self.name = "kmsg" if node.machine.privileged else "journal"
        self._boot = f"{self.name} {node.boots} "
        self._seen = self._known(after or "")

    def _known(self, mark: str) -> set[int]:
        if not mark.startswith(self._boot):
            return set()
        last = int(mark.removeprefix(self._boot))
        return {line.number for line in self._node.log if line.number <= last}

    def lines(self) -> Iterator[tuple[str, float, str]]:
        """(mark, time, text) of each line since the last call."""
        now = self._clock.now()
        for line in list(self._node.log):
            if line.number not in self._seen and line.at <= now:
                self._seen.add(line.number)
                yield f"{self._boot}{line.number}", line.at + self._node.clock_ahead_seconds, line.text


class SimKernelLog(KernelLog):
    """The probe's own reader without its thread: the lab's session takes its steps."""

    def __init__(self, node: SimNode, clock: Clock) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lines: Callable[[str | None], SimKernelLines] = functools.partial(SimKernelLines, node, clock)

    def start(self, tell: Callable[[dict[str, Any]], None], after: str | None = None) -> None:
        self.tell = tell
        self.source = self._lines(after)
        self.name = self.source.name
        self.step()
        self.first.set()

    def step(self) -> None:
        super().step()  # type: ignore[no-untyped-call]


class SimHost:
    """One probe's view of a node."""

    def __init__(self, node: SimNode, meter: Meter, clock: Clock, jobs_clock: Clock | None = None) -> None:
        self._node = node
        self._meter = meter
        self._clock = clock
        self._jobs_clock = jobs_clock or clock
        self._facts: tuple[object, dict[str, Any]] | None = None
        self.kernel = SimKernelLog(node, clock)

    @property
    def _equipment(self) -> Equipment:
        return EQUIPMENT[self._node.machine.prefix]

    def now(self) -> float:
        return self._clock.now() + self._node.clock_ahead_seconds

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def identity(self) -> dict[str, Any]:
        machine = self._node.machine
        return {
            "hostname": self._node.name,
            "os": machine.os,
            "kernel": machine.kernel,
            "boot_at": self._node.boot_at,
            "cpu_count": machine.cpu_count,
            "memory_total_bytes": machine.memory_gib << 30,
            "privileged": machine.privileged,
        }

    def load(self) -> dict[str, Any]:
        now = self._jobs_clock.now()
        busy = sum(self._meter.read(gpu, now).utilization_percent for gpu in self._node.gpus) / 100
        noise = mix(self._node.seed, int(now) // 5) % 100 / 100
        total = self._node.machine.memory_gib << 30
        # A loader process or two per busy GPU, and the page cache breathing slowly.
        used = 0.12 + 0.02 * busy + 0.02 * math.sin(now / 900 + self._node.index)
        return {
            "load_1m": round(0.3 + 2.2 * busy + noise, 2),
            "memory_available_bytes": int(total * (1 - used)) // 4096 * 4096,
        }

    def facts(self, _patience: float = 0.0) -> dict[str, Any]:
        """Disks, RDMA, services and the like, read once a minute; the same object in between."""
        window = int(self._jobs_clock.now() // FACTS_SECONDS)
        faults = self._node.host_faults
        stopped = frozenset(self._node.stopped)
        state = (
            window,
            faults.no_gpu_runtime,
            faults.services_down,
            faults.ports_down,
            faults.scratch_used_percent,
            stopped,
        )
        if self._facts is None or self._facts[0] != state:
            self._facts = (state, self._read_facts(window))
        return self._facts[1]

    def _read_facts(self, window: int) -> dict[str, Any]:
        equipment, machine = self._equipment, self._node.machine
        release = re.match(r"(\d+)\.(\d+)", machine.kernel)
        modern = release is not None and (int(release[1]), int(release[2])) >= (5, 12)
        return {
            "disks": [self._disk(disk, window) for disk in equipment.disks],
            "rdma": [self._port(nic) for nic in equipment.nics],
            "services": [{"name": name, "state": state_of(self._node, name)} for name in SERVICES],
            "runtimes": [{"name": name, "socket": path} for name, path in equipment.runtimes],
            "cdi": [] if self._node.host_faults.no_gpu_runtime else ["nvidia.com/gpu"],
            "kernel_modules": equipment.kernel_modules,
            "peermem": equipment.peermem,
            "dma_buf": equipment.kernel_modules == "open" and modern,
            "unread": [],
        }

    def _disk(self, disk: SimDisk, window: int) -> dict[str, Any]:
        scratch = disk is self._equipment.disks[-1]
        share = disk.used_share + self._node.seed % 97 / 97 * 0.12 + 0.01 * math.sin(window / 47 + self._node.index)
        full = self._node.host_faults.scratch_used_percent
        if scratch and full is not None:
            share = full / 100
        free = int(disk.total_bytes * (1 - share)) // BLOCK_BYTES * BLOCK_BYTES
        mount = HOSTILE_MOUNT if scratch and self._node.hostile else disk.mount
        return {
            "mount": mount,
            "device": disk.device,
            "kind": disk.kind,
            "read_only": False,
            "total_bytes": disk.total_bytes,
            "free_bytes": free,
        }

    def _port(self, nic: Nic) -> dict[str, Any]:
        down = nic.name in self._node.host_faults.ports_down
        port = {
            "device": nic.name,
            "port": 1,
            "state": "down" if down else "active",
            "physical_state": "polling" if down else "linkup",
            "rate_gbps": nic.rate_gbps,
            "link_layer": nic.link_layer,
            "netdev": nic.netdev,
            "pci_bus_id": nic.slot.bus_id,
        }
        return port if nic.slot.numa is None else {**port, "numa_node": nic.slot.numa}

    def place(self, bus_id: str | None) -> tuple[tuple[str, ...], int | None]:
        """Path in /sys and NUMA node of a device by its bus id, as NVML or /sys writes it."""
        wanted = (bus_id or "").lower()[-12:]
        slots = (*self._equipment.gpus, *(nic.slot for nic in self._equipment.nics))
        return next(((slot.path, slot.numa) for slot in slots if slot.bus_id == wanted), ((), None))

    def nics(self) -> list[tuple[str, str]]:
        return [(nic.name, nic.slot.bus_id) for nic in self._equipment.nics]

    def numa_count(self) -> int:
        return len(self._equipment.numa_cpus)

    def booted(self) -> float:
        return self._node.boot_at

    def process(self, pid: int) -> dict[str, Any] | None:
        found = self._meter.process(pid, self._jobs_clock.now())
        if found is None:
            return None
        gpu, process = found
        told = {"user": process.user, "command": process.command, "started_at": process.started_at}
        container = container_of(self._node, gpu, process)
        return told if container is None else {**told, "container_id": container}

    def driver_gpus(self) -> list[str]:
        return [gpu.pci_bus_id for gpu in self._node.gpus]

    def cpu_seconds(self) -> float | None:
        # The probe runs inside the lab, so that its own share of CPU is not known.
        return None
