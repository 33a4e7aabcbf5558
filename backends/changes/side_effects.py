"""What a restart of an operand does besides: words for a person, who then decides."""

from __future__ import annotations

ENDS_GPU_PODS = frozenset({"driver", "mps", "vgpu-manager"})
"""Operands whose restart may end what uses GPUs on the node: a driver that is unloaded takes the GPUs away from the
pods that hold them; clients of an MPS daemon and of a vGPU manager end with it."""
SIDE_EFFECTS: dict[str, tuple[str, str]] = {
    "driver": (
        "may end the node's GPU pods, or wait for them",
        "k8s-driver-manager may evict the pods that use GPUs, or wait until they have left",
    ),
    "toolkit": (
        "restarts the container runtime",
        "the toolkit restarts the container runtime of the node; containers go on, and starts wait meanwhile",
    ),
    "device-plugin": (
        "no new GPU pods meanwhile",
        "until it is registered again no GPU is given to new pods; running pods keep theirs",
    ),
    "mps": ("ends its clients", "the clients of the MPS daemon end with it"),
    "mig-manager": (
        "makes its layout again",
        "it makes the layout of nvidia.com/mig.config again where the GPUs have another one",
    ),
    "dcgm": ("a gap for its readers", "whoever reads DCGM has a gap"),
    "dcgm-exporter": ("a gap in the metrics", "the metrics of the node have a gap"),
}
"""Operand -> what its restart does besides, in a few words and in a sentence."""


_LEFT = (
    "the operator upgrades this node's driver by itself (nvidia.com/gpu-driver-upgrade-enabled=true), so the new pod "
    "evicts nothing: with the same version and settings it may keep the loaded driver, and the GPU pods go on; else "
    "the modules cannot be unloaded, and the node may have no driver pod until the pods that use GPUs have left"
)
_EVICTED = (
    "the operator does not upgrade this node's driver by itself (nvidia.com/gpu-driver-upgrade-enabled is not true): "
    "k8s-driver-manager may evict the pods that use GPUs, and unloads the kernel modules"
)
DRIVER_WARNINGS: dict[bool | None, tuple[str, ...]] = {
    True: (_LEFT,),
    False: (_EVICTED,),
    None: (f"where {_LEFT}", f"where {_EVICTED}"),
}
"""Whether the operator upgrades the driver of the node by itself -> what a restart of its driver pod may do."""
