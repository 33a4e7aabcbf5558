"""Pods -> workloads: what asks for GPUs, and what runs on nodes that have some. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backends.domain import Container, GpuRequest, Owner, Workload
from backends.domain.redact import label_value
from backends.kubernetes.objects import LeanContainer, LeanPod, OwnerRef

UNSCHEDULABLE = "Unschedulable"


def relevant(pods: Iterable[LeanPod], gpu_nodes: frozenset[str]) -> list[LeanPod]:
    """Pods that have not ended, and ask for GPUs or run on a node with GPUs: one may use a GPU without asking."""
    return [pod for pod in pods if not pod.ended and (pod.gpus or pod.node in gpu_nodes)]


def workload_of(platform: str, pod: LeanPod, owners: tuple[Owner, ...]) -> Workload:
    troubled = next((each for each in pod.containers if each.state == "waiting" and each.reason), None)
    unscheduled = pod.unscheduled is not None and pod.node is None
    return Workload(
        platform=platform,
        name=pod.name,
        uid=pod.uid,
        namespace=pod.namespace,
        node=pod.node,
        phase=pod.phase,
        reason=UNSCHEDULABLE if unscheduled else pod.reason or (troubled.reason if troubled else None),
        message=pod.unscheduled if unscheduled else pod.message or (troubled.message if troubled else None),
        owners=owners,
        user=pod.user,
        labels=tuple(sorted((key, label_value(key, value)) for key, value in pod.labels.items())),
        gpus=requests_of(pod.gpus),
        claims=pod.claims,
        containers=tuple(container_of(each) for each in pod.containers),
        created_at=pod.created_at,
        started_at=pod.started_at,
    )


def requests_of(gpus: Iterable[tuple[str, int]]) -> tuple[GpuRequest, ...]:
    return tuple(GpuRequest(resource, count) for resource, count in gpus if count)


class Builder:
    """Makes workloads of pods; one whose pod and owners did not change is the same object as before."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._known: dict[str, tuple[LeanPod, Workload]] = {}

    def build(
        self,
        pods: Iterable[LeanPod],
        gpu_nodes: frozenset[str],
        chain: Callable[[OwnerRef | None], tuple[Owner, ...]],
    ) -> tuple[Workload, ...]:
        """By namespace and name."""
        chosen = sorted(relevant(pods, gpu_nodes), key=lambda pod: (pod.namespace, pod.name))
        known: dict[str, tuple[LeanPod, Workload]] = {}
        for pod in chosen:
            owners = chain(pod.owner)
            former = self._known.get(pod.uid)
            if former is None or former[0] is not pod or former[1].owners != owners:
                former = (pod, workload_of(self._platform, pod, owners))
            known[pod.uid] = former
        self._known = known
        return tuple(workload for _, workload in known.values())


def container_of(container: LeanContainer) -> Container:
    return Container(
        name=container.name,
        id=container.id,
        image=container.image or None,
        state=container.state,
        reason=container.reason,
        restarts=container.restarts,
        gpus=requests_of(container.gpus),
        init=container.init,
    )
