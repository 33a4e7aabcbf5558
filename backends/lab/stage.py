"""Where a scenario plays, and what a scenario is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends.contract import GpudeckError
from backends.lab.hardware import LogLine, SimGpu, SimNode, fleet_size

if TYPE_CHECKING:
    from backends.lab.kube.cluster import Cluster

_BOARD_ORDER = ("dgx-h100", "hgx-h200", "dgx-a100")
_CONNECTION_ORDER = ("hgx-h200", "l40s", "vm", "dgx-a100", "dgx-h100")


@dataclass(slots=True)
class Stage:
    """Where one scenario plays: the fleet, the time it starts, and what it has to put back."""

    nodes: Sequence[SimNode]
    now: float
    cluster: Cluster | None = None
    """The Kubernetes cluster, on a lab that has one."""
    _undo: list[Callable[[], None]] = field(default_factory=list)
    _rebooting: list[SimNode] = field(default_factory=list)

    def board(self, slot: int, gpu: int) -> tuple[SimNode, SimGpu]:
        """The machine of a board fault, and its GPU: `gpu`, or the next one that is not cut into MIG instances."""
        node = self._pick(_BOARD_ORDER, slot)
        order = [node.gpus[(gpu + step) % len(node.gpus)] for step in range(len(node.gpus))]
        return node, next((candidate for candidate in order if not candidate.mig_on), order[0])

    def connection(self, slot: int) -> SimNode:
        """The machine of a connection fault."""
        return self._pick(_CONNECTION_ORDER, slot)

    def machine(self, prefix: str, *, slot: int = 0, at_least: int = 1) -> SimNode:
        """A machine of one kind, of which the fleet must have `at_least` so many."""
        if sum(node.machine.prefix == prefix for node in self.nodes) < at_least:
            needed = fleet_size(prefix, at_least)
            raise GpudeckError(
                f"it needs {at_least} {prefix} machines, more than this lab has", f"give the lab --nodes {needed}"
            )
        return self._pick((prefix,), slot)

    def _pick(self, order: tuple[str, ...], slot: int) -> SimNode:
        ranked = [node for prefix in order for node in self.nodes if node.machine.prefix == prefix]
        if not ranked:
            raise GpudeckError("the lab has no machine for this scenario", "Give the lab more nodes.")
        return ranked[slot % len(ranked)]

    def put(self, target: Any, **values: Any) -> None:
        """Sets attributes of a node or of a GPU's faults until the scenario ends."""
        for name, value in values.items():
            before = getattr(target, name)
            setattr(target, name, value)
            self._undo.append(functools.partial(setattr, target, name, before))

    def log(self, node: SimNode, gpu: SimGpu, code: int, text: str, *, after: float = 0.0) -> None:
        """An XID in the kernel log, `after` seconds from the start; gone at the end, when the node reboots."""
        self._wrote(node, node.write_xid(self.now + after, gpu, code, text))

    def switch_log(self, node: SimNode, switch: int, code: int, text: str, *, after: float = 0.0) -> None:
        """An SXID of the node's so-many-th NVSwitch in its kernel log; gone as an XID is."""
        self._wrote(node, node.write_sxid(self.now + after, switch, code, text))

    def _wrote(self, node: SimNode, line: LogLine) -> None:
        self._undo.append(lambda: node.log.remove(line))
        if node not in self._rebooting:
            self._rebooting.append(node)

    def undone_by(self, undo: Callable[[], None]) -> None:
        """What puts back what the scenario did besides `put` and `log`."""
        self._undo.append(undo)

    def undo(self, now: float | None = None) -> None:
        """Puts everything back; nodes with XIDs reboot at `now` (seconds since the epoch, default: the start)."""
        while self._undo:
            self._undo.pop()()
        while self._rebooting:
            self._rebooting.pop().reboot(self.now if now is None else now)


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    summary: str
    play: Callable[[Stage], None]
    platforms: tuple[str, ...] = ()
    """Those it can be played on; empty: on any, and without one."""

    @property
    def platform(self) -> str | None:
        """What a lab plays it on when no platform is named."""
        return self.platforms[0] if self.platforms else None
