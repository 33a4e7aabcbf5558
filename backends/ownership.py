"""Whose work a GPU process is: by the container in its cgroup to the pod or container of the platform, and its owner.

Made once for each value of the platform; looking a process up costs a dictionary's look-up, and what is on a GPU is
remembered as long as its processes are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from backends.domain import Container, Gpu, GpuProcess, GpuRequest, NotPermitted, Workload, Workloads


class Ownership:
    """The workloads of one moment, found by container and by node."""

    def __init__(self, workloads: Workloads) -> None:
        self.workloads = workloads
        self._by_container: dict[str, tuple[Workload, Container]] = {
            container.id: (workload, container)
            for workload in workloads.items
            for container in workload.containers
            if container.id is not None
        }
        self._holders: defaultdict[str, list[Workload]] = defaultdict(list)
        self._nodes: defaultdict[str, set[str]] = defaultdict(set)
        """First label of a node's name -> its names."""
        for workload in workloads.items:
            if workload.node is not None:
                self._nodes[_short(workload.node)].add(workload.node)
                if workload.gpus:
                    self._holders[workload.node].append(workload)
        self._on_gpu: dict[str, tuple[object, tuple[Workload, ...]]] = {}
        """`Gpu.key` -> its processes, and whose they are."""

    @property
    def platform(self) -> str | None:
        """docker, kubernetes or openshift; None while nothing runs there."""
        return self.workloads.items[0].platform if self.workloads.items else None

    def complete_on(self, node: str) -> bool:
        """All that runs on the node was read: a container that is not here is not the platform's."""
        return self.gap_on(node) is None

    def refused_on(self, node: str) -> NotPermitted | None:
        """The first that may not be read and may run on the node."""
        refused = self.workloads.not_permitted
        return next((each for each in refused if each.node is None or _short(each.node) == _short(node)), None)

    def gap_on(self, node: str) -> str | None:
        """Why not all that runs on the node was read, in words without a full stop; None where it was."""
        refused = self.refused_on(node)
        if refused is not None:
            return f"{refused.permission} is not permitted" if refused.node is None else refused.what
        here = (each for each in self.workloads.unread if each.running and _short(each.node) == _short(node))
        return next((each.why for each in here), None)

    def of(self, process: GpuProcess) -> Workload | None:
        """None outside of containers, or in one that the platform does not know."""
        found = self._by_container.get(process.container_id or "")
        return None if found is None else found[0]

    def container(self, identity: str | None) -> tuple[Workload, Container] | None:
        """The container with these 64 hex digits, and the workload it belongs to."""
        return self._by_container.get(identity or "")

    def on_gpu(self, gpu: Gpu) -> tuple[Workload, ...]:
        """Whose processes are on the GPU, the most memory first; the same object while nothing changed."""
        known = self._on_gpu.get(gpu.key)
        if known is not None and known[0] is gpu.processes:
            return known[1]
        held: dict[str, tuple[Workload, int]] = {}
        for process in gpu.processes or ():
            workload = self.of(process)
            if workload is not None:
                before = held.get(workload.uid, (workload, 0))[1]
                held[workload.uid] = (workload, before + (process.memory_bytes or 0))
        found = tuple(each for each, _ in sorted(held.values(), key=lambda pair: (-pair[1], pair[0].title)))
        self._on_gpu[gpu.key] = (gpu.processes, found)
        return found

    def on_gpus(self, gpus: Iterable[Gpu]) -> tuple[Workload, ...]:
        """Whose processes are on any of them, each once."""
        return tuple({each.uid: each for gpu in gpus for each in self.on_gpu(gpu)}.values())

    def holders(self, node: str) -> tuple[Workload, ...]:
        """What was given GPUs of the node, by the node's name or the only one whose first label agrees."""
        named = self._named(node)
        return () if named is None else tuple(self._holders.get(named, ()))

    def knows(self, node: str) -> bool:
        """Whether anything of the platform runs on the node."""
        return self._named(node) is not None

    def _named(self, node: str) -> str | None:
        names = self._nodes.get(_short(node), set())
        if node in names:
            return node
        return next(iter(names)) if len(names) == 1 else None


NOBODY = Ownership(Workloads())


def owner_words(workload: Workload) -> str:
    """`Deployment llama-70b`; empty for a bare pod or container."""
    owner = workload.owner
    return "" if owner is None else f"{owner.kind} {owner.name}"


def asked_words(workload: Workload) -> str:
    """`4 nvidia.com/gpu`; on Docker `all GPUs (device-request)`; `no GPU` for one that asked for none."""
    return ", ".join(map(_request_words, workload.gpus)) or "no GPU"


def _request_words(request: GpuRequest) -> str:
    count = "all" if request.count is None else str(request.count)
    if "/" in request.resource:
        return f"{count} {request.resource}"
    return f"{count} GPU{'' if count == '1' else 's'} ({request.resource})"


def owner_key(workload: Workload) -> tuple[str | None, str, str]:
    """What workloads of one owner have in common; a workload without one is its own."""
    owner = workload.owner
    return (workload.namespace, "", workload.uid) if owner is None else (workload.namespace, owner.kind, owner.name)


def owners(workloads: Iterable[Workload]) -> Mapping[tuple[str | None, str, str], Workload]:
    """One workload for each owner, in the order of the first."""
    found: dict[tuple[str | None, str, str], Workload] = {}
    for workload in workloads:
        found.setdefault(owner_key(workload), workload)
    return found


def _short(node: str) -> str:
    return node.partition(".")[0]
