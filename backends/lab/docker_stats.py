"""What the lab's engine says of what a container uses, in the shape of cgroup v2."""

from __future__ import annotations

from typing import Any

from backends.lab.hardware import SimNode, digest
from backends.lab.jobs import Job
from backends.lab.kube.store import rfc3339

BOOTED_BEFORE_SECONDS = 3600.0
"""The node, before a container started."""
NOT_RUNNING: dict[str, Any] = {
    "read": "0001-01-01T00:00:00Z",
    "preread": "0001-01-01T00:00:00Z",
    "pids_stats": {},
    "blkio_stats": {"io_service_bytes_recursive": None},
    "cpu_stats": {"cpu_usage": {"total_usage": 0}},
    "precpu_stats": {"cpu_usage": {"total_usage": 0}},
    "memory_stats": {},
}


def stats(node: SimNode, job: Job, at: float, before: float | None) -> dict[str, Any]:
    """Of a container that runs, at `at`, held against `before`; None: the first of a stream."""
    machine = node.machine
    seconds = max(0.0, at - job.started_at)
    share = 0.5 + digest(job.container_id, "share", 0) % 100 / 200
    cores = share * machine.cpu_count / 8 * max(1, len(job.gpus))
    memory = int(share * (machine.memory_gib << 30) / 16 * max(1, len(job.gpus)))
    cache = memory // 3

    def cpu(moment: float) -> dict[str, Any]:
        running = max(0.0, moment - job.started_at)
        return {
            "cpu_usage": {"total_usage": int(cores * running * 1e9)},
            "system_cpu_usage": int(machine.cpu_count * (BOOTED_BEFORE_SECONDS + running) * 1e9),
            "online_cpus": machine.cpu_count,
        }

    return {
        "id": job.container_id,
        "name": f"/{job.name}",
        "read": rfc3339(at),
        "preread": "0001-01-01T00:00:00Z" if before is None else rfc3339(before),
        "pids_stats": {"current": 24 + 40 * max(1, len(job.gpus)), "limit": (1 << 64) - 1},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 259, "minor": 0, "op": "read", "value": int(seconds * share * 40e6)},
                {"major": 259, "minor": 0, "op": "write", "value": int(seconds * share * 3e6)},
            ]
        },
        "cpu_stats": cpu(at),
        "precpu_stats": {"cpu_usage": {"total_usage": 0}} if before is None else cpu(before),
        "memory_stats": {
            "usage": memory + cache,
            "limit": machine.memory_gib << 30,
            "stats": {"inactive_file": cache, "file": cache, "anon": memory},
        },
        **({} if job.training else {"networks": {"eth0": _network(seconds * share)}}),
    }


def _network(seconds: float) -> dict[str, int]:
    return {"rx_bytes": int(seconds * 2e5), "tx_bytes": int(seconds * 9e5)}
