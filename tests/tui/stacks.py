"""Stacks for the tests of the screens."""

from __future__ import annotations

from backends.domain import (
    Blocker,
    DriverUpgradeState,
    MigManagerState,
    NodeGpuCapacity,
    NotPermitted,
    OlmOperator,
    Operand,
    OperandPhase,
    OperandState,
    Permission,
    PolicyState,
    ResourceCount,
    Since,
    Stack,
    StackEvent,
    StackHealth,
    StackNode,
)
from tests.tui.fleets import NOW

OPERANDS = tuple(
    Operand(key, title)
    for key, title in (
        ("driver", "driver"),
        ("toolkit", "container toolkit"),
        ("validator", "validator"),
        ("device-plugin", "device plugin"),
        ("gfd", "GPU feature discovery"),
        ("dcgm-exporter", "DCGM exporter"),
        ("mig-manager", "MIG manager"),
    )
)
LOG = ("Installing Linux kernel headers...", "E: Unable to locate package linux-headers-6.8.0-1028-nvidia")


def well(name: str, *, gpus: int = 8) -> StackNode:
    states = tuple(OperandState(each.key, OperandPhase.READY, version="v26.7.0") for each in OPERANDS)
    capacity = NodeGpuCapacity((ResourceCount("nvidia.com/gpu", gpus, gpus, 6),), "NVIDIA-H100-80GB-HBM3", gpus)
    return StackNode(name, StackHealth.READY, states, capacity=capacity, driver_version="590.48.01", ready=True)


def blocked(
    name: str, said: str = "back-off 5m0s restarting failed container", log: tuple[str, ...] = LOG
) -> StackNode:
    driver = OperandState(
        "driver",
        OperandPhase.FAILING,
        pod="nvidia-driver-daemonset-7k2fp",
        namespace="gpu-operator",
        container="nvidia-driver-ctr",
        reason="CrashLoopBackOff",
        message=said,
        restarts=6,
        since=NOW - 1860,
    )
    waiting = tuple(OperandState(each.key, OperandPhase.WAITING, waits_for="driver") for each in OPERANDS[1:])
    event = StackEvent("Back-off restarting failed container", "BackOff", NOW - 60, 14, warning=True)
    return StackNode(
        name,
        StackHealth.BLOCKED,
        (driver, *waiting),
        Blocker(driver, "driver", log, events=(event,)),
        NodeGpuCapacity((ResourceCount("nvidia.com/gpu", 8, 0, 0),)),
        kernel="6.8.0-1028-nvidia",
        ready=True,
    )


def changing(name: str) -> StackNode:
    states = tuple(OperandState(each.key, OperandPhase.PAUSED, reason="paused-for-mig-change") for each in OPERANDS)
    mig = MigManagerState("all-3g.40gb", "pending", Since(NOW - 500))
    upgrade = DriverUpgradeState("drain-required", Since(NOW - 4000), 300.0, hint="a pod with a disruption budget")
    return StackNode(name, StackHealth.CHANGING, states, mig=mig, upgrade=upgrade, schedulable=False)


def stack(*nodes: StackNode) -> Stack:
    policy = PolicyState("ClusterPolicy", "cluster-policy", "notReady", "OperandNotReady", "states not ready")
    operator = OlmOperator(
        "gpu-operator-certified",
        "nvidia-gpu-operator",
        "gpu-operator-certified",
        installed_csv="gpu-operator-certified.v26.3.0",
        current_csv="gpu-operator-certified.v26.3.1",
        csv_phase="Succeeded",
        install_plan="install-2631",
        install_plan_phase="RequiresApproval",
    )
    refused = NotPermitted("the pods of team-a", Permission("list", "pods", "team-a"))
    return Stack(
        "kubernetes",
        "v1.33.4",
        OPERANDS,
        nodes,
        (policy,),
        operators=(operator,),
        not_permitted=(refused,),
    )
