"""The operator's own verdict, and the parts of the stack that are not on every GPU node."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backends.domain import Component, PolicyState
from backends.kubernetes.objects import LeanPod, LeanPolicy
from backends.kubernetes.waterfall import tag_of

NFD_NAMESPACES = ("node-feature-discovery", "openshift-nfd")
_FAILING_STATES = re.compile(r"states not ready: \[([^\]]*)\]")


def policy_state(policy: LeanPolicy) -> PolicyState:
    by_type = {condition.type: condition for condition in policy.conditions}
    error, ready = by_type.get("Error"), by_type.get("Ready")
    told = error if error is not None and error.status == "True" else ready
    message = None if told is None else told.message
    failing = _FAILING_STATES.search(message or "")
    return PolicyState(
        kind=policy.kind,
        name=policy.name,
        state=policy.state,
        reason=None if told is None else told.reason,
        message=message,
        conditions=policy.conditions,
        failing_states=tuple(re.split(r"[,\s]+", failing[1].strip())) if failing and failing[1].strip() else (),
        driver_version=policy.driver_version,
        upgrades=policy.upgrades,
        since=None if told is None or (told is ready and told.status != "False") else told.at,
    )


def components(pods: Iterable[LeanPod], namespace: str | None) -> tuple[Component, ...]:
    """The operator itself and node feature discovery, by their pods."""
    groups: dict[str, list[LeanPod]] = {}
    for pod in pods:
        name = _component(pod, namespace)
        if name is not None and pod.phase != "Succeeded":
            groups.setdefault(name, []).append(pod)
    return tuple(_as_component(name, groups[name]) for name in sorted(groups))


def _component(pod: LeanPod, namespace: str | None) -> str | None:
    app = pod.labels.get("app", "")
    if app == "gpu-operator" and pod.namespace == namespace:
        return "gpu-operator"
    if pod.labels.get("app.kubernetes.io/name") == "node-feature-discovery":
        role = pod.labels.get("role") or pod.labels.get("app.kubernetes.io/component") or "pods"
        return f"node feature discovery {role}"
    if app in {"nfd-master", "nfd-worker", "nfd-gc"} and pod.namespace in (*NFD_NAMESPACES, namespace):
        return f"node feature discovery {app.removeprefix('nfd-')}"
    return None


def _as_component(name: str, pods: list[LeanPod]) -> Component:
    def ready(pod: LeanPod) -> bool:
        running = [each for each in pod.containers if not each.init]
        return bool(running) and all(each.ready for each in running)

    bad = next((pod for pod in sorted(pods, key=lambda pod: pod.name) if not ready(pod)), None)
    trouble = None if bad is None else next((each for each in bad.containers if not each.ready), None)
    return Component(
        name=name,
        ready=sum(map(ready, pods)),
        wanted=len(pods),
        reason=(trouble.reason if trouble else None) or (bad.phase if bad else None),
        message=(trouble.last_message or trouble.message if trouble else None) or (bad.unscheduled if bad else None),
        pod=None if bad is None else bad.name,
        namespace=None if bad is None else bad.namespace,
        since=None if bad is None else bad.unscheduled_since or bad.unready_since,
    )


def operator_version(pods: Iterable[LeanPod], namespace: str | None) -> str | None:
    for pod in pods:
        if pod.labels.get("app") == "gpu-operator" and pod.namespace == namespace:
            version = pod.labels.get("app.kubernetes.io/version")
            images = [each.image for each in pod.containers if not each.init]
            return version or (tag_of(images[0]) if images else None)
    return None
