"""What earlier readings of a node left behind: how counters grew, and which links and ports have worked before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backends.domain import Gpu, Link, Node

KEPT_SECONDS = 7200.0
KEPT_SAMPLES = 64
SPACING_SECONDS = 30.0
"""A counter that grows all the time is noted this often."""


@dataclass(frozen=True, slots=True)
class Increase:
    """By how much a counter grew, and over what time it was watched."""

    count: int
    seconds: float


def _link_sum(name: str) -> Callable[[tuple[Link, ...] | None], int | None]:
    def total(links: tuple[Link, ...] | None) -> int | None:
        counted = [count for link in links or () if (count := getattr(link, name)) is not None]
        return sum(counted) if counted else None

    return total


def _link_errors(links: tuple[Link, ...] | None) -> int | None:
    counted = [errors for link in links or () if (errors := link.errors) is not None]
    return sum(counted) if counted else None


COUNTERS: dict[str, tuple[str, Callable[[Any], int | None]]] = {
    "ecc_corrected": ("ecc", lambda ecc: ecc.volatile.corrected),
    "ecc_uncorrected": ("ecc", lambda ecc: ecc.volatile.uncorrected),
    "pcie_replays": ("pcie", lambda pcie: pcie.replay_count),
    "link_errors": ("links", _link_errors),
    "link_recoveries": ("links", _link_sum("recovery_errors")),
}
"""Counter -> the part of a `Gpu` it is read from, and how. A part that is the same object has not changed."""


class NodeMemory:
    """Of one node. Rules read it; `observe` alone writes it, once per new reading with current values."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], deque[tuple[float, int]]] = {}
        self._seen: dict[tuple[str, str], Any] = {}
        self._active_links: dict[str, dict[int, str | None]] = {}
        self._active_ports: set[tuple[str, int]] = set()
        self._keys: frozenset[str] = frozenset()

    def observe(self, node: Node, now: float) -> None:
        """Takes note of `node`; `now` in seconds since the epoch."""
        keys = frozenset(gpu.key for gpu in node.gpus)
        if keys != self._keys:
            self._forget_all_but(keys)
        for gpu in node.gpus:
            if not gpu.lost:
                self._observe_gpu(gpu, now)
        for port in node.host.rdma or ():
            if port.state == "active":
                self._active_ports.add((port.device, port.port))

    def increase(self, gpu_key: str, counter: str, now: float, seconds: float) -> Increase | None:
        """How much `counter` grew in the last `seconds`, or since it is known if that is less; None without a past."""
        series = self._series.get((gpu_key, counter))
        if not series:
            return None
        start = now - seconds
        first = series[0]
        for sample in series:
            if sample[0] > start:
                break
            first = sample
        return Increase(series[-1][1] - first[1], min(seconds, now - first[0]))

    def active_links(self, gpu_key: str) -> dict[int, str | None]:
        """Links seen active, each with the bus id of its other end where that was told."""
        return self._active_links.get(gpu_key, {})

    def port_was_active(self, device: str, port: int) -> bool:
        return (device, port) in self._active_ports

    def _observe_gpu(self, gpu: Gpu, now: float) -> None:
        key = gpu.key
        for name, (part_name, read) in COUNTERS.items():
            part = getattr(gpu, part_name)
            if self._seen.get((key, name)) is not part:
                self._seen[key, name] = part
                value = read(part)
                if value is not None:
                    self._note((key, name), now, value)
        if self._seen.get((key, "active")) is not gpu.links:
            self._seen[key, "active"] = gpu.links
            for link in gpu.links or ():
                if link.active:
                    self._active_links.setdefault(key, {})[link.index] = link.remote_pci_bus_id

    def _note(self, key: tuple[str, str], now: float, value: int) -> None:
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = deque(maxlen=KEPT_SAMPLES)
        if series and value < series[-1][1]:
            series.clear()  # a reset or a reload of the driver counts anew
        if len(series) >= 2 and now - series[-2][0] < SPACING_SECONDS:
            series[-1] = (now, value)
        elif not series or value != series[-1][1]:
            series.append((now, value))
        while len(series) > 2 and series[1][0] < now - KEPT_SECONDS:
            series.popleft()

    def _forget_all_but(self, keys: frozenset[str]) -> None:
        self._keys = keys
        self._series = {key: series for key, series in self._series.items() if key[0] in keys}
        self._seen = {key: part for key, part in self._seen.items() if key[0] in keys}
        self._active_links = {key: links for key, links in self._active_links.items() if key in keys}
