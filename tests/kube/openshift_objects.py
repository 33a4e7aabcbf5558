"""OpenShift's and OLM's objects, as a cluster has them."""

from __future__ import annotations

import time
from typing import Any

from tests.kube.objects import NOW, stamp

Raw = dict[str, Any]
NAMESPACE = "nvidia-gpu-operator"
CSV = "gpu-operator-certified.v26.3.1"


def cluster_version(*, version: str = "4.18.3", progressing: bool = False, failing: str | None = None) -> Raw:
    conditions = [
        _condition("Available", True, "Done applying"),
        _condition("Progressing", progressing, "Working towards 4.19.1: 120 of 902 done"),
        _condition("Failing", failing is not None, failing or ""),
    ]
    history: list[Raw] = [
        {
            "state": "Completed",
            "version": version,
            "image": "x",
            "startedTime": stamp(NOW),
            "completionTime": stamp(NOW),
            "verified": False,
        }
    ]
    if progressing:
        history.insert(
            0,
            {
                "state": "Partial",
                "version": "4.19.1",
                "image": "x",
                "startedTime": stamp(NOW),
                "completionTime": None,
                "verified": False,
            },
        )
    return {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterVersion",
        "metadata": {"name": "version", "uid": "clusterversion"},
        "spec": {"clusterID": "00000000-0000-4000-8000-000000000000"},
        "status": {
            "availableUpdates": [],
            "conditions": conditions,
            "desired": {"image": "x", "version": "4.19.1" if progressing else version},
            "history": history,
            "observedGeneration": 1,
            "versionHash": "x",
        },
    }


def subscription(
    package: str = "gpu-operator-certified",
    *,
    installed: str | None = CSV,
    plan: str | None = "install-abc",
    conditions: list[Raw] | None = None,
    namespace: str = NAMESPACE,
) -> Raw:
    status: Raw = {
        "lastUpdated": stamp(NOW),
        "currentCSV": CSV,
        "state": "AtLatestKnown" if installed else "UpgradePending",
    }
    if installed:
        status["installedCSV"] = installed
    if plan:
        status["installPlanRef"] = {"name": plan, "namespace": namespace}
    if conditions:
        status["conditions"] = conditions
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "Subscription",
        "metadata": {"name": package, "namespace": namespace, "uid": f"sub-{package}"},
        "spec": {
            "name": package,
            "channel": "stable",
            "source": "certified-operators",
            "sourceNamespace": "openshift-marketplace",
            "installPlanApproval": "Manual",
        },
        "status": status,
    }


def install_plan(phase: str = "Complete", name: str = "install-abc", conditions: list[Raw] | None = None) -> Raw:
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "InstallPlan",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"plan-{name}"},
        "spec": {
            "approval": "Manual",
            "approved": phase != "RequiresApproval",
            "clusterServiceVersionNames": [CSV],
        },
        "status": {
            "phase": phase,
            "catalogSources": [],
            **({"conditions": conditions} if conditions else {}),
        },
    }


def service_version(phase: str = "Succeeded", message: str = "install strategy completed", name: str = CSV) -> Raw:
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"csv-{name}"},
        "spec": {
            "displayName": "NVIDIA GPU Operator",
            "install": {"strategy": "deployment", "spec": {"deployments": []}},
        },
        "status": {"phase": phase, "reason": "InstallSucceeded", "message": message},
    }


def route(
    name: str,
    namespace: str,
    host: str,
    *,
    admitted: bool | None = True,
    to: str | None = None,
    termination: str | None = "reencrypt",
) -> Raw:
    """To the Service `to`, None: of its own name; `admitted` None: no router has said."""
    condition: Raw = {
        "type": "Admitted",
        "status": "True" if admitted else "False",
        "lastTransitionTime": stamp(NOW),
    }
    if not admitted:
        condition |= {"reason": "HostAlreadyClaimed", "message": f"route other in team-b holds {host}"}
    ingress = {"host": host, "routerName": "default", "conditions": [condition], "wildcardPolicy": "None"}
    spec: Raw = {"host": host, "to": {"kind": "Service", "name": to or name, "weight": 100}}
    if termination:
        spec["tls"] = {"termination": termination}
    return {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": {"name": name, "namespace": namespace, "uid": f"route-{name}"},
        "spec": spec,
        "status": {"ingress": [] if admitted is None else [ingress]},
    }


def service(name: str, namespace: str, selector: dict[str, str]) -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}]},
    }


SCC_OBJECTIONS = (
    'provider "anyuid": Forbidden: not usable by user or serviceaccount',
    "provider restricted-v2: .containers[0].privileged: Invalid value: true: Privileged containers are not allowed",
    "provider restricted-v2: .containers[0].runAsUser: Invalid value: 0: must be in the ranges: [100068000, 100068999]",
    'provider "privileged": Forbidden: not usable by user or serviceaccount',
)


def scc_message(*objections: str) -> str:
    listed = ", ".join(objections or SCC_OBJECTIONS)
    why = f"unable to validate against any security context constraint: [{listed}]"
    return f'Error creating: pods "llama-7d9-" is forbidden: {why}'


def failed_create(about: Raw, *, message: str | None = None, at: float | None = None, count: int = 3) -> Raw:
    """The event of the controller `about`, whose uid is that of the server; seen last at `at`, None: now."""
    metadata = about["metadata"]
    last = time.time() if at is None else at
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{int(last):x}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": "Warning",
        "reason": "FailedCreate",
        "message": message or scc_message(),
        "firstTimestamp": stamp(last - 60),
        "lastTimestamp": stamp(last),
        "count": count,
        "source": {"component": f"{about['kind'].lower()}-controller"},
    }


def replica_set(name: str, namespace: str, *, gpus: int = 1, owner: Raw | None = None, account: str = "") -> Raw:
    """One that has made no pod yet; its Deployment is `owner`."""
    labels = {"app": name}
    resources = {"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {}
    pod: Raw = {"containers": [{"name": "server", "image": "registry.example.com/llama:1", "resources": resources}]}
    if account:
        pod["serviceAccountName"] = account
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner] if owner else []},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _condition(kind: str, holds: bool, message: str) -> Raw:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "message": message,
        "lastTransitionTime": stamp(NOW),
    }
