"""The backend `kubernetes`: the capabilities, wired to one API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import ClassVar, Self

from backends.contract import Clock, SiteContext
from backends.domain import (
    AccessReview,
    Act,
    ApiRequest,
    Container,
    DrainPlan,
    GpuLayout,
    Identity,
    LogBatch,
    LogQuery,
    LogSource,
    NodeControl,
    NotPermitted,
    Permission,
    PodControl,
    SiteSpec,
    Stack,
    Verb,
    Workloads,
)
from backends.feed import end
from backends.kubernetes import actions, drain, logs, requests
from backends.kubernetes import permissions as rights
from backends.kubernetes.api import Api
from backends.kubernetes.details import Details
from backends.kubernetes.fields import word
from backends.kubernetes.held import HeldDrains
from backends.kubernetes.mig_layouts import mig_layouts
from backends.kubernetes.node_state import is_gpu_node
from backends.kubernetes.objects import LeanPod
from backends.kubernetes.operator_state import NFD_NAMESPACES
from backends.kubernetes.owners import Owners
from backends.kubernetes.resources import NAMESPACES, Resource
from backends.kubernetes.stack import DEFAULT_NAMESPACES, Builder, Objects
from backends.kubernetes.watchset import Changes, WatchSet
from backends.kubernetes.workloads import Builder as WorkloadBuilder
from backends.kubernetes.workloads import relevant

QUIET_SECONDS = 0.2
"""After a change others are waited for: a burst of events is one value."""
APART_SECONDS = 1.0
"""Values are at least this far apart, however many events arrive."""
BEAT_SECONDS = 10.0
"""Without a change the same value is told again: it is as fresh as the watches are, and times run out meanwhile."""
DETAIL_SECONDS = 4.0
"""How long the first value waits for logs, events and owners."""


class Kubernetes:
    """One cluster. Connects when it is first asked for something."""

    name: ClassVar[str] = "kubernetes"
    summary: ClassVar[str] = "a Kubernetes cluster with NVIDIA's GPU Operator, through its API"

    def __init__(
        self,
        site: SiteSpec,
        clock: Clock,
        *,
        platform: str = "kubernetes",
        namespace_names: Resource = NAMESPACES,
    ) -> None:
        self.site = site
        self.api = Api(site.kubernetes, clock)
        self.clock = clock
        self._platform = platform
        self._watches = WatchSet(
            self.api,
            site.kubernetes,
            clock,
            namespace_names=namespace_names,
            likely_namespaces=(*DEFAULT_NAMESPACES, *NFD_NAMESPACES),
        )
        self._owners = Owners(self.api, clock)
        self._policy_version: str | None = None

    @classmethod
    def open(cls, context: SiteContext) -> Self:
        return cls(context.site, context.clock)

    async def probe(self) -> str | None:
        return word(await self.api.get("/version"), "gitVersion") or None

    async def identity(self) -> Identity:
        return await actions.identity(self.api)

    async def close(self) -> None:
        await self._watches.stop()
        await self.api.close()

    async def stack(self) -> AsyncIterator[Stack]:
        builder = Builder(self._platform, self.site.kubernetes.gpu_operator_namespace)
        async with self._watches.watching() as changes:
            details = Details(self.api, self.clock, self._watches.changed)
            drains = HeldDrains(self.api, self._owners, self.clock, self._watches.changed)
            try:
                await changes.settled()
                wait = DETAIL_SECONDS
                last: Stack | None = None
                while True:
                    # In a thread: with thousands of pods it takes longer than a frame.
                    built = await asyncio.to_thread(builder.build, self._objects(), self.clock.now())
                    fresh = await drains.fill(await details.fill(built, wait=wait), wait=wait)
                    last = fresh if last is None or fresh != last else last
                    yield last
                    wait = 0.0
                    await self._beat(changes)
            finally:
                await details.close()
                await drains.close()

    async def workloads(self) -> AsyncIterator[Workloads]:
        builder = WorkloadBuilder(self._platform)
        async with self._watches.watching() as changes:
            climbing: asyncio.Task[None] | None = None
            try:
                await changes.settled()
                wait = DETAIL_SECONDS
                last: Workloads | None = None
                while True:
                    pods, gpu_nodes = list(self._watches.pods.objects), self._gpu_nodes()
                    if climbing is None or climbing.done():
                        climbing = asyncio.create_task(self._climb(pods, gpu_nodes), name="owners of pods")
                    if wait:
                        await asyncio.wait([climbing], timeout=wait)
                    items = await asyncio.to_thread(builder.build, pods, gpu_nodes, self._owners.chain)
                    fresh = Workloads(items, self._denied())
                    last = fresh if last is None or fresh != last else last
                    yield last
                    wait = 0.0
                    await self._beat(changes)
            finally:
                if climbing is not None:
                    await end([climbing])

    def logs(self, source: LogSource, query: LogQuery) -> AsyncIterator[LogBatch]:
        return logs.tail(self.api, self.clock, source, query)

    async def containers(self, source: LogSource) -> tuple[Container, ...]:
        return await logs.containers_of(self.api, source)

    async def review(self, permissions: Sequence[Permission]) -> tuple[AccessReview, ...]:
        return await rights.review(self.api, permissions)

    async def request(self, act: Act) -> ApiRequest:
        version = await self._policy() if act.verb is Verb.EVICT else ""
        return requests.request_of(act, version).told

    def follow_node(self, node: str) -> AsyncIterator[NodeControl]:
        return actions.follow_node(self.api, self.clock, node)

    def follow_pods(self, node: str, namespace: str | None = None) -> AsyncIterator[tuple[PodControl, ...]]:
        return actions.follow_pods(self.api, self.clock, node, namespace)

    async def restart_pod(self, namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        await actions.restart_pod(self.api, namespace, name, uid=uid, dry_run=dry_run)

    async def cordon(self, node: str, on: bool, *, dry_run: bool = False) -> bool:
        return await actions.cordon(self.api, node, on, dry_run=dry_run)

    async def drain_plan(self, node: str) -> DrainPlan:
        return await drain.plan_drain(self.api, self._owners, node)

    async def evict(self, namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        await actions.evict(self.api, namespace, name, await self._policy(), uid=uid, dry_run=dry_run)

    async def _policy(self) -> str:
        """Version of the policy API, asked once."""
        if self._policy_version is None:
            self._policy_version = await drain.policy_version(self.api)
        return self._policy_version

    async def set_mig_layout(
        self,
        node: str,
        layout: str | None,
        *,
        only_from: Collection[str | None] | None = None,
        dry_run: bool = False,
    ) -> str | None:
        return await actions.set_mig_layout(self.api, node, layout, only_from=only_from, dry_run=dry_run)

    async def mig_layouts(self, node: str, like: Sequence[GpuLayout] = ()) -> tuple[str, ...]:
        return await mig_layouts(self.api, node, self.site.kubernetes.gpu_operator_namespace, like)

    async def pause_driver_upgrade(self, node: str, paused: bool, *, dry_run: bool = False) -> bool:
        return await actions.pause_driver_upgrade(self.api, node, paused, dry_run=dry_run)

    async def start_driver_upgrade(self, node: str, *, dry_run: bool = False) -> str:
        return await actions.start_driver_upgrade(self.api, node, dry_run=dry_run)

    async def take_back_driver_upgrade(self, node: str, former: str, *, dry_run: bool = False) -> None:
        await actions.take_back_driver_upgrade(self.api, node, former, dry_run=dry_run)

    def namespaces_of_stack(self) -> list[str]:
        """Where to look for it when the whole cluster may not be read."""
        return self._watches.namespaces_of_stack()

    def namespaces_to_try(self) -> list[str]:
        """Where to look for anybody's pods when the whole cluster may not be read."""
        return self._watches.namespaces_to_try()

    def is_meant(self, namespace: str) -> bool:
        """See `WatchSet.is_meant`."""
        return self._watches.is_meant(namespace)

    def tell_again(self) -> None:
        """Something beside Kubernetes changed: readers get a value again."""
        self._watches.changed()

    async def _beat(self, changes: Changes) -> None:
        """Until the next burst of changes has ended, or for one beat. Raises in an outage."""
        began = self.clock.monotonic()
        if await changes.wait(BEAT_SECONDS):
            await self.clock.sleep(max(QUIET_SECONDS, APART_SECONDS - (self.clock.monotonic() - began)))
        outage = self._watches.outage()
        if outage is not None:
            raise outage

    def _objects(self) -> Objects:
        watches = self._watches
        return Objects(
            nodes=tuple(watches.nodes.objects.values()),
            pods=tuple(watches.pods.objects),
            daemon_sets=tuple(watches.daemon_sets.objects),
            policies=(*watches.policies.objects.values(), *watches.drivers.objects.values()),
            pods_of=watches.pods.read_of,
            sets_of=watches.daemon_sets.read_of,
            version=watches.version,
            expected=frozenset(node.name for node in self.site.nodes),
            not_permitted=watches.denied(),
            troubles=watches.troubles(),
        )

    def _denied(self) -> tuple[NotPermitted, ...]:
        watches = self._watches
        nodes = () if watches.nodes.denied is None else (watches.nodes.denied,)
        return (*nodes, *watches.pods.denied, *self._owners.denied.values())

    def _gpu_nodes(self) -> frozenset[str]:
        return frozenset(node.name for node in self._watches.nodes.objects.values() if is_gpu_node(node))

    async def _climb(self, pods: list[LeanPod], gpu_nodes: frozenset[str]) -> None:
        """Learns the owners of the pods that are shown; tells when there is news."""
        shown = relevant(pods, gpu_nodes)
        if await self._owners.look_up((pod.namespace, pod.owner) for pod in shown if pod.owner is not None):
            self._watches.changed()
