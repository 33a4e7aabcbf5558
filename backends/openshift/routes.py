"""Under which names work is reached from outside: route -> Service -> its selector -> pods."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backends.contract import Clock, Gone, GpudeckError, NotAllowed
from backends.domain import NotPermitted, Route, Workload, Workloads
from backends.feed import end
from backends.kubernetes.api import Api
from backends.kubernetes.fields import MESSAGE_LIMIT, conditions_of, entries, labels_of, maps, table, text, word
from backends.kubernetes.resources import Resource

ROUTES = Resource("routes", "route.openshift.io")
SERVICES = Resource("services")
THANOS = ("openshift-monitoring", "thanos-querier")
FRESH_SECONDS = 300.0
AGAIN_SECONDS = 30.0
"""After this what could not be read is tried again."""
MOST_NAMESPACES = 64
"""Of those with work that asks for GPUs."""
MOST_OBJECTS = 500
"""Routes, and Services, that are read of one namespace."""
AT_ONCE = 4

Selector = Mapping[str, str]
Exposed = tuple[tuple[Route, tuple[Selector, ...]], ...]
"""Routes of a namespace with the selectors of the Services behind them."""


def route_of(raw: Mapping[str, Any]) -> Route:
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    ingresses = entries(status, "ingress")
    told = [each for ingress in ingresses for each in conditions_of(ingress) if each.type == "Admitted"]
    refused = next((each for each in told if each.status != "True"), None)
    admitted = any(each.status == "True" for each in told) if told else None
    why = () if admitted or refused is None else (refused.reason, refused.message)
    targets = (table(spec, "to"), *entries(spec, "alternateBackends"))
    named = (word(each, "name") for each in targets if each.get("kind", "Service") == "Service")
    return Route(
        namespace=word(metadata, "namespace"),
        name=word(metadata, "name"),
        host=next((word(ingress, "host") for ingress in ingresses), "") or word(spec, "host"),
        path=text(spec, "path", MESSAGE_LIMIT) or "",
        services=tuple(name for name in named if name),
        termination=(text(table(spec, "tls"), "termination") or "edge") if table(spec, "tls") else None,
        admitted=admitted,
        refusal=": ".join(part for part in why if part) or None,
    )


def exposed(routes: Iterable[Mapping[str, Any]], services: Iterable[Mapping[str, Any]]) -> Exposed:
    selectors = {
        word(table(raw, "metadata"), "name"): labels_of(table(table(raw, "spec"), "selector")) for raw in services
    }
    made = [route_of(raw) for raw in routes]
    found = ((each, tuple(filter(None, (selectors.get(name) for name in each.services)))) for each in made)
    return tuple(sorted(found, key=lambda pair: (pair[0].host, pair[0].path, pair[0].name)))


def routes_to(workload: Workload, known: Exposed) -> tuple[Route, ...]:
    """Those by which the pod is reached: it carries every label of a selector."""
    labels = dict(workload.labels)
    return tuple(
        route for route, selectors in known if any(selector.items() <= labels.items() for selector in selectors)
    )


class Routes:
    """Remembers the routes of the namespaces with GPU work; reads them again now and then, and then calls `changed`."""

    def __init__(self, api: Api, clock: Clock, changed: Callable[[], None]) -> None:
        self._api = api
        self._clock = clock
        self._changed = changed
        self._known: dict[str, tuple[float, Exposed]] = {}
        """Namespace -> when it was read, and what was."""
        self._denied: dict[tuple[str, str], NotPermitted] = {}
        """Resource and namespace -> the right to it."""
        self._made: dict[str, tuple[Workload, Workload]] = {}
        """uid -> a workload, and the same with its routes."""
        self._reading: asyncio.Task[None] | None = None

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        await end([reading])

    def denied(self) -> tuple[NotPermitted, ...]:
        """Of each resource the first: the others lack the same."""
        told: dict[str, NotPermitted] = {}
        for (resource, _), denied in sorted(self._denied.items(), key=lambda item: item[0]):
            told.setdefault(resource, denied)
        return tuple(told.values())

    async def look(self, workloads: Workloads, *, wait: float = 0.0) -> None:
        """Reads what was not read lately; waits for it up to `wait` seconds."""
        spaces = sorted({each.namespace for each in workloads.items if each.namespace and (each.gpus or each.claims)})
        wanted = spaces[:MOST_NAMESPACES]
        self._known = {space: known for space, known in self._known.items() if space in wanted}
        self._denied = {key: denied for key, denied in self._denied.items() if key[1] in wanted}
        now = self._clock.monotonic()
        due = [space for space in wanted if space not in self._known or now - self._known[space][0] >= FRESH_SECONDS]
        if due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(due), name="routes")
        if wait and self._reading is not None:
            await asyncio.wait([self._reading], timeout=wait)

    def joined(self, workloads: Workloads) -> Workloads:
        """`workloads`, each with its routes; one that has none, or did not change, is the same object as before."""
        items = tuple(self._with_routes(each) for each in workloads.items)
        self._made = {each.uid: (each, made) for each, made in zip(workloads.items, items, strict=True)}
        return dataclasses.replace(workloads, items=items)

    def _with_routes(self, workload: Workload) -> Workload:
        _, known = self._known.get(workload.namespace or "", (0.0, ()))
        routes = routes_to(workload, known) if known else ()
        if not routes:
            return workload
        former = self._made.get(workload.uid)
        if former is not None and former[0] is workload and former[1].routes == routes:
            return former[1]
        return dataclasses.replace(workload, routes=routes)

    async def _read(self, spaces: Iterable[str]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(space: str) -> bool:
            async with gate:
                return await self._read_one(space)

        if any(await asyncio.gather(*(one(space) for space in spaces))):
            self._changed()

    async def _read_one(self, space: str) -> bool:
        """Whether there is news; what cannot be read now stays as it was."""
        _, former = self._known.get(space, (0.0, ()))
        try:
            routes = await self._list(ROUTES, space)
            services = await self._list(SERVICES, space) if routes else []
        except GpudeckError:
            self._known[space] = (self._clock.monotonic() - FRESH_SECONDS + AGAIN_SECONDS, former)
            return False
        self._known[space] = (self._clock.monotonic(), exposed(routes, services))
        return former != self._known[space][1]

    async def _list(self, resource: Resource, space: str) -> list[Mapping[str, Any]]:
        """Empty where there is no such resource, or it may not be read."""
        try:
            listing = await self._api.get(resource.path(space), {"limit": MOST_OBJECTS})
        except Gone:
            return []
        except NotAllowed:
            what = f"{resource.qualified} of {space}"
            self._denied[resource.qualified, space] = NotPermitted(what, resource.permission("list", space))
            return []
        self._denied.pop((resource.qualified, space), None)
        return entries(listing, "items")
