"""The Engine API's `/containers/ID/stats` -> `ContainerUsage`. Pure.

As `docker stats` counts: CPU time as a share of all CPUs' time, times their number; memory without inactive file pages,
which are `total_inactive_file` in cgroup v1 and `inactive_file` in v2. Podman tells no such detail of memory, no limit
of pids and, without root, nothing of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.docker.containers import moment
from backends.domain.usage import ContainerUsage

INACTIVE = ("total_inactive_file", "inactive_file")
"""v1 has both, and counts the container's own cgroups below it in the first only."""
SHORTEST_SECONDS = 0.1
"""Podman's first value is held against one of a moment before, in ticks of the kernel that are longer."""
NO_LIMIT = 1 << 63


def usage_of(told: Mapping[str, Any]) -> ContainerUsage:
    """What is left out or told in another shape is None."""
    at = moment(told.get("read"))
    if at is None:  # it does not run
        return ContainerUsage()
    memory, pids = _table(told, "memory_stats"), _table(told, "pids_stats")
    held, with_cache = _memory(memory)
    received, sent = _network(told, untold=with_cache)
    read, written = _blocks(_table(told, "blkio_stats").get("io_service_bytes_recursive"))
    return ContainerUsage(
        at=at,
        cpu_percent=_cpu_percent(told, at),
        cpus=_cpus(_table(told, "cpu_stats")),
        memory_bytes=held,
        memory_with_cache=with_cache,
        memory_limit_bytes=_limit(memory.get("limit")),
        pids=_count(pids.get("current")),
        pids_limit=_limit(pids.get("limit")),
        received_bytes=received,
        sent_bytes=sent,
        read_bytes=read,
        written_bytes=written,
    )


def _cpu_percent(told: Mapping[str, Any], at: float) -> float | None:
    before_at = moment(told.get("preread"))
    if before_at is None or at - before_at < SHORTEST_SECONDS:
        return None
    now, before = _table(told, "cpu_stats"), _table(told, "precpu_stats")
    cpus = _cpus(now)
    own = _growth(_table(now, "cpu_usage"), _table(before, "cpu_usage"), "total_usage")
    every = _growth(now, before, "system_cpu_usage")
    if cpus is None or own is None or not every:
        return None
    return 100.0 * cpus * own / every


def _growth(now: Mapping[str, Any], before: Mapping[str, Any], key: str) -> int | None:
    """None also for a counter that began anew."""
    after, former = _count(now.get(key)), _count(before.get(key))
    return None if after is None or former is None or after < former else after - former


def _cpus(cpu: Mapping[str, Any]) -> int | None:
    told = _count(cpu.get("online_cpus"))
    if told:
        return told
    each = _table(cpu, "cpu_usage").get("percpu_usage")
    return len(each) if isinstance(each, list) and each else None


def _memory(memory: Mapping[str, Any]) -> tuple[int | None, bool]:
    """Bytes held, and whether page cache that could be dropped is among them."""
    usage, detail = _count(memory.get("usage")), _table(memory, "stats")
    if usage is None:
        return None, False
    droppable = next((count for key in INACTIVE if (count := _count(detail.get(key))) is not None), None)
    if droppable is None:
        return usage, True
    return (usage - droppable if droppable < usage else usage), False


def _network(told: Mapping[str, Any], *, untold: bool) -> tuple[int | None, int | None]:
    """`untold`: nothing at all is what Podman says where it may not look."""
    interfaces = [each for each in _table(told, "networks").values() if isinstance(each, Mapping)]
    received, sent = (_sum(each.get(key) for each in interfaces) for key in ("rx_bytes", "tx_bytes"))
    return (None, None) if untold and not received and not sent else (received, sent)


def _blocks(entries: Any) -> tuple[int | None, int | None]:
    """v1 writes the operations with a capital, and their sum beside them."""
    if not isinstance(entries, list):
        return None, None
    each = [(str(entry.get("op")).lower(), entry.get("value")) for entry in entries if isinstance(entry, Mapping)]
    if not each:
        return 0, 0
    return _sum(value for op, value in each if op == "read"), _sum(value for op, value in each if op == "write")


def _sum(values: Any) -> int | None:
    counts = [count for value in values if (count := _count(value)) is not None]
    return sum(counts) if counts else None


def _limit(value: Any) -> int | None:
    count = _count(value)
    return count if count and count < NO_LIMIT else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 64 else None


def _table(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}
