"""A user of many namespaces and not of the cluster: what is read of them, what is left out, and that requests go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.domain import LogQuery, LogSource, Stack, Workloads
from backends.kubernetes import watchset
from backends.kubernetes.backend import Kubernetes
from backends.lab.kube.access import READ, Ask, User
from backends.lab.kube.logs import Container
from tests.contract.lab_server import KINDS, LabKube
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context, until
from tests.kube.server import token

NODE = "dgx01"
TEAMS = tuple(f"team-{number:03d}" for number in range(120))
"""Each is a watch: more than the connections that an HTTP client allows itself by default."""


class Tenant:
    """Reads namespaces, and pods and logs of `namespaces`; cordons nodes. Remembers what was asked."""

    def __init__(self, *namespaces: str) -> None:
        self._namespaces = namespaces
        self.asked: set[tuple[str, str, str | None]] = set()
        self._heard = asyncio.Event()

    def may(self, ask: Ask) -> bool:
        self.asked.add((ask.verb, ask.resource, ask.namespace))
        self._heard.set()
        if ask.resource in ("namespaces", "nodes"):
            return ask.verb in READ if ask.resource == "namespaces" else ask.verb in ("get", "patch")
        return ask.verb in READ and ask.namespace in self._namespaces

    async def has_asked(self, *asks: tuple[str, str, str | None]) -> None:
        async with asyncio.timeout(30):
            while not self.asked.issuperset(asks):
                self._heard.clear()
                await self._heard.wait()


class Site:
    def __init__(self, server: LabKube, admin: Admin) -> None:
        self.server, self.admin = server, admin

    async def fill(self, *namespaces: str) -> None:
        """One pod with a GPU in each."""
        pods = (objects.pod("work", node=NODE, namespace=each, gpus={"nvidia.com/gpu": 1}) for each in namespaces)
        await self.admin.create(objects.node(NODE), *pods)

    @contextlib.asynccontextmanager
    async def opened(self, *namespaces: str) -> AsyncIterator[Kubernetes]:
        """As the tenant, with `namespaces` in the settings."""
        backend = Kubernetes.open(context(self.server.kubeconfig("tenant"), namespaces=namespaces))
        try:
            yield backend
        finally:
            await backend.close()


@contextlib.asynccontextmanager
async def serving(directory: Path, tenant: Tenant) -> AsyncIterator[Site]:
    user = User("tenant", token("tenant"), tenant.may)
    async with LabKube(directory, KINDS["kubernetes"], (user,)).serving() as server:
        admin = Admin(server.kubeconfig())
        try:
            yield Site(server, admin)
        finally:
            await admin.close()


async def first_workloads(backend: Kubernetes) -> Workloads:
    async with contextlib.aclosing(backend.workloads()) as values:  # type: ignore[type-var]
        return await until(values, lambda _: True)


async def first_stack(backend: Kubernetes) -> Stack:
    async with contextlib.aclosing(backend.stack()) as values:  # type: ignore[type-var]
        return await until(values, lambda _: True)


async def test_a_log_and_a_cordon_answer_beside_the_watches_of_many_namespaces(tmp_path: Path) -> None:
    tenant = Tenant(*TEAMS)
    async with serving(tmp_path, tenant) as site, site.opened() as backend:
        await site.fill(*TEAMS)
        site.server.logs.write(Container(TEAMS[7], "work", "main"), 1_764_000_000.0, "at work")
        async with contextlib.aclosing(backend.workloads()) as values:  # type: ignore[type-var]
            workloads = await until(values, lambda found: len(found.items) == len(TEAMS))
            await tenant.has_asked(*(("watch", "pods", each) for each in TEAMS))
            source = LogSource("work", TEAMS[7], ("main",))
            batches = [batch async for batch in backend.logs(source, LogQuery(follow=False))]
            assert await backend.cordon(NODE, True)
    assert [line.text for batch in batches for line in batch.lines] == ["at work"]
    assert {str(denied.permission) for denied in workloads.not_permitted} == {"list nodes", "list pods"}


async def test_daemon_sets_are_looked_for_where_the_gpu_stack_is_and_not_in_every_namespace(tmp_path: Path) -> None:
    tenant = Tenant("odd-place", "team-a", "team-b")
    async with serving(tmp_path, tenant) as site, site.opened("team-b") as backend:
        await site.fill("team-a", "team-b")
        operator = objects.pod("gpu-operator-7d", namespace="odd-place", labels={"app": "gpu-operator"})
        await site.admin.create(operator)
        await first_stack(backend)
    looked = {namespace for _, resource, namespace in tenant.asked if resource == "daemonsets"}
    assert {"odd-place", "team-b", "gpu-operator"} <= looked
    assert "team-a" not in looked


async def test_namespaces_of_others_are_no_news_and_those_that_were_named_are(tmp_path: Path) -> None:
    async with serving(tmp_path, Tenant("team-a")) as site, site.opened("team-b") as backend:
        await site.fill("team-a", "team-b", "team-c")
        workloads = await first_workloads(backend)
    assert [item.title for item in workloads.items] == ["team-a/work"]
    told = {str(denied.permission) for denied in workloads.not_permitted}
    assert told == {"list nodes", "list pods", "list pods in team-b"}


async def test_namespaces_beyond_the_limit_are_told_by_name_and_those_that_were_named_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teams = TEAMS[:12]
    monkeypatch.setattr(watchset, "MOST_NAMESPACES", 8)
    async with serving(tmp_path, Tenant(*teams)) as site, site.opened(teams[11]) as backend:
        await site.fill(*teams)
        workloads, stack = await first_workloads(backend), await first_stack(backend)
    read = {item.namespace for item in workloads.items}
    left_out = sorted(set(teams) - read)
    assert teams[11] in read
    assert len(left_out) > watchset.NAMED_LEFT_OUT
    for told in (workloads.not_permitted, stack.not_permitted):
        (pods,) = [each.what for each in told if str(each.permission) == "list pods"]
        assert pods.startswith("pods of the cluster (beyond 8 namespaces not read: team-00")
        assert all(name in pods for name in left_out[: watchset.NAMED_LEFT_OUT])
        assert f"and {len(left_out) - watchset.NAMED_LEFT_OUT} more" in pods
