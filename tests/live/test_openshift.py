"""OpenShift's resources on a real API server: detected, watched, merged into the stack."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backends.domain import StackHealth
from backends.openshift import refusals
from backends.openshift.backend import OpenShift
from tests.kube import objects, openshift_objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context, until
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")


@pytest.fixture
async def openshift(kube: Admin, kube_server: KubeApiserver) -> AsyncIterator[OpenShift]:
    await kube.create(*objects.good_cluster("dgx01"), openshift_objects.cluster_version())
    made = OpenShift.open(context(kube_server.kubeconfig()))
    yield made
    await made.close()


async def test_it_is_detected_by_its_api_groups(openshift: OpenShift) -> None:
    assert await openshift.probe() == "4.18.3"


async def test_an_install_plan_without_approval_is_in_the_stack_until_it_is_approved(
    openshift: OpenShift, kube: Admin
) -> None:
    plan = openshift_objects.install_plan("RequiresApproval")
    await kube.create(openshift_objects.subscription(installed=None), plan)
    stacks = openshift.stack()
    stack = await until(stacks, lambda stack: stack.operators and stack.operators[0].waits_for_approval)
    assert stack.cluster is not None
    assert (stack.platform, stack.cluster.version) == ("openshift", "4.18.3")
    assert stack.health is StackHealth.BLOCKED
    await kube.patch(plan, {"status": {"phase": "Complete"}}, "status")
    sub = openshift_objects.subscription()
    await kube.create(openshift_objects.service_version())
    await kube.patch(sub, {"status": sub["status"]}, "status")
    stack = await until(stacks, lambda stack: stack.operators and stack.operators[0].healthy)
    assert stack.health is StackHealth.READY
    await stacks.aclose()  # type: ignore[attr-defined]


async def test_the_operator_is_held_against_openshift_s_own_matrix(openshift: OpenShift, kube: Admin) -> None:
    await kube.patch(
        openshift_objects.cluster_version(),
        {"status": openshift_objects.cluster_version(version="4.12.1")["status"]},
        "status",
    )
    stack = await until(openshift.stack(), lambda stack: stack.support)
    (support,) = stack.support
    assert (support.what, support.supported) == ("GPU Operator 26.7 on OpenShift 4.12", False)


async def test_the_route_to_the_metrics_is_found(openshift: OpenShift, kube: Admin) -> None:
    assert await openshift.monitoring_route() is None
    await kube.create(openshift_objects.route("thanos-querier", "openshift-monitoring", "thanos.apps.example.com"))
    route = await openshift.monitoring_route()
    assert route is not None
    assert (route.url, route.problem) == ("https://thanos.apps.example.com", None)


async def test_controllers_that_sccs_refuse_are_found_until_they_have_their_pods(
    openshift: OpenShift, kube: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FRESH_SECONDS", 0.5)
    (driver,) = await kube.create(objects.daemon_set("driver", namespace=openshift_objects.NAMESPACE))
    (llama,) = await kube.create(openshift_objects.replica_set("llama-7d9", "team-a", gpus=2, account="runner"))
    (web,) = await kube.create(openshift_objects.replica_set("web", "team-a", gpus=0))
    await kube.patch(driver, {"status": daemon_set_status(3, 0)}, "status")
    await kube.create(*(openshift_objects.failed_create(each) for each in (driver, llama, web)))
    stacks = openshift.stack()
    stack = await until(stacks, lambda stack: stack.refused)
    (one,) = stack.refused  # neither what asks for no GPU, nor a DaemonSet elsewhere than the operator
    assert one.title == "ReplicaSet team-a/llama-7d9"
    assert (one.why, one.service_account, one.missing) == ("Privileged containers are not allowed", "runner", 2)
    await kube.patch(llama, {"status": {"replicas": 2, "observedGeneration": 1}}, "status")
    await until(stacks, lambda stack: not stack.refused)
    await stacks.aclose()  # type: ignore[attr-defined]


async def test_an_operand_that_sccs_refuse_is_known_as_such(openshift: OpenShift, kube: Admin) -> None:
    wanted = objects.daemon_set("dcgm-exporter")
    made = await kube.get(wanted)
    await kube.patch(wanted, {"status": daemon_set_status(1, 0)}, "status")
    await kube.create(openshift_objects.failed_create(made))
    stack = await until(openshift.stack(), lambda stack: stack.refused)
    assert [(each.operand, each.title) for each in stack.refused] == [
        ("dcgm-exporter", f"DaemonSet {objects.NAMESPACE}/nvidia-dcgm-exporter")
    ]


def daemon_set_status(wanted: int, scheduled: int) -> dict[str, int]:
    return {
        "desiredNumberScheduled": wanted,
        "currentNumberScheduled": scheduled,
        "numberMisscheduled": 0,
        "numberReady": 0,
    }


async def test_without_rights_openshift_s_own_is_told_as_not_permitted(kube: Admin, kube_server: KubeApiserver) -> None:
    backend = OpenShift.open(context(kube_server.kubeconfig("nobody")))
    assert await backend.probe() == "version not permitted"
    stack = await until(backend.stack(), lambda stack: True)
    await backend.close()
    missing = {str(denied.permission) for denied in stack.not_permitted}
    assert {"list clusterversions.config.openshift.io", "list subscriptions.operators.coreos.com"} <= missing
