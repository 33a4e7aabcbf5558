"""GPUs cut into MIG instances, as a node tells them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backends.domain import Gpu, GpuProcess, Host, Memory, Mig, MigInstance, Node, Service
from backends.nodes.mig.catalogue import board_named

GIB = 1024**3
A100 = "NVIDIA A100-SXM4-80GB"
H100 = "NVIDIA H100 80GB HBM3"
FIRST_GI = {"1g": 7, "2g": 3, "3g": 1, "4g": 1, "7g": 0}
"""As the driver numbers the GPU instances of a board of seven slices."""


def instances(*spots: str, model: str = A100) -> tuple[MigInstance, ...]:
    """("3g.40gb:0", ...): profile and start; without a start the place is not readable, as without root."""
    board = board_named(model)
    used: dict[str, int] = {}
    made = []
    for spot in spots:
        name, _, start = spot.partition(":")
        profile = board.profile(name)
        assert profile is not None
        slices = name.partition(".")[0]
        gi = FIRST_GI.get(slices, 20) + used.get(slices, 0)
        used[slices] = used.get(slices, 0) + 1
        total = (profile.memory_mib or 9856) * 1024**2
        memory = Memory(total, total // 4, total - total // 4)
        place = (int(start), profile.size) if start else None
        made.append(MigInstance(gi, 0, f"MIG-{gi}", name, place, memory, profile.multiprocessors))
    return tuple(made)


def process(pid: int, gi: int | None = None, **more: Any) -> GpuProcess:
    values: dict[str, Any] = {"kind": "compute", "user": "alice", "command": "python train.py", "memory_bytes": 9 * GIB}
    return GpuProcess(pid=pid, gi=gi, ci=None if gi is None else 0, **{**values, **more})


def mig_gpu(*spots: str, index: int = 0, model: str = A100, processes: Any = (), **more: Any) -> Gpu:
    """A GPU in MIG mode with these instances."""
    mig = Mig(enabled=True, pending=True, max_instances=7, instances=instances(*spots, model=model))
    return replace(
        Gpu(index=index, name=model, uuid=f"GPU-mig{index}", mig=mig, processes=processes, compute_mode="default"),
        **more,
    )


def plain_gpu(index: int = 0, model: str = A100, **more: Any) -> Gpu:
    """A GPU that could be cut and is not."""
    mig = Mig(enabled=False, pending=False, max_instances=7)
    return replace(Gpu(index=index, name=model, uuid=f"GPU-plain{index}", mig=mig, processes=()), **more)


def node(*gpus: Gpu, services: dict[str, str] | None = None, **more: Any) -> Node:
    """A node read as root; `services` are those that were looked at, with their state."""
    listed = None if services is None else tuple(Service(name, state) for name, state in services.items())
    values: dict[str, Any] = {"name": "dgx01", "driver": "550.163.01", "privileged": True, **more}
    return Node(gpus=gpus, host=Host(services=listed), **values)
