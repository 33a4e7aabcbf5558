"""What a request to the lab's Kubernetes API asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from backends.lab.kube import selectors
from backends.lab.kube.paths import Target
from backends.lab.kube.status import Refusal, bad_request
from backends.lab.kube.store import Object


def moment(stamp: str | None) -> float | None:
    """Seconds since the epoch, whole ones as a kubelet takes them; raises Refusal for what is no time."""
    if stamp is None:
        return None
    try:
        return float(int(datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC).timestamp()))
    except ValueError:
        raise bad_request(f"sinceTime {stamp[:40]!r} is no time") from None


def verb_of(request: web.Request, target: Target) -> str:
    if request.method == "GET":
        if target.name is not None:
            return "get"
        return "watch" if request.query.get("watch") in ("true", "1") else "list"
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(request.method)
    if verb is None or (verb != "create" and target.name is None):
        raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return verb


def scope(target: Target) -> str | None:
    return target.namespace if target.kind.namespaced else None


def match_of(query: Mapping[str, str]) -> selectors.Match:
    by_label = selectors.labels(query.get("labelSelector", ""))
    by_field = selectors.fields(query.get("fieldSelector", ""))
    return lambda each: by_label(each) and by_field(each)


def integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() else None


async def json_of(request: web.Request) -> Any:
    try:
        return json.loads(await request.text() or "{}")
    except ValueError:
        raise bad_request("the body of the request is no JSON") from None


async def body_of(request: web.Request) -> dict[str, Any]:
    body = await json_of(request)
    if not isinstance(body, dict):
        raise bad_request("the body of the request is no object")
    return body


def need_uid(found: Object, target: Target, options: Mapping[str, Any]) -> None:
    """`preconditions` of DeleteOptions; raises Refusal 409."""
    wanted = (options.get("preconditions") or {}).get("uid")
    if wanted is not None and wanted != found["metadata"]["uid"]:
        said = (
            f'Operation cannot be fulfilled on {target.kind.plural} "{target.name}": Precondition failed: UID in '
            f"precondition: {wanted}, UID in object meta: {found['metadata']['uid']}"
        )
        raise Refusal(409, "Conflict", said)


def is_dry_run(request: web.Request, options: Mapping[str, Any]) -> bool:
    return request.query.get("dryRun") == "All" or options.get("dryRun") == ["All"]


def container_of(pod: Object, named: str | None) -> str:
    spec = pod.get("spec", {})
    names = [each["name"] for each in (*spec.get("initContainers", ()), *spec.get("containers", ()))]
    own = [each["name"] for each in spec.get("containers", ())]
    if named is None:
        if len(own) != 1:
            raise bad_request(
                f"a container name must be specified for pod {pod['metadata']['name']}, choose one of: {own}"
            )
        return str(own[0])
    if named not in names:
        raise bad_request(f"container {named} is not valid for pod {pod['metadata']['name']}")
    return named
