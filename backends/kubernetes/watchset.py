"""The collections that the console watches at a cluster, each no further than the user's rights go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from backends.contract import Clock, GpudeckError
from backends.domain import KubernetesSpec, NotPermitted
from backends.feed import end
from backends.kubernetes.api import Api
from backends.kubernetes.fields import table, word
from backends.kubernetes.keeping import daemon_set_of, node_of, pod_of, policy_of
from backends.kubernetes.objects import LeanDaemonSet, LeanNode, LeanPod, LeanPolicy
from backends.kubernetes.resources import (
    CLUSTER_POLICIES,
    DAEMON_SETS,
    NAMESPACES,
    NODES,
    NVIDIA_DRIVERS,
    PODS,
    Resource,
)
from backends.kubernetes.stack import is_operator
from backends.kubernetes.watching import RECHECK_SECONDS, Sync, Watch

MOST_NAMESPACES = 500
"""Whose pods are watched one by one when those of the cluster may not be: each is a connection of its own."""
RECHECKS_A_SECOND = 2.0
"""At most, of namespaces where a collection is not permitted."""
NAMED_LEFT_OUT = 3
GRACE_SECONDS = 10.0
"""How long a lesser collection may keep the first value waiting."""
OUTAGE_SECONDS = 5.0
"""Nothing could be read for so long: what was read last is told as old."""
VERSION_SECONDS = 600.0
"""A cluster is upgraded while somebody looks at it: its version is asked again after so long."""
VERSION_RETRY_SECONDS = 10.0

V = TypeVar("V")
T = TypeVar("T")


class Scoped(Generic[V]):
    """A namespaced collection: of the whole cluster, else of each namespace where it is permitted."""

    def __init__(
        self,
        make: Callable[[str | None, Callable[[], None]], Watch[V]],
        names: Callable[[], Iterable[str]],
        is_meant: Callable[[str], bool],
    ) -> None:
        """`make(namespace, changed)` makes a watch; `names()` are the namespaces to try when the cluster is denied.

        Only of those that somebody meant it is told that they are denied too: the others are a guess, or one of all.
        """
        self._make = make
        self._names = names
        self._is_meant = is_meant
        self._left_out: tuple[str, ...] = ()
        """Namespaces that are not read, however much is permitted there."""
        self._changed = asyncio.Event()
        self._running = self._adjusted = False
        self._whole = make(None, self._changed.set)
        self._parts: dict[str, tuple[Watch[V], asyncio.Task[None]]] = {}

    @property
    def objects(self) -> Iterable[V]:
        for watch in self.watches:
            yield from watch.objects.values()

    @property
    def watches(self) -> list[Watch[V]]:
        return [self._whole, *(watch for watch, _ in self._parts.values())]

    @property
    def complete(self) -> bool:
        """Everything in the cluster is seen."""
        return self._whole.denied is None

    @property
    def read_of(self) -> frozenset[str] | None:
        """The namespaces that are seen; None: all."""
        if self.complete:
            return None
        read = (watch for watch in self.watches if watch.denied is None and watch.relists > 0)
        return frozenset(watch.namespace for watch in read if watch.namespace is not None)

    @property
    def settled(self) -> bool:
        return (self.complete or self._adjusted) and all(watch.settled for watch in self.watches)

    @property
    def denied(self) -> list[NotPermitted]:
        whole = self._whole.denied
        if whole is None:
            return []
        parts = (watch for watch in self.watches if watch.namespace is not None and self._is_meant(watch.namespace))
        return [self._with_left_out(whole), *(watch.denied for watch in parts if watch.denied is not None)]

    def _with_left_out(self, whole: NotPermitted) -> NotPermitted:
        if not self._left_out:
            return whole
        more = len(self._left_out) - NAMED_LEFT_OUT
        named = ", ".join(self._left_out[:NAMED_LEFT_OUT]) + (f" and {more} more" if more > 0 else "")
        return replace(whole, what=f"{whole.what} (beyond {MOST_NAMESPACES} namespaces not read: {named})")

    def adjust(self) -> None:
        """The namespaces to try are others. Not to be called by a watch of this collection: it may end that one."""
        if self._running:
            self._adjust()

    async def run(self) -> None:
        """Until it is cancelled."""
        whole = asyncio.create_task(self._whole.run(), name=f"watch {self._whole.resource.qualified}")
        self._running = True
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._adjust()
        finally:
            self._running = False
            await end([whole, *(task for _, task in self._parts.values())])

    def _adjust(self) -> None:
        names = [] if self.complete else list(self._names())
        wanted, self._left_out = set(names[:MOST_NAMESPACES]), tuple(names[MOST_NAMESPACES:])
        for gone in self._parts.keys() - wanted:
            self._parts.pop(gone)[1].cancel()
        for name in sorted(wanted - self._parts.keys()):
            watch = self._make(name, self._changed.set)
            task = asyncio.create_task(watch.run(), name=f"watch {watch.resource.qualified} in {name}")
            self._parts[name] = (watch, task)
        for watch, _ in self._parts.values():
            watch.recheck_seconds = max(RECHECK_SECONDS, len(wanted) / RECHECKS_A_SECOND)
        self._adjusted = not self.complete


class WatchSet:
    """Watched while somebody is `watching`; all start and end together."""

    def __init__(
        self,
        api: Api,
        spec: KubernetesSpec,
        clock: Clock,
        *,
        namespace_names: Resource = NAMESPACES,
        likely_namespaces: tuple[str, ...] = (),
    ) -> None:
        """`likely_namespaces` are tried when neither the cluster nor the list of namespaces may be read."""
        self.api = api
        self.spec = spec
        self.clock = clock
        self.version: str | None = None
        self._version_asked = False
        self._namespace_names = namespace_names
        self._likely = likely_namespaces
        self._readers = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._listeners: set[asyncio.Event] = set()
        self._make()

    def _make(self) -> None:
        self._operators: dict[str, None] = {}
        """Namespaces where the GPU Operator was seen, or a policy says that it is."""
        self.nodes: Watch[LeanNode] = self._watch(NODES, node_of)
        self.policies: Watch[LeanPolicy] = self._watch(CLUSTER_POLICIES, policy_of, on_object=self._on_policy)
        self.drivers: Watch[LeanPolicy] = self._watch(NVIDIA_DRIVERS, policy_of, on_object=self._on_policy)
        self.namespaces: Watch[str] = Watch(
            self.api, self._namespace_names, _name, self._namespaces_changed, self.clock
        )
        self.pods: Scoped[LeanPod] = self._scoped(PODS, pod_of, self.namespaces_to_try, self._on_pod)
        self.daemon_sets: Scoped[LeanDaemonSet] = self._scoped(DAEMON_SETS, daemon_set_of, self.namespaces_of_stack)

    def _watch(self, resource: Resource, keep: Callable[[Mapping[str, Any]], T], **more: Any) -> Watch[T]:
        return Watch(self.api, resource, keep, self.changed, self.clock, **more)

    def _scoped(
        self,
        resource: Resource,
        keep: Callable[[Mapping[str, Any]], T],
        names: Callable[[], list[str]],
        on_object: Callable[[T | None, T | None], None] | None = None,
    ) -> Scoped[T]:
        def make(namespace: str | None, changed: Callable[[], None]) -> Watch[T]:
            def both() -> None:
                changed()
                self.changed()

            return Watch(self.api, resource, keep, both, self.clock, namespace=namespace, on_object=on_object)

        return Scoped(make, names, self.is_meant)

    def _on_policy(self, _before: LeanPolicy | None, policy: LeanPolicy | None) -> None:
        if policy is not None and policy.namespace is not None and self._is_news(policy.namespace):
            self.pods.adjust()
            self.daemon_sets.adjust()

    def _on_pod(self, _before: LeanPod | None, pod: LeanPod | None) -> None:
        if pod is not None and is_operator(pod) and self._is_news(pod.namespace):
            self.daemon_sets.adjust()

    def _is_news(self, operator_in: str) -> bool:
        news = operator_in not in self._operators
        self._operators[operator_in] = None
        return news

    def is_meant(self, namespace: str) -> bool:
        """Somebody named it, or the GPU Operator is there."""
        return namespace in self._meant()

    def _meant(self) -> list[str]:
        named = (self.spec.gpu_operator_namespace, *self.spec.namespaces, *self._operators, self.api.namespace)
        return [name for name in named if name]

    def namespaces_of_stack(self) -> list[str]:
        """Where to look for the GPU stack when the cluster as a whole is denied: what was named, and what is likely."""
        return list(dict.fromkeys([*self._meant(), *self._likely]))

    def namespaces_to_try(self) -> list[str]:
        """Where to look for pods when the cluster as a whole is denied: those of the stack, then what is listed."""
        return list(dict.fromkeys([*self.namespaces_of_stack(), *sorted(self.namespaces.objects.values())]))

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Changes]:
        """Keeps the watches running; hears of their changes."""
        listener = asyncio.Event()
        self._listeners.add(listener)
        self._readers += 1
        if self._readers == 1:
            self._start()
        try:
            yield Changes(self, listener)
        finally:
            self._listeners.discard(listener)
            self._readers -= 1
            if not self._readers:
                await self.stop()

    async def stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        await end(tasks)

    def changed(self) -> None:
        for listener in self._listeners:
            listener.set()

    def _namespaces_changed(self) -> None:
        self.pods.adjust()
        self.changed()

    def watches(self) -> list[Watch[Any]]:
        return [self.nodes, self.policies, self.drivers, *self.pods.watches, *self.daemon_sets.watches]

    @property
    def settled(self) -> bool:
        """Everything was read once, or it is known why not."""
        single: list[Watch[Any]] = [self.nodes, self.policies, self.drivers]
        if not self.pods.complete:
            single.append(self.namespaces)
        collections = all(watch.settled for watch in single) and self.pods.settled and self.daemon_sets.settled
        return collections and self._version_asked

    @property
    def essentials_settled(self) -> bool:
        return self.nodes.settled and self.pods.settled

    def first_error(self) -> GpudeckError | None:
        """Why nodes and pods cannot be read, when each of them that was not read has failed."""
        essential: list[Watch[Any]] = [self.nodes, *self.pods.watches]
        unread = [watch for watch in essential if not watch.settled]
        errors = [watch.error for watch in unread if watch.error is not None]
        return errors[0] if errors and len(errors) == len(unread) else None

    def denied(self) -> tuple[NotPermitted, ...]:
        """What may not be read; a resource that does not matter here is left out."""
        single = (self.nodes, self.policies, self.drivers)
        return (
            *(watch.denied for watch in single if watch.denied is not None),
            *self.pods.denied,
            *self.daemon_sets.denied,
            *(watch.polled for watch in self.watches() if watch.polled is not None),
        )

    def troubles(self) -> tuple[str, ...]:
        """One sentence for each collection that could not be read at all, or not lately."""
        return tuple(
            f"{watch.resource.qualified} cannot be read: {watch.problem.message}"
            for watch in self.watches()
            if watch.state is Sync.RETRYING and watch.problem is not None
        )

    def outage(self) -> GpudeckError | None:
        """Why nothing at all can be read, once that has lasted; None while something can."""
        watches = [watch for watch in self.watches() if watch.state not in (Sync.ABSENT, Sync.NOT_PERMITTED)]
        if any(watch.error is None for watch in watches):
            return None
        since = max((watch.problem.at for watch in watches if watch.problem is not None), default=None)
        if since is None or self.clock.now() - since < OUTAGE_SECONDS:
            return None
        return watches[0].error

    def _start(self) -> None:
        # Made anew: what was read before nobody looked is old, and may be large.
        self._make()
        runs = (self.nodes.run(), self.policies.run(), self.drivers.run(), self.pods.run(), self.daemon_sets.run())
        self._tasks = [asyncio.create_task(run, name="kubernetes watch") for run in runs]
        self._tasks.append(asyncio.create_task(self._read_version(), name="kubernetes version"))
        self._tasks.append(asyncio.create_task(self._namespaces_when_needed(), name="kubernetes namespaces"))

    async def _namespaces_when_needed(self) -> None:
        heard = asyncio.Event()
        self._listeners.add(heard)
        try:
            while self.pods.complete:
                await heard.wait()
                heard.clear()
        finally:
            self._listeners.discard(heard)
        await self.namespaces.run()

    async def _read_version(self) -> None:
        while True:
            pause = VERSION_SECONDS
            try:
                version = word(await self.api.get("/version"), "gitVersion") or None
            except GpudeckError:
                # Nothing hangs on it: what was told last stays.
                version, pause = self.version, VERSION_RETRY_SECONDS
            if not self._version_asked or version != self.version:
                self._version_asked, self.version = True, version
                self.changed()
            await self.clock.sleep(pause)


class Changes:
    """What one reader hears of the collections."""

    def __init__(self, watch_set: WatchSet, listener: asyncio.Event) -> None:
        self._set = watch_set
        self._listener = listener

    async def settled(self) -> None:
        """Until everything was read once, or it is known why not. Raises when nothing can be read."""
        started = self._set.clock.monotonic()
        while True:
            if self._set.settled:
                return
            if self._set.essentials_settled:
                if self._set.clock.monotonic() - started > GRACE_SECONDS:
                    return
            elif (error := self._set.first_error()) is not None:
                raise error
            await self.wait(GRACE_SECONDS)

    async def wait(self, seconds: float) -> bool:
        """Until something changes, at most `seconds`; whether something did."""
        try:
            async with asyncio.timeout(seconds):
                await self._listener.wait()
        except TimeoutError:
            return False
        self._listener.clear()
        return True


def _name(raw: Mapping[str, Any]) -> str:
    return word(table(raw, "metadata"), "name")
