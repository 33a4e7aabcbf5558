"""What may be done to pods and nodes, on a real API server: dry runs, the act itself, and a look at what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.contract import Gone, NotAllowed, Overtaken, Refused
from backends.domain import Identity, KubernetesSpec
from backends.feed import SystemClock
from backends.kubernetes import actions, permissions, requests
from backends.kubernetes.api import MERGE_PATCH, Api
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
UPGRADE = "nvidia.com/gpu-driver-upgrade-state"


@pytest.fixture
async def api(kube: Admin, kube_server: KubeApiserver) -> AsyncIterator[Api]:
    await kube.create(objects.node("dgx01"), objects.pod("work", node="dgx01", namespace="team-a"))
    made = Api(KubernetesSpec(kubeconfig=kube_server.kubeconfig()), SystemClock())
    yield made
    await made.close()


async def test_a_cluster_is_known_by_its_oldest_namespace_and_else_by_its_address(
    api: Api, kube: Admin, kube_server: KubeApiserver
) -> None:
    known = await actions.identity(api)
    system = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}
    assert (known.address, known.uid) == (kube_server.url, (await kube.get(system))["metadata"]["uid"])
    few = Api(KubernetesSpec(kubeconfig=kube_server.kubeconfig("writer")), SystemClock())
    assert await actions.identity(few) == Identity(kube_server.url)
    await few.close()


async def labels(kube: Admin) -> dict[str, Any]:
    found: dict[str, Any] = (await kube.get(objects.node("dgx01")))["metadata"]["labels"]
    return found


async def upgrade_step(kube: Admin) -> str:
    return str((await labels(kube)).get(UPGRADE, ""))


async def test_a_pod_that_was_restarted_is_another_one(api: Api, kube: Admin) -> None:
    before = await kube.uid(objects.pod("work", namespace="team-a"))
    assert before is not None
    await actions.restart_pod(api, "team-a", "work", dry_run=True)
    assert await kube.uid(objects.pod("work", namespace="team-a")) == before
    await kube.delete(objects.pod("work", namespace="team-a"))
    assert await kube.uid(objects.pod("work", namespace="team-a")) is None
    await kube.create(objects.pod("work", node="dgx01", namespace="team-a"))
    assert await kube.uid(objects.pod("work", namespace="team-a")) not in {None, before}


async def test_a_mig_change_is_followed_from_the_label_to_its_success(api: Api, kube: Admin) -> None:
    states = actions.follow_node(api, SystemClock(), "dgx01")
    async with asyncio.timeout(20):
        first = (await anext(states)).mig
        assert first is not None
        assert (first.requested, first.state) == ("all-disabled", "success")
        assert await actions.set_mig_layout(api, "dgx01", "all-3g.40gb", dry_run=False) == "all-disabled"
        seen = [(await anext(states)).mig]
        for state in ("pending", "success"):
            await kube.patch(objects.node("dgx01"), {"metadata": {"labels": {"nvidia.com/mig.config.state": state}}})
            seen.append((await anext(states)).mig)
    await states.aclose()  # type: ignore[attr-defined]
    assert [(each.requested, each.state) for each in seen if each is not None] == [
        ("all-3g.40gb", None),
        ("all-3g.40gb", "pending"),
        ("all-3g.40gb", "success"),
    ]
    assert seen[-1] is not None
    assert seen[-1].since is not None


async def test_a_driver_upgrade_is_paused_and_taken_up_again(api: Api, kube: Admin) -> None:
    assert not await actions.pause_driver_upgrade(api, "dgx01", True, dry_run=True)
    assert "nvidia.com/gpu-driver-upgrade.skip" not in await labels(kube)
    assert not await actions.pause_driver_upgrade(api, "dgx01", True, dry_run=False)
    assert (await labels(kube))["nvidia.com/gpu-driver-upgrade.skip"] == "true"
    assert await actions.pause_driver_upgrade(api, "dgx01", False, dry_run=False)
    assert "nvidia.com/gpu-driver-upgrade.skip" not in await labels(kube)


def meanwhile(api: Api, kube: Admin, monkeypatch: pytest.MonkeyPatch, *patches: dict[str, Any]) -> None:
    """Somebody else changes the node each time it was read, as long as there are patches."""
    get, left = api.get, list(patches)

    async def read(path: str, **values: Any) -> dict[str, Any]:
        found = await get(path, **values)
        if left:
            await kube.patch(objects.node("dgx01"), left.pop(0))
        return found

    monkeypatch.setattr(api, "get", read)


async def test_what_somebody_else_did_after_the_look_is_seen_by_the_server_and_left_to_him(
    api: Api, kube: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip = {"metadata": {"labels": {"nvidia.com/gpu-driver-upgrade.skip": "true"}}}
    meanwhile(api, kube, monkeypatch, {"spec": {"unschedulable": True}}, skip)
    assert not await actions.cordon(api, "dgx01", True, dry_run=False)
    meanwhile(api, kube, monkeypatch, skip)
    assert await actions.pause_driver_upgrade(api, "dgx01", True, dry_run=False)


async def test_a_node_that_others_write_all_the_time_is_cordoned_all_the_same(
    api: Api, kube: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = [{"metadata": {"labels": {"beat": str(number)}}} for number in range(2)]
    meanwhile(api, kube, monkeypatch, *beats)
    assert await actions.cordon(api, "dgx01", True, dry_run=False)
    assert (await kube.get(objects.node("dgx01")))["spec"]["unschedulable"] is True


def asked(layout: str | None) -> dict[str, Any]:
    return {"metadata": {"labels": {"nvidia.com/mig.config": layout}}}


@pytest.mark.parametrize("former", ["all-disabled", None])
@pytest.mark.parametrize("late", [False, True])
async def test_a_layout_is_replaced_only_where_it_is_the_one_that_is_meant(
    api: Api, kube: Admin, monkeypatch: pytest.MonkeyPatch, *, late: bool, former: str | None
) -> None:
    await kube.patch(objects.node("dgx01"), asked(former))
    if late:  # between the look and the request: the server itself says so
        meanwhile(api, kube, monkeypatch, asked("all-1g.10gb"))
    else:
        path, query = "/api/v1/nodes/dgx01", {"fieldManager": "kubectl-label"}
        await kube.api.send("PATCH", path, asked("all-1g.10gb"), query=query, content_type=MERGE_PATCH)
    for dry_run in (False, True) if late else (True, False):
        with pytest.raises(Overtaken) as refused:
            await actions.set_mig_layout(api, "dgx01", "all-3g.40gb", only_from=(former,), dry_run=dry_run)
        said = f"dgx01 is asked for all-1g.10gb by now, and not for {former or 'no layout'}"
        assert refused.value.message == said
        assert late or refused.value.hint.startswith("the label was set by kubectl-label: ")
    assert (await labels(kube))["nvidia.com/mig.config"] == "all-1g.10gb"
    assert await actions.set_mig_layout(api, "dgx01", None, only_from=("all-1g.10gb",), dry_run=False) == "all-1g.10gb"
    assert "nvidia.com/mig.config" not in await labels(kube)


@pytest.mark.parametrize("former", ["", "upgrade-done", "upgrade-failed"])
async def test_a_driver_upgrade_is_started_when_none_is_under_way(api: Api, kube: Admin, former: str) -> None:
    if former:
        await kube.patch(objects.node("dgx01"), {"metadata": {"labels": {UPGRADE: former}}})
    assert await actions.start_driver_upgrade(api, "dgx01", dry_run=True) == former
    assert await upgrade_step(kube) == former
    assert await actions.start_driver_upgrade(api, "dgx01", dry_run=False) == former
    assert await upgrade_step(kube) == "upgrade-required"


async def test_a_driver_upgrade_that_is_under_way_is_left_alone(api: Api, kube: Admin) -> None:
    await kube.patch(objects.node("dgx01"), {"metadata": {"labels": {UPGRADE: "drain-required"}}})
    with pytest.raises(Refused, match="under way: drain-required"):
        await actions.start_driver_upgrade(api, "dgx01", dry_run=True)


@pytest.mark.parametrize("former", ["", "upgrade-done"])
async def test_a_driver_upgrade_that_has_not_begun_is_taken_back(api: Api, kube: Admin, former: str) -> None:
    await kube.patch(objects.node("dgx01"), {"metadata": {"labels": {UPGRADE: "upgrade-required"}}})
    await actions.take_back_driver_upgrade(api, "dgx01", former, dry_run=True)
    assert await upgrade_step(kube) == "upgrade-required"
    await actions.take_back_driver_upgrade(api, "dgx01", former, dry_run=False)
    assert await upgrade_step(kube) == former
    with pytest.raises(Refused, match="only upgrade-required is taken back"):
        await actions.take_back_driver_upgrade(api, "dgx01", former, dry_run=False)


async def test_the_server_itself_refuses_to_take_back_an_upgrade_that_began_meanwhile(api: Api, kube: Admin) -> None:
    await kube.patch(objects.node("dgx01"), {"metadata": {"labels": {UPGRADE: "cordon-required"}}})
    request = requests.upgrade_back("dgx01", "upgrade-done")
    with pytest.raises(Refused):
        await api.send(request.method, request.path, request.body, content_type=request.content_type)
    assert await upgrade_step(kube) == "cordon-required"


async def test_a_pod_of_the_same_name_with_another_uid_is_left_alone(api: Api, kube: Admin) -> None:
    uid = await kube.uid(objects.pod("work", namespace="team-a"))
    with pytest.raises(Refused):
        await actions.restart_pod(api, "team-a", "work", uid="another", dry_run=False)
    with pytest.raises(Refused):
        await actions.evict(api, "team-a", "work", "v1beta1", uid="another", dry_run=False)
    # A dry run with a body is one by the body's own field: the server does not look at the query then.
    await actions.restart_pod(api, "team-a", "work", uid=uid, dry_run=True)
    await actions.evict(api, "team-a", "work", "v1beta1", uid=uid, dry_run=True)
    raw = await kube.get(objects.pod("work", namespace="team-a"))
    assert (raw["metadata"]["uid"], raw["metadata"].get("deletionTimestamp")) == (uid, None)


async def test_a_mig_layout_that_is_asked_for_already_is_not_sent_again(api: Api, kube: Admin) -> None:
    before = (await kube.get(objects.node("dgx01")))["metadata"]["resourceVersion"]
    assert await actions.set_mig_layout(api, "dgx01", "all-disabled", dry_run=False) == "all-disabled"
    assert (await kube.get(objects.node("dgx01")))["metadata"]["resourceVersion"] == before


async def test_an_eviction_takes_the_pod_away(api: Api, kube: Admin) -> None:
    await actions.evict(api, "team-a", "work", "v1beta1", dry_run=True)
    assert (await kube.get(objects.pod("work", namespace="team-a")))["metadata"].get("deletionTimestamp") is None
    await actions.evict(api, "team-a", "work", "v1beta1", dry_run=False)
    assert (await kube.get(objects.pod("work", namespace="team-a")))["metadata"]["deletionTimestamp"]
    with pytest.raises(Gone):
        await actions.evict(api, "team-a", "no-such-pod", "v1beta1", dry_run=False)


async def test_the_rights_an_action_names_are_those_it_needs(api: Api, kube: Admin, kube_server: KubeApiserver) -> None:
    cases = (
        (
            requests.rights_to_restart("team-a", "work"),
            lambda few: actions.restart_pod(few, "team-a", "work", dry_run=True),
        ),
        (requests.rights_to_change("dgx01"), lambda few: actions.cordon(few, "dgx01", True, dry_run=True)),
        (
            requests.rights_to_evict("team-a", "work"),
            lambda few: actions.evict(few, "team-a", "work", "v1beta1", dry_run=True),
        ),
    )
    few = Api(KubernetesSpec(kubeconfig=kube_server.kubeconfig("writer")), SystemClock())
    for rights, act in cases:
        assert not any(review.allowed for review in await permissions.review(few, rights))
        with pytest.raises(NotAllowed):
            await act(few)
        for right in rights:
            resources, verbs = [right.resource], [right.verb]
            await kube.grant(
                "writer", right.namespace, resources, verbs, name=f"w-{right.verb}-{right.resource.replace('/', '-')}"
            )
        async with asyncio.timeout(10):  # the server hears of a new role a moment later
            while not all(review.allowed for review in await permissions.review(few, rights)):
                await asyncio.sleep(0.05)
        await act(few)
        await kube.revoke_all()
    await few.close()
