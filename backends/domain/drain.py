"""What taking the work off a node would do."""

from __future__ import annotations

from dataclasses import dataclass

from backends.domain.access import NotPermitted
from backends.domain.workload import GpuRequest, Owner

BEING_DELETED = "is being deleted"
"""Why a drain leaves a pod that ends already: what it waits for all the same."""


@dataclass(frozen=True, slots=True)
class DrainPod:
    """A pod on the node, and what a drain does with it."""

    namespace: str
    name: str
    owner: Owner | None = None
    """What a person deployed; None for a bare pod, which nothing makes anew."""
    gpus: tuple[GpuRequest, ...] = ()
    user: str | None = None
    reason: str | None = None
    """Why it is left, or why it is not to be evicted without being asked for: DaemonSet, mirror pod, finished; no
    controller; emptyDir data would be lost."""
    budgets: tuple[str, ...] = ()
    """PodDisruptionBudgets over it that allow no disruption now."""
    healthy: tuple[tuple[int, int], ...] = ()
    """Of each of `budgets`: how many healthy pods it needs, and how many there are."""
    uid: str | None = None
    """Tells it from a successor of the same name."""
    grace_seconds: int | None = None
    """How long it may take to end once it is evicted; None where that is not told."""

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def held_words(self) -> str:
        """Who holds it, for one with `budgets`."""
        told = [
            f"{name} needs {needs} and has {has}" for name, (needs, has) in zip(self.budgets, self.healthy, strict=True)
        ]
        return f"{self.title} cannot be evicted: PodDisruptionBudget {', '.join(told)}"


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """A drain, looked at before it is done."""

    node: str
    evicts: tuple[DrainPod, ...] = ()
    """Those that the drain asks the API to evict."""
    held: tuple[DrainPod, ...] = ()
    """Those of `evicts` whose budget forbids it now: the drain would wait for them."""
    needs_force: tuple[DrainPod, ...] = ()
    """Not evicted unless that is asked for: they come back nowhere, or lose their data."""
    stays: tuple[DrainPod, ...] = ()
    """Not touched by a drain: DaemonSets, mirror pods, pods that have ended."""
    budgets_known: bool = True
    """False: the PodDisruptionBudgets may not be read, so `held` may be too short."""
    not_permitted: tuple[NotPermitted, ...] = ()

    def slowest(self, *, force: bool) -> DrainPod | None:
        """Of the pods that a drain ends, or that end already, the one that may take longest; None where none tells."""
        ending = [pod for pod in self.stays if pod.reason == BEING_DELETED]
        told = [pod for pod in (*self.evicts, *(self.needs_force if force else ()), *ending) if pod.grace_seconds]
        return max(told, key=lambda pod: pod.grace_seconds or 0, default=None)

    @property
    def gpus(self) -> int:
        """GPUs, replicas or MIG instances that the evicted pods hold."""
        return sum(request.count or 0 for pod in self.evicts for request in pod.gpus)
