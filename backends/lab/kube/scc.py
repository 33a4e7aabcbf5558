"""Work that OpenShift's SCCs refuse: a Deployment whose ReplicaSet makes no pod, and the event that tells so."""

from __future__ import annotations

from typing import Any

from backends.lab.kube import objects
from backends.lab.kube.kinds import KUBERNETES
from backends.lab.kube.store import Store, rfc3339

Object = dict[str, Any]

KINDS = {kind.plural: kind for kind in KUBERNETES}
SPACE, NAME, REPLICAS = "team-search", "llama-guard", 2
REPLICA_SET = f"{NAME}-6d4c9f7b5d"
EVENT = f"{REPLICA_SET}.17f3a5c2e90b41d8"
RETRY_SECONDS = 960.0
"""The ReplicaSet controller waits no longer than some 17 minutes."""
USABLE, UNUSABLE = (
    "restricted-v2",
    (
        "anyuid", "restricted", "nonroot-v2", "nonroot", "hostmount-anyuid", "machine-api-termination-handler",
        "hostnetwork-v2", "hostnetwork", "hostaccess", "nvidia-dcgm-exporter", "nvidia-driver", "node-exporter",
        "privileged",
    ),
)  # fmt: skip
OBJECTIONS = (
    ".containers[0].privileged: Invalid value: true: Privileged containers are not allowed",
    ".containers[0].runAsUser: Invalid value: 0: must be in the ranges: [1000760000, 1000769999]",
)


def message() -> str:
    """As the API server answers the controller: what cannot be used stands before and after what objects."""
    unusable = [f'provider "{name}": Forbidden: not usable by user or serviceaccount' for name in UNUSABLE]
    objections = [f"provider {USABLE}: {said}" for said in OBJECTIONS]
    listed = ", ".join((unusable[0], *objections, *unusable[1:]))
    why = f"unable to validate against any security context constraint: [{listed}]"
    return f'Error creating: pods "{REPLICA_SET}-" is forbidden: {why}'


def refuse(store: Store, now: float) -> None:
    """The Deployment as somebody has just brought it from a cluster without SCCs."""
    template = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {
            "containers": [
                {
                    "name": "server",
                    "image": "registry.example/llm/guard:1.4",
                    "securityContext": {"privileged": True, "runAsUser": 0},
                    "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}},
                }
            ]
        },
    }
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": NAME}}, "template": template}
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message()}
    status = {"replicas": 0, "conditions": [failure]}
    deployment = store.create(
        KINDS["deployments"], {"metadata": {"name": NAME, "namespace": SPACE}, "spec": spec, "status": status}
    )
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": NAME,
        "uid": deployment["metadata"]["uid"],
        "controller": True,
    }
    metadata = {"name": REPLICA_SET, "namespace": SPACE, "ownerReferences": [owner]}
    replica_set = store.create(KINDS["replicasets"], {"metadata": metadata, "spec": spec, "status": status})
    told = objects.event(
        SPACE, EVENT, replica_set, reason="FailedCreate", said=message(), kind="Warning", at=rfc3339(now), count=14
    )
    source = {"component": "replicaset-controller"}
    store.create(KINDS["events"], {**told, "source": source, "reportingComponent": source["component"]})


def retry(store: Store, now: float) -> None:
    """The controller tries again in vain, as long as the event is there."""
    told = store.find(KINDS["events"], SPACE, EVENT)
    if told is not None and told["lastTimestamp"] <= rfc3339(now - RETRY_SECONDS):
        store.update(
            KINDS["events"],
            SPACE,
            EVENT,
            lambda each: each.update(lastTimestamp=rfc3339(now), count=each["count"] + 1),
        )


def admit(store: Store) -> None:
    """Takes it all away, as who withdraws the Deployment."""
    for plural, name in (("events", EVENT), ("replicasets", REPLICA_SET), ("deployments", NAME)):
        store.delete(KINDS[plural], SPACE, name)
