"""What a MIG change takes in a cluster of the GPU Operator: what is typed around the node's commands, or MIG Manager.

MIG Manager does what the steps by hand do, but the pods that use the GPUs it leaves alone: those have to be drained
either way. Sources: NVIDIA/mig-parted v0.15.0, cmd/nvidia-mig-manager/reconfigure; the MIG page of the GPU Operator.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from backends.nodes.mig.plan import Step
from backends.nodes.mig.target import Target

LABEL = "nvidia.com/mig.config"
DEPLOY = "nvidia.com/gpu.deploy."
OPERANDS = ("device-plugin", "gpu-feature-discovery", "dcgm-exporter", "dcgm", "nvsm", "client")
"""What MIG Manager pauses by its label `nvidia.com/gpu.deploy.<name>`: a drain leaves them, and they hold the GPUs."""
PAUSED = "paused-for-mig-change"
APPS = ("nvidia-device-plugin-daemonset", "gpu-feature-discovery", "nvidia-dcgm-exporter", "nvidia-dcgm")
"""Their pods' label `app`."""


def before(target: Target) -> Iterator[Step]:
    """No pods, and none of the operator's own on the GPUs."""
    yield from _drain(target)
    yield Step(
        "pause-operands",
        _relabelled(target, "true", PAUSED),
        "a drain leaves the device plugin, DCGM and its exporter on the GPU; one that is not deployed stays so",
        "cluster",
    )
    yield Step(
        "wait-operands",
        f"{_tool(target)} wait pod -A --for=delete --timeout=300s --field-selector spec.nodeName={_node(target)} "
        f"-l 'app in ({','.join(APPS)})'",
        "until their pods are gone",
        "cluster",
    )


def afterwards(target: Target) -> Iterator[Step]:
    """Everything back as it was, also where the change failed."""
    yield Step(
        "resume-operands", _relabelled(target, PAUSED, "true"), "they come back, also after a failure", "cluster"
    )
    yield _uncordon(target)


def by_mig_manager(target: Target, config: str) -> tuple[Step, ...]:
    """The way with the label; `config` is the name of a configuration in the ConfigMap that MIG Manager reads."""
    node = _node(target)
    return (
        *_drain(target),
        Step(
            "label",
            f"{_tool(target)} label node {node} {LABEL}={shlex.quote(config)} --overwrite",
            "MIG Manager pauses the operands and divides every GPU of the node; user pods it does not evict",
            "cluster",
        ),
        Step(
            "check-label",
            f"{_tool(target)} get node {node} -L {LABEL}.state",
            "ask until it says success; pending for more than 6 minutes is stuck: see the log of nvidia-mig-manager",
            "cluster",
        ),
        _uncordon(target),
    )


def _drain(target: Target) -> Iterator[Step]:
    yield Step(
        "cordon",
        f"{_admin(target)} cordon {_node(target)}",
        "no new pods; the node by its name in the cluster",
        "cluster",
    )
    yield Step(
        "drain",
        f"{_admin(target)} drain {_node(target)} --ignore-daemonsets",
        "pods leave; those with emptyDir volumes also want --delete-emptydir-data, which deletes them",
        "cluster",
    )


def _uncordon(target: Target) -> Step:
    return Step("uncordon", f"{_admin(target)} uncordon {_node(target)}", "pods may come again", "cluster")


def _relabelled(target: Target, old: str, new: str) -> str:
    """The deploy labels of the node that have one value get another; with both selectors it never adds a label."""
    names = " ".join(OPERANDS)
    return (
        f"for each in {names}; do {_tool(target)} label nodes --field-selector metadata.name={_node(target)} "
        f"-l {DEPLOY}$each={old} {DEPLOY}$each={new} --overwrite; done"
    )


def _node(target: Target) -> str:
    return shlex.quote(target.node or "")


def _tool(target: Target) -> str:
    return "oc" if target.platform == "openshift" else "kubectl"


def _admin(target: Target) -> str:
    return "oc adm" if target.platform == "openshift" else "kubectl"
