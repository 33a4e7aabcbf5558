"""What a drain would evict, leave, wait for and lose."""

from __future__ import annotations

from typing import Any

import pytest

from backends.domain import DrainPlan, Owner
from backends.kubernetes.drain import Budget, budget_of, covers, plan_of
from backends.kubernetes.keeping import pod_of
from backends.kubernetes.objects import OwnerRef
from tests.kube import objects as kube

REPLICAS = kube.controller("apps/v1", "ReplicaSet", "web-1")


def plan(*pods: dict[str, Any], budgets: tuple[Budget, ...] = ()) -> DrainPlan:
    def chain(reference: OwnerRef | None) -> tuple[Owner, ...]:
        return () if reference is None else (Owner(reference.kind, reference.name), Owner("Deployment", "web"))

    return plan_of("dgx01", [pod_of(each) for each in pods], budgets, chain)


def test_pods_of_a_controller_are_evicted_with_their_gpus_and_owners() -> None:
    found = plan(kube.pod("web-1-a", node="dgx01", owner=REPLICAS, gpus={"nvidia.com/gpu": 4}))
    (pod,) = found.evicts
    assert (pod.name, pod.owner) == ("web-1-a", Owner("Deployment", "web"))
    assert found.gpus == 4


def slow(name: str, seconds: object, **spec: Any) -> dict[str, Any]:
    pod = kube.pod(name, node="dgx01", owner=REPLICAS)
    return {**pod, "spec": {**pod["spec"], "terminationGracePeriodSeconds": seconds, **spec}}


@pytest.mark.parametrize("nonsense", [None, "soon", -1, True, 1.5])
def test_the_slowest_pod_is_the_one_with_the_longest_grace_period(nonsense: object) -> None:
    ending = slow("e", 7200)
    ending["metadata"]["deletionTimestamp"] = "2025-11-25T08:40:00Z"
    scratch = [{"name": "scratch", "emptyDir": {}}]
    quick, long, odd, forced = slow("a", 30), slow("b", 3600), slow("c", nonsense), slow("d", 9000, volumes=scratch)

    def found(*pods: dict[str, Any], force: bool = False) -> str | None:
        slowest = plan(*pods).slowest(force=force)
        return None if slowest is None else slowest.name

    assert found(odd) is None
    assert found(quick, long, odd, forced) == "b"
    assert found(quick, long, forced, force=True) == "d"
    assert found(quick, long, ending) == "e"


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        (kube.pod("a", node="dgx01", owner=kube.controller("apps/v1", "DaemonSet", "x")), "DaemonSet"),
        (kube.pod("a", node="dgx01", annotations={"kubernetes.io/config.mirror": "x"}), "mirror pod"),
        (kube.pod("a", node="dgx01", phase="Succeeded", owner=REPLICAS), "ended"),
    ],
)
def test_some_pods_stay(pod: dict[str, Any], why: str) -> None:
    found = plan(pod)
    assert found.evicts == ()
    assert [each.reason for each in found.stays] == [why]


def test_bare_pods_and_local_data_need_to_be_asked_for() -> None:
    data = kube.pod("data", node="dgx01", owner=REPLICAS)
    data["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    found = plan(kube.pod("bare", node="dgx01"), data)
    assert found.evicts == ()
    assert [(each.name, (each.reason or "").partition(":")[0]) for each in found.needs_force] == [
        ("bare", "no controller"),
        ("data", "emptyDir"),
    ]


def test_a_budget_without_room_holds_the_pods_that_it_covers() -> None:
    selector = {"matchLabels": {"app": "web"}}
    pods = (
        kube.pod("a", node="dgx01", owner=REPLICAS, labels={"app": "web"}),
        kube.pod("b", node="dgx01", owner=REPLICAS, labels={"app": "other"}),
    )
    found = plan(*pods, budgets=(Budget("team", "web-budget", selector, 0, 2, 1), Budget("team", "free", selector, 1)))
    assert [pod.name for pod in found.evicts] == ["a", "b"]
    assert [(pod.name, pod.budgets) for pod in found.held] == [("a", ("web-budget",))]
    assert found.held[0].held_words == "team/a cannot be evicted: PodDisruptionBudget web-budget needs 2 and has 1"


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ({}, True),
        (None, False),
        ({"matchLabels": {"app": "web", "tier": "gpu"}}, True),
        ({"matchLabels": {"app": "api"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Newer", "values": []}]}, True),
    ],
)
def test_selectors_are_those_of_the_api(selector: dict[str, Any] | None, holds: bool) -> None:
    pod = pod_of(kube.pod("a", labels={"app": "web", "tier": "gpu"}))
    assert covers(Budget("team", "b", selector, 0), pod) is holds
    assert not covers(Budget("elsewhere", "b", selector, 0), pod)


def test_an_empty_selector_matches_nothing_in_v1beta1_and_everything_in_v1() -> None:
    raw = {
        "metadata": {"name": "b", "namespace": "team"},
        "spec": {"selector": {}},
        "status": {"disruptionsAllowed": 2, "desiredHealthy": 1, "currentHealthy": 3},
    }
    assert budget_of(raw, empty_matches=False) == Budget("team", "b", None, 2, 1, 3)
    assert budget_of(raw, empty_matches=True) == Budget("team", "b", {}, 2, 1, 3)
