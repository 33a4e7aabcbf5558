"""Which containers changed, of what an engine's stream of events says: gathered until somebody reads them. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from backends.domain.workload import Workload

ACTIONS = frozenset(
    {"create", "start", "restart", "die", "stop", "oom", "pause", "unpause", "rename", "destroy"}
    | {"died", "remove", "cleanup"}  # Podman's own words for die and destroy, and what comes between them
)
"""What changes what a `Workload` shows (Engine API, `GET /events`).

Left out: exec_* and health_status, which a health check sends several times a minute; kill, a signal whose effect is
told by die; update, which changes limits and the restart policy; attach, copy, export, resize, top and the rest.
"""
FILTERS: dict[str, list[str]] = {"type": ["container"], "event": sorted(ACTIONS)}
CHANGED_LIMIT = 512
"""Ids that are held for the next reading; after more of them everything is read."""


def changed_container(event: Any) -> str | None:
    """The id of the container that `event` is a change of; None for an event of another kind.

    The engine was asked for `FILTERS`, which an old one or one behind a proxy may not heed.
    """
    if not isinstance(event, Mapping):
        return None
    action = event.get("Action") or event.get("status")
    if event.get("Type", "container") != "container" or not isinstance(action, str) or action not in ACTIONS:
        return None
    actor = event.get("Actor")
    identity = (actor.get("ID") if isinstance(actor, Mapping) else None) or event.get("id")
    return identity if isinstance(identity, str) else None


class Gathered:
    """The changes since they were last taken: bounded, however long nobody takes them."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self.news = asyncio.Event()
        """Set while there is something to take."""

    def add(self, event: Any) -> None:
        identity = changed_container(event)
        if identity is not None and len(self._ids) <= CHANGED_LIMIT:
            self._ids.add(identity)
            self.news.set()

    def take(self) -> frozenset[str] | None:
        """The ids; None when there were too many to hold, so that any container may have changed."""
        ids, self._ids = frozenset(self._ids), set()
        self.news.clear()
        return ids if len(ids) <= CHANGED_LIMIT else None


def to_inspect(listed: Collection[str], kept: Collection[str], changed: Collection[str] | None) -> list[str]:
    """Of the ids an engine lists, those whose kept reading no longer holds; `changed` None: all of them."""
    return [each for each in listed if changed is None or each in changed or each not in kept]


def merged(
    listed: Collection[str], kept: Mapping[str, Workload], asked: Collection[str], read: Mapping[str, Workload]
) -> dict[str, Workload]:
    """By id, in the engine's order: what was `read` of the `asked`, the rest as it was kept; the gone are dropped."""
    held = {each: item for each, item in kept.items() if each not in set(asked)} | dict(read)
    return {each: held[each] for each in listed if each in held}
