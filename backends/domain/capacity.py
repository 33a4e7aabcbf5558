"""The GPUs of a node as its scheduler counts them."""

from __future__ import annotations

from dataclasses import dataclass

MIG_RESOURCE = "nvidia.com/mig-"


@dataclass(frozen=True, slots=True)
class ResourceCount:
    """An extended resource of a node."""

    resource: str
    """nvidia.com/gpu, nvidia.com/gpu.shared, nvidia.com/mig-3g.40gb."""
    capacity: int
    allocatable: int
    """Less than `capacity`: the device plugin took GPUs out as unhealthy."""
    requested: int | None = None
    """By pods that are scheduled here and have not ended; None where they may not be read."""


@dataclass(frozen=True, slots=True)
class NodeGpuCapacity:
    """What the scheduler believes a node has. It counts the replicas of a shared GPU: never add them up as GPUs."""

    resources: tuple[ResourceCount, ...] = ()
    product: str | None = None
    """By GPU feature discovery, which reads one GPU: a node with several models shows one of them."""
    gpus: int | None = None
    """By GPU feature discovery (nvidia.com/gpu.count); of MIG devices under the single strategy."""
    sharing: str | None = None
    """time-slicing or mps; None when GPUs are not shared."""
    replicas: int | None = None
    """Of each GPU when shared."""
    mig_strategy: str | None = None
    """none, single, mixed."""

    def get(self, resource: str) -> ResourceCount | None:
        return next((count for count in self.resources if count.resource == resource), None)

    @property
    def whole(self) -> tuple[ResourceCount, ...]:
        """GPUs or their replicas; under the single strategy MIG instances."""
        return tuple(count for count in self.resources if not count.resource.startswith(MIG_RESOURCE))

    @property
    def instances(self) -> tuple[ResourceCount, ...]:
        """MIG instances, which under the mixed strategy have resources of their own."""
        return tuple(count for count in self.resources if count.resource.startswith(MIG_RESOURCE))

    @property
    def unhealthy(self) -> int:
        """How many the device plugin took out."""
        return sum(max(0, count.capacity - count.allocatable) for count in self.resources)


NO_CAPACITY = NodeGpuCapacity()
