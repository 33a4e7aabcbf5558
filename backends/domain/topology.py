"""How the GPUs and RDMA devices of a node are wired below NVLink."""

from __future__ import annotations

from dataclasses import dataclass

PCIE_LEVELS: tuple[str, ...] = ("X", "PIX", "PXB", "PHB", "NODE", "SYS")
"""Nearest first, in the words of `nvidia-smi topo -m`."""


@dataclass(frozen=True, slots=True)
class Topology:
    """The nearest common point of every two devices on PCIe; NVLinks are told by each GPU's own `links`."""

    gpus: tuple[str, ...] = ()
    """PCI bus ids in NVML's order."""
    nics: tuple[str, ...] = ()
    """Names of the RDMA devices, mlx5_0."""
    levels: tuple[tuple[str | None, ...], ...] = ()
    """Square, `gpus` then `nics`: a word of `PCIE_LEVELS`, None where it could not be told."""
