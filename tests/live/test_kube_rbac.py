"""What a user with few rights sees: what is permitted, what is missing, and which right would show it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.contract import Held, Refused
from backends.domain import StackHealth
from backends.kubernetes.backend import Kubernetes
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context, until
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
READ = ["get", "list", "watch"]


@pytest.fixture
async def cluster(kube: Admin) -> AsyncIterator[Admin]:
    """A good cluster with work in two namespaces; the tests' grants are taken back afterwards."""
    await kube.create(*objects.good_cluster("dgx01"))
    gpus = {"nvidia.com/gpu": 1}
    await kube.create(*(objects.pod("work", node="dgx01", namespace=team, gpus=gpus) for team in ("team-a", "team-b")))
    yield kube
    await kube.revoke_all()


def opened(server: KubeApiserver, user: str, **settings: Any) -> Kubernetes:
    return Kubernetes.open(context(server.kubeconfig(user), **settings))


async def test_one_namespace_and_the_nodes_are_enough_for_the_waterfall(
    cluster: Admin, kube_server: KubeApiserver
) -> None:
    await cluster.grant("operator", None, ["nodes"], READ)
    await cluster.grant("operator", objects.NAMESPACE, ["pods", "events", "pods/log"], READ)
    await cluster.grant("operator", objects.NAMESPACE, ["daemonsets"], READ, group="apps")
    await cluster.grant("operator", None, ["clusterpolicies", "nvidiadrivers"], READ, group="nvidia.com")
    backend = opened(kube_server, "operator")
    stack = await until(backend.stack(), lambda stack: stack.nodes and len(stack.nodes[0].operands) > 1)
    await backend.close()
    (node,) = stack.nodes
    assert node.health is StackHealth.READY
    assert {str(denied.permission) for denied in stack.not_permitted} >= {"list pods", "list daemonsets.apps"}
    count = node.capacity.get("nvidia.com/gpu")
    assert count is not None
    assert count.requested is None


async def test_without_the_nodes_the_rest_is_there(cluster: Admin, kube_server: KubeApiserver) -> None:
    await cluster.grant("viewer", None, ["pods"], READ)
    await cluster.grant("viewer", None, ["clusterpolicies"], READ, group="nvidia.com")
    backend = opened(kube_server, "viewer")
    stack = await until(backend.stack(), lambda stack: True)
    workloads = await until(backend.workloads(), lambda found: True)
    await backend.close()
    assert stack.nodes == ()
    assert [policy.state for policy in stack.policies] == ["ready"]
    assert stack.components
    missing = {str(denied.permission) for denied in stack.not_permitted}
    assert {"list nodes", "list nvidiadrivers.nvidia.com", "list daemonsets.apps"} <= missing
    assert sorted(item.title for item in workloads.items) == ["team-a/work", "team-b/work"]


async def test_a_tenant_sees_the_namespaces_that_are_his(cluster: Admin, kube_server: KubeApiserver) -> None:
    await cluster.grant("tenant", "team-a", ["pods"], READ)
    backend = opened(kube_server, "tenant", namespaces=("team-a", "team-b"))
    workloads = await until(backend.workloads(), lambda found: found.items)
    await backend.close()
    assert [item.title for item in workloads.items] == ["team-a/work"]
    missing = {str(denied.permission) for denied in workloads.not_permitted}
    assert "list pods in team-b" in missing
    assert "list pods in team-a" not in missing


async def test_namespaces_that_may_be_listed_are_tried_without_being_configured(
    cluster: Admin, kube_server: KubeApiserver
) -> None:
    await cluster.grant("tenant", None, ["namespaces"], READ)
    await cluster.grant("tenant", "team-b", ["pods"], READ)
    backend = opened(kube_server, "tenant")
    workloads = await until(backend.workloads(), lambda found: found.items)
    await backend.close()
    assert [item.title for item in workloads.items] == ["team-b/work"]


async def test_a_right_that_is_taken_away_is_told_and_the_rest_goes_on(
    cluster: Admin, kube_server: KubeApiserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.kubernetes import watching

    monkeypatch.setattr(watching, "WATCH_SECONDS", (1, 1))
    await cluster.grant("viewer", None, ["pods", "nodes"], READ)
    backend = opened(kube_server, "viewer", gpu_operator_namespace=objects.NAMESPACE)
    stacks = backend.stack()
    await until(stacks, lambda stack: stack.nodes and stack.nodes[0].operands)
    await cluster.revoke_all()
    await cluster.grant("viewer", None, ["nodes"], READ, name="nodes-only")
    stack = await until(stacks, lambda stack: any(str(each.permission) == "list pods" for each in stack.not_permitted))
    assert [node.name for node in stack.nodes] == ["dgx01"]
    await stacks.aclose()  # type: ignore[attr-defined]
    await backend.close()


async def test_a_blocker_whose_log_may_not_be_read_says_so(cluster: Admin, kube_server: KubeApiserver) -> None:
    broken = objects.operand("driver", "dgx01", nvidia_driver_ctr=objects.crashing("exit 1"))
    await cluster.patch(broken, {"status": broken["status"]}, "status")
    await cluster.grant("viewer", None, ["pods", "nodes"], READ)
    backend = opened(kube_server, "viewer", gpu_operator_namespace=objects.NAMESPACE)
    stack = await until(backend.stack(), lambda stack: stack.nodes and stack.nodes[0].blocker)
    await backend.close()
    blocker = stack.nodes[0].blocker
    assert blocker is not None
    assert blocker.log is None
    assert blocker.log_problem is not None
    assert 'cannot get resource "pods/log"' in blocker.log_problem
    assert "events cannot be read" in blocker.events[0].text


async def test_a_change_without_the_right_names_it(cluster: Admin, kube_server: KubeApiserver) -> None:
    from backends.contract import NotAllowed

    await cluster.grant("viewer", None, ["nodes", "pods"], READ)
    backend = opened(kube_server, "viewer")
    with pytest.raises(NotAllowed) as caught:
        await backend.cordon("dgx01", True, dry_run=True)
    assert str(caught.value.permission) == "patch nodes"
    plan = await backend.drain_plan("dgx01")
    assert not plan.budgets_known
    assert any("poddisruptionbudgets" in str(each.permission) for each in plan.not_permitted)
    await backend.close()


async def test_a_budget_refuses_an_eviction_and_is_in_the_plan(cluster: Admin, kube_server: KubeApiserver) -> None:
    labels = {"app": "guarded"}
    owner = objects.controller("apps/v1", "ReplicaSet", "guarded-1")
    pod = objects.pod("guarded-1-a", node="dgx01", namespace="team-a", labels=labels, owner=owner)
    budget: dict[str, Any] = {
        "apiVersion": "policy/v1beta1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep", "namespace": "team-a", "generation": 1},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
        "status": {
            "observedGeneration": 1,
            "disruptionsAllowed": 0,
            "currentHealthy": 1,
            "desiredHealthy": 1,
            "expectedPods": 1,
        },
    }
    await cluster.create(pod, budget)
    backend = opened(kube_server, "admin")
    plan = await backend.drain_plan("dgx01")
    assert [(each.name, each.budgets) for each in plan.held] == [("guarded-1-a", ("keep",))]
    with pytest.raises(Held, match="The disruption budget keep needs 1 healthy pods and has 1 currently"):
        await backend.evict("team-a", "guarded-1-a")
    await cluster.create({**budget, "metadata": {**budget["metadata"], "name": "spare"}})
    with pytest.raises(Refused, match="more than one PodDisruptionBudget covers it") as caught:
        await backend.evict("team-a", "guarded-1-a", dry_run=True)
    assert not isinstance(caught.value, Held)
    await backend.close()
