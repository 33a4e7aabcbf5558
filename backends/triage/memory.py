"""What earlier readings of a node left behind: how counters grew, and which links and ports have worked before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from backends.domain import Ecc, Gpu, Link, Node, Pcie
from backends.triage.boards import Boards, shown

KEPT_SECONDS = 7200.0
KEPT_SAMPLES = 64
STEADY_SECONDS = 600.0
"""A counter that stands still for so long begins to grow anew after that."""
SPACING_SECONDS = 30.0
"""A counter that grows all the time is noted this often."""


@dataclass(frozen=True, slots=True)
class Increase:
    """By how much a counter grew, and over what time it was watched."""

    count: int
    seconds: float
    began_at: float | None = None
    """When it began to grow, seconds since the epoch; None where it did not grow."""


def _link_recoveries(links: tuple[Link, ...] | None) -> int | None:
    counted = [count for link in links or () if (count := link.recovery_errors) is not None]
    return sum(counted) if counted else None


def _link_errors(links: tuple[Link, ...] | None) -> int | None:
    counted = [errors for link in links or () if (errors := link.errors) is not None]
    return sum(counted) if counted else None


COUNTERS: dict[str, Callable[[Gpu], int | None]] = {
    "ecc_corrected": lambda gpu: gpu.ecc.volatile.corrected,
    "ecc_uncorrected": lambda gpu: gpu.ecc.volatile.uncorrected,
    "pcie_replays": lambda gpu: gpu.pcie.replay_count,
    "link_errors": lambda gpu: _link_errors(gpu.links),
    "link_recoveries": lambda gpu: _link_recoveries(gpu.links),
}
"""Counter -> how it is read."""


class NodeMemory:
    """Of one node. Rules read it; `observe` alone writes it, once per new reading with current values."""

    def __init__(self, asked_at: float | None = None, boards: Boards | None = None) -> None:
        self.asked_at = asked_at
        """When the node was first asked for, seconds since the epoch."""
        self.boards = boards
        """The most GPUs that the node has shown, those that are lost now among them."""
        self._series: dict[tuple[str, str], deque[tuple[float, int]]] = {}
        self._growth: dict[tuple[str, str], tuple[float, float]] = {}
        """When a counter began to grow, and when it last grew."""
        self._seen: dict[str, tuple[Ecc, Pcie, tuple[Link, ...] | None]] = {}
        self._active_links: dict[str, dict[int, str | None]] = {}
        self._some_inactive: set[str] = set()
        self._active_ports: set[tuple[str, int]] = set()
        self._keys: frozenset[str] = frozenset()
        self._writable: set[str] = set()
        self.was_switched = False
        """An NVLink has led to a switch."""
        self.was_direct = False
        """An NVLink has led to another GPU."""
        self.has_growth = False
        """Whether any counter of the node has grown since it is known: without that no rate need be looked at."""

    def observe(self, node: Node, now: float) -> None:
        """Takes note of `node`; `now` in seconds since the epoch."""
        keys = frozenset(gpu.key for gpu in node.gpus)
        if keys != self._keys:
            self._forget_all_but(keys or self._keys)
        self.boards = shown(self.boards, node, now)
        for gpu in node.gpus:
            if not gpu.lost:
                seen = self._seen.get(gpu.key)
                # A part that is the same object has not changed: the slow values stay for many readings.
                if seen is None or not (seen[0] is gpu.ecc and seen[1] is gpu.pcie and seen[2] is gpu.links):
                    self._observe_gpu(gpu, now)
        for port in node.host.rdma or ():
            if port.state == "active":
                self._active_ports.add((port.device, port.port))
        self._writable.update(disk.mount for disk in node.host.disks or () if disk.read_only is False)

    def increase(self, gpu_key: str, counter: str, now: float, seconds: float) -> Increase | None:
        """How much `counter` grew in the last `seconds`, or since it is known if that is less; None without a past."""
        series = self._series.get((gpu_key, counter))
        if not series:
            return None
        first = series[0]
        if len(series) == 1:
            return Increase(0, min(seconds, now - first[0]))
        start = now - seconds
        for sample in series:
            if sample[0] > start:
                break
            first = sample
        count = series[-1][1] - first[1]
        began_at = self._growth[gpu_key, counter][0] if count else None
        return Increase(count, min(seconds, now - first[0]), began_at)

    def latest(self, gpu_key: str, counter: str) -> int | None:
        """The counter as it was last read; None where the board has none."""
        series = self._series.get((gpu_key, counter))
        return series[-1][1] if series else None

    def active_links(self, gpu_key: str) -> dict[int, str | None]:
        """Links seen active, each with the bus id of its other end where that was told."""
        return self._active_links.get(gpu_key, {})

    def has_inactive_link(self, gpu_key: str) -> bool:
        """Whether some link of the GPU says now that it is not active."""
        return gpu_key in self._some_inactive

    def port_was_active(self, device: str, port: int) -> bool:
        return (device, port) in self._active_ports

    def was_writable(self, mount: str) -> bool:
        return mount in self._writable

    def _observe_gpu(self, gpu: Gpu, now: float) -> None:
        key = gpu.key
        self._seen[key] = (gpu.ecc, gpu.pcie, gpu.links)
        for name, read in COUNTERS.items():
            value = read(gpu)
            if value is not None:
                self._note((key, name), now, value)
        self._some_inactive.discard(key)
        for link in gpu.links or ():
            if link.active:
                self.was_switched = self.was_switched or link.remote_kind == "switch"
                self.was_direct = self.was_direct or link.remote_kind == "gpu"
                self._active_links.setdefault(key, {})[link.index] = link.remote_pci_bus_id
            elif link.active is False:
                self._some_inactive.add(key)

    def _note(self, key: tuple[str, str], now: float, value: int) -> None:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = deque(maxlen=KEPT_SAMPLES)
        if series and value < series[-1][1]:
            series.clear()  # a reset or a reload of the driver counts anew
            self._growth.pop(key, None)
        if series and value > series[-1][1]:
            began, last = self._growth.get(key, (now, now))
            self._growth[key] = (began if now - last <= STEADY_SECONDS else now, now)
        if len(series) >= 2 and now - series[-2][0] < SPACING_SECONDS:
            series[-1] = (now, value)
        elif not series or value != series[-1][1]:
            series.append((now, value))
            self.has_growth = self.has_growth or len(series) > 1
        while len(series) > 2 and series[1][0] < now - KEPT_SECONDS:
            series.popleft()

    def _forget_all_but(self, keys: frozenset[str]) -> None:
        self._keys = keys
        self._series = {key: series for key, series in self._series.items() if key[0] in keys}
        self._growth = {key: times for key, times in self._growth.items() if key[0] in keys}
        self._seen = {key: parts for key, parts in self._seen.items() if key in keys}
        self._some_inactive &= keys
        self._active_links = {key: links for key, links in self._active_links.items() if key in keys}
