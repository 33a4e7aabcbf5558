"""Holds what the nodes see on their GPUs against what the platform gave out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from backends.domain import (
    Fleet,
    Gpu,
    GpuProcess,
    GpuUse,
    Mismatch,
    MismatchKind,
    Node,
    NodeGpuCapacity,
    NodeReading,
    Stack,
    StackNode,
    Workload,
)
from backends.ownership import Ownership, asked_words

YOUNG_SECONDS = 30.0
"""A process that began less than this ago may be seen before the platform tells of its container."""
SETTLE_SECONDS = 600.0
"""A workload that has run for less than this may still load its model."""


class Watched(NamedTuple):
    """A node that answers, and what the platform says of it."""

    name: str
    node: Node
    known: StackNode | None
    stack: Stack | None
    ownership: Ownership
    now: float
    """Seconds since the epoch."""

    @property
    def schedules(self) -> bool:
        """A scheduler gives out its GPUs. An engine without one gives none to one container alone, and has no say over
        the host's own processes."""
        return self.ownership.platform != "docker"


@dataclass(frozen=True, slots=True)
class InUse:
    """What of a node's GPUs has a process of a pod or a container, but for the operator's own that asked for none."""

    gpus: int
    """Whole GPUs; one that is shared counts once."""
    instances: int
    """MIG instances."""

    def counted(self, capacity: NodeGpuCapacity) -> tuple[int, int]:
        """GPUs and MIG instances as the scheduler tells them apart: under the single strategy an instance is a GPU."""
        if capacity.mig_strategy == "single":
            return self.gpus + self.instances, 0
        return self.gpus, self.instances


def in_use_by_node(fleet: Fleet, stack: Stack, ownership: Ownership) -> dict[str, InUse]:
    """By the platform's name of the node; a node of which it is not known is left out."""
    pairs = ((stack.get(reading.name), in_use(reading, stack, ownership)) for reading in fleet.nodes)
    return {known.name: used for known, used in pairs if known is not None and used is not None}


def in_use(reading: NodeReading, stack: Stack, ownership: Ownership) -> InUse | None:
    """None where it is not known: the node does not answer, or not all of its processes can be joined to their work."""
    node = reading.node
    if node is None or not reading.is_current or not ownership.complete_on(reading.name):
        return None
    there = [gpu for gpu in node.gpus if not gpu.lost]
    if not _is_joined(node, there) or not _whole(there):
        return None
    gpus, instances = 0, 0
    for gpu in there:
        places = {(each.gi, each.ci) for each in gpu.processes or () if _works(ownership.of(each), stack)}
        if not gpu.mig.enabled:
            gpus += bool(places)
        elif any(gi is None for gi, _ in places):
            return None
        else:
            instances += len(places)
    return InUse(gpus, instances)


def _works(workload: Workload | None, stack: Stack) -> bool:
    own = stack.operator_namespace
    return workload is not None and (bool(workload.gpus) or own is None or workload.namespace != own)


def of_kind(kind: MismatchKind, seen: Watched) -> Iterator[Mismatch]:
    """Where allocation and reality differ in one way on one node.

    What may not be read makes no mismatch: without all pods no container is called unknown.
    """
    return FINDERS[kind](seen) if seen.ownership.knows(seen.name) else iter(())


def _whole(gpus: Iterable[Gpu]) -> bool:
    """Every process is known, and enough of each: one that tells nothing may be anybody's."""
    return all(
        gpu.processes is not None and not gpu.processes_omitted and all(map(_is_known, gpu.processes)) for gpu in gpus
    )


def _is_joined(node: Node, gpus: Iterable[Gpu]) -> bool:
    """The container of every process on `gpus` is known: nvidia-smi tells none, so nothing there is nobody's."""
    return node.transport != "nvidia-smi" or not any(gpu.processes for gpu in gpus)


def _is_known(process: GpuProcess) -> bool:
    return process.container_id is not None or process.user is not None or process.command is not None


def _idle(seen: Watched) -> Iterator[Mismatch]:
    if not _is_joined(seen.node, seen.node.gpus) or not _whole(seen.node.gpus):
        return
    holders = seen.ownership.holders(seen.name)
    busy = {each.uid for each in seen.ownership.on_gpus(seen.node.gpus)} if holders else set[str]()
    for workload in holders:
        running = workload.phase == "Running" and workload.started_at is not None
        settled = running and seen.now - (workload.started_at or seen.now) > SETTLE_SECONDS
        if settled and workload.gpu_count and workload.uid not in busy:
            claim = f"{workload.title} holds {asked_words(workload)} and uses none"
            yield Mismatch(MismatchKind.IDLE, seen.name, claim, workloads=(workload,))


def _unallocated(seen: Watched) -> Iterator[Mismatch]:
    own = None if seen.stack is None else seen.stack.operator_namespace
    for gpu in seen.node.gpus:
        for workload in seen.ownership.on_gpu(gpu):
            # The operator's own pods look at every GPU without asking for one; what a claim gave is not known.
            if not workload.gpus and not workload.claims and (own is None or workload.namespace != own):
                claim = f"is used by {workload.title}, which was given no GPU"
                uses = tuple(use for use in _uses(seen, gpu) if use.workload is workload)
                yield Mismatch(MismatchKind.UNALLOCATED, seen.name, claim, gpu.key, gpu.index, (workload,), uses)


def _twice(seen: Watched) -> Iterator[Mismatch]:
    # Whether a GPU is shared on purpose is told by the node: of one that may not be read nothing is claimed.
    if not seen.schedules or seen.known is None or seen.known.capacity.sharing is not None:
        return
    for gpu in seen.node.gpus:
        asking = [each for each in seen.ownership.on_gpu(gpu) if _exclusive(each)]
        if len(asking) > 1:
            yield from _shared(seen, gpu)


def _shared(seen: Watched, gpu: Gpu) -> Iterator[Mismatch]:
    """Workloads that each asked for a GPU of their own and are in one place: the GPU, or the same instance of it."""
    by_place: dict[int | None, dict[str, GpuUse]] = {}
    for use in _uses(seen, gpu):
        if use.workload is not None and _exclusive(use.workload):
            by_place.setdefault(use.process.gi, {}).setdefault(use.workload.uid, use)
    for gi, owners in by_place.items():
        if len(owners) > 1:
            sharing = tuple(use.workload for use in owners.values() if use.workload is not None)
            place = "" if gi is None else f"instance {gi} "
            claim = f"{place}is used by {len(sharing)} workloads and is not shared: " + _titles(sharing)
            yield Mismatch(MismatchKind.TWICE, seen.name, claim, gpu.key, gpu.index, sharing, tuple(owners.values()))


def _exclusive(workload: Workload) -> bool:
    return bool(workload.gpus) and not workload.claims and not any(each.renamed_replica for each in workload.gpus)


def _orphans(seen: Watched) -> Iterator[Mismatch]:
    for gpu, process, name in _strangers(seen):
        if process.container_id is not None:
            claim = f"is used by {name} in a container that the platform does not know"
            use = GpuUse(seen.name, gpu.key, gpu.index, process)
            yield Mismatch(MismatchKind.ORPHAN, seen.name, claim, gpu.key, gpu.index, uses=(use,))


def _on_host(seen: Watched) -> Iterator[Mismatch]:
    for gpu, process, name in _strangers(seen) if seen.schedules else ():
        if process.container_id is None:
            whose = f" of {process.user}" if process.user else ""
            claim = f"is used by {name}{whose} outside of any container"
            use = GpuUse(seen.name, gpu.key, gpu.index, process)
            yield Mismatch(MismatchKind.HOST, seen.name, claim, gpu.key, gpu.index, uses=(use,))


def _strangers(seen: Watched) -> Iterator[tuple[Gpu, GpuProcess, str]]:
    """Processes that belong to no workload, with what they are called; none while not all workloads are read, or where
    nobody tells whose container a process is in."""
    if not seen.ownership.complete_on(seen.name) or not _is_joined(seen.node, seen.node.gpus):
        return
    for gpu in seen.node.gpus:
        for process in gpu.processes or ():
            young = process.started_at is not None and seen.now - process.started_at < YOUNG_SECONDS
            if seen.ownership.of(process) is None and process.kind != "graphics" and _is_known(process) and not young:
                yield gpu, process, process.command or f"process {process.pid}"


def _uses(seen: Watched, gpu: Gpu) -> tuple[GpuUse, ...]:
    return tuple(
        GpuUse(seen.name, gpu.key, gpu.index, process, seen.ownership.of(process)) for process in gpu.processes or ()
    )


def _titles(workloads: Iterable[Workload]) -> str:
    return ", ".join(sorted(workload.title for workload in workloads))


FINDERS: Mapping[MismatchKind, Callable[[Watched], Iterator[Mismatch]]] = {
    MismatchKind.IDLE: _idle,
    MismatchKind.UNALLOCATED: _unallocated,
    MismatchKind.TWICE: _twice,
    MismatchKind.ORPHAN: _orphans,
    MismatchKind.HOST: _on_host,
}
