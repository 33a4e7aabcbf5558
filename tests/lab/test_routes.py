"""The routes of workloads and of the cluster's Prometheus, read by the backend `openshift` from the lab's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.domain import Stack, Workloads
from backends.feed import closing
from backends.lab.kube.access import READ, Ask, User
from backends.openshift import routes
from backends.openshift.backend import OpenShift
from tests.contract.lab_server import KINDS, LabKube
from tests.kube import objects, openshift_objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context, until
from tests.kube.server import token

HOST = "llama.apps.example.com"


def no_routes(ask: Ask) -> bool:
    return ask.verb in READ and ask.resource not in ("routes", "services")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LabKube]:
    blind = User("blind", token("blind"), no_routes)
    async with LabKube(tmp_path, KINDS["openshift"], (blind,)).serving() as server:
        yield server


@pytest.fixture
async def admin(server: LabKube) -> AsyncIterator[Admin]:
    made = Admin(server.kubeconfig())
    gpus = {"nvidia.com/gpu": 1}
    await made.create(
        objects.node("dgx01"),
        objects.pod("llama-1", node="dgx01", namespace="team-a", labels={"app": "llama"}, gpus=gpus),
        objects.pod("train-1", node="dgx01", namespace="team-a", labels={"app": "train"}, gpus=gpus),
        openshift_objects.service("llama", "team-a", {"app": "llama"}),
    )
    yield made
    await made.close()


def words(workloads: Workloads) -> dict[str, list[str]]:
    return {each.name: [route.words for route in each.routes] for each in workloads.items}


async def test_a_workload_has_the_routes_that_lead_to_it(server: LabKube, admin: Admin) -> None:
    await admin.create(
        openshift_objects.route("llama", "team-a", HOST, termination="edge"),
        openshift_objects.route("llama", "team-b", "elsewhere.example.com"),
    )
    backend = OpenShift.open(context(server.kubeconfig()))
    async with closing(backend.workloads()) as told:
        first = await anext(told)
    await backend.close()
    assert words(first) == {"llama-1": [f"https://{HOST} (edge)"], "train-1": []}


async def test_a_route_that_is_made_later_is_told(
    server: LabKube, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "FRESH_SECONDS", 0.0)
    backend = OpenShift.open(context(server.kubeconfig()))
    async with closing(backend.workloads()) as told:
        first = await anext(told)
        assert words(first) == {"llama-1": [], "train-1": []}
        await admin.create(
            openshift_objects.route("llama", "team-a", HOST, admitted=False), objects.pod("nudge", namespace="team-a")
        )
        later = await until(told, lambda found: words(found).get("llama-1"))
    await backend.close()
    before, after = ({each.name: each for each in found.items} for found in (first, later))
    (route,) = after["llama-1"].routes
    assert route.problem == f"not admitted: HostAlreadyClaimed: route other in team-b holds {HOST}"
    assert after["train-1"] is before["train-1"], "what has no route is the same object as before"


async def test_without_the_right_the_workloads_are_complete_and_the_right_is_named_with_the_stack(
    server: LabKube, admin: Admin
) -> None:
    await admin.create(openshift_objects.route("llama", "team-a", HOST))
    backend = OpenShift.open(context(server.kubeconfig("blind")))
    async with closing(backend.workloads()) as told, closing(backend.stack()) as stacks:
        first = await anext(told)
        assert words(first) == {"llama-1": [], "train-1": []}
        assert first.not_permitted == (), "whose work it is does not hang on a route"
        stack = await anext(stacks)
    await backend.close()
    rights = {str(each.permission) for each in stack.not_permitted}
    assert "list routes.route.openshift.io in team-a" in rights
    assert any(right.startswith("get routes.route.openshift.io") for right in rights), rights


@pytest.mark.parametrize(
    ("admitted", "url", "problem"),
    [
        (True, "https://thanos.invalid", None),
        (False, None, "not admitted: HostAlreadyClaimed: route other in team-b holds thanos.invalid"),
        (None, None, "no router has taken it up"),
    ],
)
async def test_metrics_are_where_a_route_is_served(
    server: LabKube, admin: Admin, admitted: bool | None, url: str | None, problem: str | None
) -> None:
    thanos = openshift_objects.route("thanos-querier", "openshift-monitoring", "thanos.invalid", admitted=admitted)
    await admin.create(thanos)
    backend = OpenShift.open(context(server.kubeconfig()))
    async with closing(backend.stack()) as stacks:
        stack: Stack = await anext(stacks)
    await backend.close()
    assert stack.monitoring_url == url
    if problem is not None:
        assert stack.monitoring_problem == f"route openshift-monitoring/thanos-querier: {problem}"
    else:
        assert (stack.monitoring_problem or "").startswith("thanos.invalid "), "it is asked, and nobody is there"
