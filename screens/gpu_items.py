"""What a filter looks at on a GPU's row: the GPU, and what it has from its node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from screens.condition import gpu_condition, links_down
from screens.workloads import words as workload_words

if TYPE_CHECKING:
    from backends.domain import Event, Gpu, Node, Workload
    from backends.ownership import Ownership

Xids = Mapping[tuple[str, str], tuple[float, ...]]
"""Node and GPU key -> the XIDs the site has heard of, oldest first, each once."""
NO_XIDS: Xids = {}


class GpuItem(NamedTuple):
    """A GPU and what it has from its node; without a GPU a node that was never read."""

    node: str
    words: frozenset[str]
    """Of the node's state: see `screens.condition.node_state_words`."""
    gpu: Gpu | None = None
    driver: str | None = None
    cuda: str | None = None
    kernel: str | None = None
    transport: str | None = None
    xids: tuple[float, ...] = ()
    workloads: tuple[Workload, ...] | None = None
    """Whose processes are on it; None where no platform has told."""
    around: tuple[Gpu, ...] = ()
    """The GPUs of its node, where some link of it is down: they tell whether it should be up."""


def gpu_item(
    name: str,
    node: Node | None,
    gpu: Gpu | None,
    words: frozenset[str],
    xids: Xids,
    ownership: Ownership | None = None,
) -> GpuItem:
    if node is None:
        return GpuItem(name, words, gpu)
    around = node.gpus if gpu is not None and links_down(gpu) else ()
    heard = xids.get((name, gpu.key), ()) if gpu is not None else ()
    work = ownership.on_gpu(gpu) if ownership is not None and gpu is not None else None
    return GpuItem(name, words, gpu, node.driver, node.cuda, node.kernel, node.transport, heard, work, around)


def xids_of(events: Iterable[Event]) -> Xids:
    found: dict[tuple[str, str], dict[float, None]] = {}
    for event in events:
        if event.kind == "xid" and event.code is not None and event.gpu_key is not None:
            found.setdefault((event.node, event.gpu_key), {})[event.code] = None
    return {key: tuple(codes) for key, codes in found.items()}


def gpu_text(item: GpuItem) -> str:
    """What words look for on a GPU's row: names, identifiers, users, MIG profiles and the word of its state."""
    gpu = item.gpu
    if gpu is None:
        return item.node.lower()
    users = {process.user for process in gpu.processes or () if process.user}
    words = [item.node, f"gpu{gpu.index}", gpu.name, gpu.uuid, gpu.serial, gpu.pci_bus_id, *sorted(users)]
    words.extend(instance.profile for instance in gpu.mig.instances)
    words.append(gpu_condition(gpu, item.around).word)
    words.append(workload_words(item.workloads or ()))
    return " ".join(word for word in words if word).lower()
