"""What may be done to pods and nodes: plain requests, each with the server's own dry run, and the rights they need.

Nothing here asks a person, limits the harm or writes a journal: that is the business of whoever calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

from backends.contract import Clock, Gone, NotAllowed, Overtaken, Refused
from backends.domain import Identity, NodeControl, Owner, PodControl, clean
from backends.kubernetes import requests
from backends.kubernetes.api import WRITE_PATIENCE, Api
from backends.kubernetes.drain import needs_force, stays
from backends.kubernetes.errors import Conflict, Throttled
from backends.kubernetes.fields import table, word
from backends.kubernetes.following import following
from backends.kubernetes.keeping import node_of, pod_of, setters
from backends.kubernetes.node_state import MIG_CONFIG, UPGRADE_ENABLED, UPGRADE_SKIP, UPGRADE_STATE, mig_of
from backends.kubernetes.objects import LeanNode, LeanPod
from backends.kubernetes.requests import FIRST_STEP, Request
from backends.kubernetes.resources import NAMESPACES, NODES, PODS

TRIES = 5
"""A node's object is written every few seconds, by its kubelet and by what labels it."""
SYSTEM = "kube-system"
"""The namespace that every cluster has from its first start to its end: its uid stands for the cluster."""


async def identity(api: Api) -> Identity:
    """The uid of kube-system with the API's address, or the address alone for who may not read that."""
    try:
        metadata = table(await api.get(NAMESPACES.path(name=SYSTEM)), "metadata")
    except (NotAllowed, Gone):
        metadata = {}
    return Identity(clean(api.host, 200), word(metadata, "uid") or None)


async def restart_pod(api: Api, namespace: str, name: str, *, uid: str | None = None, dry_run: bool) -> None:
    """Deletes the pod with its own grace period."""
    await _send(api, requests.restart(namespace, name, uid), dry_run)


async def evict(api: Api, namespace: str, name: str, version: str, *, uid: str | None = None, dry_run: bool) -> None:
    """Asks for the eviction of one pod; `version` is that of the policy API, v1 or v1beta1.

    Raises Held while a PodDisruptionBudget forbids it, Refused where two of them cover the pod.
    """
    await _send(api, requests.evict(namespace, name, version, uid), dry_run)


async def cordon(api: Api, node: str, on: bool, *, dry_run: bool) -> bool:
    """Returns whether it was otherwise before; one that is so already is not sent."""

    def so(raw: Mapping[str, Any]) -> bool:
        return bool(table(raw, "spec").get("unschedulable")) is on

    before = await _change(api, node, lambda raw: None if so(raw) else requests.cordon(node, on), dry_run)
    return not so(before)


async def set_mig_layout(
    api: Api, node: str, layout: str | None, *, only_from: Collection[str | None] | None = None, dry_run: bool
) -> str | None:
    """Sets nvidia.com/mig.config, or takes it away; returns the former layout.

    A layout that is wished for already is not sent again: the MIG manager would not take it up, and say nothing. Raises
    Overtaken where the former one is not in `only_from`.
    """

    def wish(raw: Mapping[str, Any]) -> Request | None:
        former = _label_of(raw, MIG_CONFIG)
        if former == layout:
            return None
        if only_from is not None and former not in only_from:
            raise _overtaken(raw, node, former, only_from)
        return requests.mig_layout(node, layout)

    return _label_of(await _change(api, node, wish, dry_run), MIG_CONFIG)


def _overtaken(raw: Mapping[str, Any], node: str, now: str | None, meant: Collection[str | None]) -> Overtaken:
    by = setters(table(raw, "metadata"), MIG_CONFIG) if now is not None else ()
    who = f"the label was set by {', '.join(clean(each, 64) for each in by)}" if by else "somebody set the label"
    wanted = " or ".join(each or "no layout" for each in meant)
    hint = f"{who if now is not None else 'somebody took the label away'}: ask whose it is; nothing was done"
    return Overtaken(f"{node} is asked for {now or 'no layout'} by now, and not for {wanted}", hint)


async def pause_driver_upgrade(api: Api, node: str, paused: bool, *, dry_run: bool) -> bool:
    """Sets or takes away nvidia.com/gpu-driver-upgrade.skip; returns whether it was set.

    What is so already is not sent.
    """

    def skipped(raw: Mapping[str, Any]) -> bool:
        return _label_of(raw, UPGRADE_SKIP) == "true"

    def wish(raw: Mapping[str, Any]) -> Request | None:
        return None if skipped(raw) is paused else requests.upgrade_pause(node, paused)

    return skipped(await _change(api, node, wish, dry_run))


async def start_driver_upgrade(api: Api, node: str, *, dry_run: bool) -> str:
    """Sets nvidia.com/gpu-driver-upgrade-state to its first step; returns the former step.

    Raises Refused when an upgrade is under way: setting it back would confuse the operator.
    """
    former = await _label(api, node, UPGRADE_STATE) or ""
    if former not in {"", "upgrade-done", "upgrade-failed", FIRST_STEP}:
        raise Refused(f"the driver upgrade of {node} is under way: {former}", "wait for it to end, or to fail")
    await _send(api, requests.upgrade_start(node), dry_run)
    return former


async def take_back_driver_upgrade(api: Api, node: str, former: str, *, dry_run: bool) -> None:
    """Sets nvidia.com/gpu-driver-upgrade-state back to `former`, empty: takes it away.

    Raises Refused when the operator has begun the upgrade.
    """
    now = await _label(api, node, UPGRADE_STATE) or ""
    if now != FIRST_STEP:
        raise Refused(f"the driver upgrade of {node} is at {now or 'no step'}: only {FIRST_STEP} is taken back", "")
    await _send(api, requests.upgrade_back(node, former), dry_run)


async def follow_node(api: Api, clock: Clock, node: str) -> AsyncIterator[NodeControl]:
    """The node as it is now and at every change, watched."""
    selector = {"fieldSelector": f"metadata.name={node}"}
    last: NodeControl | None = None
    async for nodes in following(api, NODES, node_of, clock, selector=selector):
        if not nodes:
            raise Gone(f"the API server knows no node {node}", "")
        fresh = _node_control(nodes[0])
        if fresh != last:
            yield fresh
        last = fresh


async def follow_pods(
    api: Api, clock: Clock, node: str, namespace: str | None = None
) -> AsyncIterator[tuple[PodControl, ...]]:
    """The pods on the node as they are now and at every change, watched."""
    selector = {"fieldSelector": f"spec.nodeName={node}"}
    async for pods in following(api, PODS, pod_of, clock, selector=selector, namespace=namespace):
        ordered = sorted(pods, key=lambda pod: (pod.namespace, pod.name))
        yield tuple(_pod_control(pod) for pod in ordered)


def _node_control(node: LeanNode) -> NodeControl:
    return NodeControl(
        node.name,
        node.schedulable,
        mig_of(node, {}),
        node.labels.get(UPGRADE_STATE, ""),
        node.labels.get(UPGRADE_SKIP) == "true",
        {"true": True, "false": False}.get(node.annotations.get(UPGRADE_ENABLED, "")),
    )


def _pod_control(pod: LeanPod) -> PodControl:
    return PodControl(
        pod.namespace,
        pod.name,
        pod.uid,
        None if pod.owner is None else Owner(pod.owner.kind, pod.owner.name),
        ready=pod.ready_since is not None and pod.deleted_at is None,
        going=pod.deleted_at is not None,
        said=_how(pod),
        stays=stays(pod),
        needs_force=needs_force(pod),
    )


def _how(pod: LeanPod) -> str:
    """As kubectl's STATUS column has it, as far as it matters here."""
    if pod.deleted_at is not None:
        return "Terminating"
    starting = [each for each in pod.containers if each.init and not each.sidecar]
    done = sum(each.state == "terminated" and each.exit_code == 0 for each in starting)
    if done < len(starting):
        reason = next((each.reason for each in starting if each.state == "waiting" and each.reason), None)
        return reason if reason and reason != "PodInitializing" else f"Init:{done}/{len(starting)}"
    running = [each for each in pod.containers if not each.init or each.sidecar]
    reason = next((each.reason for each in running if each.state != "running" and each.reason), None)
    return pod.reason or (reason if not pod.ended else None) or pod.phase


async def _label(api: Api, node: str, label: str) -> str | None:
    return _label_of(await api.get(NODES.path(name=node)), label)


def _label_of(raw: Mapping[str, Any], label: str) -> str | None:
    return word(table(table(raw, "metadata"), "labels"), label) or None


async def _change(
    api: Api, node: str, wish: Callable[[Mapping[str, Any]], Request | None], dry_run: bool
) -> Mapping[str, Any]:
    """Sends what `wish` makes of the node, unless that is nothing; returns the node as it was before.

    The request holds for the node as it was read: where somebody was quicker, it is read and wished for anew.
    """
    for _ in range(TRIES):
        raw = await api.get(NODES.path(name=node))
        request = wish(raw)
        if request is None:
            return raw
        try:
            await _send(api, request.at(word(table(raw, "metadata"), "resourceVersion")), dry_run)
        except Conflict:
            continue
        return raw
    raise Refused(f"{node} is changed by others all the time", "nothing was done: try again")


async def _send(api: Api, request: Request, dry_run: bool) -> None:
    """Raises Refused where the server puts it off for too long: it has done nothing then."""
    body, query = request.sent(dry_run=dry_run)
    kind = request.content_type
    try:
        await api.send(request.method, request.path, body, query=query, content_type=kind, patience=WRITE_PATIENCE)
    except Throttled as error:
        raise Refused(f"the API server is too busy: {error.message}", "nothing was done: try again later") from None
