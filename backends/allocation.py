"""Joins what the nodes see on their GPUs with what the platform gave out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backends.domain import (
    Fleet,
    GpuUse,
    Mismatch,
    MismatchKind,
    NodeState,
    Stack,
    Workload,
    Workloads,
    by_container,
    node_named,
)

SETTLE_SECONDS = 600.0
"""A workload that has run for less than this may still load its model."""


def uses_of(fleet: Fleet, workloads: Workloads | None) -> tuple[GpuUse, ...]:
    """Every process on a GPU of an answering node, with its workload where there is one."""
    known = by_container(() if workloads is None else workloads.items)
    return tuple(
        GpuUse(reading.name, gpu.key, gpu.index, process, known.get(process.container_id or ""))
        for reading in fleet.nodes
        if reading.state is NodeState.LIVE and reading.node is not None
        for gpu in reading.node.gpus
        for process in gpu.processes or ()
    )


def mismatches(fleet: Fleet, stack: Stack | None, workloads: Workloads, now: float) -> tuple[Mismatch, ...]:
    """Where allocation and reality differ, by node; only on nodes that answer and that the platform knows.

    What may not be read makes no mismatch: without all pods no container is called unknown.
    """
    uses = uses_of(fleet, workloads)
    found: list[Mismatch] = []
    for reading in fleet.nodes:
        if reading.state is not NodeState.LIVE or reading.node is None:
            continue
        here = [use for use in uses if use.node == reading.name]
        mine = [item for item in workloads.items if _same(item.node, reading.name)]
        if not mine and not workloads.items:
            continue
        if all(gpu.processes is not None and not gpu.processes_omitted for gpu in reading.node.gpus):
            found += _idle(reading.name, mine, here, now)
        found += _unallocated(reading.name, here, stack)
        found += _twice(reading.name, here, stack)
        if not workloads.not_permitted and mine:
            found += _strangers(reading.name, here)
    return tuple(found)


def _idle(node: str, workloads: Iterable[Workload], uses: Iterable[GpuUse], now: float) -> Iterator[Mismatch]:
    busy = {use.workload.uid for use in uses if use.workload is not None}
    for workload in workloads:
        running = workload.phase == "Running" and workload.started_at is not None
        settled = running and now - (workload.started_at or now) > SETTLE_SECONDS
        if settled and workload.gpu_count and workload.uid not in busy:
            asked = ", ".join(f"{each.count} {each.resource}" for each in workload.gpus)
            claim = f"{workload.title} holds {asked} and uses none"
            yield Mismatch(MismatchKind.IDLE, node, claim, workloads=(workload,))


def _unallocated(node: str, uses: Iterable[GpuUse], stack: Stack | None) -> Iterator[Mismatch]:
    own = None if stack is None else stack.operator_namespace
    for (key, index, workload), group in _grouped(uses):
        # The operator's own pods look at every GPU without asking for one.
        if not workload.gpus and (own is None or workload.namespace != own):
            claim = f"{workload.title} uses gpu{index} without having asked for one"
            yield Mismatch(MismatchKind.UNALLOCATED, node, claim, key, index, (workload,), tuple(group))


def _twice(node: str, uses: Iterable[GpuUse], stack: Stack | None) -> Iterator[Mismatch]:
    known = None if stack is None else node_named(stack.nodes, node)
    if known is not None and known.capacity.sharing is not None:
        return
    by_place: dict[tuple[str, int, int | None], dict[str, GpuUse]] = {}
    for use in uses:
        workload = use.workload
        if workload is None or not workload.gpus or any(each.renamed_replica for each in workload.gpus):
            continue
        by_place.setdefault((use.gpu_key, use.gpu_index, use.process.gi), {}).setdefault(workload.uid, use)
    for (key, index, gi), owners in by_place.items():
        if len(owners) > 1:
            sharing = tuple(use.workload for use in owners.values() if use.workload is not None)
            place = f"gpu{index}" if gi is None else f"gpu{index} instance {gi}"
            claim = f"{place} is used by {len(sharing)} workloads and is not shared: " + _titles(sharing)
            yield Mismatch(MismatchKind.TWICE, node, claim, key, index, sharing, tuple(owners.values()))


def _strangers(node: str, uses: Iterable[GpuUse]) -> Iterator[Mismatch]:
    for use in uses:
        if use.workload is not None or use.process.kind == "graphics":
            continue
        process = use.process
        name = process.command or f"process {process.pid}"
        if process.container_id is not None:
            claim = f"gpu{use.gpu_index} is used by {name} in a container that the platform does not know"
            yield Mismatch(MismatchKind.ORPHAN, node, claim, use.gpu_key, use.gpu_index, uses=(use,))
        else:
            whose = f" of {process.user}" if process.user else ""
            claim = f"gpu{use.gpu_index} is used by {name}{whose} outside of any container"
            yield Mismatch(MismatchKind.HOST, node, claim, use.gpu_key, use.gpu_index, uses=(use,))


def _grouped(uses: Iterable[GpuUse]) -> Iterator[tuple[tuple[str, int, Workload], list[GpuUse]]]:
    groups: dict[tuple[str, str], list[GpuUse]] = {}
    for use in uses:
        if use.workload is not None:
            groups.setdefault((use.gpu_key, use.workload.uid), []).append(use)
    for group in groups.values():
        workload = group[0].workload
        assert workload is not None
        yield (group[0].gpu_key, group[0].gpu_index, workload), group


def _titles(workloads: Iterable[Workload]) -> str:
    return ", ".join(sorted(workload.title for workload in workloads))


def _same(node: str | None, name: str) -> bool:
    """The platform may call a node by its full name, and the site by its short one."""
    return node is not None and (node == name or node.partition(".")[0] == name.partition(".")[0])
