"""The requests that change something, as values: what is told beforehand is what is sent afterwards. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.domain import Act, ApiRequest, Permission, Verb, clean
from backends.kubernetes.api import JSON, JSON_PATCH, MERGE_PATCH
from backends.kubernetes.node_state import MIG_CONFIG, MIG_STATE, UPGRADE_SKIP, UPGRADE_STATE
from backends.kubernetes.resources import NODES, PODS

FIRST_STEP = "upgrade-required"
FIELD_MANAGER = "gpudeck"
TEXT_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    """A sequence: the operations of a JSON patch, all done or none."""
    needs: tuple[Permission, ...]
    shows: tuple[Permission, ...]
    """The rights to see what came of it."""
    as_read: bool = False
    """It is sent with the resource version of the node that was read just before, and refused for any other."""

    def at(self, version: str) -> Request:
        """For the node of that resource version alone."""
        if not isinstance(self.body, Mapping):
            return self
        metadata = {**self.body.get("metadata", {}), "resourceVersion": version}
        return replace(self, body={**self.body, "metadata": metadata})

    @property
    def content_type(self) -> str:
        if self.method != "PATCH":
            return JSON
        return MERGE_PATCH if isinstance(self.body, Mapping) else JSON_PATCH

    def sent(
        self, *, dry_run: bool
    ) -> tuple[Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, dict[str, str | int]]:
        """Body and query. A body of DeleteOptions makes the server pass over the query: its own field says dryRun."""
        query: dict[str, str | int] = {"dryRun": "All"} if dry_run else {}
        if self.method == "PATCH":
            query["fieldManager"] = FIELD_MANAGER
        if not dry_run or not isinstance(self.body, Mapping) or self.method == "PATCH":
            return self.body, query
        if self.method == "DELETE":
            return {**self.body, "dryRun": ["All"]}, query
        return {**self.body, "deleteOptions": {**self.body.get("deleteOptions", {}), "dryRun": ["All"]}}, query

    @property
    def told(self) -> ApiRequest:
        """`PATCH /api/v1/nodes/dgx07 {"spec":{"unschedulable":true}}`"""
        body = "" if self.body is None else f" {json.dumps(self.body, separators=(',', ':'))}"
        at = ", at the resourceVersion just read" if self.as_read else ""
        return ApiRequest(clean(f"{self.method} {self.path}{body}{at}", TEXT_LIMIT), (*self.needs, *self.shows))


def restart(namespace: str, name: str, uid: str | None = None) -> Request:
    body = None if uid is None else {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
    needs = rights_to_restart(namespace, name)
    return Request("DELETE", PODS.path(namespace, name), body, needs, rights_to_follow_pods(namespace))


def evict(namespace: str, name: str, version: str, uid: str | None = None) -> Request:
    """`version` is that of the policy API, v1 or v1beta1."""
    body: dict[str, Any] = {
        "apiVersion": f"policy/{version}",
        "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
    }
    if uid is not None:
        body["deleteOptions"] = {"preconditions": {"uid": uid}}
    needs = rights_to_evict(namespace, name)
    return Request("POST", PODS.path(namespace, name, "eviction"), body, needs, rights_to_follow_pods(namespace))


def cordon(node: str, on: bool) -> Request:
    # null takes the field away, as kubectl does: false would stay in the object.
    return replace(_patch(node, {"spec": {"unschedulable": True if on else None}}), as_read=True)


def mig_layout(node: str, layout: str | None) -> Request:
    """Takes the former change's state away with the new wish: a `success` is then the answer to this one."""
    labels = {MIG_CONFIG: layout} if layout is None else {MIG_CONFIG: layout, MIG_STATE: None}
    return replace(_labels(node, labels), as_read=True)


def upgrade_pause(node: str, paused: bool) -> Request:
    return replace(_labels(node, {UPGRADE_SKIP: "true" if paused else None}), as_read=True)


def upgrade_start(node: str) -> Request:
    return _labels(node, {UPGRADE_STATE: FIRST_STEP})


def upgrade_back(node: str, former: str) -> Request:
    """Takes an upgrade back that the operator has not begun: the server itself tests that, and else refuses it."""
    path = f"/metadata/labels/{UPGRADE_STATE.replace('/', '~1')}"
    change = {"op": "replace", "path": path, "value": former} if former else {"op": "remove", "path": path}
    return _patch(node, [{"op": "test", "path": path, "value": FIRST_STEP}, change])


def _labels(node: str, labels: Mapping[str, str | None]) -> Request:
    return _patch(node, {"metadata": {"labels": dict(labels)}})


def _patch(node: str, patch: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Request:
    follows = tuple(NODES.permission(verb, name=node) for verb in ("list", "watch"))
    return Request("PATCH", NODES.path(name=node), patch, rights_to_change(node), follows)


def rights_to_restart(namespace: str, name: str) -> tuple[Permission, ...]:
    return (PODS.permission("delete", namespace, name),)


def rights_to_change(node: str) -> tuple[Permission, ...]:
    """For cordon, MIG layout and driver upgrade: all of them are patches of the node."""
    return (NODES.permission("get", name=node), NODES.permission("patch", name=node))


def rights_to_evict(namespace: str, name: str) -> tuple[Permission, ...]:
    return (PODS.permission("create", namespace, name, "eviction"),)


def rights_to_follow_pods(namespace: str) -> tuple[Permission, ...]:
    return tuple(PODS.permission(verb, namespace) for verb in ("list", "watch"))


_OF: dict[Verb, Callable[[Act, str], Request]] = {
    Verb.RESTART: lambda act, _version: restart(act.namespace, act.pod, act.uid),
    Verb.EVICT: lambda act, version: evict(act.namespace, act.pod, version, act.uid),
    Verb.CORDON: lambda act, _version: cordon(act.node, True),
    Verb.UNCORDON: lambda act, _version: cordon(act.node, False),
    Verb.MIG: lambda act, _version: mig_layout(act.node, act.layout),
    Verb.UPGRADE_START: lambda act, _version: upgrade_start(act.node),
    Verb.UPGRADE_PAUSE: lambda act, _version: upgrade_pause(act.node, True),
    Verb.UPGRADE_RESUME: lambda act, _version: upgrade_pause(act.node, False),
    Verb.UPGRADE_BACK: lambda act, _version: upgrade_back(act.node, act.step),
}


def request_of(act: Act, policy_version: str) -> Request:
    return _OF[act.verb](act, policy_version)
