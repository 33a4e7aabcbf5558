"""`gpudeck stack` as a document and as text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backends import stack_report
from backends.allocation import InUse
from backends.domain import (
    Blocker,
    DrainPod,
    DriverUpgradeState,
    MigManagerState,
    NodeGpuCapacity,
    NotPermitted,
    OperandPhase,
    OperandState,
    Permission,
    PolicyState,
    ResourceCount,
    Since,
    SiteSpec,
    Stack,
    StackEvent,
    StackHealth,
    StackNode,
)
from tests.kube import objects as kube
from tests.unit.kube.test_waterfall import stack_of

SITE = SiteSpec("prod", platform="kubernetes")


def broken() -> Stack:
    wait = kube.operand("toolkit", "dgx02", driver_validation=kube.starting())
    driver = kube.operand("driver", "dgx02", nvidia_driver_ctr=kube.crashing("exit 1"))
    raw = [*kube.good_cluster("dgx01"), kube.node("dgx02"), driver, wait]
    return stack_of(*raw, version="v1.31.2")


def with_log(stack: Stack) -> Stack:
    import dataclasses

    nodes = tuple(
        dataclasses.replace(
            node,
            blocker=dataclasses.replace(
                node.blocker,
                log=("building", "no kernel headers", ""),
                events=(StackEvent("Back-off restarting failed container", "BackOff", kube.NOW, 12, True),),
            ),
        )
        if node.blocker
        else node
        for node in stack.nodes
    )
    return dataclasses.replace(stack, nodes=nodes)


def document(stack: Stack) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(json.dumps(stack_report.document(SITE, stack, kube.NOW), allow_nan=False))
    return parsed


def test_the_document_names_the_first_blocker_of_each_node_and_its_log_line() -> None:
    found = document(with_log(broken()))
    assert (found["schema"], found["site"], found["health"], found["blocked"]) == (
        "gpudeck/stack/1",
        "prod",
        "blocked",
        True,
    )
    nodes = {node["name"]: node for node in found["nodes"]}
    assert nodes["dgx01"]["blocker"] is None
    blocker = nodes["dgx02"]["blocker"]
    assert (blocker["operand"], blocker["log_line"]) == ("driver", "no kernel headers")
    assert blocker["state"]["phase"] == "failing"
    assert nodes["dgx02"]["waiting"] == 1
    assert found["counts"]["nodes"]["ready"] == 1
    assert found["counts"]["operands"]["driver"] == {"ready": 1, "failing": 1}


def test_the_text_says_what_is_wrong_before_the_table() -> None:
    lines = stack_report.render(SITE, with_log(broken()), kube.NOW).splitlines()
    assert lines[0] == "prod: kubernetes v1.31.2, GPU stack blocked"
    assert "  dgx02: driver is failing, container nvidia-driver-ctr: CrashLoopBackOff" in lines
    assert "    log: no kernel headers" in lines
    assert "    event: Back-off restarting failed container" in lines
    assert "    1 operand waits for it" in lines
    table = [line for line in lines if line.startswith(("NODE", "dgx"))]
    assert table[0].split()[:4] == ["NODE", "STATE", "driver", "toolkit"]
    assert table[1].split() == ["dgx01", "ready", *["ok"] * 7, "8", "8", "0", "n/a"]
    assert table[2].split()[:4] == ["dgx02", "blocked", "FAIL", "wait"]


def test_a_line_tells_what_is_under_way_on_a_node_and_since_when() -> None:
    held = DrainPod("team", "web-1", budgets=("web",), healthy=((2, 1),))
    upgrade = DriverUpgradeState("drain-required", Since(kube.NOW - 2760, exact=True), 300.0, held=(held,))
    moving = DriverUpgradeState("pod-restart-required", Since(kube.NOW - 120))
    mig = MigManagerState("all-3g.40gb", "pending", Since(kube.NOW - 130))
    starting = OperandState("driver", OperandPhase.STARTING, container="nvidia-driver-ctr", since=kube.NOW - 240)
    nodes = (
        StackNode("dgx01", StackHealth.BLOCKED, upgrade=upgrade, schedulable=False),
        StackNode("dgx02", StackHealth.CHANGING, upgrade=moving),
        StackNode("dgx03", StackHealth.CHANGING, mig=mig),
        StackNode("dgx04", StackHealth.READY, schedulable=False),
        StackNode("dgx05", StackHealth.STARTING, blocker=Blocker(starting, "driver")),
        StackNode("dgx06", StackHealth.READY, mig=MigManagerState("all-disabled", "success", Since(0.0))),
    )
    lines = stack_report.render(SITE, Stack("kubernetes", nodes=nodes), kube.NOW).splitlines()
    assert [line for line in lines if line.startswith("  ")] == [
        f"  dgx01: driver upgrade: drain-required, for 46 min (limit 5 min); {held.held_words}; cordoned",
        "  dgx02: driver upgrade: pod-restart-required, for 2 min or longer",
        "  dgx03: MIG: all-3g.40gb pending, for 2 min or longer",
        "  dgx04: cordoned",
        "  dgx05: driver is starting, container nvidia-driver-ctr, for 4 min",
    ]


def test_what_is_not_permitted_is_told_with_the_right_that_is_missing() -> None:
    stack = Stack("kubernetes", not_permitted=(NotPermitted("pods of the cluster", Permission("list", "pods")),))
    assert "  not permitted: pods of the cluster (needs: list pods)" in stack_report.render(SITE, stack, 0.0)
    assert document(stack)["not_permitted"][0]["permission"]["verb"] == "list"


def test_a_log_that_was_not_read_is_not_available_and_no_invention() -> None:
    state = OperandState("driver", OperandPhase.FAILING, container="nvidia-driver-ctr")
    blocker = Blocker(state, "driver", log_problem="pods/log is forbidden")
    assert blocker.log_line is None
    assert Blocker(state, "driver", log=("", " ")).log_line is None


@pytest.mark.parametrize(
    ("labels", "blocked"),
    [
        ({}, False),
        ({"nvidia.com/gpu-driver-upgrade-state": "cordon-required"}, False),
        ({"nvidia.com/mig.config.state": "failed"}, True),
    ],
)
def test_a_change_that_is_under_way_blocks_nothing(labels: dict[str, str], blocked: bool) -> None:
    raw = [each for each in kube.good_cluster("dgx01") if each["kind"] != "Node"]
    stack = stack_of(*raw, kube.node("dgx01", labels=labels))
    assert stack_report.is_blocked(stack) is blocked


@pytest.mark.parametrize(
    ("broken", "reason", "health"),
    [
        (False, "OperandNotReady", "starting"),
        (False, "ReconcileFailed", "blocked"),
        (True, "OperandNotReady", "blocked"),
    ],
)
def test_a_policy_that_waits_for_what_comes_up_is_not_blocked(broken: bool, reason: str, health: str) -> None:
    raw = [each for each in kube.good_cluster("dgx01") if each["kind"] not in ("ClusterPolicy", "Pod")]
    container = kube.crashing("exit 1") if broken else kube.starting()
    pods = (kube.operand("driver", "dgx01", nvidia_driver_ctr=container), kube.operator_pod())
    stack = stack_of(*raw, *pods, kube.cluster_policy("notReady", reason, "states not ready: [state-driver]"))
    assert str(stack.health) == health
    assert stack_report.is_blocked(stack) is (health == "blocked")
    assert document(stack)["policies"][0]["health"] == health


def test_a_policy_is_not_excused_by_a_node_that_changes_beside_one_that_is_blocked() -> None:
    nodes = (StackNode("dgx01", StackHealth.CHANGING), StackNode("dgx02", StackHealth.BLOCKED))
    policy = PolicyState("ClusterPolicy", "cluster-policy", "notReady", "OperandNotReady")
    assert Stack("kubernetes", nodes=nodes).policy_health(policy) is StackHealth.BLOCKED
    assert Stack("kubernetes", nodes=nodes[:1]).policy_health(policy) is StackHealth.CHANGING


def test_requested_and_really_used_are_two_columns_and_mig_instances_are_counted_apart() -> None:
    capacity = NodeGpuCapacity(
        (ResourceCount("nvidia.com/gpu", 7, 6, 5), ResourceCount("nvidia.com/mig-3g.40gb", 2, 2, 1)),
        mig_strategy="mixed",
    )
    whole = NodeGpuCapacity((ResourceCount("nvidia.com/gpu", 8, 8, None),))
    nodes = (
        StackNode("dgx01", StackHealth.READY, capacity=capacity),
        StackNode("dgx02", StackHealth.READY, capacity=whole),
        StackNode("dgx03", StackHealth.READY, capacity=NodeGpuCapacity(gpus=8)),
    )
    used = {"dgx01": InUse(4, 1), "dgx03": InUse(3, 0)}
    stack = Stack("kubernetes", nodes=nodes)
    lines = stack_report.render(SITE, stack, kube.NOW, used).splitlines()
    header, *rows = [line.split() for line in lines[-4:]]
    assert header == ["NODE", "STATE", "GPU", "ALLOC", "REQ", "USED", "MIG", "ALLOC", "REQ", "USED"]
    assert rows == [
        ["dgx01", "ready", "7", "6", "5", "4", "2", "2", "1", "1"],
        ["dgx02", "ready", "8", "8", "n/a", "n/a", "-", "-", "-", "-"],
        ["dgx03", "ready", "8", "n/a", "n/a", "3", "-", "-", "-", "-"],
    ]
    told = stack_report.document(SITE, stack, kube.NOW, used)["nodes"]
    assert [node["in_use"] for node in told] == [{"gpus": 4, "instances": 1}, None, {"gpus": 3, "instances": 0}]


def test_under_the_single_strategy_instances_are_what_nvidia_com_gpu_counts() -> None:
    capacity = NodeGpuCapacity((ResourceCount("nvidia.com/gpu", 16, 16, 4),), mig_strategy="single")
    stack = Stack("kubernetes", nodes=(StackNode("dgx01", StackHealth.READY, capacity=capacity),))
    row = stack_report.render(SITE, stack, kube.NOW, {"dgx01": InUse(0, 3)}).splitlines()[-1]
    assert row.split() == ["dgx01", "ready", "16", "16", "4", "3"]
