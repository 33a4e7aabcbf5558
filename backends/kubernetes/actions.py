"""What may be done to pods and nodes: plain requests, each with the server's own dry run, and the rights they need.

Nothing here asks a person, limits the harm or writes a journal: that is the business of whoever calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from backends.contract import Clock, Gone, Refused
from backends.domain import MigManagerState, Permission
from backends.kubernetes.api import MERGE_PATCH, Api
from backends.kubernetes.errors import Throttled
from backends.kubernetes.fields import table, word
from backends.kubernetes.keeping import node_of
from backends.kubernetes.node_state import MIG_CONFIG, UPGRADE_SKIP, UPGRADE_STATE, mig_of
from backends.kubernetes.resources import NODES, PODS
from backends.kubernetes.watching import Watch
from backends.kubernetes.watchset import end

FIRST_STEP = "upgrade-required"
FIELD_MANAGER = "gpudeck"


def rights_to_restart(namespace: str, name: str) -> tuple[Permission, ...]:
    return (PODS.permission("delete", namespace, name),)


def rights_to_change(node: str) -> tuple[Permission, ...]:
    """For cordon, MIG layout and driver upgrade: all of them are patches of the node."""
    return (NODES.permission("get", name=node), NODES.permission("patch", name=node))


def rights_to_evict(namespace: str, name: str) -> tuple[Permission, ...]:
    return (PODS.permission("create", namespace, name, "eviction"),)


async def restart_pod(api: Api, namespace: str, name: str, *, dry_run: bool) -> None:
    """Deletes the pod with its own grace period."""
    await api.send("DELETE", PODS.path(namespace, name), query=_query(dry_run))


async def evict(api: Api, namespace: str, name: str, version: str, *, dry_run: bool) -> None:
    """Asks for the eviction of one pod; `version` is that of the policy API, v1 or v1beta1.

    Raises Refused while a PodDisruptionBudget forbids it (the API says 429 for that).
    """
    eviction: dict[str, Any] = {
        "apiVersion": f"policy/{version}",
        "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
    }
    if dry_run:
        eviction["deleteOptions"] = {"dryRun": ["All"]}
    try:
        await api.send("POST", PODS.path(namespace, name, "eviction"), eviction, query=_query(dry_run))
    except Throttled as error:
        raise Refused(error.message, "a PodDisruptionBudget protects it: try again later") from None


async def cordon(api: Api, node: str, on: bool, *, dry_run: bool) -> bool:
    """Returns whether it was otherwise before."""
    before = bool(table(await api.get(NODES.path(name=node)), "spec").get("unschedulable"))
    if before == on and not dry_run:
        return False
    # null takes the field away, as kubectl does: false would stay in the object.
    await _patch(api, node, {"spec": {"unschedulable": True if on else None}}, dry_run)
    return before != on


async def set_mig_layout(api: Api, node: str, layout: str | None, *, dry_run: bool) -> str | None:
    """Sets nvidia.com/mig.config, or takes it away; returns the former layout."""
    former = await _label(api, node, MIG_CONFIG)
    await _patch(api, node, {"metadata": {"labels": {MIG_CONFIG: layout}}}, dry_run)
    return former


async def pause_driver_upgrade(api: Api, node: str, paused: bool, *, dry_run: bool) -> bool:
    """Sets or takes away nvidia.com/gpu-driver-upgrade.skip; returns whether it was set."""
    former = await _label(api, node, UPGRADE_SKIP)
    await _patch(api, node, {"metadata": {"labels": {UPGRADE_SKIP: "true" if paused else None}}}, dry_run)
    return former == "true"


async def start_driver_upgrade(api: Api, node: str, *, dry_run: bool) -> str:
    """Sets nvidia.com/gpu-driver-upgrade-state to its first step; returns the former step.

    Raises Refused when an upgrade is under way: setting it back would confuse the operator.
    """
    former = await _label(api, node, UPGRADE_STATE) or ""
    if former not in {"", "upgrade-done", "upgrade-failed", FIRST_STEP}:
        raise Refused(f"the driver upgrade of {node} is under way: {former}", "wait for it to end, or to fail")
    await _patch(api, node, {"metadata": {"labels": {UPGRADE_STATE: FIRST_STEP}}}, dry_run)
    return former


async def pod_uid(api: Api, namespace: str, name: str) -> str | None:
    """Tells a pod from its successor of the same name; None when there is none."""
    try:
        return word(table(await api.get(PODS.path(namespace, name)), "metadata"), "uid") or None
    except Gone:
        return None


async def mig_state(api: Api, node: str) -> MigManagerState | None:
    """What the node's labels say of its MIG layout now. Raises `GpudeckError`, Gone without such a node."""
    return mig_of(node_of(await api.get(NODES.path(name=node))), {})


async def upgrade_step(api: Api, node: str) -> str:
    """The step of the node's driver upgrade; empty when there is none."""
    return await _label(api, node, UPGRADE_STATE) or ""


async def follow_mig(api: Api, clock: Clock, node: str) -> AsyncIterator[MigManagerState | None]:
    """The node's MIG state now and at every change, watched. Begin before the layout is set: the label tells success of
    the former change until the MIG manager has taken up the new one."""
    changed = asyncio.Event()
    watch = Watch(api, NODES, node_of, changed.set, clock, selector={"fieldSelector": f"metadata.name={node}"})
    running = asyncio.create_task(watch.run(), name=f"watch node {node}")
    last: MigManagerState | None = None
    first = True
    try:
        while True:
            await changed.wait()
            changed.clear()
            if watch.error is not None:
                raise watch.error
            if watch.settled:
                found = next((mig_of(each, {}) for each in watch.objects.values()), None)
                if first or found != last:
                    yield found
                last, first = found, False
    finally:
        await end([running])


async def _label(api: Api, node: str, label: str) -> str | None:
    metadata = table(await api.get(NODES.path(name=node)), "metadata")
    return word(table(metadata, "labels"), label) or None


async def _patch(api: Api, node: str, patch: dict[str, Any], dry_run: bool) -> None:
    query = {**_query(dry_run), "fieldManager": FIELD_MANAGER}
    await api.send("PATCH", NODES.path(name=node), patch, query=query, content_type=MERGE_PATCH)


def _query(dry_run: bool) -> dict[str, str | int]:
    return {"dryRun": "All"} if dry_run else {}
