"""From a pod up to what a person deployed: Deployment, Job, StatefulSet, Notebook, workflow, whatever owns whatever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from backends.contract import Clock, Gone, GpudeckError, NotAllowed
from backends.domain import NotPermitted, Owner, clean
from backends.kubernetes.api import METADATA_ONLY, Api
from backends.kubernetes.fields import entries, table, word
from backends.kubernetes.keeping import owner_of
from backends.kubernetes.objects import OwnerRef
from backends.kubernetes.resources import Resource

DEEPEST = 6
AT_ONCE = 6
MOST_KNOWN = 20_000
AGAIN_SECONDS = 120.0
"""After this a failed look-up is tried again. A good one holds: the owner of an object does not change."""


class Owners:
    """Looks owners up once each, as metadata alone, and remembers them by uid."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._above: dict[str, OwnerRef | None] = {}
        """uid -> the controller of that object; None: it has none."""
        self._failed: dict[str, float] = {}
        self._kinds: dict[str, dict[str, Resource]] = {}
        """apiVersion -> kind -> its resource."""
        self.denied: dict[str, NotPermitted] = {}

    def chain(self, reference: OwnerRef | None) -> tuple[Owner, ...]:
        """The owners as far as they are known, the nearest first."""
        found: list[Owner] = []
        while reference is not None and len(found) < DEEPEST:
            found.append(Owner(reference.kind, reference.name))
            reference = self._above.get(reference.uid)
        return tuple(found)

    async def look_up(self, wanted: Iterable[tuple[str, OwnerRef]]) -> bool:
        """Follows each (namespace, controller) to its end; returns whether anything new was learnt."""
        gate = asyncio.Semaphore(AT_ONCE)
        todo = {reference.uid: (namespace, reference) for namespace, reference in wanted}
        if len(self._above) > MOST_KNOWN:
            self._above.clear()

        async def one(namespace: str, reference: OwnerRef) -> bool:
            async with gate:
                return await self._climb(namespace, reference)

        news = await asyncio.gather(*(one(*each) for each in todo.values()))
        return any(news)

    async def _climb(self, namespace: str, reference: OwnerRef | None) -> bool:
        news = False
        for _ in range(DEEPEST):
            if reference is None:
                break
            if reference.uid not in self._above:
                if not await self._learn(namespace, reference):
                    break
                news = True
            reference = self._above[reference.uid]
        return news

    async def _learn(self, namespace: str, reference: OwnerRef) -> bool:
        """Whether the owner of `reference` is known now."""
        if self._clock.monotonic() - self._failed.get(reference.uid, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return False
        try:
            self._above[reference.uid] = await self._owner_of(namespace, reference)
        except GpudeckError as error:
            if isinstance(error, NotAllowed):
                self._deny(namespace, reference)
            self._failed[reference.uid] = self._clock.monotonic()
            return False
        return True

    async def _owner_of(self, namespace: str, reference: OwnerRef) -> OwnerRef | None:
        resource = await self._resource(reference)
        raw = await self._api.get(resource.path(namespace, reference.name), accept=METADATA_ONLY)
        metadata = table(raw, "metadata")
        if word(metadata, "uid") != reference.uid:
            return None  # another object took the name: what owned the pod is gone
        return owner_of(metadata)

    async def _resource(self, reference: OwnerRef) -> Resource:
        version = reference.api_version
        if version not in self._kinds:
            group, _, name = version.rpartition("/")
            listing = await self._api.get(f"/apis/{version}" if group else f"/api/{version}")
            self._kinds[version] = {
                word(entry, "kind"): Resource(word(entry, "name"), group, name, bool(entry.get("namespaced")))
                for entry in entries(listing, "resources")
                if "/" not in word(entry, "name")
            }
        found = self._kinds[version].get(reference.kind)
        if found is None:
            raise Gone(f"the API server has no {clean(reference.kind, 64)} in {clean(version, 64)}")
        return found

    def _deny(self, namespace: str, reference: OwnerRef) -> None:
        resource = self._kinds.get(reference.api_version, {}).get(reference.kind)
        if resource is not None:
            permission = resource.permission("get", namespace)
            what = f"what owns the {resource.qualified} of {namespace}"
            self.denied[str(permission)] = NotPermitted(what, permission)
