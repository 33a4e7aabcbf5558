"""Fixtures of the tests that talk to a real API server. A conftest takes them by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backends.contract import SiteContext
from backends.domain import Fleet, KubernetesSpec, NodeSpec, SiteSpec
from backends.feed import SystemClock
from tests.kube.admin import Admin
from tests.kube.server import KubeApiserver

WAIT_SECONDS = 30.0

T = TypeVar("T")


@pytest.fixture(scope="session")
def kube_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiserver]:
    """One API server for the whole run, with all CRDs."""
    server = KubeApiserver(tmp_path_factory.mktemp("kube"))
    try:
        server.start()
        asyncio.run(_install(server))
        yield server
    finally:
        server.stop()


async def _install(server: KubeApiserver) -> None:
    admin = Admin(server.kubeconfig())
    await admin.install_crds()
    await admin.close()


@pytest.fixture
async def kube(kube_server: KubeApiserver) -> AsyncIterator[Admin]:
    """The administrator's hand at an empty cluster."""
    admin = Admin(kube_server.kubeconfig())
    await admin.wipe()
    yield admin
    await admin.close()


def context(kubeconfig: Path, *, nodes: tuple[str, ...] = (), **settings: Any) -> SiteContext:
    """What a backend is opened with, for a site whose cluster is reached by `kubeconfig`."""
    site = SiteSpec(
        "test",
        nodes=tuple(NodeSpec(name) for name in nodes),
        platform="kubernetes",
        kubernetes=KubernetesSpec(kubeconfig=kubeconfig, **settings),
    )

    def no_node(node: NodeSpec) -> Any:
        raise AssertionError(f"nobody asks for the node {node.name}")

    return SiteContext(site, SystemClock(), no_node, Fleet)


async def until(values: AsyncIterator[T], holds: Callable[[T], object]) -> T:
    """The first of `values` for which `holds`; fails with the last one after a while."""
    last: T | None = None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            async for value in values:
                last = value
                if holds(value):
                    return value
    except TimeoutError:
        pytest.fail(f"it never came to that; last: {last}")
    pytest.fail(f"the values ended; last: {last}")
