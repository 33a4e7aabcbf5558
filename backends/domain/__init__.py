"""Frozen values. Nothing here does I/O or imports anything but the standard library.

The names are loaded when they are first asked for: defining the slotted dataclasses of a GPU takes some 15 ms, and
neither the command line nor the console's first paint needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.domain.finding import (
        Acknowledgement,
        Check,
        Evidence,
        Finding,
        Hit,
        NextStep,
        Severity,
        Subject,
        Triage,
    )
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
    from backends.domain.host import ContainerRuntime, Disk, Host, RdmaPort, Service
    from backends.domain.node import EVENT_KINDS, Event, Node, ProbeCost, Stall
    from backends.domain.spec import NodeSpec, SiteSpec, SshSpec
    from backends.domain.text import clean
    from backends.domain.topology import PCIE_LEVELS, Topology

__all__ = [
    "CLOCK_EVENT_REASONS",
    "EVENT_KINDS",
    "PCIE_LEVELS",
    "Acknowledgement",
    "Check",
    "Clocks",
    "ContainerRuntime",
    "Disk",
    "Ecc",
    "EccCounts",
    "Event",
    "Evidence",
    "Fabric",
    "Finding",
    "Fleet",
    "Gpu",
    "GpuProcess",
    "Hit",
    "Host",
    "Link",
    "Memory",
    "Mig",
    "MigInstance",
    "NextStep",
    "Node",
    "NodeReading",
    "NodeSpec",
    "NodeState",
    "Pcie",
    "Power",
    "ProbeCost",
    "Problem",
    "RdmaPort",
    "RemappedRows",
    "Service",
    "Severity",
    "SiteSpec",
    "SshSpec",
    "Stall",
    "Subject",
    "Temperature",
    "Topology",
    "Triage",
    "Utilization",
    "Vgpu",
    "clean",
]

_MODULES = ("text", "spec", "fleet", "gpu", "node", "host", "topology", "finding")
"""In the order in which a name is looked for: the cheap ones first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
