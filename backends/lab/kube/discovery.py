"""What a client asks before it knows the API: versions, groups, resources. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backends.lab.kube.kinds import REVIEWS, Kind

VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.4",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2025-08-13T00:00:00Z",
    "goVersion": "go1.24.5",
    "compiler": "gc",
    "platform": "linux/amd64",
}
"""What a server of that version says of itself; clients insist on every field."""
READ_WRITE = ["create", "delete", "get", "list", "patch", "update", "watch"]
AUTHORIZATION = "/apis/authorization.k8s.io/v1"


def review_kind(path: str) -> str | None:
    """The kind of an access review that may be posted to `path`."""
    group, _, plural = path.rstrip("/").rpartition("/")
    return REVIEWS.get(plural) if group == AUTHORIZATION else None


def document(path: str, kinds: Iterable[Kind]) -> dict[str, Any] | None:
    """The discovery document at `path`; None where there is none."""
    listed = tuple(kinds)
    path = path.rstrip("/")
    if path == "/version":
        return dict(VERSION)
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [_group(name, listed) for name in _groups(listed)],
        }
    if path in ("/healthz", "/livez", "/readyz"):
        return {"status": "ok"}
    parts = path.split("/")[1:]
    if parts[0] == "api" and len(parts) == 2:
        return _resources("", parts[1], listed)
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in _groups(listed):
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], listed)}
    if parts[0] == "apis" and len(parts) == 3:
        return _resources(parts[1], parts[2], listed)
    return None


def _groups(kinds: tuple[Kind, ...]) -> list[str]:
    return [*dict.fromkeys(kind.group for kind in kinds if kind.group), "authorization.k8s.io"]


def _versions(group: str, kinds: tuple[Kind, ...]) -> list[str]:
    return list(dict.fromkeys(kind.version for kind in kinds if kind.group == group)) or ["v1"]


def _group(group: str, kinds: tuple[Kind, ...]) -> dict[str, Any]:
    versions = [{"groupVersion": f"{group}/{each}", "version": each} for each in _versions(group, kinds)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resources(group: str, version: str, kinds: tuple[Kind, ...]) -> dict[str, Any] | None:
    if group == "authorization.k8s.io":
        listed = [_resource(plural, kind, False, ["create"]) for plural, kind in REVIEWS.items()]
    else:
        own = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
        listed = [_resource(kind.plural, kind.kind, kind.namespaced, READ_WRITE) for kind in own]
        listed += [
            _resource(f"{kind.plural}/{sub}", kind.kind, kind.namespaced, ["get", "patch", "update"])
            for kind in own
            for sub in kind.subresources
        ]
    if not listed:
        return None
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}


def _resource(plural: str, kind: str, namespaced: bool, verbs: list[str]) -> dict[str, Any]:
    return {"name": plural, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": verbs}
