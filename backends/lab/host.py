"""What the probe reads of a simulated machine besides NVML: the shape of the probe's own `Host`."""

from __future__ import annotations

import math
from typing import Any

from backends.feed import Clock
from backends.lab.dynamics import Meter, mix
from backends.lab.hardware import SimNode


class SimHost:
    """One probe's view of a node; the kernel log is read from its beginning, as /dev/kmsg is."""

    kernel_log: str | None

    def __init__(self, node: SimNode, meter: Meter, clock: Clock, jobs_clock: Clock | None = None) -> None:
        self._node = node
        self._meter = meter
        self._clock = clock
        self._jobs_clock = jobs_clock or clock
        self._seen: set[int] = set()
        # The journal serves a login that may not open /dev/kmsg.
        self.kernel_log = "kmsg" if node.machine.privileged else "journal"

    def now(self) -> float:
        return self._clock.now()

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

    def process(self, pid: int) -> dict[str, Any] | None:
        process = self._meter.process(pid, self._jobs_clock.now())
        if process is None:
            return None
        return {"user": process.user, "command": process.command, "started_at": process.started_at}

    def kernel_xids(self) -> list[dict[str, Any]]:
        now = self._clock.now()
        fresh = [line for line in self._node.log if line.number not in self._seen and line.at <= now]
        self._seen.update(line.number for line in fresh)
        return [{"at": line.at, "pci_bus_id": line.pci_bus_id, "code": line.code, "text": line.text} for line in fresh]

    def driver_gpus(self) -> list[str]:
        return [gpu.pci_bus_id for gpu in self._node.gpus]

    def cpu_seconds(self) -> float | None:
        # The probe runs inside the lab, so that its own share of CPU is not known.
        return None
