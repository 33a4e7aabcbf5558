"""The watch on a real API server, with a proxy between them that fails as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from backends.contract import Clock
from backends.domain import KubernetesSpec, Problem
from backends.feed import Backoff, SystemClock, end
from backends.kubernetes import watching
from backends.kubernetes.api import Api
from backends.kubernetes.keeping import pod_of
from backends.kubernetes.objects import LeanPod
from backends.kubernetes.resources import CLUSTER_POLICIES, PODS, Resource
from backends.kubernetes.watching import Sync, Watch
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.proxy import Fault, FaultProxy
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
WAIT_SECONDS = 20.0
NAMESPACE = "watched"


class NapClock(SystemClock):
    """Remembers how long it was asked to sleep, and naps instead."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))


class Watched:
    """A watch of the pods of one namespace, and whoever waits for what it knows."""

    def __init__(
        self, proxy: FaultProxy, server: KubeApiserver, *, user: str = "admin", clock: Clock | None = None
    ) -> None:
        self.clock = clock or NapClock()
        kubeconfig = server.kubeconfig(user, server=proxy.url)
        self.api = Api(KubernetesSpec(kubeconfig=kubeconfig), self.clock)
        self.changes = 0
        self.states: list[Sync] = []
        self._changed = asyncio.Event()
        self.seen: list[tuple[str | None, str | None]] = []
        self.watch: Watch[LeanPod] = self._make(PODS)

    def _make(self, resource: Resource) -> Watch[Any]:
        return Watch(
            self.api,
            resource,
            pod_of,
            self._note,
            self.clock,
            namespace=NAMESPACE,
            on_object=lambda before, after: self.seen.append((before and before.name, after and after.name)),
            backoff=Backoff(0.01, 0.05),
        )

    def _note(self) -> None:
        self.changes += 1
        self.states.append(self.watch.state)
        self._changed.set()

    @property
    def problem(self) -> Problem:
        """Of a watch that has one."""
        assert self.watch.problem is not None
        return self.watch.problem

    def denied(self) -> str | None:
        """The right that is missing."""
        return None if self.watch.denied is None else str(self.watch.denied.permission)

    @property
    def names(self) -> set[str]:
        return {pod.name for pod in self.watch.objects.values()}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Watched]:
        task = asyncio.create_task(self.watch.run())
        try:
            yield self
        finally:
            await end([task])
            await self.api.close()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def proxy(kube_server: KubeApiserver) -> AsyncIterator[FaultProxy]:
    made = FaultProxy(kube_server)
    async with made.serving():
        yield made


def pods(*names: str) -> list[dict[str, Any]]:
    return [objects.pod(name, namespace=NAMESPACE) for name in names]


async def test_it_lists_in_pages_and_then_watches(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PAGE", 3)
    await kube.create(*pods(*(f"p{number}" for number in range(8))))
    async with Watched(proxy, kube_server).running() as watched:
        await watched.until(lambda: watched.watch.state is Sync.LIVE)
        assert len(watched.names) == 8
        assert proxy.count("/pods", watch=False) == 3
        await proxy.until(lambda: proxy.count("/pods", watch=True) == 1)
        (added,) = await kube.create(*pods("late"))
        await watched.until(lambda: "late" in watched.names)
        await kube.patch(added, {"metadata": {"labels": {"a": "b"}}})
        await watched.until(lambda: any(pod.labels.get("a") == "b" for pod in watched.watch.objects.values()))
        await kube.delete(added)
        await watched.until(lambda: "late" not in watched.names)
        assert watched.seen[-1] == ("late", None)
        assert watched.watch.relists == 1


@pytest.mark.parametrize("then", ["cut", "end", "half"])
async def test_a_watch_that_breaks_is_resumed_where_it_was(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, then: str
) -> None:
    proxy.add(Fault("/pods", watch=True, after_events=1, then=then))
    async with Watched(proxy, kube_server).running() as watched:
        await proxy.until(lambda: proxy.count("/pods", watch=True) == 1)
        await kube.create(*pods("a"))
        await proxy.until(lambda: proxy.count("/pods", watch=True) >= 2)
        await kube.create(*pods("b"))
        await watched.until(lambda: watched.names == {"a", "b"})
        assert watched.watch.relists == 1
        await watched.until(lambda: watched.watch.state is Sync.LIVE)


async def test_a_410_in_the_middle_of_a_watch_lists_anew(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    await kube.create(*pods("a"))
    proxy.add(Fault("/pods", watch=True, after_events=1, then="gone"))
    async with Watched(proxy, kube_server).running() as watched:
        await proxy.until(lambda: proxy.count("/pods", watch=True) == 1)
        await kube.create(*pods("b"))
        await watched.until(lambda: watched.watch.relists == 2)
        assert watched.names == {"a", "b"}
        # What did not change is not told again.
        assert watched.seen.count((None, "a")) == 1


async def test_a_real_410_after_the_server_lost_its_history(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    await kube.create(*pods("a"))
    async with Watched(proxy, kube_server).running() as watched:
        await watched.until(lambda: watched.watch.state is Sync.LIVE)
        watched.watch._version = "1"
        held = proxy.add(Fault("/pods", watch=True, hold=asyncio.Event()))
        await asyncio.to_thread(kube_server.restart_apiserver)
        assert held.hold is not None
        held.hold.set()
        await kube.create(*pods("b"))
        await watched.until(lambda: watched.names == {"a", "b"} and watched.watch.state is Sync.LIVE)


async def test_an_expired_continuation_starts_the_list_again(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PAGE", 2)
    await kube.create(*pods("a", "b", "c"))
    first = proxy.add(Fault("/pods", times=1))  # the first page goes through
    second = proxy.add(Fault("/pods", times=1, status=410))
    async with Watched(proxy, kube_server).running() as watched:
        await watched.until(lambda: watched.watch.state is Sync.LIVE)
        assert watched.names == {"a", "b", "c"}
        assert (first.hits, second.hits, watched.watch.relists) == (1, 1, 1)


async def test_429_waits_as_long_as_the_server_asks(kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy) -> None:
    proxy.add(Fault("/pods", times=2, status=429, headers={"Retry-After": "7"}))
    async with Watched(proxy, kube_server).running() as watched:
        await watched.until(lambda: watched.watch.state is Sync.LIVE)
        assert isinstance(watched.clock, NapClock)
        waits = [seconds for seconds in watched.clock.slept if seconds >= 1]
        assert len(waits) == 2
        assert all(7 <= seconds <= 9 for seconds in waits)


async def test_5xx_backs_off_and_the_last_objects_stay(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    await kube.create(*pods("a"))
    proxy.add(Fault("/pods", watch=True, after_events=0, then="cut"))
    down = proxy.add(Fault("/pods", watch=True, times=3, status=503))
    async with Watched(proxy, kube_server).running() as watched:
        await watched.until(lambda: watched.watch.state is Sync.RETRYING)
        assert watched.names == {"a"}
        assert watched.problem.message
        await watched.until(lambda: down.hits == 3 and watched.watch.state is Sync.LIVE)
        assert watched.watch.problem is None
        assert watched.watch.relists == 1


async def test_an_answer_that_never_comes_is_given_up(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.kubernetes import api

    monkeypatch.setattr(api, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(api, "ANSWER_SECONDS", 0.3)
    proxy.add(Fault("/pods", hold=asyncio.Event()))
    async with Watched(proxy, kube_server).running() as watched:
        await watched.until(lambda: watched.watch.state is Sync.RETRYING)
        assert "does not answer in time" in watched.problem.message
        await watched.until(lambda: watched.watch.state is Sync.LIVE)


async def test_a_silent_watch_is_opened_again(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "WATCH_SECONDS", (1, 1))
    monkeypatch.setattr(watching, "SILENCE_SECONDS", 0.2)
    proxy.add(Fault("/pods", watch=True, after_events=0, then="silence"))
    async with Watched(proxy, kube_server).running() as watched:
        await proxy.until(lambda: proxy.count("/pods", watch=True) >= 2)
        await kube.create(*pods("a"))
        await watched.until(lambda: watched.names == {"a"})


async def test_a_watch_lives_through_the_server_s_time_limit_by_its_bookmarks(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "WATCH_SECONDS", (2, 2))
    async with Watched(proxy, kube_server).running() as watched:
        await proxy.until(lambda: proxy.count("/pods", watch=True) >= 3)
        assert watched.watch.relists == 1
        assert watched.watch.state is Sync.LIVE


async def test_watches_that_end_at_once_are_not_asked_for_in_a_loop(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    proxy.add(Fault("/pods", watch=True, times=4, after_events=0, then="end"))
    async with Watched(proxy, kube_server).running() as watched:
        await proxy.until(lambda: proxy.count("/pods", watch=True) >= 5)
        assert isinstance(watched.clock, NapClock)
        assert len(watched.clock.slept) >= 4


async def test_refused_credentials_are_loaded_again_once_for_all(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.kubernetes import credentials

    loads = 0
    load = credentials.load

    async def counted(*arguments: Any) -> Any:
        nonlocal loads
        loads += 1
        return await load(*arguments)

    monkeypatch.setattr(credentials, "load", counted)
    monkeypatch.setattr("backends.kubernetes.api.RENEW_AGAIN_SECONDS", 0.0)
    proxy.add(Fault("/nodes", times=3, status=401))
    api = Api(KubernetesSpec(kubeconfig=kube_server.kubeconfig(server=proxy.url)), SystemClock())
    await api.get("/version")
    await asyncio.gather(*(api.get("/api/v1/nodes") for _ in range(3)))
    await api.close()
    assert loads == 2


async def test_credentials_that_stay_refused_are_told_and_not_asked_for_in_a_loop(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    refusing = proxy.add(Fault("/pods", times=6, status=401))
    async with Watched(proxy, kube_server).running() as watched:
        await watched.until(lambda: watched.watch.problem is not None)
        assert watched.problem.code == "auth-refused"
        assert watched.problem.hint
        await watched.until(lambda: refusing.hits == 6 and watched.watch.state is Sync.LIVE)


async def test_a_token_that_is_exchanged_in_the_kubeconfig_is_taken_up(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `oc login`: the console runs on without a restart."""
    monkeypatch.setattr("backends.kubernetes.api.RENEW_AGAIN_SECONDS", 0.0)
    path = kube_server.kubeconfig("nobody", server=proxy.url)
    path.write_text(path.read_text().replace("nobody-token", "expired-token"))
    api = Api(KubernetesSpec(kubeconfig=path), SystemClock())
    with pytest.raises(Exception, match="does not accept the credentials"):
        await api.get("/version")
    kube_server.kubeconfig("nobody", server=proxy.url)
    assert (await api.get("/version"))["gitVersion"]
    await api.close()


async def test_what_is_forbidden_is_told_and_looked_at_again(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    await kube.create(*pods("a"))
    watched = Watched(proxy, kube_server, user="tenant")
    async with watched.running():
        await watched.until(lambda: watched.watch.state is Sync.NOT_PERMITTED)
        assert watched.denied() == f"list pods in {NAMESPACE}"
        assert watched.watch.settled
        assert isinstance(watched.clock, NapClock)
        assert watched.clock.slept[0] == watching.RECHECK_SECONDS
        await kube.grant("tenant", NAMESPACE, ["pods"], ["list", "watch"])
        await watched.until(lambda: watched.names == {"a"})
        assert watched.denied() is None
    await kube.revoke_all()


async def test_what_may_be_listed_and_not_watched_is_read_again_and_again(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    await kube.grant("tenant", NAMESPACE, ["pods"], ["list"])
    async with Watched(proxy, kube_server, user="tenant").running() as watched:
        await watched.until(lambda: watched.watch.polled is not None)
        assert watched.watch.polled is not None
        assert str(watched.watch.polled.permission) == f"watch pods in {NAMESPACE}"
        assert watched.denied() is None
        await kube.create(*pods("a"))
        await watched.until(lambda: watched.names == {"a"})
        assert watched.watch.relists > 1
    await kube.revoke_all()


async def test_a_resource_that_the_server_does_not_have_is_absent(
    kube: Admin, kube_server: KubeApiserver, proxy: FaultProxy
) -> None:
    watched = Watched(proxy, kube_server)
    watched.watch = watched._make(Resource("gpuclusters", "nvidia.com", "v1alpha1"))
    async with watched.running():
        await watched.until(lambda: watched.watch.state is Sync.ABSENT)
        assert watched.watch.settled
    assert CLUSTER_POLICIES.qualified == "clusterpolicies.nvidia.com"
