"""Frozen values. Nothing here does I/O or imports anything but the standard library."""

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
