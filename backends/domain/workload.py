"""Who uses the GPUs: what a platform runs, and on whose behalf."""

from __future__ import annotations

from dataclasses import dataclass

from backends.domain.access import NotPermitted
from backends.domain.cluster import Route

_MIG = "nvidia.com/mig-"
_SHARED = ".shared"


@dataclass(frozen=True, slots=True)
class Owner:
    """An object that a workload belongs to."""

    kind: str
    """Deployment, ReplicaSet, Job, StatefulSet, Notebook, ...; `compose` on Docker, `pod` on Podman."""
    name: str


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """GPUs that were asked for."""

    resource: str
    """The extended resource: nvidia.com/gpu, nvidia.com/gpu.shared, nvidia.com/mig-3g.40gb; on Docker the way they
    were asked for: device-request, environment, cdi, device."""
    count: int | None = None
    """None: all of them."""
    devices: tuple[str, ...] = ()
    """Indices, UUIDs, CDI names or device nodes, where they were asked for by name."""

    @property
    def mig_profile(self) -> str | None:
        """3g.40gb; a `+` of the profile's name is a `.` in a resource's name. None for whole or shared GPUs."""
        if not self.resource.startswith(_MIG):
            return None
        return self.resource.removeprefix(_MIG).removesuffix(_SHARED)

    @property
    def renamed_replica(self) -> bool:
        """The resource's own name says that a GPU is shared; without it only the node's sharing tells."""
        return self.resource.endswith(_SHARED)


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    id: str | None = None
    """The 64 hex digits that a process's cgroup carries; None before it runs."""
    image: str | None = None
    state: str | None = None
    """running, waiting, terminated; on Docker also paused, restarting, created."""
    reason: str | None = None
    """CrashLoopBackOff, OOMKilled, ..."""
    restarts: int = 0
    gpus: tuple[GpuRequest, ...] = ()
    init: bool = False
    """Runs before the others, and ends."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, or a container of an engine without pods."""

    platform: str
    name: str
    uid: str
    """Stable for the life of the pod or container."""
    namespace: str | None = None
    """Namespace or project; on Docker the compose project."""
    node: str | None = None
    """None while it is not scheduled."""
    phase: str = "Unknown"
    """Pending, Running, Succeeded, Failed, Unknown."""
    reason: str | None = None
    """Why it is not running: Unschedulable, CrashLoopBackOff, ..."""
    message: str | None = None
    owners: tuple[Owner, ...] = ()
    """The nearest first; the last one is what a person deployed, as far as it may be read."""
    user: str | None = None
    """Whom a label or annotation names; None where none does."""
    labels: tuple[tuple[str, str], ...] = ()
    gpus: tuple[GpuRequest, ...] = ()
    """What the scheduler counts for the pod as a whole."""
    claims: bool = False
    """It asks for devices by resource claims (dynamic resource allocation): which GPUs these are is not known here."""
    containers: tuple[Container, ...] = ()
    created_at: float | None = None
    started_at: float | None = None
    routes: tuple[Route, ...] = ()
    """OpenShift: under which names it is reached from outside, as far as they may be read."""

    @property
    def title(self) -> str:
        """`team-search/llama-70b-0`"""
        return self.name if self.namespace is None else f"{self.namespace}/{self.name}"

    @property
    def owner(self) -> Owner | None:
        """What a person deployed; None for a bare pod."""
        return self.owners[-1] if self.owners else None

    @property
    def gpu_count(self) -> int:
        """How many GPUs, replicas or MIG instances it asked for by number."""
        return sum(request.count or 0 for request in self.gpus)


@dataclass(frozen=True, slots=True)
class Unread:
    """What runs on a node and is not told, though it may be read."""

    node: str
    why: str
    """One sentence that names the node."""
    running: bool = True
    """False: only what has ended is left out."""


@dataclass(frozen=True, slots=True)
class Workloads:
    """What uses or asks for GPUs, or runs on a node that has some."""

    items: tuple[Workload, ...] = ()
    not_permitted: tuple[NotPermitted, ...] = ()
    unread: tuple[Unread, ...] = ()

    def of_node(self, node: str) -> tuple[Workload, ...]:
        return tuple(item for item in self.items if item.node == node)
