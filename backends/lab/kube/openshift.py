"""What an OpenShift cluster has besides: its version, OLM's view of the operators, routes, projects. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backends.lab.jobs import TEAMS, Job
from backends.lab.kube.access import PUBLISHED
from backends.lab.kube.objects import namespace
from backends.lab.kube.workloads import service

Object = dict[str, Any]
CHANNEL, CSV, PREVIOUS_CSV = "v26.3", "gpu-operator-certified.v26.3.1", "gpu-operator-certified.v26.3.0"
MONITORED = "openshift.io/cluster-monitoring"
"""Label of a namespace whose ServiceMonitors are the cluster's."""
CERTIFICATES = ("default-ingress-cert", "oauth-serving-cert")
"""ConfigMaps by which the routers' certificates are verified: the ingress and the authentication operator's."""
NFD_CSV = "nfd.4.20.0-202510211040"


def cluster(space: str, at: str, *, waiting: bool) -> Iterator[tuple[str, Object]]:
    """Plural and object of all of it; `space` is the GPU Operator's, `waiting` leaves its upgrade unapproved."""
    yield "clusterversions", cluster_version(at)
    for each in ("openshift-nfd", "openshift-monitoring", PUBLISHED):
        yield "namespaces", namespace(each)
    for name, team in {team: user for user, team in sorted(TEAMS.items(), reverse=True)}.items():
        yield "projects", project(name, f"{name} ({team})")
    installed = PREVIOUS_CSV if waiting else CSV
    yield "subscriptions", subscription("gpu-operator-certified", space, CHANNEL, installed, CSV, waiting=waiting)
    yield "installplans", install_plan(space, CSV, approved=not waiting)
    yield "clusterserviceversions", csv(installed, space, at, "NVIDIA GPU Operator")
    yield "subscriptions", subscription("nfd", "openshift-nfd", "stable", NFD_CSV, NFD_CSV, waiting=False)
    yield "clusterserviceversions", csv(NFD_CSV, "openshift-nfd", at, "Node Feature Discovery Operator")
    yield "routes", route("thanos-querier", "openshift-monitoring", "thanos.apps.lab.example", "thanos-querier")


def router_certificate(name: str, pem: str) -> Object:
    return {"metadata": {"name": name, "namespace": PUBLISHED}, "data": {"ca-bundle.crt": pem}}


def cluster_version(at: str) -> Object:
    return {
        "metadata": {"name": "version"},
        "spec": {"channel": "stable-4.20", "clusterID": "00000000-0000-4000-8000-000000000000"},
        "status": {
            "desired": {"version": "4.20.4"},
            "history": [{"state": "Completed", "version": "4.20.4", "startedTime": at, "completionTime": at}],
            "conditions": [
                {"type": "Available", "status": "True", "lastTransitionTime": at, "message": "Done applying 4.20.4"},
                {"type": "Progressing", "status": "False", "lastTransitionTime": at, "message": "Cluster is at 4.20.4"},
                {"type": "Failing", "status": "False", "lastTransitionTime": at},
            ],
        },
    }


def subscription(name: str, space: str, channel: str, installed: str, current: str, *, waiting: bool) -> Object:
    state = "UpgradePending" if waiting else "AtLatestKnown"
    conditions = [{"type": "InstallPlanPending", "status": "True", "reason": "RequiresApproval"}] if waiting else []
    return {
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "name": name,
            "channel": channel,
            "source": "certified-operators" if name.startswith("gpu") else "redhat-operators",
            "sourceNamespace": "openshift-marketplace",
            "installPlanApproval": "Manual",
        },
        "status": {
            "state": state,
            "installedCSV": installed,
            "currentCSV": current,
            "installPlanRef": {"name": install_plan_name(current), "namespace": space},
            "conditions": conditions,
        },
    }


def install_plan_name(csv: str) -> str:
    return f"install-{csv.rpartition('.v')[2].replace('.', '')}"


def install_plan(space: str, csv: str, *, approved: bool) -> Object:
    return {
        "metadata": {"name": install_plan_name(csv), "namespace": space},
        "spec": {"approval": "Manual", "approved": approved, "clusterServiceVersionNames": [csv]},
        "status": {"phase": "Complete" if approved else "RequiresApproval"},
    }


def csv(name: str, space: str, at: str, display: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": space, "creationTimestamp": at},
        "spec": {"displayName": display, "version": name.partition(".v")[2] or name},
        "status": {
            "phase": "Succeeded",
            "reason": "InstallSucceeded",
            "message": "install strategy completed with no errors",
            "lastTransitionTime": at,
        },
    }


def project(name: str, display: str) -> Object:
    return {
        "metadata": {"name": name, "annotations": {"openshift.io/display-name": display}},
        "status": {"phase": "Active"},
    }


def served(job: Job) -> Iterator[tuple[str, Object]]:
    """Plural and object of the way in from outside; a training job has none."""
    if not job.training:
        yield "services", service(job)
        yield "routes", route(job.owner, job.namespace, f"{job.owner}-{job.namespace}.apps.lab.example", job.owner)


def route(name: str, space: str, host: str, service: str) -> Object:
    admitted = {"type": "Admitted", "status": "True"}
    return {
        "metadata": {"name": name, "namespace": space},
        "spec": {"host": host, "to": {"kind": "Service", "name": service}, "tls": {"termination": "reencrypt"}},
        "status": {"ingress": [{"host": host, "routerName": "default", "conditions": [admitted]}]},
    }
