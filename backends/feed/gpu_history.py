"""The history of a site's GPUs: `GPU_SERIES` and `GPU_COUNTERS` of each, as the nodes' readings come in."""

from __future__ import annotations

from operator import attrgetter

from backends.domain import Node
from backends.domain.gpu_series import GPU_COUNTERS, GPU_SERIES
from backends.feed.history import History

GPUS_KEPT = 64
"""Of one node: more than any machine holds. A node that shows ever new ones takes the room of no other."""

_counted = attrgetter(*dict.fromkeys(counter.source for counter in GPU_COUNTERS))


class GpuHistory(History):
    """Keys are `node/gpu-key/series`; `node/gpu-key` alone is the utilisation."""

    def __init__(self) -> None:
        super().__init__(
            {series.id: series.resolution for series in GPU_SERIES}, [counter.id for counter in GPU_COUNTERS]
        )
        self._known: dict[str, dict[str, object]] = {}
        """The groups of each node, the longest known first, with what their counters were read from last."""

    def record_node(self, name: str, node: Node, at: float) -> None:
        """What was read of a node at `at`. A lost GPU is a gap: its values are its last ones."""
        known = self._known.setdefault(name, {})
        for gpu in node.gpus[:GPUS_KEPT]:
            if gpu.lost:
                continue
            group = f"{name}/{gpu.key}"
            if group not in known:
                self._make_place(name, node, known)
            sources = _counted(gpu)
            changed = known.get(group) != sources
            known[group] = sources
            counts = tuple([counter.value(gpu) for counter in GPU_COUNTERS]) if changed else None
            self.record(group, at, [series.value(gpu) for series in GPU_SERIES], counts)

    def _make_place(self, name: str, node: Node, known: dict[str, object]) -> None:
        if len(known) < GPUS_KEPT:
            return
        shown = {f"{name}/{gpu.key}" for gpu in node.gpus}
        gone = next((group for group in known if group not in shown), next(iter(known)))
        del known[gone]
        self.forget(gone)
