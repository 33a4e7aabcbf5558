"""Whether a node's GPUs hang on NVSwitches, and whether they have joined their fabric. Pure."""

from __future__ import annotations

from backends.domain import Gpu, Node

JOINING = ("not_started", "in_progress")
_GUESTS = ("vgpu", "passthrough")
_ON_BASEBOARD = ("SXM", "HBM3", "H20", "H800", "B200", "B300")
"""In the name of a board for a baseboard with NVLinks; an H100 of that kind is the `H100 80GB HBM3`."""
_ON_PCIE = ("PCIe", "NVL")
"""In the name of its sister on PCIe."""


def switched(node: Node) -> bool | None:
    """None: it cannot be told, for a GPU whose links were not read may have some that end at a switch.

    Links are not read while MIG is on or through nvidia-smi, and a board that has none tells the same. A100s and older
    ones have no fabric state, and without Fabric Manager no link tells where it ends: boards of a baseboard whose links
    are all down are behind switches, for elsewhere the baseboard itself connects them.
    """
    if any(link.remote_kind == "switch" for gpu in node.gpus for link in gpu.links or ()):
        return True
    if any(gpu.fabric.state in (*JOINING, "completed") for gpu in node.gpus) or dark(node):
        return True
    return None if any(map(_is_untold, node.gpus)) else False


def dark(node: Node) -> bool:
    """No link is active of several boards of a baseboard."""
    told = [gpu for gpu in node.gpus if gpu.links]
    links = [link for gpu in told for link in gpu.links or ()]
    return len(told) > 1 and all(link.active is False for link in links) and all(map(_is_on_baseboard, told))


def is_guest(node: Node) -> bool:
    """The host of the virtual machine configures the fabric."""
    return bool(node.gpus) and all(gpu.vgpu.mode in _GUESTS for gpu in node.gpus)


def _is_untold(gpu: Gpu) -> bool:
    unread = gpu.links is None and gpu.fabric.state != "not_supported"
    return unread and (gpu.name is None or _is_on_baseboard(gpu))


def _is_on_baseboard(gpu: Gpu) -> bool:
    name = gpu.name or ""
    return any(word in name for word in _ON_BASEBOARD) and not any(word in name for word in _ON_PCIE)
