"""Frozen values. Nothing here does I/O or imports anything but the standard library.

The names are loaded when they are first asked for: defining the slotted dataclasses of a GPU takes some 15 ms, and
neither the command line nor the console's first paint needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.domain.fleet import Fleet, NodeReading, NodeState, Problem
    from backends.domain.gpu import (
        CLOCK_EVENT_REASONS,
        Clocks,
        Ecc,
        EccCounts,
        Fabric,
        Gpu,
        GpuProcess,
        Link,
        Memory,
        Mig,
        MigInstance,
        Pcie,
        Power,
        RemappedRows,
        Temperature,
        Utilization,
        Vgpu,
    )
    from backends.domain.node import Event, Node, ProbeCost, Stall
    from backends.domain.spec import NodeSpec, SiteSpec, SshSpec
    from backends.domain.text import clean

__all__ = [
    "CLOCK_EVENT_REASONS",
    "Clocks",
    "Ecc",
    "EccCounts",
    "Event",
    "Fabric",
    "Fleet",
    "Gpu",
    "GpuProcess",
    "Link",
    "Memory",
    "Mig",
    "MigInstance",
    "Node",
    "NodeReading",
    "NodeSpec",
    "NodeState",
    "Pcie",
    "Power",
    "ProbeCost",
    "Problem",
    "RemappedRows",
    "SiteSpec",
    "SshSpec",
    "Stall",
    "Temperature",
    "Utilization",
    "Vgpu",
    "clean",
]

_MODULES = ("text", "spec", "fleet", "gpu", "node")
"""In the order in which a name is looked for: the cheap ones first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
