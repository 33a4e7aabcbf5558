"""From the API's JSON to the values of `objects`. Nothing here fails on a missing or odd field."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from backends.domain import UpgradePolicy, clean
from backends.kubernetes.fields import (
    MESSAGE_LIMIT,
    conditions_of,
    entries,
    labels_of,
    maps,
    table,
    text,
    time_of,
    whole,
    word,
)
from backends.kubernetes.objects import (
    TIMED_LABELS,
    LeanContainer,
    LeanDaemonSet,
    LeanNode,
    LeanPod,
    LeanPolicy,
    OwnerRef,
    Toleration,
)

GPU_PREFIX = "nvidia.com/"
USER_KEYS = (
    "hub.jupyter.org/username",
    "workflows.argoproj.io/creator-preferred-username",
    "workflows.argoproj.io/creator",
    "username",
    "user",
    "owner",
)
"""Labels and annotations that name a person or team, the surest first."""
MIRROR = "kubernetes.io/config.mirror"
_KEPT_NODE_PREFIXES = (GPU_PREFIX, "feature.node.kubernetes.io/system-os_release", "node-role.kubernetes.io/")
_NFD_PREFIX = "feature.node.kubernetes.io/"
_NFD_KEPT = frozenset(
    {
        "feature.node.kubernetes.io/pci-10de.present",
        "feature.node.kubernetes.io/pci-0302_10de.present",
        "feature.node.kubernetes.io/pci-0300_10de.present",
        "feature.node.kubernetes.io/kernel-version.full",
    }
)


def pod_of(raw: Mapping[str, Any]) -> LeanPod:
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    statuses = {
        entry.get("name"): entry
        for key in ("initContainerStatuses", "containerStatuses")
        for entry in entries(status, key)
    }
    containers = tuple(
        _container(entry, statuses.get(entry.get("name")) or {}, init=key == "initContainers")
        for key in ("initContainers", "containers")
        for entry in entries(spec, key)
    )
    conditions = {entry.get("type"): entry for entry in entries(status, "conditions")}
    scheduled = conditions.get("PodScheduled") or {}
    ready = conditions.get("Ready") or {}
    annotations = table(metadata, "annotations")
    labels = labels_of(table(metadata, "labels"))
    return LeanPod(
        namespace=word(metadata, "namespace"),
        name=word(metadata, "name"),
        uid=word(metadata, "uid"),
        node=text(spec, "nodeName"),
        phase=word(status, "phase") or "Unknown",
        reason=text(status, "reason"),
        message=text(status, "message", MESSAGE_LIMIT),
        labels=labels,
        user=_user(labels, annotations),
        owner=owner_of(metadata),
        containers=containers,
        gpus=_pod_gpus(containers),
        created_at=time_of(metadata.get("creationTimestamp")),
        started_at=time_of(status.get("startTime")),
        deleted_at=time_of(metadata.get("deletionTimestamp")),
        ready_since=time_of(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        unscheduled=((text(scheduled, "message", MESSAGE_LIMIT) or "") if scheduled.get("status") == "False" else None),
        mirror=MIRROR in annotations,
        empty_dir=any("emptyDir" in volume for volume in entries(spec, "volumes")),
        claims=bool(entries(spec, "resourceClaims")),
        grace_seconds=_grace(spec.get("terminationGracePeriodSeconds")),
        unready_since=time_of(ready.get("lastTransitionTime")) if ready.get("status") == "False" else None,
        unscheduled_since=time_of(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "False" else None,
    )


def _grace(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def node_of(raw: Mapping[str, Any]) -> LeanNode:
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    every = table(metadata, "labels")
    labels = {key: value for key, value in every.items() if key.startswith(_KEPT_NODE_PREFIXES) or key in _NFD_KEPT}
    ready: Mapping[str, Any] = next(
        (entry for entry in entries(status, "conditions") if entry.get("type") == "Ready"), {}
    )
    information = table(status, "nodeInfo")
    return LeanNode(
        name=word(metadata, "name"),
        uid=word(metadata, "uid"),
        labels=labels_of(labels),
        annotations=labels_of(
            {key: value for key, value in table(metadata, "annotations").items() if key.startswith(GPU_PREFIX)}
        ),
        has_nfd=any(key.startswith(_NFD_PREFIX) for key in every),
        capacity=_gpus(table(status, "capacity")),
        allocatable=_gpus(table(status, "allocatable")),
        schedulable=not spec.get("unschedulable"),
        taints=tuple(
            (word(taint, "key"), word(taint, "value"), word(taint, "effect")) for taint in entries(spec, "taints")
        ),
        ready={"True": True, "False": False, "Unknown": False}.get(str(ready.get("status"))),
        ready_message=text(ready, "message", MESSAGE_LIMIT),
        kernel=text(information, "kernelVersion"),
        os=text(information, "osImage"),
        runtime=text(information, "containerRuntimeVersion"),
        kubelet=text(information, "kubeletVersion"),
        label_times=tuple(_label_times(metadata)),
        ready_at=time_of(ready.get("lastTransitionTime")),
    )


def daemon_set_of(raw: Mapping[str, Any]) -> LeanDaemonSet:
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    template = table(spec, "template")
    pod_labels = labels_of(table(table(template, "metadata"), "labels"))
    pod = table(template, "spec")
    return LeanDaemonSet(
        namespace=word(metadata, "namespace"),
        name=word(metadata, "name"),
        uid=word(metadata, "uid"),
        app=pod_labels.get("app"),
        labels=pod_labels,
        node_selector=labels_of(table(pod, "nodeSelector")),
        tolerations=tuple(
            Toleration(*(word(entry, key) for key in ("key", "operator", "value", "effect")))
            for entry in entries(pod, "tolerations")
        ),
        desired=whole(status.get("desiredNumberScheduled")),
        ready=whole(status.get("numberReady")),
    )


def policy_of(raw: Mapping[str, Any]) -> LeanPolicy:
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    kind = word(raw, "kind")
    driver = spec if kind == "NVIDIADriver" else table(spec, "driver")
    return LeanPolicy(
        kind=kind,
        name=word(metadata, "name"),
        uid=word(metadata, "uid"),
        created_at=time_of(metadata.get("creationTimestamp")),
        state=text(status, "state"),
        namespace=text(status, "namespace"),
        conditions=conditions_of(status),
        driver_version=text(driver, "version"),
        driver_enabled=driver.get("enabled") if isinstance(driver.get("enabled"), bool) else None,
        step_limits=tuple(_step_limits(table(driver, "upgradePolicy"))),
        upgrades=_upgrades(table(driver, "upgradePolicy")),
    )


def _upgrades(policy: Mapping[str, Any]) -> UpgradePolicy | None:
    if not policy:
        return None
    automatic, drains, at_once = policy.get("autoUpgrade"), table(policy, "drain").get("enable"), policy.get(PARALLEL)
    return UpgradePolicy(
        automatic if isinstance(automatic, bool) else None,
        drains if isinstance(drains, bool) else None,
        at_once if isinstance(at_once, int) and not isinstance(at_once, bool) else None,
    )


PARALLEL = "maxParallelUpgrades"
_STEP_FIELDS = (
    ("wait-for-jobs-required", "waitForCompletion"),
    ("pod-deletion-required", "podDeletion"),
    ("drain-required", "drain"),
)


def _step_limits(policy: Mapping[str, Any]) -> list[tuple[str, float]]:
    limits = []
    for step, field in _STEP_FIELDS:
        seconds = table(policy, field).get("timeoutSeconds")
        # 0 is "no bound" for the wait for jobs, and nothing anyone sets for the others.
        if isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0:
            limits.append((step, float(seconds)))
    return limits


def _container(spec: Mapping[str, Any], status: Mapping[str, Any], *, init: bool) -> LeanContainer:
    state, current = _state(table(status, "state"))
    _, last = _state(table(status, "lastState"))
    return LeanContainer(
        name=sys.intern(word(spec, "name")),
        image=sys.intern(clean(str(spec.get("image") or ""))),
        init=init,
        id=container_id(status.get("containerID")),
        state=state,
        reason=text(current, "reason"),
        message=text(current, "message", MESSAGE_LIMIT),
        exit_code=current.get("exitCode"),
        last_reason=text(last, "reason"),
        last_exit_code=last.get("exitCode"),
        last_message=text(last, "message", MESSAGE_LIMIT),
        ready=bool(status.get("ready")),
        started=status.get("started"),
        restarts=whole(status.get("restartCount")),
        since=time_of(current.get("finishedAt") or current.get("startedAt")),
        gpus=_gpus({**table(table(spec, "resources"), "requests"), **table(table(spec, "resources"), "limits")}),
        sidecar=init and spec.get("restartPolicy") == "Always",
    )


def container_id(text: object) -> str | None:
    """The hex digits of containerd://0123..., as a cgroup path carries them."""
    if not isinstance(text, str) or not text:
        return None
    return clean(text.rpartition("://")[2], 64)


def _state(states: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    for name in ("running", "waiting", "terminated"):
        if isinstance(states.get(name), dict):
            return name, states[name]
    return None, {}


def _pod_gpus(containers: tuple[LeanContainer, ...]) -> tuple[tuple[str, int], ...]:
    """The scheduler's rule: containers and sidecars run together, other init containers one after another."""
    together: dict[str, int] = {}
    alone: dict[str, int] = {}
    for container in containers:
        for resource, count in container.gpus:
            if container.init and not container.sidecar:
                alone[resource] = max(alone.get(resource, 0), count)
            else:
                together[resource] = together.get(resource, 0) + count
    counted = {name: max(together.get(name, 0), alone.get(name, 0)) for name in together.keys() | alone.keys()}
    return tuple(sorted((name, count) for name, count in counted.items() if count))


def _gpus(resources: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """NVIDIA's extended resources; their quantities are whole numbers."""
    return tuple(
        sorted((sys.intern(clean(name, 96)), whole(count)) for name, count in resources.items() if _is_gpu(name))
    )


def _is_gpu(resource: str) -> bool:
    return resource.startswith((GPU_PREFIX + "gpu", GPU_PREFIX + "mig-"))


def owner_of(metadata: Mapping[str, Any]) -> OwnerRef | None:
    for reference in entries(metadata, "ownerReferences"):
        if reference.get("controller"):
            return OwnerRef(*(word(reference, key) for key in ("apiVersion", "kind", "name", "uid")))
    return None


def _user(labels: Mapping[str, str], annotations: Mapping[str, Any]) -> str | None:
    for key in USER_KEYS:
        value = labels.get(key) or annotations.get(key)
        if isinstance(value, str) and value:
            return clean(value, 96)
    return None


def _label_times(metadata: Mapping[str, Any]) -> list[tuple[str, float]]:
    """When the field manager that owns a label last wrote; at that time the label had its value already."""
    times = []
    for entry in entries(metadata, "managedFields"):
        owned = table(table(table(entry, "fieldsV1"), "f:metadata"), "f:labels")
        at = time_of(entry.get("time"))
        times += [(key, at) for key in TIMED_LABELS if at is not None and f"f:{key}" in owned]
    return times
