"""The lab's Kubernetes API, asked by the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.contract import GpudeckError
from backends.feed import ManualClock, SystemClock
from backends.lab.hardware import fleet
from backends.lab.kube.access import PROFILES
from backends.lab.kube.cluster import KINDS, Cluster
from backends.lab.kube.operands import ClusterFaults, OperandFault
from backends.lab.kube.service import KubeService
from backends.lab.kube.store import Store
from backends.lab.kube.workloads import BUDGETS
from backends.lab.scenarios import SCENARIOS
from backends.lab.server import Lab, LabSpec
from backends.lab.stage import Scenario, Stage
from tests.lab.client import busy_moment

aio = pytest.importorskip("kubernetes.aio")
aiohttp = pytest.importorskip("aiohttp")
WAIT = 20.0


@asynccontextmanager
async def serving(
    platform: str = "kubernetes", nodes: int = 3, faults: ClusterFaults | None = None
) -> AsyncIterator[KubeService]:
    hardware = fleet(nodes, 7)
    service = KubeService(hardware, ManualClock(busy_moment(hardware)), platform, faults)
    await service.start()
    try:
        yield service
    finally:
        await service.close()


@asynccontextmanager
async def client(service: KubeService, user: str = "admin") -> AsyncIterator[Any]:
    configuration = aio.client.Configuration()
    configuration.host = service.api.url
    token = next(each.token for each in service.users if each.name == user)
    configuration.api_key = {"BearerToken": f"Bearer {token}"}
    async with asyncio.timeout(WAIT), aio.client.ApiClient(configuration) as api:
        yield api


async def test_a_client_finds_version_groups_and_custom_resources() -> None:
    async with serving() as service, client(service) as api:
        assert (await aio.client.VersionApi(api).get_code()).git_version.startswith("v1.")
        dynamic = await aio.dynamic.DynamicClient(api)
        policies = await dynamic.resources.get(api_version="nvidia.com/v1", kind="ClusterPolicy")
        (policy,) = (await policies.get()).items
        assert policy.status.state == "ready"


async def test_lists_come_in_pages_and_by_selector() -> None:
    async with serving() as service, client(service) as api:
        core = aio.client.CoreV1Api(api)
        everything = await core.list_pod_for_all_namespaces()
        names = []
        page = await core.list_pod_for_all_namespaces(limit=5)
        while True:
            names += [each.metadata.name for each in page.items]
            if not page.metadata._continue:
                break
            page = await core.list_pod_for_all_namespaces(limit=5, _continue=page.metadata._continue)
        assert names == [each.metadata.name for each in everything.items]
        drivers = await core.list_namespaced_pod(
            "gpu-operator", label_selector="app in (nvidia-driver-daemonset,x),!no"
        )
        assert {each.metadata.labels["app"] for each in drivers.items} == {"nvidia-driver-daemonset"}
        node = drivers.items[0].spec.node_name
        here = await core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node},status.phase!=Pending")
        assert here.items
        assert {each.spec.node_name for each in here.items} == {node}


async def test_a_watch_tells_changes_bookmarks_and_objects_that_leave_the_selection() -> None:
    async with serving() as service, client(service) as api:
        service.api.watches.bookmark_seconds = 0.05
        core = aio.client.CoreV1Api(api)
        name = (await core.list_node()).items[0].metadata.name
        listed = await core.list_node(label_selector="mark=1")
        seen: list[tuple[str, str]] = []

        async def look() -> None:
            async with aio.watch.Watch() as watch:
                async for event in watch.stream(
                    core.list_node,
                    label_selector="mark=1",
                    resource_version=listed.metadata.resource_version,
                    allow_watch_bookmarks=True,
                ):
                    name = "" if event["type"] == "BOOKMARK" else event["object"].metadata.name
                    seen.append((event["type"], name))
                    if event["type"] == "DELETED":
                        return

        looking = asyncio.create_task(look())
        while not seen:
            await asyncio.sleep(0.01)
        assert seen[0] == ("BOOKMARK", "")
        await core.patch_node(name, {"metadata": {"labels": {"mark": "1"}}})
        await core.patch_node(name, {"metadata": {"labels": {"mark": None}}})
        await looking
        assert [each for each in seen if each[0] != "BOOKMARK"] == [("ADDED", name), ("DELETED", name)]


async def test_a_watch_tells_what_went_between_the_list_and_its_start() -> None:
    async with serving() as service, client(service) as api:
        core = aio.client.CoreV1Api(api)
        selector = f"spec.nodeName={(await core.list_node()).items[0].metadata.name}"
        listed = await core.list_pod_for_all_namespaces(field_selector=selector)
        pod = listed.items[0].metadata
        service.cluster.store.delete(KINDS["pods"], pod.namespace, pod.name)
        async with aio.watch.Watch() as watch:
            stream = watch.stream(
                core.list_pod_for_all_namespaces,
                field_selector=selector,
                resource_version=listed.metadata.resource_version,
            )
            event = await anext(aiter(stream))
        assert (event["type"], event["object"].metadata.name) == ("DELETED", pod.name)


async def test_a_watch_that_starts_too_far_back_is_gone() -> None:
    async with serving() as service, aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        service.cluster.store.compact()
        headers = {"Authorization": f"Bearer {service.users[0].token}"}
        url = f"{service.api.url}/api/v1/nodes?watch=1&resourceVersion=2"
        async with session.get(url, headers=headers) as answer:
            assert answer.status == 410
            assert (await answer.json())["reason"] == "Expired"
        service.api.faults.expired = 1
        async with session.get(f"{service.api.url}/api/v1/nodes?watch=1", headers=headers) as answer:
            lines = [json.loads(line) async for line in answer.content]
        assert [line["type"] for line in lines] == ["ADDED"] * 3 + ["ERROR"]
        assert lines[-1]["object"]["code"] == 410


async def test_profiles_may_what_they_may_and_reviews_say_so() -> None:
    async with serving() as service:
        async with client(service, "team-search") as api:
            core = aio.client.CoreV1Api(api)
            await core.list_namespaced_pod("team-search")
            with pytest.raises(aio.client.ApiException) as refused:
                await core.list_node()
            assert refused.value.status == 403
            assert 'User "team-search" cannot list resource "nodes"' in json.loads(refused.value.body)["message"]
        async with client(service, "viewer") as api:
            review = aio.client.AuthorizationV1Api(api)
            answers = []
            for verb in ("list", "delete"):
                asked = {
                    "spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "gpu-operator"}}
                }
                answers.append((await review.create_self_subject_access_review(asked)).status.allowed)
            assert answers == [True, False]
        assert {user.name for user in service.users} == set(PROFILES)


async def test_a_dry_run_changes_nothing_and_a_stale_writer_is_refused() -> None:
    async with serving() as service, client(service) as api:
        core = aio.client.CoreV1Api(api)
        node = (await core.list_node()).items[0]
        answer = await core.patch_node(node.metadata.name, {"spec": {"unschedulable": True}}, dry_run="All")
        assert answer.spec.unschedulable
        assert not (await core.read_node(node.metadata.name)).spec.unschedulable
        await core.patch_node(node.metadata.name, {"spec": {"unschedulable": True}})
        stale = {"metadata": {"resourceVersion": node.metadata.resource_version, "labels": {"a": "b"}}}
        with pytest.raises(aio.client.ApiException) as refused:
            await core.patch_node(node.metadata.name, stale)
        assert refused.value.status == 409


async def test_logs_follow_tail_and_name_the_container() -> None:
    async with serving() as service, client(service) as api:
        core = aio.client.CoreV1Api(api)
        pods = await core.list_namespaced_pod("gpu-operator", label_selector="app=nvidia-device-plugin-daemonset")
        name = pods.items[0].metadata.name
        with pytest.raises(aio.client.ApiException) as refused:
            await core.read_namespaced_pod_log(name, "gpu-operator")
        assert "choose one of" in json.loads(refused.value.body)["message"]
        text = await core.read_namespaced_pod_log(name, "gpu-operator", container="nvidia-device-plugin", tail_lines=1)
        assert text.startswith("Registered device plugin")


async def test_an_eviction_respects_the_budget() -> None:
    async with serving() as service, client(service) as api:
        core = aio.client.CoreV1Api(api)
        pod = next(
            each
            for each in (await core.list_pod_for_all_namespaces()).items
            if each.metadata.namespace != "gpu-operator" and each.metadata.labels["app"] not in BUDGETS
        )
        space, name = pod.metadata.namespace, pod.metadata.name
        budget = {
            "metadata": {"name": "keep", "namespace": space},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": pod.metadata.labels["app"]}}},
        }
        policy = aio.client.PolicyV1Api(api)
        await policy.create_namespaced_pod_disruption_budget(space, budget)
        eviction = {"metadata": {"name": name, "namespace": space}}
        with pytest.raises(aio.client.ApiException) as refused:
            await core.create_namespaced_pod_eviction(name, space, eviction)
        assert refused.value.status == 429
        await policy.delete_namespaced_pod_disruption_budget("keep", space)
        await core.create_namespaced_pod_eviction(name, space, eviction)
        with pytest.raises(aio.client.ApiException) as gone:
            await core.read_namespaced_pod(name, space)
        assert gone.value.status == 404


async def test_faults_on_demand() -> None:
    async with serving() as service, client(service) as api:
        core = aio.client.CoreV1Api(api)
        service.api.faults.too_many = 1
        with pytest.raises(aio.client.ApiException) as refused:
            await core.list_node()
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "1")
        service.api.faults.unauthorized = True
        with pytest.raises(aio.client.ApiException) as refused:
            await core.list_node()
        assert refused.value.status == 401


def test_a_driver_that_does_not_build_keeps_every_later_operand_in_its_init_container() -> None:

    clock, faults = ManualClock(), ClusterFaults()
    cluster = Cluster(fleet(3, 7), clock, "kubernetes", faults)
    node = next(each["metadata"]["name"] for each in cluster.store.select(KINDS["nodes"]))
    said = ("Installing Linux kernel headers...", "E: Unable to locate package linux-headers")
    cluster.fail_operand(node, OperandFault("driver", "nvidia-driver-ctr", "CrashLoopBackOff", "back-off", said))

    def phases() -> dict[str, str]:
        return {
            each["metadata"]["labels"]["app"]: each["status"]["phase"]
            for each in cluster.store.select(KINDS["pods"], "gpu-operator")
            if each["spec"]["nodeName"] == node
        }

    def run(seconds: int) -> None:
        for _ in range(seconds):
            clock._now += 1.0
            cluster.tick()

    run(20)
    stuck = {app for app, phase in phases().items() if phase == "Pending"}
    assert phases()["nvidia-driver-daemonset"] == "Running"
    assert "nvidia-container-toolkit-daemonset" in stuck
    assert "nvidia-operator-validator" in stuck
    policy = cluster.store.get(KINDS["clusterpolicies"], None, "cluster-policy")
    assert policy["status"]["state"] == "notReady"
    assert "state-driver state-container-toolkit" in policy["status"]["conditions"][1]["message"]
    allocatable = cluster.store.get(KINDS["nodes"], None, node)["status"]["allocatable"]
    assert allocatable["nvidia.com/gpu"] == "0"
    faults.operands.clear()
    run(40)
    assert set(phases().values()) == {"Running"}
    assert cluster.store.get(KINDS["clusterpolicies"], None, "cluster-policy")["status"]["state"] == "ready"


def test_a_store_forgets_old_changes_and_says_so() -> None:
    from backends.lab.kube.status import Refusal

    store = Store(SystemClock(), kept=2)
    for number in range(4):
        store.create(KINDS["namespaces"], {"metadata": {"name": f"n{number}"}})
    assert [change.object["metadata"]["name"] for change in store.changes_after(3, KINDS["namespaces"])] == ["n2", "n3"]
    with pytest.raises(Refusal) as refused:
        store.changes_after(1, KINDS["namespaces"])
    assert refused.value.code == 410


OPERATOR_SCENARIOS = [each for each in SCENARIOS.values() if each.name.startswith("operator-")]


def looks(cluster: Cluster) -> dict[str, Any]:
    """What a client would notice: pods that are not ready, labels of nodes, the policy, OLM."""
    pods = cluster.store.select(KINDS["pods"], cluster.space)
    ready = {"type": "Ready", "status": "True"}
    return {
        "pods": sorted(
            (each["spec"]["nodeName"], each["metadata"]["labels"]["app"])
            for each in pods
            if not any(ready.items() <= condition.items() for condition in each["status"]["conditions"])
        ),
        "nodes": {
            each["metadata"]["name"]: (each["metadata"]["labels"], each["spec"].get("unschedulable"))
            for each in cluster.store.select(KINDS["nodes"])
        },
        "policy": [
            each["status"]["conditions"][0]["reason"] for each in cluster.store.select(KINDS["clusterpolicies"])
        ],
        "plans": [each["status"]["phase"] for each in cluster.store.select(KINDS["installplans"])],
    }


@pytest.mark.parametrize("each", OPERATOR_SCENARIOS, ids=lambda each: each.name)
async def test_an_operator_scenario_shows_and_is_over_when_it_is_switched_off(each: Scenario) -> None:
    clock = ManualClock(1_763_000_000.0)
    cluster = Cluster(fleet(8, 7), clock, each.platform or "")
    before = looks(cluster)
    stage = Stage(fleet(8, 7), clock.now(), cluster)
    each.play(stage)

    async def minutes() -> None:
        for _ in range(120):
            await clock.advance(1.0)
            cluster.tick()

    await minutes()
    assert looks(cluster) != before
    stage.undo()
    await minutes()
    assert looks(cluster) == before


async def test_a_lab_takes_the_platform_its_scenario_needs(tmp_path: Path) -> None:
    async with Lab(LabSpec(out=tmp_path, nodes=3, scenarios=("operator-nfd-down",))) as lab:
        assert lab.platform == "kubernetes"
        assert 'platform = "kubernetes"' in lab.site_file.read_text()
        assert json.loads(lab.files.kubeconfig.read_text())["current-context"] == "admin"
        assert lab.files.kubeconfig.stat().st_mode & 0o777 == 0o600


async def test_what_a_scenario_does_to_the_work_is_in_the_api_from_its_first_word(tmp_path: Path) -> None:
    async with Lab(LabSpec(out=tmp_path, scenarios=("alloc-idle",))) as lab:
        assert lab.kube is not None
        pods = lab.kube.cluster.store.select(KINDS["pods"])
        assert any(pod["metadata"]["name"].startswith("notebook-") for pod in pods)


async def test_a_cluster_scenario_is_refused_where_there_is_no_cluster(tmp_path: Path) -> None:
    async with Lab(LabSpec(out=tmp_path, nodes=3)) as lab:
        with pytest.raises(GpudeckError, match="needs kubernetes or openshift"):
            lab.activate("operator-driver-build")
        assert lab.scenarios_active == ()
