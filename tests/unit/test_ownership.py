"""Whose work a process is: the join by container, and what it costs."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.domain import (
    Fleet,
    Gpu,
    GpuProcess,
    GpuRequest,
    MismatchKind,
    Node,
    NodeReading,
    NodeState,
    NotPermitted,
    Permission,
    Stack,
    StackHealth,
    StackNode,
    Unread,
    Workload,
)
from backends.ownership import NOBODY, Ownership, asked_words, owner_words, owners
from tests.workloads import container_id, mismatches, owned, pod

NOW = 1_764_060_000.0
NAMES = ("a", "b", "c", "d")
STACK = Stack("kubernetes", nodes=(StackNode("dgx01", StackHealth.READY),))


def process(of: str | None, pid: int = 1, memory: int | None = None, **more: object) -> GpuProcess:
    inside = None if of is None else container_id(of)
    return dataclasses.replace(
        GpuProcess(pid, "compute", "root", "python", memory, container_id=inside),
        **more,  # type: ignore[arg-type]
    )


def gpu(*processes: GpuProcess, index: int = 0) -> Gpu:
    return Gpu(index=index, uuid=f"GPU-{index}", processes=processes)


def test_a_process_leads_to_its_pod_and_the_pod_to_its_owner() -> None:
    ownership = owned(pod("llama-70b-0"), pod("bare", owner=None))
    found = ownership.of(process("llama-70b-0"))
    assert found is not None
    assert (found.title, owner_words(found)) == ("team-search/llama-70b-0", "Deployment llama-70b")
    bare = ownership.of(process("bare"))
    assert bare is not None
    assert owner_words(bare) == ""
    assert ownership.of(process("gone")) is None
    assert ownership.of(process(None)) is None
    told = ownership.container(container_id("llama-70b-0"))
    assert told is not None
    assert told[1].name == "server"


def test_a_gpu_s_workloads_are_told_by_memory_and_each_once() -> None:
    ownership = owned(pod("a"), pod("b"))
    shared = gpu(process("a", 1, 10), process("b", 2, 15), process("a", 3, 10), process(None, 4, 99))
    assert [each.name for each in ownership.on_gpu(shared)] == ["a", "b"]
    other = gpu(process("b", 5, 1), index=1)
    assert [each.name for each in ownership.on_gpus((shared, other))] == ["a", "b"]


def test_what_is_on_a_gpu_is_the_same_object_while_its_processes_are() -> None:
    ownership = owned(pod("a"), pod("b"))
    before = gpu(process("a"))
    warmer = dataclasses.replace(before, temperature=dataclasses.replace(before.temperature, gpu_celsius=70))
    assert ownership.on_gpu(warmer) is ownership.on_gpu(before)
    assert [each.name for each in ownership.on_gpu(gpu(process("b")))] == ["b"]


def test_two_pods_of_one_owner_are_one_owner() -> None:
    replicas = (pod("llama-0"), pod("llama-1"), pod("bare-0", owner=None), pod("bare-1", owner=None))
    assert [each.name for each in owners(replicas).values()] == ["llama-0", "bare-0", "bare-1"]
    elsewhere = (pod("a", namespace="one"), pod("a", namespace="two"))
    assert len(owners(elsewhere)) == 2


def test_holders_are_found_under_either_name_of_a_node() -> None:
    ownership = owned(pod("a", node="dgx01.example.com"), pod("b", node="dgx02", gpus=()))
    assert [each.name for each in ownership.holders("dgx01")] == ["a"]
    assert [each.name for each in ownership.holders("dgx01.example.com")] == ["a"]
    assert ownership.holders("dgx02") == ()
    assert ownership.knows("dgx02")
    assert not ownership.knows("dgx03")
    twins = owned(pod("a", node="gpu.one.example"), pod("b", node="gpu.two.example"))
    assert not twins.knows("gpu")
    assert [each.name for each in twins.holders("gpu.two.example")] == ["b"]


def test_what_may_not_be_read_is_known() -> None:
    denied = NotPermitted("the pods of team-a", Permission("list", "pods", "team-a"))
    assert owned(pod("a")).complete_on("dgx01")
    cut, ended = Unread("dgx01", "7 are left out"), Unread("dgx01", "7 are left out", running=False)
    assert not owned(pod("a"), unread=[cut]).complete_on("dgx01.example.com")
    assert owned(pod("a"), unread=[cut]).complete_on("dgx02")
    assert not owned(pod("a"), denied=[denied]).complete_on("dgx02")
    assert owned(pod("a"), unread=[ended]).complete_on("dgx01")


def test_why_not_all_of_a_node_was_read_is_one_sentence() -> None:
    cut = Unread("dgx01", "7 containers of dgx01 are left out")
    denied = NotPermitted("the pods of team-b", Permission("list", "pods", "team-b"))
    assert owned(pod("a"), unread=[cut]).gap_on("dgx01.example.com") == cut.why
    assert owned(pod("a"), unread=[cut]).gap_on("dgx02") is None
    assert owned(pod("a"), denied=[denied]).gap_on("dgx02") == "list pods in team-b is not permitted"
    by_engine = NotPermitted("the containers of dgx01: permission denied", Permission("list", "containers"), "dgx01")
    assert owned(pod("a"), denied=[by_engine]).gap_on("dgx01") == by_engine.what
    assert owned(pod("a"), denied=[by_engine]).complete_on("dgx02")
    assert (NOBODY.platform, owned(pod("a")).platform) == (None, "kubernetes")


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        ((), "no GPU"),
        (
            (GpuRequest("nvidia.com/gpu", 4), GpuRequest("nvidia.com/mig-1g.10gb", 1)),
            "4 nvidia.com/gpu, 1 nvidia.com/mig-1g.10gb",
        ),
        ((GpuRequest("device-request"),), "all GPUs (device-request)"),
        ((GpuRequest("cdi", 1),), "1 GPU (cdi)"),
    ],
)
def test_what_was_asked_for_in_words(gpus: tuple[GpuRequest, ...], words: str) -> None:
    assert asked_words(pod("a", gpus=gpus)) == words


# Properties: whatever runs where


@st.composite
def sites(draw: st.DrawFn) -> tuple[Fleet, Ownership]:
    """A node with two GPUs, some pods on it, and processes of any of them, of none, and of containers that are gone."""
    known = draw(st.sets(st.sampled_from(NAMES)))
    pods = [
        pod(
            name,
            gpus=(GpuRequest("nvidia.com/gpu", draw(st.integers(0, 2))),) if draw(st.booleans()) else (),
            started_at=NOW - 9e3,
        )
        for name in sorted(known)
    ]
    made = st.builds(process, st.sampled_from((*NAMES, "gone", None)), st.integers(1, 9), st.none() | st.integers(0, 9))
    gpus = tuple(gpu(*draw(st.lists(made, max_size=4)), index=index) for index in range(2))
    node = Node(name="dgx01", gpus=gpus)
    return Fleet((NodeReading("dgx01", NodeState.LIVE, node, NOW, None),)), owned(*pods)


def _of(workloads: tuple[Workload, ...]) -> set[str]:
    return {each.name for each in workloads}


@given(sites())
def test_every_mismatch_is_about_what_is_there(site: tuple[Fleet, Ownership]) -> None:
    fleet, ownership = site
    node = fleet.nodes[0].node
    assert node is not None
    running = _of(ownership.on_gpus(node.gpus))
    for found in mismatches(fleet, STACK, ownership, NOW):
        assert found.node == "dgx01"
        match found.kind:
            case MismatchKind.IDLE:
                (holder,) = found.workloads
                assert holder.gpu_count
                assert holder.name not in running
            case MismatchKind.UNALLOCATED:
                (user,) = found.workloads
                assert not user.gpus
                assert user.name in _of(ownership.on_gpu(node.gpus[found.gpu_index or 0]))
            case MismatchKind.TWICE:
                assert len(_of(found.workloads)) == len(found.workloads) >= 2
                assert all(each.gpus for each in found.workloads)
            case MismatchKind.ORPHAN | MismatchKind.HOST:
                (use,) = found.uses
                assert use.workload is None
                assert (use.process.container_id is None) == (found.kind is MismatchKind.HOST)


@given(sites())
def test_a_process_is_never_both_a_workload_s_and_a_stranger_s(site: tuple[Fleet, Ownership]) -> None:
    fleet, ownership = site
    node = fleet.nodes[0].node
    assert node is not None
    strangers = [
        each
        for each in mismatches(fleet, STACK, ownership, NOW)
        if each.kind in (MismatchKind.ORPHAN, MismatchKind.HOST)
    ]
    processes = [each for one in node.gpus for each in one.processes or ()]
    nobodys = [each for each in processes if ownership.of(each) is None]
    assert len(strangers) == (len(nobodys) if ownership.knows("dgx01") else 0)
