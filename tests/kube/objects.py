"""API objects as a cluster with the GPU Operator has them: names, labels and containers are the operator's own."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from typing import Any

NAMESPACE = "gpu-operator"
NOW = 1_764_060_000.0
"""2025-11-25T08:40:00Z"""
DEPLOY = "nvidia.com/gpu.deploy."
Raw = dict[str, Any]

_numbers = itertools.count(1)

OPERANDS: Mapping[str, tuple[str, str, tuple[str, ...], tuple[str, ...], str]] = {
    # key: app label, deploy label, init containers, containers, image
    "driver": (
        "nvidia-driver-daemonset",
        "driver",
        ("k8s-driver-manager",),
        ("nvidia-driver-ctr",),
        "nvcr.io/nvidia/driver:580.95.05-ubuntu22.04",
    ),
    "toolkit": (
        "nvidia-container-toolkit-daemonset",
        "container-toolkit",
        ("driver-validation",),
        ("nvidia-container-toolkit-ctr",),
        "nvcr.io/nvidia/k8s/container-toolkit:v1.20.0",
    ),
    "validator": (
        "nvidia-operator-validator",
        "operator-validator",
        ("driver-validation", "toolkit-validation", "cuda-validation", "plugin-validation"),
        ("nvidia-operator-validator",),
        "nvcr.io/nvidia/gpu-operator:v26.7.0",
    ),
    "device-plugin": (
        "nvidia-device-plugin-daemonset",
        "device-plugin",
        ("toolkit-validation",),
        ("nvidia-device-plugin",),
        "nvcr.io/nvidia/k8s-device-plugin:v0.20.0",
    ),
    "gfd": (
        "gpu-feature-discovery",
        "gpu-feature-discovery",
        ("toolkit-validation",),
        ("gpu-feature-discovery",),
        "nvcr.io/nvidia/k8s-device-plugin:v0.20.0",
    ),
    "dcgm-exporter": (
        "nvidia-dcgm-exporter",
        "dcgm-exporter",
        ("toolkit-validation",),
        ("nvidia-dcgm-exporter",),
        "nvcr.io/nvidia/k8s/dcgm-exporter:4.6.0-4.8.3-distroless",
    ),
    "mig-manager": (
        "nvidia-mig-manager",
        "mig-manager",
        ("toolkit-validation",),
        ("nvidia-mig-manager",),
        "nvcr.io/nvidia/cloud-native/k8s-mig-manager:v0.15.0",
    ),
}


def stamp(at: float) -> str:
    """RFC 3339, as the API writes times."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def running(since: float = NOW - 3600) -> Raw:
    return {"state": {"running": {"startedAt": stamp(since)}}, "ready": True, "started": True, "restartCount": 0}


def starting(since: float = NOW - 60, **more: Any) -> Raw:
    """Runs, and is not ready yet."""
    return {**running(since), "ready": False, **more}


def completed(at: float = NOW - 3600) -> Raw:
    state = {"exitCode": 0, "reason": "Completed", "startedAt": stamp(at - 5), "finishedAt": stamp(at)}
    return {"state": {"terminated": state}, "ready": True, "restartCount": 0}


def waiting(reason: str, message: str = "") -> Raw:
    return {"state": {"waiting": {"reason": reason, "message": message}}, "ready": False, "restartCount": 0}


def crashing(message: str = "", restarts: int = 4, exit_code: int = 1, at: float = NOW - 30) -> Raw:
    last = {
        "exitCode": exit_code,
        "reason": "Error",
        "message": message,
        "finishedAt": stamp(at),
        "startedAt": stamp(at),
    }
    back_off = "back-off 5m0s restarting failed container"
    return {**waiting("CrashLoopBackOff", back_off), "restartCount": restarts, "lastState": {"terminated": last}}


def pod(
    name: str,
    *,
    node: str | None = None,
    namespace: str = "team",
    labels: Mapping[str, str] | None = None,
    gpus: Mapping[str, int] | None = None,
    owner: Raw | None = None,
    containers: Mapping[str, Raw] | None = None,
    init: Mapping[str, Raw] | None = None,
    image: str = "busybox:1",
    phase: str | None = None,
    uid: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Raw:
    """A pod with `containers` and `init` containers by name, each with its status."""
    statuses = dict(containers or {"main": running()})
    inits = dict(init or {})
    ready = all(status.get("ready") for status in statuses.values())
    resources = {"limits": {key: str(value) for key, value in gpus.items()}} if gpus else {}
    metadata: Raw = {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"pod-{next(_numbers)}",
        "labels": dict(labels or {}),
        "annotations": dict(annotations or {}),
        "creationTimestamp": stamp(NOW - 7200),
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    spec: Raw = {
        "containers": [
            {"name": key, "image": image, "resources": resources if index == 0 else {}}
            for index, key in enumerate(statuses)
        ]
    }
    if inits:
        spec["initContainers"] = [{"name": key, "image": image} for key in inits]
    if node is not None:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {
            "phase": phase or ("Running" if node is not None else "Pending"),
            "startTime": stamp(NOW - 7200),
            "conditions": [
                {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp(NOW - 3600)},
                {"type": "PodScheduled", "status": "True" if node is not None else "False"},
            ],
            "containerStatuses": [_status(key, image, value) for key, value in statuses.items()],
            "initContainerStatuses": [_status(key, image, value) for key, value in inits.items()],
        },
    }


def _status(name: str, image: str, status: Raw) -> Raw:
    digits = f"{zlib.crc32(name.encode()):08x}" * 8
    return {"name": name, "image": image, "imageID": "", "containerID": f"containerd://{digits}", **status}


def operand(key: str, node: str, *, namespace: str = NAMESPACE, suffix: str = "", **states: Raw) -> Raw:
    """An operand's pod: healthy, but for the containers whose status is given by name (`-` written as `_`)."""
    app, _, inits, mains, image = OPERANDS[key]
    told = {name.replace("_", "-"): status for name, status in states.items()}
    blocked = next((index for index, name in enumerate(inits) if name in told), None)
    init = {
        name: told.get(name, completed() if blocked is None or index < blocked else waiting("PodInitializing"))
        for index, name in enumerate(inits)
    }
    main = {name: told.get(name, running() if blocked is None else waiting("PodInitializing")) for name in mains}
    labels = {"app": app, "app.kubernetes.io/managed-by": "gpu-operator"}
    if key == "driver":
        labels["app.kubernetes.io/component"] = "nvidia-driver"
    phase = "Running" if blocked is None else "Pending"
    return pod(
        f"{app}-{node}{suffix}",
        node=node,
        namespace=namespace,
        labels=labels,
        containers=main,
        init=init,
        image=image,
        phase=phase,
        owner=controller("apps/v1", "DaemonSet", app),
    )


def controller(api_version: str, kind: str, name: str, uid: str | None = None) -> Raw:
    return {"apiVersion": api_version, "kind": kind, "name": name, "uid": uid or f"{kind}-{name}", "controller": True}


def operand_pods(node: str, **changed: Raw | None) -> list[Raw]:
    """Every operand of a node, healthy; `changed` replaces one by its key (`-` written as `_`), None leaves it out."""
    told = {key.replace("_", "-"): value for key, value in changed.items()}
    pods = (told[key] if key in told else operand(key, node) for key in OPERANDS)
    return [each for each in pods if each is not None]


def daemon_set(key: str, *, namespace: str = NAMESPACE, selector: Mapping[str, str] | None = None) -> Raw:
    app, deploy, inits, mains, image = OPERANDS[key]
    labels = {"app": app}
    if key == "driver":
        labels["app.kubernetes.io/component"] = "nvidia-driver"
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": app, "namespace": namespace, "uid": f"set-{app}"},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": dict(selector or {DEPLOY + deploy: "true"}),
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "initContainers": [{"name": name, "image": image} for name in inits],
                    "containers": [{"name": name, "image": image} for name in mains],
                },
            },
        },
    }


def node(
    name: str,
    *,
    gpus: int = 8,
    allocatable: int | None = None,
    labels: Mapping[str, str | None] | None = None,
    annotations: Mapping[str, str] | None = None,
    ready: bool = True,
    cordoned: bool = False,
    taints: list[Raw] | None = None,
) -> Raw:
    """A GPU node as the operator, NFD and GPU feature discovery label it; None takes a label away."""
    every: dict[str, str | None] = {
        "kubernetes.io/hostname": name,
        "feature.node.kubernetes.io/pci-10de.present": "true",
        "feature.node.kubernetes.io/kernel-version.full": "5.15.0-102-generic",
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(gpus),
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/mig.capable": "true",
        "nvidia.com/mig.strategy": "single",
        "nvidia.com/mig.config": "all-disabled",
        "nvidia.com/mig.config.state": "success",
        **{DEPLOY + operand[1]: "true" for operand in OPERANDS.values()},
        **(labels or {}),
    }
    count = {"nvidia.com/gpu": str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"node-{name}",
            "labels": {key: value for key, value in every.items() if value is not None},
            "annotations": dict(annotations or {}),
        },
        "spec": {**({"unschedulable": True} if cordoned else {}), **({"taints": taints} if taints else {})},
        "status": {
            "capacity": {"cpu": "224", "memory": "2113478Mi", "pods": "110", **count},
            "allocatable": {
                "cpu": "224",
                "memory": "2113478Mi",
                "pods": "110",
                "nvidia.com/gpu": str(gpus if allocatable is None else allocatable),
            },
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown", "message": "kubelet says so"}],
            "nodeInfo": {
                "kernelVersion": "5.15.0-102-generic",
                "osImage": "Ubuntu 22.04.5 LTS",
                "containerRuntimeVersion": "containerd://1.7.27",
                "kubeletVersion": "v1.31.2",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def cluster_policy(
    state: str = "ready",
    reason: str = "Reconciled",
    message: str = "",
    *,
    spec: Raw | None = None,
    name: str = "cluster-policy",
) -> Raw:
    good = state == "ready"
    conditions = [
        {"type": "Ready", "status": "True" if good else "False", "reason": reason if good else "Error"},
        {
            "type": "Error",
            "status": "False" if good else "True",
            "reason": "Ready" if good else reason,
            "message": "" if good else message,
        },
    ]
    if good:
        conditions[0]["message"] = message
    for condition in conditions:
        condition.setdefault("message", "")
        condition["lastTransitionTime"] = stamp(NOW - 600)
    return {
        "apiVersion": "nvidia.com/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": name, "uid": f"policy-{name}", "creationTimestamp": stamp(NOW - 86_400)},
        "spec": spec
        or {
            "operator": {"defaultRuntime": "containerd"},
            "daemonsets": {},
            "driver": {
                "enabled": True,
                "version": "580.95.05",
                "upgradePolicy": {
                    "autoUpgrade": True,
                    "podDeletion": {"timeoutSeconds": 300},
                    "drain": {"enable": True, "timeoutSeconds": 300},
                    "waitForCompletion": {"timeoutSeconds": 0},
                },
            },
            "toolkit": {"enabled": True},
            "devicePlugin": {"enabled": True},
            "dcgm": {"enabled": False},
            "dcgmExporter": {"enabled": True},
            "gfd": {"enabled": True},
            "nodeStatusExporter": {"enabled": False},
        },
        "status": {"state": state, "namespace": NAMESPACE, "conditions": conditions},
    }


def operator_pod(version: str = "v26.7.0") -> Raw:
    return pod(
        "gpu-operator-7bbf8bb6b7-xz664",
        node="control",
        namespace=NAMESPACE,
        labels={"app": "gpu-operator", "app.kubernetes.io/version": version},
        containers={"gpu-operator": running()},
        image=f"nvcr.io/nvidia/gpu-operator:{version}",
    )


def nfd_pod(role: str, node_name: str, status: Raw | None = None) -> Raw:
    return pod(
        f"gpu-operator-node-feature-discovery-{role}-{node_name}",
        node=node_name,
        namespace=NAMESPACE,
        labels={"app.kubernetes.io/name": "node-feature-discovery", "role": role},
        containers={role: status or running()},
    )


def good_cluster(*nodes: str) -> list[Raw]:
    """Nodes with every operand well, the operator, NFD and a ready ClusterPolicy."""
    found: list[Raw] = [cluster_policy(), operator_pod(), nfd_pod("master", "control")]
    found += [daemon_set(key) for key in OPERANDS]
    for name in nodes:
        found += [node(name), nfd_pod("worker", name), *operand_pods(name)]
    return found


def grant(
    user: str, namespace: str | None, resources: list[str], verbs: list[str], group: str = "", name: str = ""
) -> list[Raw]:
    """A role and its binding; in the whole cluster without a namespace."""
    kind = "Role" if namespace else "ClusterRole"
    title = (
        name or f"{user}-{'-'.join(each.replace('/', '-') for each in resources)}-{group.replace('.', '-') or 'core'}"
    )
    metadata: Raw = {"name": title, **({"namespace": namespace} if namespace else {})}
    api = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [group], "resources": resources, "verbs": verbs}]
    return [
        {"apiVersion": f"{api}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": kind, "name": title},
            "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
        },
    ]
