"""Asks the API server what this user may do, before a change is offered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from backends.domain import AccessReview, Permission, clean
from backends.kubernetes.api import READ_PATIENCE, Api
from backends.kubernetes.fields import table
from backends.kubernetes.resources import ACCESS_REVIEWS

AT_ONCE = 8


async def review(api: Api, permissions: Sequence[Permission]) -> tuple[AccessReview, ...]:
    """One SelfSubjectAccessReview for each right, in their order. Raises `GpudeckError`."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(permission: Permission) -> AccessReview:
        async with gate:
            answer = await api.send("POST", ACCESS_REVIEWS.path(), _question(permission), patience=READ_PATIENCE)
        status = table(answer, "status")
        reason = status.get("reason") or status.get("evaluationError")
        return AccessReview(permission, status.get("allowed") is True, clean(str(reason), 200) if reason else None)

    return tuple(await asyncio.gather(*(one(permission) for permission in permissions)))


def _question(permission: Permission) -> dict[str, Any]:
    resource, _, subresource = permission.resource.partition("/")
    plural, _, group = resource.partition(".")
    attributes = {
        "verb": permission.verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "namespace": permission.namespace or "",
        "name": permission.name or "",
    }
    return {
        "apiVersion": ACCESS_REVIEWS.group_version,
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
