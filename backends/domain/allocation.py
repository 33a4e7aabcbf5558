"""Who really uses the GPUs, held against who was given them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backends.domain.gpu import GpuProcess
from backends.domain.workload import Workload


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One process on one GPU, and whose it is."""

    node: str
    gpu_key: str
    """`Gpu.key`"""
    gpu_index: int
    process: GpuProcess
    workload: Workload | None = None
    """None: outside of containers, or in one that the platform does not know."""


class MismatchKind(StrEnum):
    IDLE = "idle"
    """A workload was given GPUs and no process of it is on any."""
    UNALLOCATED = "unallocated"
    """A workload uses a GPU that it never asked for."""
    TWICE = "twice"
    """Workloads that were each given a GPU of their own use the same one, and nothing says that it is shared."""
    ORPHAN = "orphan"
    """A process in a container that the platform does not know (any more)."""
    HOST = "host"
    """A process outside of any container, on a node whose GPUs the platform gives out."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Allocation and reality differ."""

    kind: MismatchKind
    node: str
    claim: str
    """One line that can be read aloud behind the name of the node, and of the GPU where it is about one."""
    gpu_key: str | None = None
    """None where it is about no GPU in particular."""
    gpu_index: int | None = None
    workloads: tuple[Workload, ...] = ()
    uses: tuple[GpuUse, ...] = ()
