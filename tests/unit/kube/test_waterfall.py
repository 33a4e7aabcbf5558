"""The waterfall: of all operands that do not run, the one that keeps the others from running."""

from __future__ import annotations

from typing import Any

import pytest

from backends.domain import OperandPhase, Stack, StackHealth, StackNode
from backends.kubernetes.keeping import daemon_set_of, node_of, pod_of, policy_of
from backends.kubernetes.stack import Builder, Objects
from tests.kube import objects as kube

MINUTE = 60.0


def stack_of(*raw: dict[str, Any], now: float = kube.NOW, **more: Any) -> Stack:
    def of(kind: str) -> list[dict[str, Any]]:
        return [each for each in raw if each["kind"] == kind]

    objects = Objects(
        nodes=tuple(node_of(each) for each in of("Node")),
        pods=tuple(pod_of(each) for each in of("Pod")),
        daemon_sets=tuple(daemon_set_of(each) for each in of("DaemonSet")),
        policies=tuple(policy_of(each) for kind in ("ClusterPolicy", "NVIDIADriver") for each in of(kind)),
        **more,
    )
    return Builder("kubernetes").build(objects, now)


def one_node(*pods: dict[str, Any], node: dict[str, Any] | None = None, now: float = kube.NOW) -> StackNode:
    sets = [kube.daemon_set(key) for key in kube.OPERANDS]
    stack = stack_of(kube.cluster_policy(), *sets, node or kube.node("dgx01"), *pods, now=now)
    (found,) = stack.nodes
    return found


def phases(node: StackNode) -> dict[str, str]:
    return {state.operand: str(state.phase) for state in node.operands}


def test_a_node_whose_operands_all_run_is_ready() -> None:
    node = one_node(*kube.operand_pods("dgx01"))
    assert node.health is StackHealth.READY
    assert node.blocker is None
    assert set(phases(node).values()) == {"ready"}
    assert [state.operand for state in node.operands] == list(kube.OPERANDS)
    driver = node.get("driver")
    assert driver is not None
    assert (driver.version, driver.ready_containers, driver.containers) == ("580.95.05-ubuntu22.04", 1, 1)


def test_a_driver_that_crashes_is_the_blocker_and_all_others_wait_for_it() -> None:
    wait = kube.starting()
    node = one_node(
        *kube.operand_pods(
            "dgx01",
            driver=kube.operand(
                "driver", "dgx01", nvidia_driver_ctr=kube.crashing("Could not resolve Linux kernel version")
            ),
            toolkit=kube.operand("toolkit", "dgx01", driver_validation=kube.starting()),
            validator=kube.operand("validator", "dgx01", driver_validation=kube.starting()),
            device_plugin=kube.operand("device-plugin", "dgx01", toolkit_validation=wait),
            gfd=kube.operand("gfd", "dgx01", toolkit_validation=wait),
            dcgm_exporter=kube.operand("dcgm-exporter", "dgx01", toolkit_validation=wait),
            mig_manager=kube.operand("mig-manager", "dgx01", toolkit_validation=wait),
        )
    )
    assert node.health is StackHealth.BLOCKED
    assert node.blocker is not None
    state = node.blocker.state
    assert (state.operand, state.container, state.reason) == ("driver", "nvidia-driver-ctr", "CrashLoopBackOff")
    assert state.message == "Could not resolve Linux kernel version"
    assert state.restarts == 4
    assert node.waiting == 6
    assert node.get("toolkit") is not None
    assert phases(node)["toolkit"] == "waiting"


def test_an_operand_that_crashes_while_it_waits_for_another_only_waits() -> None:
    """The validator's own waits exit with an error, over and over, until the toolkit is there."""
    node = one_node(
        *kube.operand_pods(
            "dgx01",
            toolkit=kube.operand("toolkit", "dgx01", nvidia_container_toolkit_ctr=kube.waiting("ImagePullBackOff")),
            validator=kube.operand("validator", "dgx01", toolkit_validation=kube.crashing("toolkit is not ready")),
        )
    )
    assert phases(node)["validator"] == "waiting"
    assert node.blocker is not None
    assert node.blocker.state.operand == "toolkit"
    assert node.blocker.state.reason == "ImagePullBackOff"


def test_a_wait_is_no_excuse_when_what_it_waits_for_runs() -> None:
    node = one_node(
        *kube.operand_pods(
            "dgx01",
            validator=kube.operand("validator", "dgx01", driver_validation=kube.crashing("nvidia-smi failed")),
        )
    )
    assert node.blocker is not None
    assert (node.blocker.state.operand, node.blocker.state.container) == ("validator", "driver-validation")
    assert node.blocker.state.init


def test_the_validator_that_waits_for_the_device_plugin_gives_way_to_it() -> None:
    node = one_node(
        *kube.operand_pods(
            "dgx01",
            validator=kube.operand("validator", "dgx01", plugin_validation=kube.starting()),
            device_plugin=kube.operand("device-plugin", "dgx01", nvidia_device_plugin=kube.crashing("no devices")),
        )
    )
    assert phases(node)["validator"] == "waiting"
    assert node.blocker is not None
    assert node.blocker.state.operand == "device-plugin"


def test_a_driver_that_compiles_is_starting_for_its_startup_probe_s_time() -> None:
    def at(minutes: float) -> StackNode:
        container = kube.starting(since=kube.NOW - minutes * MINUTE)
        return one_node(
            *kube.operand_pods("dgx01", driver=kube.operand("driver", "dgx01", nvidia_driver_ctr=container))
        )

    assert at(20).health is StackHealth.STARTING
    overdue = at(40)
    assert overdue.health is StackHealth.BLOCKED
    assert overdue.blocker is not None
    assert overdue.blocker.state.reason == "not ready for 40 min"


def test_between_two_crashes_it_still_fails() -> None:
    again = kube.starting(
        since=kube.NOW - 5,
        restartCount=7,
        lastState={"terminated": {"exitCode": 1, "reason": "Error", "message": "no kernel headers"}},
    )
    node = one_node(*kube.operand_pods("dgx01", driver=kube.operand("driver", "dgx01", nvidia_driver_ctr=again)))
    assert node.blocker is not None
    assert node.blocker.state.phase is OperandPhase.FAILING
    assert node.blocker.state.reason == "Error (exit 1), started again"
    assert node.blocker.state.message == "no kernel headers"


def test_after_a_reboot_it_starts_and_does_not_fail() -> None:
    again = kube.starting(restartCount=3, lastState={"terminated": {"exitCode": 255, "reason": "Unknown"}})
    node = one_node(*kube.operand_pods("dgx01", driver=kube.operand("driver", "dgx01", nvidia_driver_ctr=again)))
    assert node.health is StackHealth.STARTING


def test_the_start_up_time_of_a_container_counts_from_the_end_of_the_waits_before_it() -> None:
    """The pod is hours old, its wait has ended a minute ago, its container is being created."""
    plugin = kube.operand(
        "device-plugin",
        "dgx01",
        toolkit_validation=kube.completed(kube.NOW - MINUTE),
        nvidia_device_plugin=kube.waiting("ContainerCreating"),
    )
    node = one_node(*kube.operand_pods("dgx01", device_plugin=plugin))
    assert phases(node)["device-plugin"] == "starting"


@pytest.mark.parametrize("value", ["paused-for-driver-upgrade", "paused-for-mig-change"])
def test_a_paused_operand_is_maintenance_and_no_fault(value: str) -> None:
    node = one_node(
        *kube.operand_pods("dgx01", device_plugin=None),
        node=kube.node(
            "dgx01",
            labels={
                kube.DEPLOY + "device-plugin": value,
                "nvidia.com/mig.config.state": "pending",
                "nvidia.com/gpu-driver-upgrade-state": "pod-restart-required",
            },
        ),
    )
    plugin = node.get("device-plugin")
    assert plugin is not None
    assert (plugin.phase, plugin.reason) == (OperandPhase.PAUSED, value)
    assert node.blocker is None
    assert node.health is StackHealth.CHANGING


def test_operands_that_stay_paused_when_nothing_is_under_way_are_told() -> None:
    node = one_node(
        *kube.operand_pods("dgx01", device_plugin=None),
        node=kube.node("dgx01", labels={kube.DEPLOY + "device-plugin": "paused-for-driver-upgrade"}),
    )
    assert node.health is StackHealth.BLOCKED
    assert any("left over" in note for note in node.notes)


def test_an_operand_that_a_label_turns_off_is_off() -> None:
    node = one_node(
        *kube.operand_pods("dgx01", mig_manager=None),
        node=kube.node("dgx01", labels={kube.DEPLOY + "mig-manager": "false"}),
    )
    assert phases(node)["mig-manager"] == "off"
    assert node.health is StackHealth.READY


def test_a_node_with_all_operands_off_is_off() -> None:
    labels = {kube.DEPLOY + "operands": "false", **{kube.DEPLOY + each[1]: None for each in kube.OPERANDS.values()}}
    node = one_node(node=kube.node("dgx01", labels=labels))
    assert set(phases(node).values()) == {"off"}
    assert node.health is StackHealth.OFF


def test_a_missing_pod_is_told_with_what_keeps_it_away() -> None:
    tainted = kube.node("dgx01", taints=[{"key": "dedicated", "value": "ml", "effect": "NoSchedule"}])
    node = one_node(*kube.operand_pods("dgx01", driver=None), node=tainted)
    assert node.blocker is not None
    assert node.blocker.state.phase is OperandPhase.MISSING
    assert node.blocker.state.message == "dedicated=ml:NoSchedule is not tolerated"
    plain = one_node(*kube.operand_pods("dgx01", driver=None))
    assert plain.blocker is not None
    assert (plain.blocker.state.reason, plain.blocker.state.daemon_set) == ("no pod", "nvidia-driver-daemonset")


def test_a_node_whose_kernel_no_precompiled_driver_is_made_for_is_told() -> None:
    selector = {
        kube.DEPLOY + "driver": "true",
        "feature.node.kubernetes.io/kernel-version.full": "5.15.0-69-generic",
    }
    stack = stack_of(
        kube.daemon_set("driver", selector=selector), kube.cluster_policy(), kube.operator_pod(), kube.node("dgx01")
    )
    blocker = stack.nodes[0].blocker
    assert blocker is not None
    assert blocker.state.reason == "no DaemonSet selects this node"
    assert blocker.state.message is not None
    assert "5.15.0-102-generic, not 5.15.0-69-generic" in blocker.state.message


def test_of_two_pods_the_one_that_stays_counts() -> None:
    leaving = kube.operand("driver", "dgx01", suffix="-old", nvidia_driver_ctr=kube.crashing())
    leaving["metadata"]["deletionTimestamp"] = kube.stamp(kube.NOW)
    node = one_node(leaving, *kube.operand_pods("dgx01"))
    assert node.health is StackHealth.READY


def test_a_pod_that_will_not_go_is_stuck() -> None:
    leaving = kube.operand("driver", "dgx01")
    leaving["metadata"]["deletionTimestamp"] = kube.stamp(kube.NOW - 600)
    node = one_node(*kube.operand_pods("dgx01", driver=leaving))
    assert node.blocker is not None
    assert (node.blocker.state.phase, node.blocker.state.reason) == (OperandPhase.FAILING, "Terminating")


def test_a_stranger_s_pod_with_an_operand_s_label_is_not_one() -> None:
    stranger = kube.operand("driver", "dgx01", namespace="team", nvidia_driver_ctr=kube.crashing())
    node = one_node(stranger, *kube.operand_pods("dgx01"))
    assert node.health is StackHealth.READY


def test_driver_pods_of_an_nvidiadriver_and_of_openshift_are_drivers() -> None:
    pod = kube.operand("driver", "dgx01")
    pod["metadata"]["labels"] = {"app": "nvidia-driver-daemonset-418.94.202505", "openshift.driver-toolkit": "true"}
    node = one_node(*kube.operand_pods("dgx01", driver=pod))
    assert phases(node)["driver"] == "ready"


def test_without_the_driver_operand_the_toolkit_answers_for_the_host_s_driver() -> None:
    toolkit = kube.operand("toolkit", "dgx01", driver_validation=kube.crashing("nvidia-smi: not found"))
    stack = stack_of(
        kube.cluster_policy(),
        *(kube.daemon_set(key) for key in kube.OPERANDS if key != "driver"),
        kube.node("dgx01", labels={kube.DEPLOY + "driver": None}),
        *kube.operand_pods("dgx01", driver=None, toolkit=toolkit),
    )
    (node,) = stack.nodes
    assert node.blocker is not None
    assert node.blocker.state.operand == "toolkit"
    assert node.get("driver") is None


def test_a_dead_node_is_blocked_whatever_its_pods_say() -> None:
    node = one_node(*kube.operand_pods("dgx01"), node=kube.node("dgx01", ready=False))
    assert node.health is StackHealth.BLOCKED
    assert any("not Ready" in note for note in node.notes)


def test_an_unschedulable_operand_says_what_the_scheduler_says() -> None:
    pod = kube.operand("driver", "dgx01")
    pod["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient memory."}
    ]
    node = one_node(*kube.operand_pods("dgx01", driver=pod))
    assert node.blocker is not None
    assert node.blocker.state.reason == "Unschedulable"
    assert node.blocker.state.message == "0/3 nodes are available: 3 Insufficient memory."


def test_operands_whose_pods_may_not_be_read_are_neither_missing_nor_well() -> None:
    sets = [kube.daemon_set(key) for key in kube.OPERANDS]
    for known in (sets, []):
        stack = stack_of(kube.cluster_policy(), kube.node("dgx01"), *known, pods_of=frozenset({"team-a"}))
        (node,) = stack.nodes
        assert {state.operand for state in node.operands} >= {"driver", "device-plugin", "validator"}
        assert {state.phase for state in node.operands} == {OperandPhase.UNKNOWN}
        assert {state.reason for state in node.operands} == {"not permitted: list pods in gpu-operator"}
        assert (node.blocker, node.health) == (None, StackHealth.UNKNOWN)


def test_gpus_that_cannot_be_allocated_are_not_blamed_on_a_plugin_that_is_not_seen() -> None:
    raw = kube.node("dgx01", allocatable=6)
    (node,) = stack_of(kube.cluster_policy(), raw, pods_of=frozenset()).nodes
    assert node.notes == ("2 of 8 nvidia.com/gpu not allocatable: whether the device plugin runs is not known",)


def test_daemon_sets_of_other_namespaces_alone_make_none_missing() -> None:
    pods = kube.operand_pods("dgx01")
    raw = kube.node("dgx02")
    stack = stack_of(kube.cluster_policy(), kube.node("dgx01"), raw, *pods, sets_of=frozenset({"team-a"}))
    assert {state.reason for state in stack.nodes[1].operands} == {"no pod"}


def test_hostile_names_and_messages_come_out_inert() -> None:
    evil = "\x1b]0;owned\x07[@click=app.quit]x[/]\nsecond line\u202e"
    pod = kube.operand("driver", "dgx01", nvidia_driver_ctr=kube.crashing(evil))
    node = one_node(*kube.operand_pods("dgx01", driver=pod))
    assert node.blocker is not None
    assert node.blocker.state.message == "[@click=app.quit]x[/] second line"


@pytest.mark.parametrize("broken", [{}, {"status": None}, {"status": {"containerStatuses": "x"}}, {"spec": []}])
def test_odd_objects_cost_nothing_else(broken: dict[str, Any]) -> None:
    odd = {"kind": "Pod", "metadata": {"name": "odd", "namespace": kube.NAMESPACE}, **broken}
    node = one_node(odd, *kube.operand_pods("dgx01"))
    assert node.health is StackHealth.READY


# Since when


def driver(status: dict[str, Any], *, begun: float = kube.NOW - 3600, unready: float = kube.NOW - 3600) -> Any:
    """A driver's pod whose container is in `status`: when it was started, and when its Ready condition became false."""
    pod = kube.operand("driver", "dgx01", nvidia_driver_ctr=status)
    pod["status"]["startTime"] = kube.stamp(begun)
    pod["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "lastTransitionTime": kube.stamp(unready)},
        {"type": "PodScheduled", "status": "True"},
    ]
    return pod


def failing_since(pod: dict[str, Any]) -> float | None:
    node = one_node(*kube.operand_pods("dgx01", driver=pod))
    assert node.blocker is not None
    assert node.blocker.state.phase is OperandPhase.FAILING
    return node.blocker.state.since


def test_an_operand_that_was_ready_fails_since_it_is_not() -> None:
    begun, unready = kube.NOW - 86_400, kube.NOW - 900
    for status in (kube.crashing(restarts=9), kube.crashing(restarts=1), kube.waiting("CreateContainerError")):
        assert failing_since(driver(status, begun=begun, unready=unready)) == unready


def test_one_that_never_was_ready_fails_since_its_turn_once_it_was_tried_again_and_again() -> None:
    assert failing_since(driver(kube.crashing(restarts=4))) == kube.NOW - 3600
    assert failing_since(driver(kube.waiting("ImagePullBackOff"))) == kube.NOW - 3600
    late = driver(kube.crashing(restarts=4))
    late["status"]["initContainerStatuses"][0] |= kube.completed(kube.NOW - 600)
    assert failing_since(late) == kube.NOW - 600, "before that the init containers ran"


def test_a_first_failure_says_nothing_of_the_time_before_it() -> None:
    for status in (kube.crashing(restarts=1), kube.waiting("ErrImagePull")):
        assert failing_since(driver(status)) is None
    ended = {"exitCode": 1, "reason": "Error", "finishedAt": kube.stamp(kube.NOW - 5)}
    crashed = {"state": {"terminated": ended}, "ready": False, "restartCount": 0}
    assert failing_since(driver(crashed)) == kube.NOW - 5


def test_one_that_cannot_be_scheduled_and_one_that_ended_tell_their_times() -> None:
    pod = kube.operand("driver", "dgx01")
    pod["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "lastTransitionTime": kube.stamp(kube.NOW - 700), "message": "no"}
    ]
    assert failing_since(pod) == kube.NOW - 700
    ended = {"exitCode": 1, "reason": "Error", "finishedAt": kube.stamp(kube.NOW - 80)}
    evicted = kube.operand("driver", "dgx01", nvidia_driver_ctr={"state": {"terminated": ended}, "ready": False})
    evicted["status"] |= {"phase": "Failed", "reason": "Evicted"}
    assert failing_since(evicted) == kube.NOW - 80


def test_a_node_tells_when_it_stopped_being_ready() -> None:
    dead = kube.node("dgx01", ready=False)
    assert one_node(*kube.operand_pods("dgx01"), node=dead).ready_at is None
    dead["status"]["conditions"][0]["lastTransitionTime"] = kube.stamp(kube.NOW - 500)
    assert one_node(*kube.operand_pods("dgx01"), node=dead).ready_at == kube.NOW - 500
