"""The stack of a cluster: policies, hidden states of the nodes, capacity, the operator's own parts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from backends.domain import NotPermitted, Permission, SiteSpec, Stack, StackHealth, StackNode
from backends.kubernetes.keeping import node_of, pod_of
from backends.kubernetes.node_state import capacity_of
from backends.kubernetes.stack import Builder, Objects
from backends.kubernetes.support import supported
from backends.stack_report import render
from tests.kube import objects as kube
from tests.unit.kube.test_waterfall import one_node, stack_of

MIG_STATE = "nvidia.com/mig.config.state"
UPGRADE = "nvidia.com/gpu-driver-upgrade-state"


def managed(label: str, at: float, manager: str = "nvidia-mig-manager") -> dict[str, Any]:
    fields: dict[str, Any] = {"f:metadata": {"f:labels": {f"f:{label}": {}}}}
    return {"manager": manager, "operation": "Update", "time": kube.stamp(at), "fieldsV1": fields}


def healthy(node: dict[str, Any], now: float = kube.NOW) -> StackNode:
    return one_node(*kube.operand_pods("dgx01"), node=node, now=now)


@pytest.mark.parametrize("reason", ["NFDLabelsMissing", "NoGPUNodes"])
def test_ready_without_anything_to_be_ready_for_is_a_warning(reason: str) -> None:
    stack = stack_of(kube.cluster_policy(reason=reason, message="No NFD labels found"), kube.operator_pod())
    (policy,) = stack.policies
    assert (policy.state, policy.reason, policy.health) == ("ready", reason, StackHealth.WARNING)
    assert stack.health is StackHealth.WARNING


def test_a_policy_that_is_not_ready_names_the_failing_states() -> None:
    message = "ClusterPolicy is not ready; states not ready: [state-driver state-container-toolkit]; see the pods"
    stack = stack_of(kube.cluster_policy("notReady", "OperandNotReady", message))
    (policy,) = stack.policies
    assert policy.failing_states == ("state-driver", "state-container-toolkit")
    assert (policy.reason, policy.health) == ("OperandNotReady", StackHealth.BLOCKED)
    assert policy.driver_version == "580.95.05"


def test_only_the_oldest_cluster_policy_acts() -> None:
    younger = kube.cluster_policy("ignored", name="second")
    younger["metadata"]["creationTimestamp"] = kube.stamp(kube.NOW)
    younger["status"]["namespace"] = "elsewhere"
    stack = stack_of(younger, kube.cluster_policy())
    assert [policy.name for policy in stack.policies] == ["cluster-policy", "second"]
    assert stack.operator_namespace == kube.NAMESPACE
    assert stack.policies[1].health is StackHealth.OFF


def test_without_an_operator_that_is_said() -> None:
    stack = stack_of(kube.node("dgx01"))
    assert stack.notes == ("there is no GPU Operator: neither a ClusterPolicy nor an operand",)
    denied = (NotPermitted("pods of the cluster", Permission("list", "pods")),)
    assert stack_of(not_permitted=denied).notes == ()


def test_a_mig_change_that_is_pending_for_longer_than_the_manager_waits_is_stuck() -> None:
    def pending(minutes: float) -> StackNode:
        node = kube.node("dgx01", labels={"nvidia.com/mig.config": "all-3g.40gb", MIG_STATE: "pending"})
        node["metadata"]["managedFields"] = [managed(MIG_STATE, kube.NOW - minutes * 60)]
        return healthy(node)

    fresh, stuck = pending(5), pending(31)
    assert fresh.health is StackHealth.CHANGING
    assert stuck.health is StackHealth.BLOCKED
    assert stuck.mig is not None
    assert stuck.mig.requested == "all-3g.40gb"
    assert stuck.mig.since is not None
    assert not stuck.mig.since.exact
    assert any("pending for more than 6 min" in note for note in stuck.notes)


def test_without_a_time_in_the_object_a_change_is_as_old_as_the_console_knows_it() -> None:
    raw = kube.node("dgx01", labels={MIG_STATE: "pending"})
    builder = Builder("kubernetes", kube.NAMESPACE)
    objects = Objects((node_of(raw),), tuple(pod_of(each) for each in kube.operand_pods("dgx01")))
    assert builder.build(objects, kube.NOW).nodes[0].health is StackHealth.CHANGING
    assert builder.build(objects, kube.NOW + 300).nodes[0].health is StackHealth.CHANGING
    assert builder.build(objects, kube.NOW + 400).nodes[0].health is StackHealth.BLOCKED
    again = kube.node("dgx01", labels={MIG_STATE: "success"})
    builder.build(dataclasses.replace(objects, nodes=(node_of(again),)), kube.NOW + 410)
    assert builder.build(objects, kube.NOW + 420).nodes[0].health is StackHealth.CHANGING


def test_a_failed_mig_change_blocks_the_node() -> None:
    node = healthy(kube.node("dgx01", labels={MIG_STATE: "failed"}))
    assert node.health is StackHealth.BLOCKED


def test_a_driver_upgrade_tells_its_step_and_for_how_long() -> None:
    raw = kube.node(
        "dgx01",
        labels={UPGRADE: "validation-required"},
        annotations={"nvidia.com/gpu-driver-upgrade-validation-start-time": str(int(kube.NOW) - 700)},
    )
    node = healthy(raw)
    assert node.upgrade is not None
    assert node.upgrade.step == "validation-required"
    assert node.upgrade.since is not None
    assert (node.upgrade.since.exact, node.upgrade.since.seconds(kube.NOW)) == (True, 700.0)
    assert node.upgrade.stuck(kube.NOW)
    assert node.health is StackHealth.BLOCKED


def test_a_drain_is_stuck_when_it_takes_longer_than_the_policy_gives_it() -> None:
    def draining(seconds: float) -> StackNode:
        raw = kube.node("dgx01", labels={UPGRADE: "drain-required"}, cordoned=True)
        raw["metadata"]["managedFields"] = [managed(UPGRADE, kube.NOW - seconds, "gpu-operator")]
        return healthy(raw)

    assert draining(200).health is StackHealth.CHANGING
    stuck = draining(400)
    assert stuck.health is StackHealth.BLOCKED
    assert not stuck.schedulable
    assert any("PodDisruptionBudget" in note for note in stuck.notes)


@pytest.mark.parametrize(
    ("step", "hours", "stuck"),
    [
        ("wait-for-jobs-required", 23.0, False),
        ("wait-for-jobs-required", 25.0, True),
        ("pod-restart-required", 0.5, False),
        ("pod-restart-required", 1.0, True),
        ("uncordon-required", 0.5, True),
        ("upgrade-required", 200.0, False),
        ("upgrade-done", 200.0, False),
    ],
)
def test_a_step_that_nothing_bounds_is_judged_by_what_is_usual(step: str, hours: float, stuck: bool) -> None:
    raw = kube.node("dgx01", labels={UPGRADE: step})
    raw["metadata"]["managedFields"] = [managed(UPGRADE, kube.NOW - hours * 3600, "gpu-operator")]
    node = healthy(raw)
    assert node.upgrade is not None
    assert node.upgrade.limit_seconds is None
    assert node.upgrade.stuck(kube.NOW) is stuck
    assert (node.health is StackHealth.BLOCKED) is stuck


def test_a_wait_for_jobs_says_what_it_waits_for() -> None:
    node = healthy(kube.node("dgx01", labels={UPGRADE: "wait-for-jobs-required"}))
    assert node.upgrade is not None
    assert node.upgrade.hint is not None


def test_allocatable_below_capacity_is_told() -> None:
    node = healthy(kube.node("dgx01", allocatable=7))
    assert node.health is StackHealth.WARNING
    assert node.capacity.unhealthy == 1
    assert any("1 of 8 nvidia.com/gpu not allocatable" in note for note in node.notes)


def test_requests_are_those_of_pods_that_have_not_ended() -> None:
    gpus = {"nvidia.com/gpu": 2}
    stack = stack_of(
        kube.cluster_policy(),
        kube.node("dgx01"),
        *kube.operand_pods("dgx01"),
        kube.pod("a", node="dgx01", gpus=gpus),
        kube.pod("b", node="dgx01", gpus=gpus, phase="Succeeded"),
        kube.pod("c", gpus=gpus),
    )
    count = stack.nodes[0].capacity.get("nvidia.com/gpu")
    assert count is not None
    assert (count.capacity, count.allocatable, count.requested) == (8, 8, 2)


def test_what_is_requested_is_not_known_when_not_all_pods_may_be_read() -> None:
    stack = stack_of(kube.cluster_policy(), kube.node("dgx01"), pods_of=frozenset())
    count = stack.nodes[0].capacity.get("nvidia.com/gpu")
    assert count is not None
    assert count.requested is None


def test_time_slicing_is_shown_and_replicas_are_no_gpus() -> None:
    raw = kube.node(
        "dgx01",
        gpus=32,
        labels={
            "nvidia.com/gpu.count": "8",
            "nvidia.com/gpu.replicas": "4",
            "nvidia.com/gpu.sharing-strategy": "time-slicing",
        },
    )
    capacity = healthy(raw).capacity
    assert (capacity.gpus, capacity.sharing, capacity.replicas) == (8, "time-slicing", 4)


@pytest.mark.parametrize("strategy", ["mig-mixed-node-labels.json", "mig-node-labels.json"])
def test_labels_that_nvidia_documents_are_understood(strategy: str) -> None:
    labels = json.loads((Path(__file__).parents[2] / "data" / "gpu_operator" / strategy).read_text())
    raw = kube.node("dgx01")
    raw["metadata"]["labels"] = labels
    lean = node_of(raw)
    assert lean.has_nfd
    capacity = capacity_of(lean, {})
    assert capacity.product is not None
    assert capacity.mig_strategy in {"single", "mixed"}
    assert healthy(raw).mig is not None


def test_mixed_mig_resources_are_counted_by_profile() -> None:
    raw = kube.node("dgx01", gpus=0)
    for key in ("capacity", "allocatable"):
        raw["status"][key]["nvidia.com/mig-3g.40gb"] = "16"
    stack = stack_of(
        kube.cluster_policy(),
        raw,
        *kube.operand_pods("dgx01"),
        kube.pod("a", node="dgx01", gpus={"nvidia.com/mig-3g.40gb": 1}),
    )
    count = stack.nodes[0].capacity.get("nvidia.com/mig-3g.40gb")
    assert count is not None
    assert (count.capacity, count.requested) == (16, 1)


def test_an_invalid_single_strategy_is_told() -> None:
    node = healthy(kube.node("dgx01", labels={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-INVALID"}))
    assert any("single MIG strategy" in note for note in node.notes)


def test_gpus_that_vanished_keep_the_node_in_sight() -> None:
    node = healthy(kube.node("dgx01", gpus=0, labels={"nvidia.com/gpu.present": "false"}))
    assert any("vanished" in note for note in node.notes)


def test_a_node_without_nfd_s_labels_is_told_when_the_site_names_it() -> None:
    bare = kube.node("dgx02", gpus=0)
    bare["metadata"]["labels"] = {"kubernetes.io/hostname": "dgx02"}
    del bare["status"]["capacity"]["nvidia.com/gpu"], bare["status"]["allocatable"]["nvidia.com/gpu"]
    good = (*kube.good_cluster("dgx01"), bare)
    assert [node.name for node in stack_of(*good).nodes] == ["dgx01"]
    stack = stack_of(*good, expected=frozenset({"dgx01", "dgx02"}))
    assert [node.name for node in stack.nodes] == ["dgx01", "dgx02"]
    assert "feature discovery" in stack.nodes[1].notes[0]
    assert any("dgx02" in note for note in stack.notes)
    assert stack.health is StackHealth.WARNING


def test_nodes_are_found_by_their_short_names_too() -> None:
    stack = stack_of(*kube.good_cluster("dgx01.example.com", "dgx02.example.com"))
    found = stack.get("dgx02")
    assert found is not None
    assert found.name == "dgx02.example.com"
    assert stack.get("dgx03") is None


def test_the_operator_and_nfd_are_components() -> None:
    broken = kube.nfd_pod("worker", "dgx02", kube.waiting("ImagePullBackOff", "no such image"))
    stack = stack_of(*kube.good_cluster("dgx01"), broken)
    found = {component.name: component for component in stack.components}
    assert found["gpu-operator"].ready == found["gpu-operator"].wanted == 1
    worker = found["node feature discovery worker"]
    assert (worker.ready, worker.wanted, worker.reason) == (1, 2, "ImagePullBackOff")
    assert stack.health is StackHealth.WARNING


def test_a_verdict_and_a_component_tell_since_when() -> None:
    down = kube.nfd_pod("worker", "dgx02", kube.waiting("ImagePullBackOff", "no such image"))
    stack = stack_of(kube.cluster_policy("notReady", "OperandNotReady", "x"), *kube.good_cluster("dgx01")[1:], down)
    assert [policy.since for policy in stack.policies] == [kube.NOW - 600]
    found = {component.name: component.since for component in stack.components}
    assert found["node feature discovery worker"] == kube.NOW - 3600
    assert found["gpu-operator"] is None
    assert [policy.since for policy in stack_of(*kube.good_cluster("dgx01")).policies] == [None]


def test_a_good_cluster_is_ready() -> None:
    stack = stack_of(*kube.good_cluster("dgx01", "dgx02"), version="v1.31.2")
    assert stack.health is StackHealth.READY
    assert stack.operator_version == "v26.7.0"
    assert [operand.key for operand in stack.operands] == list(kube.OPERANDS)


def test_a_node_that_did_not_change_is_the_same_object() -> None:
    raw = kube.good_cluster("dgx01", "dgx02")
    builder = Builder("kubernetes", kube.NAMESPACE)

    def build(objects: list[dict[str, Any]]) -> tuple[StackNode, ...]:
        nodes = tuple(node_of(each) for each in objects if each["kind"] == "Node")
        pods = tuple(pod_of(each) for each in objects if each["kind"] == "Pod")
        return builder.build(Objects(nodes, pods), kube.NOW).nodes

    before = build(raw)
    broken = kube.operand("driver", "dgx02", nvidia_driver_ctr=kube.crashing())
    after = build([each for each in raw if each["metadata"]["name"] != broken["metadata"]["name"]] + [broken])
    assert after[0] is before[0]
    assert after[1] is not before[1]


@pytest.mark.parametrize(
    ("operator", "kubernetes", "openshift", "holds"),
    [
        ("v26.7.0", "v1.31.2", None, False),
        ("v26.7.0", "v1.36.0", None, True),
        ("v26.3.1", "v1.34.0", "4.22.1", True),
        ("v26.3.1", "v1.34.0", "4.23.1", False),
        ("v23.9.2", "v1.30.1", None, False),
        ("v24.6.2", "v1.30.1", None, True),
        ("v25.3.4", "v1.28.9", None, False),
        ("v25.10.1", "v1.31.2", "4.16.3", True),
        ("v25.10.1", "v1.31.2", None, True),
    ],
)
def test_versions_are_held_against_nvidia_s_matrix(
    operator: str | None, kubernetes: str, openshift: str | None, holds: bool
) -> None:
    (found,) = supported(operator, kubernetes=kubernetes, openshift=openshift)
    assert found.supported is holds


@pytest.mark.parametrize("openshift", [None, "4.22.1"])
def test_a_release_that_no_table_knows_is_unknown_and_not_unsupported(openshift: str | None) -> None:
    (found,) = supported("v99.1.0", kubernetes="v1.31.2", openshift=openshift)
    assert (found.supported, found.wanted) == (None, "")
    said = render(SiteSpec("prod"), Stack("kubernetes", support=(found,)), kube.NOW)
    assert f"{found.what}: whether that is supported is not known" in said
    assert "outside" not in said
    assert supported(None, kubernetes="v1.31.2") == ()
    assert supported("v26.7.0") == ()
