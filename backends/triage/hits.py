"""Whose work a trouble touches."""

from __future__ import annotations

from collections.abc import Iterable

from backends.domain import Gpu, GpuProcess, Hit, Node, clean
from backends.triage.words import gib

HITS_KEPT = 16
CONTAINER_DIGITS = 12
"""As docker and crictl shorten an id."""


def of_gpu(gpu: Gpu | None) -> tuple[Hit, ...]:
    """The processes on one GPU, most memory first."""
    return () if gpu is None else _of(gpu.processes or ())


def of_node(node: Node | None) -> tuple[Hit, ...]:
    """The processes on all GPUs of a node, one hit for each process."""
    if node is None:
        return ()
    return _of(process for gpu in node.gpus for process in gpu.processes or ())


def merged(groups: Iterable[tuple[Hit, ...]]) -> tuple[Hit, ...]:
    """Each hit once, the first kept."""
    return tuple(dict.fromkeys(hit for group in groups for hit in group))[:HITS_KEPT]


def _of(processes: Iterable[GpuProcess]) -> tuple[Hit, ...]:
    by_pid: dict[int, list[GpuProcess]] = {}
    for process in processes:
        by_pid.setdefault(process.pid, []).append(process)
    hits = [(_memory(same), _hit(same)) for same in by_pid.values()]
    hits.sort(key=lambda pair: -(pair[0] or 0))
    return tuple(hit for _, hit in hits)[:HITS_KEPT]


def _memory(processes: list[GpuProcess]) -> int | None:
    known = [process.memory_bytes for process in processes if process.memory_bytes is not None]
    return sum(known) if known else None


def _hit(processes: list[GpuProcess]) -> Hit:
    process = processes[0]
    memory = _memory(processes)
    gpus = f" on {len(processes)} GPUs" if len(processes) > 1 else ""
    parts = [
        f"{process.user or 'user n/a'}:",
        process.command or "command n/a",
        f"(pid {process.pid}{', ' + gib(memory) if memory is not None else ''}{gpus})",
    ]
    if process.container_id:
        parts.append(f"in container {process.container_id[:CONTAINER_DIGITS]}")
    return Hit(clean(" ".join(parts), 200), process.user, process.pid, process.container_id)
