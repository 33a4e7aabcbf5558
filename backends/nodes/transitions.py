"""What became another between two readings of a node: what neither the probe nor the connection tells by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from backends.domain import Event, short_bus_id

if TYPE_CHECKING:
    from backends.domain import Gpu, Node
    from backends.feed import Reading

UNLISTED = "the driver no longer lists it"


class LostGpus:
    """The GPUs of one node that are known to be lost: each loss is told once, whoever notices it first."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def is_news(self, event: Event) -> bool:
        """False for a `gpu_lost` that was told before; learns what the event tells."""
        names = _names(event.gpu_uuid, event.pci_bus_id, event.gpu_index)
        if event.kind == "gpu_back":
            self._known -= names
        elif event.kind == "gpu_lost":
            if names & self._known:
                return False
            self._known |= names
        return True

    def holds(self, gpu: Gpu) -> bool:
        return bool(_names_of(gpu) & self._known)


def transitions(name: str, before: Reading[Node], after: Reading[Node], lost: LostGpus, now: float) -> Iterator[Event]:
    """The events between two readings of the node `name`, noticed at `now` (seconds since the epoch)."""
    if after.error is not None:
        if after.value is None and before.error is None:
            yield _event(name, now, "down", after.error.message)
        return
    if after.value is None:
        return
    stall, earlier = after.value.stall, before.value.stall if before.value is not None else None
    if stall is not None and earlier is None:
        yield _event(name, now, "stalled", stall.told)
    elif stall is None and earlier is not None and before.error is None:
        yield _event(name, now, "resumed", "NVML answers again")
    earlier_gpus = before.value.gpus if before.value is not None else ()
    if after.value.gpus is not earlier_gpus:
        yield from _gpu_transitions(name, earlier_gpus, after.value.gpus, lost, now)


def _gpu_transitions(
    name: str, before: Sequence[Gpu], after: Sequence[Gpu], lost: LostGpus, now: float
) -> Iterator[Event]:
    listed = frozenset[str]().union(*map(_names_of, after))
    was_well = frozenset[str]().union(*(_names_of(gpu) for gpu in before if not gpu.lost))
    for gpu in after:
        if gpu.lost:
            yield _event(name, now, "gpu_lost", gpu.lost_reason or "lost", gpu)
        elif lost.holds(gpu) and not _names_of(gpu) & was_well:
            yield _event(name, now, "gpu_back", "it answers again", gpu)
    for gpu in before:
        if not _names_of(gpu) & listed:
            yield _event(name, now, "gpu_lost", UNLISTED, gpu)


def _event(node: str, at: float, kind: str, text: str, gpu: Gpu | None = None) -> Event:
    if gpu is None:
        return Event(at, node, kind, text, source="console")
    return Event(at, node, kind, text, gpu.index, gpu.uuid, gpu.pci_bus_id, source="console")


def _names_of(gpu: Gpu) -> frozenset[str]:
    return _names(gpu.uuid, gpu.pci_bus_id, gpu.index)


def _names(uuid: str | None, bus: str | None, index: int | None) -> frozenset[str]:
    """What a GPU goes by: a lost one may tell its UUID at one time and only its slot at another."""
    names = {name for name in (uuid, short_bus_id(bus) if bus else None) if name}
    return frozenset(names or {f"gpu{index}"})
