"""Frozen values. Nothing here does I/O or imports anything but the standard library.

The names are loaded when they are first asked for: defining the slotted dataclasses of a GPU takes some 15 ms, and
neither the command line nor the console's first paint needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.domain.access import AccessReview, NotPermitted, Permission
    from backends.domain.act import Act, ApiRequest, NodeControl, PodControl, Verb
    from backends.domain.allocation import GpuUse, Mismatch, MismatchKind
    from backends.domain.capacity import NodeGpuCapacity, ResourceCount
    from backends.domain.cluster import ClusterRelease, OlmOperator, Route
    from backends.domain.drain import DrainPlan, DrainPod
    from backends.domain.finding import (
        READ_LOG,
        Acknowledgement,
        Check,
        Earlier,
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
        RetiredPages,
        Temperature,
        Utilization,
        Vgpu,
    )
    from backends.domain.host import ContainerRuntime, Disk, Host, RdmaPort, Service
    from backends.domain.identity import Identity
    from backends.domain.log import LogBatch, LogLine, LogQuery, LogSource
    from backends.domain.monitoring import FiringAlert, MetricsOff, Monitoring, NodeMetrics
    from backends.domain.node import EVENT_KINDS, Event, Node, ProbeCost, Stall, short_bus_id
    from backends.domain.scc import SccClause, SccRefusal
    from backends.domain.spec import ChangeSpec, DockerSpec, KubernetesSpec, NodeSpec, SiteSpec, SshSpec
    from backends.domain.stack import (
        Blocker,
        Component,
        Condition,
        DriverUpgradeState,
        MigManagerState,
        Operand,
        OperandPhase,
        OperandState,
        PolicyState,
        Since,
        Stack,
        StackEvent,
        StackHealth,
        StackNode,
        Support,
        UpgradePolicy,
        node_named,
    )
    from backends.domain.text import clean, plural
    from backends.domain.topology import PCIE_LEVELS, Topology
    from backends.domain.unfinished import UnfinishedChange, ending_command
    from backends.domain.usage import ContainerUsage
    from backends.domain.workload import Container, GpuRequest, Owner, Unread, Workload, Workloads

__all__ = [
    "CLOCK_EVENT_REASONS",
    "EVENT_KINDS",
    "PCIE_LEVELS",
    "READ_LOG",
    "AccessReview",
    "Acknowledgement",
    "Act",
    "ApiRequest",
    "Blocker",
    "ChangeSpec",
    "Check",
    "Clocks",
    "ClusterRelease",
    "Component",
    "Condition",
    "Container",
    "ContainerRuntime",
    "ContainerUsage",
    "Disk",
    "DockerSpec",
    "DrainPlan",
    "DrainPod",
    "DriverUpgradeState",
    "Earlier",
    "Ecc",
    "EccCounts",
    "Event",
    "Evidence",
    "Fabric",
    "Finding",
    "FiringAlert",
    "Fleet",
    "Gpu",
    "GpuProcess",
    "GpuRequest",
    "GpuUse",
    "Hit",
    "Host",
    "Identity",
    "KubernetesSpec",
    "Link",
    "LogBatch",
    "LogLine",
    "LogQuery",
    "LogSource",
    "Memory",
    "MetricsOff",
    "Mig",
    "MigInstance",
    "MigManagerState",
    "Mismatch",
    "MismatchKind",
    "Monitoring",
    "NextStep",
    "Node",
    "NodeControl",
    "NodeGpuCapacity",
    "NodeMetrics",
    "NodeReading",
    "NodeSpec",
    "NodeState",
    "NotPermitted",
    "OlmOperator",
    "Operand",
    "OperandPhase",
    "OperandState",
    "Owner",
    "Pcie",
    "Permission",
    "PodControl",
    "PolicyState",
    "Power",
    "ProbeCost",
    "Problem",
    "RdmaPort",
    "RemappedRows",
    "ResourceCount",
    "RetiredPages",
    "Route",
    "SccClause",
    "SccRefusal",
    "Service",
    "Severity",
    "Since",
    "SiteSpec",
    "SshSpec",
    "Stack",
    "StackEvent",
    "StackHealth",
    "StackNode",
    "Stall",
    "Subject",
    "Support",
    "Temperature",
    "Topology",
    "Triage",
    "UnfinishedChange",
    "Unread",
    "UpgradePolicy",
    "Utilization",
    "Verb",
    "Vgpu",
    "Workload",
    "Workloads",
    "clean",
    "ending_command",
    "node_named",
    "plural",
    "short_bus_id",
]

_MODULES = (
    *("text", "spec", "fleet", "gpu", "node", "host", "topology", "finding"),
    *("access", "identity", "log", "workload", "drain", "cluster", "capacity", "stack", "act", "allocation"),
    *("unfinished", "scc", "usage", "monitoring"),
)
"""In the order in which a name is looked for: the cheap ones first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
