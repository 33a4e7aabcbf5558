"""The cluster's objects as the API serves them. Pure: values in, dicts out."""

from __future__ import annotations

from typing import Any

from backends.lab.hardware import SimNode
from backends.lab.kube.operands import Operand, OperandPod

Object = dict[str, Any]
GPU = "nvidia.com/gpu"
UPGRADE_POLICY: Object = {"autoUpgrade": True, "drain": {"enable": True, "timeoutSeconds": 300}}


def namespace(name: str, labels: dict[str, str] | None = None) -> Object:
    return {"metadata": {"name": name, "labels": labels or {}}, "status": {"phase": "Active"}}


def node(hardware: SimNode, *, strategy: str, created: str, runtime: str, version: str) -> Object:
    """A worker with its GPU labels; what it can allocate is set as the device plugin comes up."""
    machine = hardware.machine
    name = hardware.name
    capacity = {
        "cpu": str(machine.cpu_count),
        "memory": f"{machine.memory_gib * 1024 * 1024}Ki",
        "pods": "250",
        "ephemeral-storage": "1843040Mi",
    }
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node-role.kubernetes.io/worker": "",
                **discovered(hardware),
                **gpu_labels(hardware, strategy),
            },
            "annotations": {"nvidia.com/gpu-driver-upgrade-enabled": "true"},
        },
        "spec": {"taints": []},
        "status": {
            "capacity": dict(capacity),
            "allocatable": dict(capacity),
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "kubelet is posting ready status",
                    "lastTransitionTime": created,
                }
            ],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "kernelVersion": machine.kernel,
                "osImage": machine.os,
                "containerRuntimeVersion": runtime,
                "kubeletVersion": version,
                "architecture": "amd64",
                "operatingSystem": "linux",
                "bootID": "",
                "kubeProxyVersion": version,
                "machineID": "",
                "systemUUID": "",
            },
        },
    }


def discovered(hardware: SimNode) -> dict[str, str]:
    """What node feature discovery writes."""
    return {
        "feature.node.kubernetes.io/pci-10de.present": "true",
        "feature.node.kubernetes.io/kernel-version.full": hardware.machine.kernel,
        "feature.node.kubernetes.io/system-os_release.ID": "rhel" if "Red Hat" in hardware.machine.os else "ubuntu",
    }


def gpu_labels(hardware: SimNode, strategy: str) -> dict[str, str]:
    """What the operator and GPU feature discovery write."""
    board = hardware.machine.board
    labels = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(len(hardware.gpus)),
        "nvidia.com/gpu.product": board.name.replace(" ", "-"),
        "nvidia.com/gpu.memory": str(board.memory_mib),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/gpu.family": board.architecture_name.lower().replace(" ", "-"),
        "nvidia.com/cuda.driver-version.full": hardware.machine.driver,
        "nvidia.com/mig.capable": str(board.mig).lower(),
        "nvidia.com/mig.strategy": strategy,
        "nvidia.com/gpu-driver-upgrade-state": "upgrade-done",
    }
    if board.mig:
        cut = any(gpu.mig for gpu in hardware.gpus)
        labels["nvidia.com/mig.config"] = f"custom-{hardware.name}" if cut else "all-disabled"
        labels["nvidia.com/mig.config.state"] = "success"
    return labels


def capacity(hardware: SimNode) -> dict[str, str]:
    """The GPU resources of a node under the mixed strategy: whole GPUs, and MIG instances by profile."""
    counts: dict[str, int] = {GPU: sum(not gpu.mig for gpu in hardware.gpus)}
    for gpu in hardware.gpus:
        for instance in gpu.mig:
            resource = f"nvidia.com/mig-{instance.profile.name}"
            counts[resource] = counts.get(resource, 0) + 1
    return {name: str(count) for name, count in counts.items()}


def allocatable(hardware: SimNode, *, plugin_ready: bool) -> dict[str, str]:
    """What of `capacity` can be given out: nothing without the plugin, and no GPU that it takes for unhealthy."""
    counts = capacity(hardware)
    if not plugin_ready:
        return dict.fromkeys(counts, "0")
    lost = sum(gpu.faults.lost for gpu in hardware.gpus if not gpu.mig)
    return {**counts, GPU: str(int(counts[GPU]) - lost)}


def mig_config(name: str, space: str, layouts: tuple[str, ...]) -> Object:
    """The ConfigMap that the operator makes for a node: mig-parted's file, of which the lab keeps the names alone."""
    lines = ["version: v1", "mig-configs:"]
    for layout in layouts:
        lines += [f"  {layout}:", "  - devices: all", f"    mig-enabled: {str(layout != 'all-disabled').lower()}"]
    return {"metadata": {"name": name, "namespace": space}, "data": {"config.yaml": "\n".join(lines) + "\n"}}


def daemonset(operand: Operand, space: str, uid: str, wanted: int, ready: int, image: str) -> Object:
    return {
        "metadata": {"name": operand.daemonset, "namespace": space, "uid": uid, "labels": {"app": operand.daemonset}},
        "spec": {
            "selector": {"matchLabels": {"app": operand.daemonset}},
            "template": {
                "metadata": {"labels": {"app": operand.daemonset}},
                "spec": {
                    "nodeSelector": {f"nvidia.com/gpu.deploy.{operand.name}": "true"},
                    **_containers(operand, image),
                },
            },
            "updateStrategy": {"type": "OnDelete" if operand.name == "driver" else "RollingUpdate"},
        },
        "status": daemonset_status(wanted, ready),
    }


def daemonset_status(wanted: int, ready: int) -> Object:
    return {
        "desiredNumberScheduled": wanted,
        "currentNumberScheduled": wanted,
        "numberReady": ready,
        "numberAvailable": ready,
        "numberUnavailable": wanted - ready,
        "numberMisscheduled": 0,
        "updatedNumberScheduled": wanted,
    }


def _containers(operand: Operand, image: str) -> Object:
    return {
        "initContainers": [{"name": init.name, "image": image} for init in operand.inits],
        "containers": [{"name": name, "image": image} for name in operand.containers],
    }


def operand_pod(pod: OperandPod, on: str, space: str, owner: str, created: str, image: str) -> Object:
    operand = pod.operand
    return {
        "metadata": {
            "name": f"{operand.daemonset}-{pod.suffix}",
            "namespace": space,
            "creationTimestamp": created,
            "labels": {"app": operand.daemonset, "controller-revision-hash": "6f9d8c7b5d"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "DaemonSet",
                    "name": operand.daemonset,
                    "uid": owner,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "nodeName": on,
            "serviceAccountName": operand.daemonset,
            **_containers(operand, image),
        },
        "status": operand_status(pod, created),
    }


def operand_status(pod: OperandPod, created: str, at: str | None = None, before: Object | None = None) -> Object:
    """Phase, conditions and container statuses that follow from where the pod is.

    A condition that is another than in the status `before` has become so `at` this time.
    """
    since = {each["type"]: each for each in (before or {}).get("conditions", ())}

    def condition(kind: str, holds: bool) -> Object:
        was, status = since.get(kind), _truth(holds)
        changed = created if was is None else was["lastTransitionTime"] if was["status"] == status else at or created
        return {"type": kind, "status": status, "lastTransitionTime": changed}

    inits = [_init_status(pod, index) for index in range(len(pod.operand.inits))]
    done = pod.step >= len(pod.operand.inits)
    containers = [_container_status(pod, name, done) for name in pod.operand.containers]
    return {
        "phase": "Running" if done else "Pending",
        "startTime": created,
        "hostIP": "127.0.0.1",
        "conditions": [
            condition("Initialized", done),
            condition("Ready", pod.ready),
            condition("ContainersReady", pod.ready),
            condition("PodScheduled", True),
        ],
        "initContainerStatuses": inits,
        "containerStatuses": containers,
    }


def _truth(value: bool) -> str:
    return "True" if value else "False"


def _init_status(pod: OperandPod, index: int) -> Object:
    name = pod.operand.inits[index].name
    if index < pod.step:
        return _status(name, {"terminated": {"exitCode": 0, "reason": "Completed"}}, ready=True)
    if index > pod.step:
        return _status(name, {"waiting": {"reason": "PodInitializing"}})
    if pod.fault is not None and pod.fault.container == name:
        return _faulty(name, pod)
    return _status(name, {"running": {}})


def _container_status(pod: OperandPod, name: str, initialized: bool) -> Object:
    if not initialized:
        return _status(name, {"waiting": {"reason": "PodInitializing"}})
    if pod.fault is not None and pod.fault.container == name:
        return _faulty(name, pod)
    return _status(name, {"running": {}}, ready=pod.ready)


def _faulty(name: str, pod: OperandPod) -> Object:
    fault = pod.fault
    assert fault is not None
    if not fault.reason:
        return _status(name, {"running": {}}, restarts=fault.restarts)
    last = {"terminated": {"exitCode": fault.exit_code, "reason": "Error", "message": fault.message}}
    waiting = {"waiting": {"reason": fault.reason, "message": fault.message}}
    return {**_status(name, waiting, restarts=fault.restarts), "lastState": last}


def _status(name: str, state: Object, *, ready: bool = False, restarts: int = 0) -> Object:
    return {
        "name": name,
        "image": "",
        "imageID": "",
        "ready": ready,
        "started": "running" in state,
        "restartCount": restarts,
        "state": state,
        "lastState": {},
    }


def cluster_policy(name: str, created: str, *, ready: bool, reason: str, message: str, space: str) -> Object:
    """With the conditions as the operator writes them."""
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {
            "driver": {"enabled": True, "version": "590.48.01", "upgradePolicy": UPGRADE_POLICY},
            "toolkit": {"enabled": True},
            "devicePlugin": {"enabled": True},
            "dcgm": {"enabled": False},
            "dcgmExporter": {"enabled": True, "serviceMonitor": {"enabled": True}},
            "migManager": {"enabled": True},
            "mig": {"strategy": "mixed"},
            "daemonsets": {"updateStrategy": "RollingUpdate"},
            "operator": {"defaultRuntime": "containerd"},
            "gfd": {"enabled": True},
            "nodeStatusExporter": {"enabled": True},
        },
        "status": policy_status(created, ready=ready, reason=reason, message=message, space=space),
    }


def policy_status(at: str, *, ready: bool, reason: str, message: str, space: str) -> Object:
    def condition(kind: str, status: str, why: str, said: str) -> Object:
        return {"type": kind, "status": status, "reason": why, "message": said, "lastTransitionTime": at}

    if ready:
        conditions = [condition("Ready", "True", reason, message), condition("Error", "False", "Ready", "")]
    else:
        conditions = [condition("Ready", "False", "Error", ""), condition("Error", "True", reason, message)]
    return {"state": "ready" if ready else "notReady", "namespace": space, "conditions": conditions}


def event(
    space: str, name: str, about: Object, *, reason: str, said: str, kind: str, at: str, count: int = 1
) -> Object:
    metadata = about["metadata"]
    return {
        "metadata": {"name": name, "namespace": space},
        "involvedObject": {
            "apiVersion": about.get("apiVersion", "v1"),
            "kind": about.get("kind", "Pod"),
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata.get("uid", ""),
        },
        "reason": reason,
        "message": said,
        "type": kind,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": count,
        "source": {"component": "kubelet"},
        "reportingComponent": "kubelet",
        "reportingInstance": "",
    }
