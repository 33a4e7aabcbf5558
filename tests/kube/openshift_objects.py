"""OpenShift's and OLM's objects, as a cluster has them."""

from __future__ import annotations

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


def route(name: str, namespace: str, host: str, *, admitted: bool = True) -> Raw:
    status = {"type": "Admitted", "status": "True" if admitted else "False", "lastTransitionTime": stamp(NOW)}
    return {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": {"name": name, "namespace": namespace, "uid": f"route-{name}"},
        "spec": {
            "host": host,
            "to": {"kind": "Service", "name": name, "weight": 100},
            "tls": {"termination": "reencrypt"},
        },
        "status": {
            "ingress": [{"host": host, "routerName": "default", "conditions": [status], "wildcardPolicy": "None"}]
        },
    }


def _condition(kind: str, holds: bool, message: str) -> Raw:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "message": message,
        "lastTransitionTime": stamp(NOW),
    }
