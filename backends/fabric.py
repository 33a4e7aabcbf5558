"""The NVSwitch fabric of a node, as its values tell it: for triage, the checks of a Docker node and every screen.

Only boards from Hopper on tell of the fabric themselves (nvmlDeviceGetGpuFabricInfoV). Fabric Manager configures the
switches; it may run in a container of the GPU Operator, so that a missing unit alone is no fault. What the guest of a
virtual machine sees of the fabric is its host's making: of its links that are down nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.domain import Gpu, Node

SERVICE = "nvidia-fabricmanager"
NOT_RUNNING = ("failed", "inactive")
"""States of the service in which nobody looks after the switches."""
JOINING = ("not_started", "in_progress")
"""States of a GPU that has not joined its fabric yet: CUDA answers 802."""
IN_USE = (*JOINING, "completed")
"""States of a GPU that joins a fabric, or has joined one."""
_ON_BASEBOARD = ("SXM", "HBM3", "H20", "H800", "B200", "B300")
"""In the name of a board that sits on a baseboard with NVLinks; an H100 of that kind is the `H100 80GB HBM3`."""
_ON_PCIE = ("PCIe", "NVL")
"""In the name of its sister on PCIe."""


def service_state(node: Node | None) -> str | None:
    """What systemd says of Fabric Manager (`Service.state`); None where nobody could tell."""
    services = () if node is None else node.host.services or ()
    return next((service.state for service in services if service.name.removesuffix(".service") == SERVICE), None)


def is_switched(gpus: Sequence[Gpu], *, was_switched: bool = False) -> bool | None:
    """Whether the GPUs hang on NVSwitches; None where it cannot be told.

    NVML says so itself, now or before: a link that ends at a switch, or a fabric that a GPU joins. Before Hopper there
    is no fabric state, and without Fabric Manager no link tells where it ends: boards of a baseboard whose links are
    all down are behind switches, for elsewhere the baseboard itself connects them. Links are not read while MIG is on
    or through nvidia-smi, and a board that has none tells the same.
    """
    if was_switched or any(_tells_switch(gpu) for gpu in gpus) or is_dark(gpus):
        return True
    return None if any(_is_untold(gpu) for gpu in gpus) else False


def is_dark(gpus: Sequence[Gpu]) -> bool:
    """Several boards of a baseboard tell of links, and none is active: CUDA answers 802 then."""
    told = [gpu for gpu in gpus if gpu.links and not gpu.lost]
    links = [link for gpu in told for link in gpu.links or ()]
    ours = all(is_on_baseboard(gpu) and not gpu.vgpu.is_guest for gpu in told)
    return len(told) > 1 and ours and all(link.active is False for link in links)


def is_joining(gpu: Gpu) -> bool:
    """It has not joined its fabric yet."""
    return gpu.fabric.state in JOINING and not gpu.vgpu.is_guest


def is_on_baseboard(gpu: Gpu) -> bool:
    """By the name of its board; False too where that is not known."""
    name = gpu.name or ""
    return any(word in name for word in _ON_BASEBOARD) and not any(word in name for word in _ON_PCIE)


def _tells_switch(gpu: Gpu) -> bool:
    return gpu.fabric.state in IN_USE or any(link.remote_kind == "switch" for link in gpu.links or ())


def _is_untold(gpu: Gpu) -> bool:
    """Its links were not read, or are a guest's that are all down; and its board may have some that end at a switch."""
    if gpu.fabric.state == "not_supported" or not (gpu.name is None or is_on_baseboard(gpu)):
        return False
    dark = bool(gpu.links) and all(link.active is False for link in gpu.links or ())
    return gpu.links is None or (gpu.vgpu.is_guest and dark)
