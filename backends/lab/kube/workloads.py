"""The pods of the simulated jobs, and who owns them. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from backends.lab.jobs import Job
from backends.lab.kube.kinds import KUBERNETES
from backends.lab.kube.store import Store, rfc3339

Object = dict[str, Any]


def owner(job: Job) -> tuple[str, Object]:
    """The plural and the object that owns a job's pods: a Job for training, a ReplicaSet for what serves."""
    metadata = {
        "name": job.owner if job.training else f"{job.owner}-{_hash(job.owner)}",
        "namespace": job.namespace,
        "uid": _uid("owner", job.namespace, job.owner),
        "labels": {"app": job.owner},
    }
    if job.training:
        return "jobs", {"metadata": metadata, "spec": {}, "status": {"active": 1}}
    parent = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": job.owner,
        "uid": _uid("deployment", job.namespace, job.owner),
        "controller": True,
    }
    return "replicasets", {"metadata": {**metadata, "ownerReferences": [parent]}, "spec": {}, "status": {}}


def deployment(job: Job) -> Object | None:
    """Of a job that serves."""
    if job.training:
        return None
    return {
        "metadata": {
            "name": job.owner,
            "namespace": job.namespace,
            "uid": _uid("deployment", job.namespace, job.owner),
            "labels": {"app": job.owner},
        },
        "spec": {"selector": {"matchLabels": {"app": job.owner}}},
        "status": {},
    }


def service(job: Job) -> Object:
    """In front of the pods of a job that serves."""
    return {
        "metadata": {"name": job.owner, "namespace": job.namespace},
        "spec": {"selector": {"app": job.owner}, "ports": [{"name": "http", "port": 8000}]},
        "status": {},
    }


BUDGETS: dict[str, tuple[str, int]] = {
    "triton-search": ("minAvailable", 1),
    "vllm-mistral-large": ("maxUnavailable", 0),
}
"""Owner -> what its PodDisruptionBudget says; others have none."""


def budget(job: Job) -> Object | None:
    """The PodDisruptionBudget over a job's pods; its status is counted by `budget_status`."""
    if job.owner not in BUDGETS:
        return None
    key, value = BUDGETS[job.owner]
    return {
        "metadata": {"name": job.owner, "namespace": job.namespace},
        "spec": {key: value, "selector": {"matchLabels": {"app": job.owner}}},
        "status": budget_status({key: value}, 0),
    }


HELD = "prompt-router"


def held_service(node: str, at: float) -> list[tuple[str, Object]]:
    """One pod without a second of its kind on `node`, and a budget that needs it: it may not be evicted."""
    name, namespace = HELD, "team-search"
    started, app = rfc3339(at), {"app": name}
    metadata = {"name": name, "namespace": namespace, "uid": _uid("deployment", namespace, name), "labels": app}
    above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": metadata["uid"], "controller": True}
    owner = {
        "name": f"{name}-{_hash(name)}",
        "namespace": namespace,
        "uid": _uid("owner", namespace, name),
        "labels": app,
    }
    refer = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": True,
    }
    image = "registry.example/llm/router:26.07"
    served = {
        "metadata": {
            "name": f"{owner['name']}-x7k2p",
            "namespace": namespace,
            "creationTimestamp": started,
            "labels": app,
            "ownerReferences": [refer],
        },
        "spec": {"nodeName": node, "containers": [{"name": "router", "image": image}]},
        "status": {
            "phase": "Running",
            "startTime": started,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": started}],
            "containerStatuses": [
                {"name": "router", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": started}}}
            ],
        },
    }
    return [
        ("deployments", {"metadata": metadata, "spec": {"selector": {"matchLabels": app}}, "status": {}}),
        ("replicasets", {"metadata": {**owner, "ownerReferences": [above]}, "spec": {}, "status": {}}),
        ("pods", served),
        (
            "poddisruptionbudgets",
            {
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": app}},
                "status": budget_status({"minAvailable": 1}, 1),
            },
        ),
    ]


def budget_status(spec: Object, healthy: int) -> Object:
    """As the disruption controller counts it for `healthy` pods, all of which were expected."""
    desired = spec.get("minAvailable", healthy - spec.get("maxUnavailable", 0))
    return {
        "disruptionsAllowed": max(0, healthy - desired),
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": healthy,
    }


def count_budgets(store: Store, jobs: Iterable[Job]) -> None:
    """The disruption controller's work: how many pods of each budget of the lab may go."""
    counts = Counter((job.namespace, job.owner) for job in jobs)
    kind = next(kind for kind in KUBERNETES if kind.plural == "poddisruptionbudgets")
    for each in list(store.select(kind)):
        space, name = each["metadata"]["namespace"], each["metadata"]["name"]
        if name in BUDGETS and each["spec"].get("selector") == {"matchLabels": {"app": name}}:
            status = budget_status(each["spec"], counts[space, name])
            store.update(kind, space, name, lambda each, s=status: each.update(status=s))  # type: ignore[misc]


def pod(job: Job) -> Object:
    plural, above = owner(job)
    started = rfc3339(job.started_at)
    resource = f"nvidia.com/mig-{job.profile}" if job.profile else "nvidia.com/gpu"
    wanted = {resource: str(len(job.gpus) or 1)} if job.asked else {}
    name = "trainer" if job.training else "server"
    return {
        "metadata": {
            "name": job.name,
            "namespace": job.namespace,
            "creationTimestamp": started,
            "labels": {"app": job.owner, "team": job.namespace, "user": job.user},
            "annotations": {"gpudeck.example/submitted-by": job.user},
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1" if plural == "jobs" else "apps/v1",
                    "kind": "Job" if plural == "jobs" else "ReplicaSet",
                    "name": above["metadata"]["name"],
                    "uid": above["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "nodeName": job.node,
            "containers": [
                {
                    "name": name,
                    "image": "registry.example/llm/runtime:26.07",
                    "command": job.command.split(" "),
                    "resources": {"limits": wanted, "requests": wanted},
                }
            ],
        },
        "status": {
            "phase": "Running",
            "startTime": started,
            "hostIP": "127.0.0.1",
            "qosClass": "BestEffort",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": started}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "containerStatuses": [
                {
                    "name": name,
                    "image": "registry.example/llm/runtime:26.07",
                    "imageID": "",
                    "containerID": f"containerd://{job.container_id}",
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": started}},
                    "lastState": {},
                }
            ],
        },
    }


def _uid(*parts: str) -> str:
    text = hashlib.blake2b("/".join(parts).encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=5).hexdigest()
