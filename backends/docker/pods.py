"""Podman's `GET /libpod/pods/json`: which of its containers are in a pod. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.domain import clean

PATH = "/v4.0.0/libpod/pods/json"
"""Of Podman's own API, which wants its version in the path; 4 and later serve this one."""


def pods_of(answer: Any) -> dict[str, str]:
    """The pod's name by container id; what is said in another shape is left out."""
    found: dict[str, str] = {}
    for pod in answer if isinstance(answer, list) else ():
        name = pod.get("Name") if isinstance(pod, Mapping) else None
        containers = pod.get("Containers") if isinstance(pod, Mapping) else None
        if not isinstance(name, str) or not isinstance(containers, list):
            continue
        ids = (each.get("Id") for each in containers if isinstance(each, Mapping))
        found.update((identity, clean(name, 128)) for identity in ids if isinstance(identity, str))
    return found
