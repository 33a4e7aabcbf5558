"""A kubeconfig that is written anew while the console runs: another port, another token."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backends.contract import AuthRefused, ConfigError, Unreachable
from backends.domain import KubernetesSpec
from backends.feed import ManualClock, SystemClock
from backends.kubernetes.api import Api
from backends.kubernetes.resources import NODES
from backends.lab.hardware import fleet
from backends.lab.kube.service import KubeService


@asynccontextmanager
async def cluster() -> AsyncIterator[KubeService]:
    service = KubeService(fleet(1, 7), ManualClock(1_700_000_000.0), "kubernetes")
    await service.start()
    try:
        yield service
    finally:
        await service.close()


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Api]:
    api = Api(KubernetesSpec(kubeconfig=path), SystemClock())
    try:
        yield api
    finally:
        await api.close()


async def test_a_server_that_moved_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    async with cluster() as before:
        path.write_text(before.kubeconfig())
        async with connected(path) as api:
            assert await api.get(NODES.path())
            await before.close()
            async with cluster() as after:
                with pytest.raises(Unreachable):
                    await api.get(NODES.path())
                path.write_text(after.kubeconfig())
                with pytest.raises(Unreachable):
                    await api.get(NODES.path())
                assert await api.get(NODES.path())
                assert api.host == after.api.url


async def test_a_new_token_is_taken_up_at_once_however_young_the_old_one_is(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    async with cluster() as service:
        good = service.kubeconfig()
        wrong = json.loads(good)
        for user in wrong["users"]:
            user["user"]["token"] = "expired"
        path.write_text(json.dumps(wrong))
        async with connected(path) as api:
            with pytest.raises(AuthRefused):
                await api.get(NODES.path())
            path.write_text(good)
            assert await api.get(NODES.path())


async def test_a_kubeconfig_that_is_written_anew_and_cannot_be_right_says_so(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    async with cluster() as service:
        path.write_text(service.kubeconfig())
        async with connected(path) as api:
            assert await api.get(NODES.path())
            await service.close()
            path.write_text("contexts: []")
            with pytest.raises(ConfigError, match="no current context"):
                await api.get(NODES.path())
