"""The cluster's objects, their versions, and what happened to them lately."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backends.feed import Clock
from backends.lab.kube.kinds import Kind
from backends.lab.kube.status import Refusal, conflict, gone, not_found

EVENTS_KEPT = 4096
"""Changes a watch can still be started behind; older ones are 410 Gone."""

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the watch log."""

    version: int
    kind: Kind
    what: str
    """ADDED, MODIFIED or DELETED."""
    object: Object
    before: Object | None = None
    """What it was until then; None for a new one."""


class Store:
    """All objects by kind, namespace and name. One counter versions everything, as etcd does."""

    def __init__(self, clock: Clock, kept: int = EVENTS_KEPT) -> None:
        self.version = 1
        self.oldest = 1
        """The oldest version a watch can start behind."""
        self._clock = clock
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {}
        self._log: deque[Change] = deque(maxlen=kept)
        self._news = asyncio.Event()
        self._on_change: list[Callable[[Change], None]] = []

    def listen(self, listener: Callable[[Change], None]) -> None:
        """`listener` hears each change at once; it may change the store again."""
        self._on_change.append(listener)

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """The object itself, to read only; raises Refusal 404."""
        found = self._objects.get(kind, {}).get((namespace or "", name))
        if found is None:
            raise not_found(kind.plural, name, kind.group)
        return found

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        return self._objects.get(kind, {}).get((namespace or "", name))

    def select(self, kind: Kind, namespace: str | None = None) -> Iterator[Object]:
        """In the order of namespace and name; of every namespace without one."""
        for (space, _), each in sorted(self._objects.get(kind, {}).items()):
            if namespace is None or space == namespace:
                yield each

    def create(self, kind: Kind, body: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """A new object; raises Refusal 409 when the name is taken."""
        each = copy.deepcopy(dict(body))
        metadata = each.setdefault("metadata", {})
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise Refusal(422, "Invalid", f"{kind.kind} has no name")
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        key = (metadata.get("namespace") or "" if kind.namespaced else "", metadata["name"])
        if key in self._objects.get(kind, {}):
            raise Refusal(409, "AlreadyExists", f'{kind.plural} "{metadata["name"]}" already exists')
        each["apiVersion"], each["kind"] = kind.api_version, kind.kind
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", self.timestamp())
        metadata.setdefault("generation", 1)
        return each if dry_run else self._put(kind, key, each, "ADDED")

    def replace(
        self, kind: Kind, each: Object, *, status: bool = False, expected: str | None = None, dry_run: bool = False
    ) -> Object:
        """Stores a changed object; with `status` its status alone, else all but the status.

        `expected` is the version the writer has seen. Raises Refusal 404 or 409.
        """
        metadata = each["metadata"]
        key = (metadata.get("namespace") or "" if kind.namespaced else "", metadata["name"])
        old = self.get(kind, key[0], key[1])
        if expected is not None and expected != old["metadata"]["resourceVersion"]:
            raise conflict(kind.plural, key[1])
        fresh = copy.deepcopy(each)
        if status:
            fresh = {**copy.deepcopy(old), "status": fresh.get("status", {})}
        elif "status" in kind.subresources and "status" in old:
            fresh["status"] = copy.deepcopy(old["status"])
        fresh["metadata"]["uid"] = old["metadata"]["uid"]
        fresh["metadata"]["creationTimestamp"] = old["metadata"]["creationTimestamp"]
        if fresh.get("spec") != old.get("spec"):
            fresh["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        if _same(fresh, old):
            return old
        return fresh if dry_run else self._put(kind, key, fresh, "MODIFIED")

    def update(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        change: Callable[[Object], None],
        *,
        at: float | None = None,
    ) -> Object:
        """What the cluster itself does to an object: `change` edits a copy, status and all.

        `at`, in seconds since the epoch, is when it is said to have been written; None: now.
        """
        old = self.get(kind, namespace, name)
        fresh = copy.deepcopy(old)
        change(fresh)
        return old if _same(fresh, old) else self._put(kind, (namespace or "", name), fresh, "MODIFIED", at)

    def delete(self, kind: Kind, namespace: str | None, name: str, *, dry_run: bool = False) -> Object:
        """Raises Refusal 404."""
        each = self.get(kind, namespace, name)
        if dry_run:
            return each
        del self._objects[kind][namespace or "", name]
        self.version += 1
        last = copy.deepcopy(each)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._tell(Change(self.version, kind, "DELETED", last, each))
        return last

    def changes_after(self, version: int, kind: Kind) -> list[Change]:
        """What happened to `kind` after `version`; raises Refusal 410 when that is no longer known."""
        if version < self.oldest:
            raise gone(version, self.oldest)
        return [change for change in self._log if change.version > version and change.kind is kind]

    def compact(self) -> None:
        """Forgets all changes so far: a watch that starts behind them is 410 Gone."""
        self._log.clear()
        self.oldest = self.version + 1
        self.version += 1
        self._wake()

    async def wait(self) -> None:
        """Until something changes."""
        await self._news.wait()

    def timestamp(self) -> str:
        """Now, as the API writes times."""
        return rfc3339(self._clock.now())

    def _put(self, kind: Kind, key: tuple[str, str], each: Object, what: str, at: float | None = None) -> Object:
        self.version += 1
        old = self._objects.get(kind, {}).get(key)
        written = each["metadata"]["creationTimestamp"] if old is None else self.timestamp()
        written = written if at is None else rfc3339(at)
        each["metadata"]["managedFields"] = _managed(each["metadata"], (old or {}).get("metadata", {}), written)
        each["metadata"]["resourceVersion"] = str(self.version)
        self._objects.setdefault(kind, {})[key] = each
        self._tell(Change(self.version, kind, what, each, old))
        return each

    def _tell(self, change: Change) -> None:
        if len(self._log) == self._log.maxlen:
            self.oldest = self._log[0].version
        self._log.append(change)
        self._wake()
        for listener in self._on_change:
            listener(change)

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def rfc3339(at: float) -> str:
    """Seconds since the epoch as the API writes them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _managed(metadata: Object, before: Object, at: str) -> list[Object]:
    """When each label was written last: as on a real server the one time that is known of a label.

    Labels that were written together have one entry; whoever wrote them is not told apart.
    """
    labels, former = metadata.get("labels") or {}, before.get("labels") or {}
    written = {f"f:{key}" for key in labels if labels[key] != former.get(key)}
    kept = []
    for entry in before.get("managedFields") or ():
        own: Object = {key: {} for key in _labels_of(entry) if key not in written and key.removeprefix("f:") in labels}
        if own:
            kept.append({**entry, "fieldsV1": {"f:metadata": {"f:labels": own}}})
    if written:
        fields: Object = {"f:metadata": {"f:labels": {key: {} for key in sorted(written)}}}
        kept.append({"manager": "lab", "operation": "Update", "time": at, "fieldsType": "FieldsV1", "fieldsV1": fields})
    return kept


def _labels_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
    return found


def _same(fresh: Object, old: Object) -> bool:
    """But for what only a change moves."""
    return _bare(fresh) == _bare(old)


def _bare(each: Object) -> Object:
    """Without what the store itself writes."""
    return {**each, "metadata": {**each["metadata"], "resourceVersion": "", "managedFields": None}}
