"""The backend `openshift`: Kubernetes with what OpenShift adds."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Self

from backends.contract import Clock, Gone, GpudeckError, NotAllowed, SiteContext
from backends.domain import (
    AccessReview,
    Act,
    ApiRequest,
    Container,
    DrainPlan,
    Identity,
    LogBatch,
    LogQuery,
    LogSource,
    NodeControl,
    NotPermitted,
    Permission,
    PodControl,
    Route,
    SiteSpec,
    Stack,
    Workloads,
    plural,
)
from backends.feed import end
from backends.kubernetes.backend import Kubernetes
from backends.kubernetes.fields import entries, word
from backends.kubernetes.operator_state import NFD_NAMESPACES
from backends.kubernetes.resources import PROJECTS
from backends.kubernetes.support import supported
from backends.openshift.monitored import Monitored
from backends.openshift.objects import (
    CLUSTER_VERSIONS,
    operator_version,
    release_of,
)
from backends.openshift.refusals import Refusals
from backends.openshift.routes import ROUTES, THANOS, Routes, route_of
from backends.openshift.watches import OpenShiftWatches

SETTLE_SECONDS = 5.0
"""How long the first value waits for OLM."""
URL_SECONDS = 600.0
"""How often the route to the cluster's Prometheus is looked up anew."""
UNSERVED_SECONDS = 60.0
"""The same while it leads nowhere."""


class OpenShift:
    """One cluster. Everything that Kubernetes can do is done by Kubernetes."""

    name: ClassVar[str] = "openshift"
    summary: ClassVar[str] = "an OpenShift cluster: Kubernetes with OLM's operators, routes, projects and SCCs"

    def __init__(self, site: SiteSpec, clock: Clock) -> None:
        self.clock = clock
        self._kubernetes = Kubernetes(site, clock, platform=self.name, namespace_names=PROJECTS)
        self.api = self._kubernetes.api
        self._routes = Routes(self.api, clock, self._kubernetes.tell_again)
        self._monitored = Monitored(self.api, clock, self._kubernetes.tell_again)
        self._monitoring_url = site.kubernetes.monitoring_url
        """What the settings say; None: the route's."""
        self._monitoring: Route | None = None
        """As last read."""
        self._monitoring_denied: NotPermitted | None = None
        self._url_due: float | None = None
        """When it is to be looked up, by the monotonic clock; None: now."""

    @classmethod
    def open(cls, context: SiteContext) -> Self:
        return cls(context.site, context.clock)

    async def probe(self) -> str | None:
        """OpenShift's version; None on a cluster without its API groups."""
        listing = await self.api.get("/apis")
        groups = {word(group, "name") for group in entries(listing, "groups")}
        if CLUSTER_VERSIONS.group not in groups:
            return None
        try:
            release = release_of(await self.api.get(CLUSTER_VERSIONS.path(name="version")))
        except (NotAllowed, Gone):
            return "version not permitted"
        return release.version or release.desired or "version not told"

    async def identity(self) -> Identity:
        return await self._kubernetes.identity()

    async def close(self) -> None:
        await self._routes.close()
        await self._monitored.close()
        await self._kubernetes.close()

    async def stack(self) -> AsyncIterator[Stack]:
        watches = OpenShiftWatches(self._kubernetes)
        refusals = Refusals(self.api, self.clock, self._kubernetes.tell_again)
        running = asyncio.create_task(watches.run(), name="openshift watches")
        stacks = self._kubernetes.stack()
        try:
            last: Stack | None = None
            async for stack in stacks:
                if last is None:
                    await asyncio.gather(watches.until_settled(SETTLE_SECONDS), self._look_up_url())
                else:
                    await self._look_up_url()
                wait = SETTLE_SECONDS if last is None else 0.0
                await asyncio.gather(
                    refusals.look(watches.failed_creates, _spaces(stack), wait=wait),
                    self._monitored.look(self._url(), stack, wait=wait),
                )
                fresh = self._with_openshift(stack, watches, refusals)
                last = fresh if last is None or fresh != last else last
                yield last
        finally:
            await end([running])
            await refusals.close()
            await self._monitored.close()
            await stacks.aclose()  # type: ignore[attr-defined]

    async def workloads(self) -> AsyncIterator[Workloads]:
        stacks = self._kubernetes.workloads()
        try:
            last: Workloads | None = None
            async for workloads in stacks:
                await self._routes.look(workloads, wait=SETTLE_SECONDS if last is None else 0.0)
                fresh = self._routes.joined(workloads)
                last = fresh if last is None or fresh != last else last
                yield last
        finally:
            await self._routes.close()
            await stacks.aclose()  # type: ignore[attr-defined]

    async def monitoring_route(self) -> Route | None:
        """By which thanos-querier answers PromQL from outside; None without one. Raises NotAllowed and the like."""
        namespace, name = THANOS
        try:
            return route_of(await self.api.get(ROUTES.path(namespace, name)))
        except Gone:
            return None

    async def _look_up_url(self) -> None:
        """Keeps what was found while the route cannot be read."""
        if self._monitoring_url is not None:
            return
        now = self.clock.monotonic()
        if self._url_due is not None and now < self._url_due:
            return
        self._url_due = now + URL_SECONDS
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                self._monitoring, self._monitoring_denied = await self.monitoring_route(), None
        except NotAllowed:
            namespace, name = THANOS
            permission = ROUTES.permission("get", namespace, name)
            self._monitoring, self._monitoring_denied = None, NotPermitted(f"the route of {name}", permission)
        except (GpudeckError, TimeoutError):
            return
        if self._monitoring is not None and self._monitoring.problem is not None:
            self._url_due = now + UNSERVED_SECONDS

    def _url(self) -> str | None:
        """Where the cluster's monitoring answers; None: nowhere, or it is not known."""
        if self._monitoring_url is not None:
            return self._monitoring_url
        route = self._monitoring
        return None if route is None or route.problem is not None else route.url

    def logs(self, source: LogSource, query: LogQuery) -> AsyncIterator[LogBatch]:
        return self._kubernetes.logs(source, query)

    async def containers(self, source: LogSource) -> tuple[Container, ...]:
        return await self._kubernetes.containers(source)

    async def review(self, permissions: Sequence[Permission]) -> tuple[AccessReview, ...]:
        return await self._kubernetes.review(permissions)

    async def request(self, act: Act) -> ApiRequest:
        return await self._kubernetes.request(act)

    def follow_node(self, node: str) -> AsyncIterator[NodeControl]:
        return self._kubernetes.follow_node(node)

    def follow_pods(self, node: str, namespace: str | None = None) -> AsyncIterator[tuple[PodControl, ...]]:
        return self._kubernetes.follow_pods(node, namespace)

    async def restart_pod(self, namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        await self._kubernetes.restart_pod(namespace, name, uid=uid, dry_run=dry_run)

    async def cordon(self, node: str, on: bool, *, dry_run: bool = False) -> bool:
        return await self._kubernetes.cordon(node, on, dry_run=dry_run)

    async def drain_plan(self, node: str) -> DrainPlan:
        return await self._kubernetes.drain_plan(node)

    async def evict(self, namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        await self._kubernetes.evict(namespace, name, uid=uid, dry_run=dry_run)

    async def set_mig_layout(self, node: str, layout: str | None, *, dry_run: bool = False) -> str | None:
        return await self._kubernetes.set_mig_layout(node, layout, dry_run=dry_run)

    async def mig_layouts(self, node: str) -> tuple[str, ...]:
        return await self._kubernetes.mig_layouts(node)

    async def pause_driver_upgrade(self, node: str, paused: bool, *, dry_run: bool = False) -> bool:
        return await self._kubernetes.pause_driver_upgrade(node, paused, dry_run=dry_run)

    async def start_driver_upgrade(self, node: str, *, dry_run: bool = False) -> str:
        return await self._kubernetes.start_driver_upgrade(node, dry_run=dry_run)

    async def take_back_driver_upgrade(self, node: str, former: str, *, dry_run: bool = False) -> None:
        await self._kubernetes.take_back_driver_upgrade(node, former, dry_run=dry_run)

    def _with_openshift(self, stack: Stack, watches: OpenShiftWatches, refusals: Refusals) -> Stack:
        release = watches.release
        version = None if release is None else release.version
        operator = stack.operator_version or operator_version(watches.operators)
        route = self._monitoring
        unserved = None if route is None else route.problem
        problem = self._monitored.problem if unserved is None else f"route {'/'.join(THANOS)}: {unserved}"
        routes_denied = () if self._monitoring_denied is None else (self._monitoring_denied,)
        events = watches.failed_creates
        left = refusals.left_out(events)
        unread = (f"SCCs refuse {plural(left, 'more controller')} that nobody looked at",) if left else ()
        return dataclasses.replace(
            stack,
            cluster=release,
            monitoring_url=self._url(),
            monitoring_problem=problem,
            monitoring=self._monitored.told(stack),
            operator_version=operator,
            support=supported(operator, openshift=version),
            operators=watches.operators,
            refused=refusals.found(events, _spaces(stack)),
            notes=(*stack.notes, *unread),
            not_permitted=(
                *stack.not_permitted,
                *watches.denied(),
                *refusals.denied(),
                *routes_denied,
                *self._routes.denied(),
                *self._monitored.denied(),
            ),
        )


def _spaces(stack: Stack) -> frozenset[str]:
    """The namespaces of the GPU stack: the operator's and node feature discovery's."""
    return frozenset(space for space in (stack.operator_namespace, *NFD_NAMESPACES) if space is not None)
