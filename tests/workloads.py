"""Workloads for tests: pods and compose containers, told apart by a name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from backends.allocation import Watched, of_kind
from backends.domain import (
    Container,
    Fleet,
    GpuRequest,
    Mismatch,
    MismatchKind,
    NotPermitted,
    Owner,
    Stack,
    Unread,
    Workload,
    Workloads,
)
from backends.ownership import Ownership

ONE = (GpuRequest("nvidia.com/gpu", 1),)


def container_id(name: str) -> str:
    """64 hex digits that follow from `name`."""
    return hashlib.sha256(name.encode()).hexdigest()


def pod(
    name: str,
    *,
    namespace: str | None = "team-search",
    node: str = "dgx01",
    owner: tuple[str, str] | None = ("Deployment", "llama-70b"),
    user: str | None = None,
    gpus: tuple[GpuRequest, ...] = ONE,
    started_at: float | None = None,
    platform: str = "kubernetes",
) -> Workload:
    """A running pod with one container, whose id is `container_id(name)`."""
    return Workload(
        platform=platform,
        name=name,
        uid=f"uid-{name}",
        namespace=namespace,
        node=node,
        phase="Running",
        owners=() if owner is None else (Owner("ReplicaSet", f"{owner[1]}-6f9d"), Owner(*owner)),
        user=user,
        gpus=gpus,
        containers=(Container("server", container_id(name)),),
        started_at=started_at,
    )


def owned(*workloads: Workload, denied: Iterable[NotPermitted] = (), unread: Iterable[Unread] = ()) -> Ownership:
    return Ownership(Workloads(workloads, tuple(denied), tuple(unread)))


def mismatches(fleet: Fleet, stack: Stack | None, ownership: Ownership, now: float) -> tuple[Mismatch, ...]:
    """Those of every kind on the nodes that answer."""
    found: list[Mismatch] = []
    for reading in fleet.nodes:
        if reading.is_current and reading.node is not None:
            known = None if stack is None else stack.get(reading.name)
            seen = Watched(reading.name, reading.node, known, stack, ownership, now)
            found += (each for kind in MismatchKind for each in of_kind(kind, seen))
    return tuple(found)
