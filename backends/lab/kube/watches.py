"""What the lab's Kubernetes API tells a watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from backends.lab.kube import selectors
from backends.lab.kube.kinds import Kind
from backends.lab.kube.paths import Target
from backends.lab.kube.requests import integer
from backends.lab.kube.status import Refusal, gone
from backends.lab.kube.store import Change, Object, Store

BOOKMARK_SECONDS = 15.0
WATCH_SECONDS = 300.0
"""The longest watch without `timeoutSeconds`."""


class Watches:
    """Those of `store` that run."""

    def __init__(self, store: Store) -> None:
        self.bookmark_seconds = BOOKMARK_SECONDS
        self._store = store
        self._cut = asyncio.Event()

    def cut(self) -> None:
        """Ends every watch that runs, as a restarted load balancer does."""
        cut, self._cut = self._cut, asyncio.Event()
        cut.set()

    async def events(
        self, query: Mapping[str, str], target: Target, match: selectors.Match, *, expired: bool = False
    ) -> AsyncIterator[bytes]:
        """The lines of one watch; `expired` ends it at once with an ERROR event that carries 410."""
        after = integer(query, "resourceVersion") or 0
        kind, version = target.kind, after or self._store.version
        if not after:
            for each in [each for each in self._store.select(kind, target.namespace) if match(each)]:
                yield _event("ADDED", each)
        if expired:
            yield _event("ERROR", gone(version, self._store.version).body)
            return
        ends = asyncio.get_running_loop().time() + float(integer(query, "timeoutSeconds") or WATCH_SECONDS)
        bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        cut = self._cut
        while True:
            try:
                changes = self._store.changes_after(version, kind)
            except Refusal as refusal:
                yield _event("ERROR", refusal.body)
                return
            for change in changes:
                version = change.version
                if target.namespace is None or change.object["metadata"].get("namespace") == target.namespace:
                    what = _as_seen(change, match)
                    if what is not None:
                        yield _event(what, change.object)
            left = ends - asyncio.get_running_loop().time()
            if left <= 0 or cut.is_set():
                return
            if not await _first(min(left, self.bookmark_seconds), self._store.wait(), cut.wait()):
                version = max(version, self._store.version)
                if bookmarks:
                    yield _event("BOOKMARK", _bookmark(kind, version))


def _as_seen(change: Change, match: selectors.Match) -> str | None:
    """What a change is to a watcher with a selector: an object that no longer matches is deleted for it."""
    known = change.before is not None and match(change.before)
    if change.what == "DELETED" or not match(change.object):
        return "DELETED" if known else None
    return "MODIFIED" if known else "ADDED"


def _event(what: str, each: Object) -> bytes:
    return json.dumps({"type": what, "object": each}, separators=(",", ":")).encode() + b"\n"


def _bookmark(kind: Kind, version: int) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
    }


async def _first(seconds: float, *waits: Any) -> bool:
    """Whether one of `waits` was over within `seconds`."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()
