"""The NVSwitch fabric of a node, as its values tell it: for triage and for every screen.

Only boards from Hopper on tell of the fabric themselves (nvmlDeviceGetGpuFabricInfoV). Fabric Manager configures the
switches; it may run in a container of the GPU Operator, so that a missing unit alone is no fault.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Gpu, Node

SERVICE = "nvidia-fabricmanager"
NOT_RUNNING = ("failed", "inactive")
"""States of the service in which nobody looks after the switches."""
IN_USE = ("not_started", "in_progress", "completed")
"""States of a GPU that joins a fabric, or has joined one."""
_SXM = "SXM"
"""In the name of a board that sits on a baseboard with NVLinks."""
_GUESTS = frozenset({"vgpu", "passthrough"})
"""Virtualization modes of a guest: what it sees of the fabric is the hypervisor's making."""


def service_state(node: Node | None) -> str | None:
    """What systemd says of Fabric Manager (`Service.state`); None where nobody could tell."""
    services = () if node is None else node.host.services or ()
    return next((service.state for service in services if service.name.removesuffix(".service") == SERVICE), None)


def is_switched(gpus: Sequence[Gpu], *, was_switched: bool = False) -> bool:
    """NVML says so itself, now or before: a link that ends at a switch, or a fabric that a GPU joins.

    Before Hopper there is no fabric state, and without Fabric Manager no link tells where it ends: SXM boards whose
    links are all down are behind switches, for elsewhere their baseboard itself connects them.
    """
    if was_switched or any(_tells_switch(gpu) for gpu in gpus):
        return True
    return is_dark(gpus) and all(_SXM in (gpu.name or "") and gpu.vgpu.mode not in _GUESTS for gpu in gpus)


def _tells_switch(gpu: Gpu) -> bool:
    return gpu.fabric.state in IN_USE or any(link.remote_kind == "switch" for link in gpu.links or ())


def is_dark(gpus: Sequence[Gpu]) -> bool:
    """Several GPUs tell of links, and none is active: CUDA answers 802 then."""
    told = [gpu.links for gpu in gpus if gpu.links]
    return len(told) > 1 and all(link.active is False for links in told for link in links)
