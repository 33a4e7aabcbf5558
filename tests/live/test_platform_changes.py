"""Changes through a platform on a real API server: its dry runs, its RBAC, its eviction with a budget, its watches.

There is no kubelet and no DaemonSet controller: a task of the test lets pods end that are to end, and makes the
successor of one that was restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.changes import pod_steps
from backends.changes.change import Change
from backends.changes.desk import ChangeDesk
from backends.changes.former import undoing
from backends.changes.platform_actions import Wish, plan
from backends.changes.record import Status
from backends.contract import ChangeRefused, Gone
from backends.domain import KubernetesSpec, SiteSpec
from backends.feed import SystemClock
from backends.kubernetes import actions
from backends.kubernetes.api import Api
from backends.site import Site
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
NODE = "dgx01"
WAIT_SECONDS = 30.0


@asynccontextmanager
async def opened(server: KubeApiserver, user: str, tmp_path: Path) -> AsyncIterator[tuple[Site, ChangeDesk]]:
    spec = SiteSpec("real", platform="kubernetes", kubernetes=KubernetesSpec(kubeconfig=server.kubeconfig(user)))
    site = Site(spec)
    desk = ChangeDesk(spec, site, tmp_path / f"state-{user}")
    await desk.open_window(30, "INC-1")
    try:
        yield site, desk
    finally:
        await desk.close()
        await site.close()


@pytest.fixture
async def on(kube: Admin, kube_server: KubeApiserver, tmp_path: Path) -> AsyncIterator[tuple[Site, ChangeDesk]]:
    await kube.create(*objects.good_cluster(NODE))
    async with opened(kube_server, "admin", tmp_path) as made:
        yield made
    await kube.revoke_all()


async def change_of(site: Site, action: str, argument: str = "") -> Change:
    return await plan(Wish(action, NODE, argument, "INC-1"), await site.platform.read_stack(20), site, site="real")


@asynccontextmanager
async def ending(kube: Admin, server: KubeApiserver, successor: dict[str, Any] | None = None) -> AsyncIterator[None]:
    """Lets pods end that were deleted; then `successor` is made, which is not Ready at first."""
    api = Api(KubernetesSpec(kubeconfig=server.kubeconfig()), SystemClock())

    async def play() -> None:
        async for pods in actions.follow_pods(api, SystemClock(), NODE):
            for pod in pods:
                if pod.going:
                    with contextlib.suppress(Gone):  # it is seen going until the watch has heard of its end
                        await kube.delete(objects.pod(pod.name, namespace=pod.namespace))
                    if successor is not None:
                        await kube.create(starting(successor))
                        await kube.patch(successor, {"status": successor["status"]}, "status")

    playing = asyncio.create_task(play())
    try:
        yield
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await api.close()


def starting(pod: dict[str, Any]) -> dict[str, Any]:
    status = {**pod["status"], "phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]}
    return {**pod, "status": status}


def workload(name: str, **labels: str) -> dict[str, Any]:
    owner = objects.controller("apps/v1", "ReplicaSet", f"{name}-1")
    return objects.pod(name, node=NODE, namespace="team-a", labels=labels, gpus={"nvidia.com/gpu": 1}, owner=owner)


def budget(allowed: int, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1beta1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep", "namespace": "team-a", "generation": 1},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
        "status": {
            "observedGeneration": 1,
            "disruptionsAllowed": allowed,
            "currentHealthy": 1 + allowed,
            "desiredHealthy": 1,
            "expectedPods": 1 + allowed,
        },
    }


async def test_a_restart_is_done_when_another_pod_of_the_daemon_set_is_ready(
    on: tuple[Site, ChangeDesk], kube: Admin, kube_server: KubeApiserver
) -> None:
    site, desk = on
    await kube.create(workload("llama"))
    before = await kube.get(objects.operand("driver", NODE))
    change = await change_of(site, "restart", "driver")
    assert change.radius.pods == ("team-a/llama",)
    assert change.radius.owners == ("ReplicaSet team-a/llama-1",)
    assert (await desk.preflight(change)).obstacles == ()
    assert (await kube.get(objects.operand("driver", NODE)))["metadata"] == before["metadata"]  # a dry run is one
    async with asyncio.timeout(WAIT_SECONDS), ending(kube, kube_server, objects.operand("driver", NODE, suffix="-new")):
        record = await desk.run(change)
    assert record.status is Status.DONE, record
    assert record.steps[0].said == f"nvidia-driver-daemonset-{NODE}-new: Ready"


async def test_cordon_and_back(on: tuple[Site, ChangeDesk], kube: Admin) -> None:
    site, desk = on
    change = await change_of(site, "cordon")
    version = (await kube.get(objects.node(NODE)))["metadata"]["resourceVersion"]
    assert (await desk.preflight(change)).obstacles == ()
    assert (await kube.get(objects.node(NODE)))["metadata"]["resourceVersion"] == version
    assert (await desk.run(change)).status is Status.DONE
    assert (await kube.get(objects.node(NODE)))["spec"]["unschedulable"] is True
    assert (await desk.undo(change.id)).status is Status.UNDONE
    assert "unschedulable" not in (await kube.get(objects.node(NODE)))["spec"]


async def test_a_drain_waits_for_a_budget_and_evicts_the_rest_first(
    on: tuple[Site, ChangeDesk], kube: Admin, kube_server: KubeApiserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_steps, "AGAIN_SECONDS", 0.2)
    site, desk = on
    await kube.delete(objects.nfd_pod("worker", NODE))  # it has no controller here: a drain would need force
    await kube.create(workload("guarded", app="guarded"), workload("free"), budget(0, app="guarded"))
    change = await change_of(site, "drain")
    assert [getattr(step, "pod", None) and step.pod.name for step in change.steps] == [  # type: ignore[attr-defined]
        None,
        "free",
        "guarded",
        None,
    ]
    found = await desk.preflight(change)
    assert found.obstacles == ()
    assert any("team-a/guarded may not be evicted now" in each for each in found.warnings)
    assert any("may take 30 s to end" in each for each in found.previews[-1].effects)  # the API's default
    short = replace(change, steps=tuple(quick(step) for step in change.steps))
    async with asyncio.timeout(WAIT_SECONDS), ending(kube, kube_server):
        record = await desk.run(short)
        assert record.status is Status.FAILED
        assert "team-a/guarded may not be evicted" in record.why
        assert record.in_doubt is None
        await kube.patch(budget(1), {"status": budget(1, app="guarded")["status"]}, "status")
        resumed = await desk.resume(record.id)
    assert resumed.status is Status.DONE, resumed
    left = {pod["metadata"]["namespace"] for pod in (await kube.api.get("/api/v1/pods"))["items"]}
    assert "team-a" not in left
    assert (await desk.undo(record.id)).status is Status.UNDONE
    assert "unschedulable" not in (await kube.get(objects.node(NODE)))["spec"]


def quick(step: Any) -> Any:
    return replace(step, apply_seconds=0.5) if step.kind == "evict-pod" else step


async def mig_manager(kube: Admin) -> None:
    """Answers each new wish, whose state is taken away with it."""
    async for node in actions.follow_node(kube.api, SystemClock(), NODE):
        if node.mig is not None and node.mig.state is None:
            for state in ("pending", "success"):
                labels = {"nvidia.com/mig.config.state": state}
                await kube.patch(objects.node(NODE), {"metadata": {"labels": labels}})


async def test_the_undo_of_a_layout_leaves_a_colleagues_newer_one(on: tuple[Site, ChangeDesk], kube: Admin) -> None:
    site, desk = on
    managing = asyncio.create_task(mig_manager(kube))
    async with asyncio.timeout(WAIT_SECONDS):
        record = await desk.run(await change_of(site, "mig", "all-3g.40gb"))
    managing.cancel()
    await asyncio.gather(managing, return_exceptions=True)
    assert record.status is Status.DONE, record
    await kube.patch(objects.node(NODE), {"metadata": {"labels": {"nvidia.com/mig.config": "all-1g.10gb"}}})
    said = f"{NODE} is asked for all-1g.10gb by now, and not for all-3g.40gb"
    (obstacle,) = (await desk.preflight(await desk.with_radius(undoing(record)))).obstacles
    assert obstacle.startswith(f"{said} (the label was set by ")
    with pytest.raises(ChangeRefused, match=said):
        await desk.undo(record.id)
    assert (await kube.get(objects.node(NODE)))["metadata"]["labels"]["nvidia.com/mig.config"] == "all-1g.10gb"


async def test_a_mig_label_is_watched_to_the_managers_success_and_taken_back(
    on: tuple[Site, ChangeDesk], kube: Admin
) -> None:
    site, desk = on
    change = await change_of(site, "mig", "all-3g.40gb")

    managing = asyncio.create_task(mig_manager(kube))
    async with asyncio.timeout(WAIT_SECONDS):
        record = await desk.run(change)
        assert record.status is Status.DONE, record
        assert (await kube.get(objects.node(NODE)))["metadata"]["labels"]["nvidia.com/mig.config"] == "all-3g.40gb"
        assert (await desk.undo(record.id)).status is Status.UNDONE
    managing.cancel()
    await asyncio.gather(managing, return_exceptions=True)
    assert (await kube.get(objects.node(NODE)))["metadata"]["labels"]["nvidia.com/mig.config"] == "all-disabled"


async def test_without_its_right_a_change_is_refused_and_the_right_is_named(
    on: tuple[Site, ChangeDesk], kube: Admin, kube_server: KubeApiserver, tmp_path: Path
) -> None:
    del on
    read = ["get", "list", "watch"]
    await kube.create(workload("llama"))
    await kube.grant("viewer", None, ["nodes", "pods", "namespaces"], read)
    await kube.grant("viewer", None, ["daemonsets", "replicasets"], read, group="apps", name="sets")
    await kube.grant("viewer", None, ["poddisruptionbudgets"], read, group="policy", name="budgets")
    async with opened(kube_server, "viewer", tmp_path) as (site, desk):
        for action, argument, missing in (
            ("restart", "driver", f"delete pods nvidia-driver-daemonset-{NODE} in gpu-operator"),
            ("cordon", "", f"patch nodes {NODE}"),
            ("drain", "", "create pods/eviction llama in team-a"),
            ("mig", "all-3g.40gb", f"patch nodes {NODE}"),
        ):
            change = await change_of(site, action, argument)
            found = await desk.preflight(change)
            assert any(each.startswith(f"{missing} is not granted") for each in found.obstacles), found.obstacles
            with pytest.raises(ChangeRefused, match="is not granted"):
                await desk.run(change)
    assert "unschedulable" not in (await kube.get(objects.node(NODE)))["spec"]
