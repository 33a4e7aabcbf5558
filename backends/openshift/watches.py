"""What is watched of OpenShift beside Kubernetes' own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from backends.domain import ClusterRelease, NotPermitted, OlmOperator
from backends.feed import end
from backends.kubernetes.backend import Kubernetes
from backends.kubernetes.resources import EVENTS, Resource
from backends.kubernetes.watching import Watch
from backends.kubernetes.watchset import Scoped
from backends.openshift.objects import (
    CLUSTER_SERVICE_VERSIONS,
    CLUSTER_VERSIONS,
    INSTALL_PLANS,
    PACKAGES,
    SUBSCRIPTIONS,
    InstallPlan,
    ServiceVersion,
    Subscription,
    install_plan_of,
    operators_of,
    release_of,
    service_version_of,
    subscription_of,
)
from backends.openshift.scc import FAILED_CREATE, FailedCreate, failed_create_of

CREATES_FAILED = {"fieldSelector": f"reason={FAILED_CREATE}"}
"""The API server sends no other events."""

NETWORK_OPERATOR = "nvidia-network-operator"
"""The namespace that NVIDIA's documentation installs that operator in."""

T = TypeVar("T")


class OpenShiftWatches:
    """The cluster's release, OLM's objects of the namespaces that the GPU stack is installed in, and pods not made.

    OLM copies a ClusterServiceVersion into every namespace: those of a few namespaces are read, never all.
    """

    def __init__(self, kubernetes: Kubernetes) -> None:
        """Of its cluster; it is told of changes."""
        names, is_meant = kubernetes.namespaces_of_stack, kubernetes.is_meant
        self._api = kubernetes.api
        self._clock = kubernetes.clock
        self._tell = kubernetes.tell_again
        self._changed = asyncio.Event()
        self._waiting: asyncio.Event | None = None
        self._releases: Watch[ClusterRelease] = self._watch(CLUSTER_VERSIONS, release_of)
        self._subscriptions: Scoped[Subscription] = Scoped(
            lambda namespace, nudge: self._watch(SUBSCRIPTIONS, subscription_of, namespace, nudge),
            lambda: dict.fromkeys((*names(), NETWORK_OPERATOR)),
            is_meant,
        )
        self._failed_creates: Scoped[FailedCreate] = Scoped(
            lambda namespace, nudge: self._watch(EVENTS, failed_create_of, namespace, nudge, CREATES_FAILED),
            kubernetes.namespaces_to_try,
            is_meant,
        )
        self._parts: dict[str, tuple[Watch[InstallPlan], Watch[ServiceVersion], list[asyncio.Task[None]]]] = {}

    @property
    def release(self) -> ClusterRelease | None:
        return next(iter(self._releases.objects.values()), None)

    @property
    def operators(self) -> tuple[OlmOperator, ...]:
        """Of the namespaces that were read: of the others nobody knows yet what is installed."""
        read = {name for name, (plans, csvs, _) in self._parts.items() if plans.settled and csvs.settled}
        plans = [plan for watch, _, _ in self._parts.values() for plan in watch.objects.values()]
        versions = [version for _, watch, _ in self._parts.values() for version in watch.objects.values()]
        return operators_of([each for each in self._subscriptions.objects if each.namespace in read], plans, versions)

    @property
    def failed_creates(self) -> tuple[FailedCreate, ...]:
        """The events of controllers that could not make a pod."""
        return tuple(self._failed_creates.objects)

    @property
    def settled(self) -> bool:
        parts = [watch for plans, versions, _ in self._parts.values() for watch in (plans, versions)]
        known = self._subscriptions.settled and self._wanted() == self._parts.keys()
        known = known and self._failed_creates.settled
        return self._releases.settled and known and all(watch.settled for watch in parts)

    def denied(self) -> tuple[NotPermitted, ...]:
        parts: list[Watch[Any]] = [watch for plans, csvs, _ in self._parts.values() for watch in (plans, csvs)]
        single = [self._releases, *parts]
        # Of events the one right that shows them all is enough to name; where one namespace shows them they are read.
        events = (each for each in self._failed_creates.denied if each.permission.namespace is None)
        return (
            *(watch.denied for watch in single if watch.denied is not None),
            *self._subscriptions.denied,
            *events,
        )

    async def run(self) -> None:
        """Until it is cancelled."""
        tasks = [
            asyncio.create_task(self._releases.run(), name="watch clusterversions"),
            asyncio.create_task(self._subscriptions.run(), name="watch subscriptions"),
            asyncio.create_task(self._failed_creates.run(), name="watch failed creates"),
        ]
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._adjust()
        finally:
            await end([*tasks, *(task for _, _, started in self._parts.values() for task in started)])

    async def until_settled(self, seconds: float) -> None:
        """Until all was read once or is known not to be readable, at most `seconds`."""
        waited = asyncio.Event()
        self._waiting = waited
        try:
            async with asyncio.timeout(seconds):
                while not self.settled:
                    waited.clear()
                    await waited.wait()
        except TimeoutError:
            return

    def _wanted(self) -> set[str]:
        return {each.namespace for each in self._subscriptions.objects if each.package in PACKAGES}

    def _adjust(self) -> None:
        wanted = self._wanted()
        for gone in self._parts.keys() - wanted:
            for task in self._parts.pop(gone)[2]:
                task.cancel()
        for namespace in sorted(wanted - self._parts.keys()):
            plans = self._watch(INSTALL_PLANS, install_plan_of, namespace)
            versions = self._watch(CLUSTER_SERVICE_VERSIONS, service_version_of, namespace)
            started = [
                asyncio.create_task(run, name=f"watch OLM in {namespace}") for run in (plans.run(), versions.run())
            ]
            self._parts[namespace] = (plans, versions, started)

    def _watch(
        self,
        resource: Resource,
        keep: Callable[[Mapping[str, Any]], T],
        namespace: str | None = None,
        nudge: Callable[[], None] | None = None,
        selector: Mapping[str, str] | None = None,
    ) -> Watch[T]:
        def changed() -> None:
            if nudge is not None:
                nudge()
            self._changed.set()
            if self._waiting is not None:
                self._waiting.set()
            self._tell()

        return Watch(self._api, resource, keep, changed, self._clock, namespace=namespace, selector=selector)
