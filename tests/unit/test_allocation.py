"""Allocation against reality: what the nodes see, held against what the platform gave out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from backends.allocation import SETTLE_SECONDS, YOUNG_SECONDS, InUse, in_use, in_use_by_node
from backends.domain import (
    Container,
    Fleet,
    Gpu,
    GpuProcess,
    GpuRequest,
    Mig,
    Mismatch,
    MismatchKind,
    Node,
    NodeGpuCapacity,
    NodeReading,
    NodeState,
    NotPermitted,
    Permission,
    Stack,
    StackHealth,
    StackNode,
    Unread,
    Workload,
    Workloads,
)
from backends.ownership import NOBODY, Ownership
from tests.workloads import mismatches

NOW = 1_764_060_000.0
WHOLE = (GpuRequest("nvidia.com/gpu", 1),)


def container(name: str) -> str:
    return f"{name:0<64}"


def workload(
    name: str, gpus: tuple[GpuRequest, ...] = WHOLE, *, namespace: str = "team", age: float = 3600.0
) -> Workload:
    return Workload(
        platform="kubernetes",
        name=name,
        uid=name,
        namespace=namespace,
        node="dgx01.example.com",
        phase="Running",
        gpus=gpus,
        containers=(Container("main", container(name)),),
        started_at=NOW - age,
    )


def process(of: str | None, pid: int = 1, **more: object) -> GpuProcess:
    base = GpuProcess(pid=pid, kind="compute", command="python", container_id=None if of is None else container(of))
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]


def fleet(*gpus: tuple[GpuProcess, ...] | None, state: NodeState = NodeState.LIVE, transport: str = "nvml") -> Fleet:
    made = tuple(Gpu(index=index, uuid=f"GPU-{index}", processes=processes) for index, processes in enumerate(gpus))
    return Fleet((NodeReading("dgx01", state, Node(name="dgx01", transport=transport, gpus=made), NOW, None),))


def stack(sharing: str | None = None) -> Stack:
    node = StackNode("dgx01.example.com", StackHealth.READY, capacity=NodeGpuCapacity(sharing=sharing))
    return Stack("kubernetes", nodes=(node,), operator_namespace="gpu-operator")


def found(seen: Fleet, *workloads: Workload, of: Stack | None = None) -> list[tuple[str, str]]:
    made = mismatches(seen, of or stack(), Ownership(Workloads(workloads)), NOW)
    return [(str(each.kind), each.claim) for each in made]


def test_a_workload_that_uses_what_it_was_given_is_no_mismatch() -> None:
    assert found(fleet((process("a"),), (process("b"),)), workload("a"), workload("b")) == []


def test_gpus_that_are_held_and_not_used() -> None:
    idle = workload("a", (GpuRequest("nvidia.com/gpu", 4),))
    assert found(fleet(()), idle) == [("idle", "team/a holds 4 nvidia.com/gpu and uses none")]


@pytest.mark.parametrize(
    "young",
    [
        workload("a", age=SETTLE_SECONDS - 1),
        dataclasses.replace(workload("a"), phase="Pending"),
        dataclasses.replace(workload("a"), started_at=None),
        workload("a", ()),
    ],
)
def test_what_has_just_started_or_asked_for_nothing_is_not_idle(young: Workload) -> None:
    assert found(fleet(()), young) == []


def test_a_gpu_whose_processes_are_not_known_makes_nobody_idle() -> None:
    assert found(fleet((), None), workload("a")) == []


def test_a_gpu_that_is_used_without_having_been_asked_for() -> None:
    assert found(fleet((process("a"), process("a", pid=2))), workload("a", ())) == [
        ("unallocated", "is used by team/a, which was given no GPU")
    ]


def test_what_a_resource_claim_gave_is_not_known_and_makes_no_mismatch() -> None:
    claims = dataclasses.replace(workload("a", ()), claims=True)
    assert found(fleet((process("a"),)), claims) == []
    both = [dataclasses.replace(workload(name), claims=True) for name in ("a", "b")]
    assert found(fleet((process("a"), process("b", pid=2))), *both) == []


def test_the_operator_s_own_pods_may_look_at_every_gpu() -> None:
    assert found(fleet((process("dcgm"),)), workload("dcgm", (), namespace="gpu-operator")) == []


def test_a_gpu_that_two_workloads_use_and_that_nobody_shared() -> None:
    seen = fleet((process("a"), process("b", pid=2)), (process("a"),))
    assert found(seen, workload("a"), workload("b")) == [
        ("twice", "is used by 2 workloads and is not shared: team/a, team/b")
    ]


@pytest.mark.parametrize("sharing", ["time-slicing", "mps"])
def test_sharing_by_configuration_is_told_apart(sharing: str) -> None:
    seen = fleet((process("a"), process("b", pid=2)))
    assert found(seen, workload("a"), workload("b"), of=stack(sharing)) == []
    shared = (GpuRequest("nvidia.com/gpu.shared", 1),)
    assert found(seen, workload("a", shared), workload("b", shared)) == []


def test_a_node_that_may_not_be_read_may_share_its_gpus() -> None:
    seen, both = fleet((process("a"), process("b", pid=2))), (workload("a"), workload("b"))
    assert mismatches(seen, None, Ownership(Workloads(both)), NOW) == ()
    assert [each.kind for each in mismatches(seen, stack(), Ownership(Workloads(both)), NOW)] == [MismatchKind.TWICE]


def test_two_instances_of_one_gpu_are_two_places() -> None:
    mig = (GpuRequest("nvidia.com/mig-3g.40gb", 1),)
    seen = fleet((process("a", gi=1), process("b", pid=2, gi=2)))
    assert found(seen, workload("a", mig), workload("b", mig)) == []
    seen = fleet((process("a", gi=1), process("b", pid=2, gi=1)))
    assert [kind for kind, _ in found(seen, workload("a", mig), workload("b", mig))] == ["twice"]


def test_a_process_in_a_container_that_nobody_knows_and_one_in_none() -> None:
    seen = fleet((process("a"), process("gone", pid=2)), (process(None, pid=3, user="jane"),))
    assert found(seen, workload("a")) == [
        ("orphan", "is used by python in a container that the platform does not know"),
        ("host", "is used by python of jane outside of any container"),
    ]


def test_without_all_pods_no_container_is_called_unknown() -> None:
    seen = fleet((process("a"), process("hidden", pid=2)))
    denied = (NotPermitted("pods of the cluster", Permission("list", "pods")),)
    assert mismatches(seen, stack(), Ownership(Workloads((workload("a"),), denied)), NOW) == ()


def test_a_container_is_called_unknown_only_where_all_that_run_were_read() -> None:
    seen = fleet((process("a"), process("left-out", pid=2)))
    here, elsewhere = Unread("dgx01", "its engine does not answer"), Unread("dgx02", "its engine does not answer")
    assert mismatches(seen, stack(), Ownership(Workloads((workload("a"),), unread=(here,))), NOW) == ()
    told = mismatches(seen, stack(), Ownership(Workloads((workload("a"),), unread=(elsewhere,))), NOW)
    assert [each.kind for each in told] == [MismatchKind.ORPHAN]


def test_a_node_that_does_not_answer_is_not_judged() -> None:
    assert found(fleet((), state=NodeState.STALE), workload("a")) == []
    assert found(fleet((), state=NodeState.DOWN), workload("a")) == []


def test_by_nvidia_smi_no_process_is_called_a_stranger_and_no_pod_idle() -> None:
    """It tells no container: the pod's own process looks as one of the host."""
    seen = fleet((process(None),), transport="nvidia-smi")
    assert found(seen, workload("a"), workload("b", ())) == []
    assert found(fleet((), transport="nvidia-smi"), workload("a")) == [
        ("idle", "team/a holds 1 nvidia.com/gpu and uses none")
    ]


def test_without_a_platform_nothing_is_judged() -> None:
    judged: tuple[Mismatch, ...] = mismatches(fleet((process(None),)), None, NOBODY, NOW)
    assert judged == ()


def test_a_process_that_has_just_begun_is_nobodys_yet() -> None:
    """The platform tells of a container some seconds after its first process is seen."""
    for of, kind in (("unknown", "orphan"), (None, "host")):
        young = process(of, user="root", started_at=NOW - YOUNG_SECONDS + 1)
        known = workload("a", ())
        assert found(fleet((young,)), known) == []
        old = dataclasses.replace(young, started_at=NOW - YOUNG_SECONDS - 1)
        assert [each for each, _ in found(fleet((old,)), known) if each != "idle"] == [kind]


# What is in use

POD = workload("a")
OPERATOR_S = workload("exporter", (), namespace="gpu-operator")
MIG_ON = Mig(enabled=True)


def used(*gpus: Gpu, transport: str = "nvml", state: NodeState = NodeState.LIVE, hidden: bool = False) -> InUse | None:
    refused = (NotPermitted("pods", Permission("list", "pods")),) if hidden else ()
    known = Ownership(Workloads((POD, OPERATOR_S), refused))
    made = Node(name="dgx01", transport=transport, gpus=gpus)
    return in_use(NodeReading("dgx01", state, made, NOW, None), stack(), known)


def with_processes(*processes: GpuProcess, **more: Any) -> Gpu:
    return dataclasses.replace(Gpu(processes=processes), **more)


def test_a_gpu_with_a_process_of_a_pod_is_in_use_once() -> None:
    several = with_processes(process("a"), process("a", 2))
    assert used(several, with_processes(), with_processes(process(None))) == InUse(1, 0)


def test_what_the_operator_s_own_pods_look_at_is_not_in_use() -> None:
    assert used(with_processes(process("exporter"))) == InUse(0, 0)


def test_mig_instances_are_counted_apart() -> None:
    cut = with_processes(process("a", gi=1, ci=0), process("a", 2, gi=1, ci=0), process("a", 3, gi=2, ci=0), mig=MIG_ON)
    assert used(cut, with_processes(process("a"))) == InUse(1, 2)


def test_a_lost_gpu_hides_nothing_of_the_others() -> None:
    assert used(Gpu(lost=True), with_processes(process("a"))) == InUse(1, 0)


@pytest.mark.parametrize(
    "unknown",
    [
        used(Gpu()),
        used(with_processes(process("a"), processes_omitted=3)),
        used(with_processes(process("a")), transport="nvidia-smi"),
        used(with_processes(process("a")), state=NodeState.STALE),
        used(with_processes(process("a")), hidden=True),
        used(with_processes(process("a"), mig=MIG_ON)),
        used(with_processes(GpuProcess(7))),
    ],
)
def test_what_cannot_be_joined_to_its_work_is_not_known(unknown: InUse | None) -> None:
    assert unknown is None


def test_an_engine_that_does_not_answer_hides_what_is_in_use_on_its_own_node_alone() -> None:
    seen = fleet((process("a"),)).nodes[0]
    for silent, known in (("dgx02", InUse(1, 0)), ("dgx01", None)):
        unread = (Unread(silent, f"the engine of {silent} does not answer"),)
        assert in_use(seen, stack(), Ownership(Workloads((POD,), unread=unread))) == known


def test_what_is_in_use_is_told_by_the_platform_s_name_of_the_node() -> None:
    known = Ownership(Workloads((POD,)))
    assert in_use_by_node(fleet((process("a"),), ()), stack(), known) == {"dgx01.example.com": InUse(1, 0)}
