"""Pods as workloads: what is shown, what they ask for, whose they are."""

from __future__ import annotations

from typing import Any

import pytest

from backends.domain import GpuRequest, Owner, Workload, Workloads
from backends.kubernetes.keeping import container_id, pod_of
from backends.kubernetes.objects import OwnerRef
from backends.kubernetes.workloads import Builder
from backends.ownership import Ownership
from tests.kube import objects as kube


def chain(reference: OwnerRef | None) -> tuple[Owner, ...]:
    return () if reference is None else (Owner(reference.kind, reference.name),)


def workloads(*pods: dict[str, Any], gpu_nodes: tuple[str, ...] = ("dgx01",)) -> dict[str, Workload]:
    found = Builder("kubernetes").build([pod_of(each) for each in pods], frozenset(gpu_nodes), chain)
    return {each.name: each for each in found}


def test_pods_with_gpus_and_pods_beside_them_are_shown_and_others_are_not() -> None:
    found = workloads(
        kube.pod("waits", gpus={"nvidia.com/gpu": 8}),
        kube.pod("beside", node="dgx01"),
        kube.pod("elsewhere", node="cpu01"),
        kube.pod("done", node="dgx01", gpus={"nvidia.com/gpu": 1}, phase="Succeeded"),
    )
    assert set(found) == {"waits", "beside"}


def test_a_process_s_container_leads_to_its_pod() -> None:
    pod = kube.pod("a", node="dgx01", gpus={"nvidia.com/gpu": 1}, owner=kube.controller("batch/v1", "Job", "train"))
    found = workloads(pod)["a"]
    container = found.containers[0]
    assert container.id is not None
    assert len(container.id) == 64
    assert Ownership(Workloads((found,))).container(container.id) == (found, container)
    assert found.owner == Owner("Job", "train")


@pytest.mark.parametrize(
    ("text", "digits"),
    [("containerd://abc", "abc"), ("cri-o://abc", "abc"), ("docker://abc", "abc"), ("", None), (None, None), (5, None)],
)
def test_container_ids_lose_their_runtime_s_name(text: object, digits: str | None) -> None:
    assert container_id(text) == digits


def test_requests_are_summed_as_the_scheduler_does() -> None:
    pod = kube.pod(
        "a", node="dgx01", containers={"one": kube.running(), "two": kube.running()}, init={"prepare": kube.completed()}
    )
    one, two = pod["spec"]["containers"]
    one["resources"] = {"limits": {"nvidia.com/gpu": "2", "cpu": "8"}}
    two["resources"] = {"limits": {"nvidia.com/gpu": "1", "nvidia.com/mig-1g.10gb": "1"}}
    pod["spec"]["initContainers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "4"}}
    found = workloads(pod)["a"]
    assert found.gpus == (GpuRequest("nvidia.com/gpu", 4), GpuRequest("nvidia.com/mig-1g.10gb", 1))
    assert found.gpu_count == 5


@pytest.mark.parametrize(
    ("resource", "profile", "shared"),
    [
        ("nvidia.com/gpu", None, False),
        ("nvidia.com/gpu.shared", None, True),
        ("nvidia.com/mig-3g.40gb", "3g.40gb", False),
        ("nvidia.com/mig-1g.10gb.shared", "1g.10gb", True),
        ("nvidia.com/mig-1g.10gb.me", "1g.10gb.me", False),
    ],
)
def test_resources_tell_mig_profiles_and_shared_replicas(resource: str, profile: str | None, shared: bool) -> None:
    request = GpuRequest(resource, 1)
    assert (request.mig_profile, request.renamed_replica) == (profile, shared)


def test_a_pod_with_resource_claims_says_so() -> None:
    pod = kube.pod("a", node="dgx01")
    pod["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    assert workloads(pod)["a"].claims
    assert not workloads(kube.pod("b", node="dgx01"))["b"].claims


def test_a_pod_that_cannot_be_scheduled_says_why() -> None:
    pod = kube.pod("a", gpus={"nvidia.com/gpu": 9})
    pod["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
        }
    ]
    found = workloads(pod)["a"]
    assert (found.phase, found.reason) == ("Pending", "Unschedulable")
    assert found.message == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


def test_a_container_that_cannot_start_tells_its_reason() -> None:
    found = workloads(
        kube.pod("a", node="dgx01", containers={"main": kube.waiting("ImagePullBackOff", "no such tag")})
    )["a"]
    assert (found.reason, found.message) == ("ImagePullBackOff", "no such tag")


@pytest.mark.parametrize(
    ("labels", "annotations", "user"),
    [
        ({"owner": "jane"}, {}, "jane"),
        ({}, {"hub.jupyter.org/username": "joe"}, "joe"),
        ({"owner": "team"}, {"hub.jupyter.org/username": "joe"}, "joe"),
        ({}, {}, None),
    ],
)
def test_a_label_or_annotation_may_name_the_user(
    labels: dict[str, str], annotations: dict[str, str], user: str | None
) -> None:
    assert workloads(kube.pod("a", node="dgx01", labels=labels, annotations=annotations))["a"].user == user


def test_a_workload_that_did_not_change_is_the_same_object() -> None:
    builder = Builder("kubernetes")
    pods = [pod_of(kube.pod(name, node="dgx01", owner=kube.controller("batch/v1", "Job", "train"))) for name in "ab"]
    nodes = frozenset({"dgx01"})
    before = builder.build(pods, nodes, chain)
    pods[1] = pod_of(kube.pod("b", node="dgx01", phase="Pending"))
    after = builder.build(pods, nodes, chain)
    assert after[0] is before[0]
    assert after[1] is not before[1]
    owners = (Owner("Job", "train"), Owner("CronJob", "nightly"))
    assert builder.build(pods, nodes, lambda reference: owners if reference else ())[0].owners == owners
