"""The pods of the simulated jobs, and who owns them. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

from backends.lab.jobs import Job
from backends.lab.kube.store import rfc3339

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


def pod(job: Job) -> Object:
    plural, above = owner(job)
    started = rfc3339(job.started_at)
    resource = f"nvidia.com/mig-{job.profile}" if job.profile else "nvidia.com/gpu"
    wanted = {resource: str(len(job.gpus) or 1)}
    name = "trainer" if job.training else "server"
    return {
        "metadata": {
            "name": job.name,
            "namespace": job.namespace,
            "creationTimestamp": started,
            "labels": {"app": job.owner, "team": job.namespace},
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
