"""A lab with a cluster, a site on it, and a desk with an open write window: for changes through a platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backends.changes.change import Change
from backends.changes.desk import ChangeDesk
from backends.changes.platform_actions import Wish, plan
from backends.domain import ChangeSpec, SiteSpec, Stack
from backends.feed import ManualClock, SystemClock, closing
from backends.lab.hardware import SimNode, fleet
from backends.lab.kube.cluster import KINDS, POLICY_NAME
from backends.lab.kube.service import KubeService
from backends.site import Site
from tests.lab.client import busy_moment

NODE = "dgx-h100-01"
NEWER = "595.58.03"
"""A driver that none of the lab's nodes runs: an upgrade has something to do."""


RUNNING_SECONDS = 120.0


@dataclass
class Bench:
    service: KubeService
    hardware: tuple[SimNode, ...]
    site: Site
    desk: ChangeDesk

    @property
    def store(self) -> Any:
        return self.service.cluster.store

    @property
    def versions(self) -> dict[tuple[str, str, str], str]:
        """The resource version of every object of the lab."""
        return {
            (plural, each["metadata"].get("namespace", ""), each["metadata"]["name"]): each["metadata"][
                "resourceVersion"
            ]
            for plural, kind in KINDS.items()
            for each in self.store.select(kind)
        }

    @property
    def node(self) -> Any:
        return self.store.get(KINDS["nodes"], None, NODE)

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.node["metadata"]["labels"]
        return labels

    def pods(self, *, gpu: bool = True) -> list[Any]:
        """Those on the node: of the jobs, or of the operator."""
        here = [each for each in self.store.select(KINDS["pods"]) if each["spec"].get("nodeName") == NODE]
        return [each for each in here if (each["metadata"]["namespace"] != self.service.cluster.space) is gpu]

    def operand(self, app: str) -> Any:
        return next((pod for pod in self.pods(gpu=False) if pod["metadata"]["labels"]["app"] == app), None)

    async def stack(self) -> Stack:
        backend: Any = await self.site.platform.backend()
        async with closing(backend.stack()) as stacks:
            return await anext(stacks)

    async def change(self, action: str, argument: str = "") -> Change:
        return await plan(Wish(action, NODE, argument, "INC-1"), await self.stack(), self.site, site="lab")

    def want_driver(self, version: str) -> None:
        """What the ClusterPolicy asks for; the lab's operator begins no upgrade because of it."""

        def edit(policy: Any) -> None:
            policy["spec"]["driver"]["version"] = version

        self.store.update(KINDS["clusterpolicies"], None, POLICY_NAME["kubernetes"], edit)

    def label(self, **labels: str | None) -> None:
        def edit(node: Any) -> None:
            for key, value in labels.items():
                node["metadata"]["labels"][f"nvidia.com/{key.replace('__', '.').replace('_', '-')}"] = value

        self.store.update(KINDS["nodes"], None, NODE, edit)

    async def running(self, work: Any) -> Any:
        """The end of `work`, while the lab's clock runs quickly."""
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(RUNNING_SECONDS):
            while not (await asyncio.wait({task}, timeout=0.05))[0]:
                await self.clock.advance(1)
                self.service.cluster.tick()
        return await task

    @property
    def clock(self) -> ManualClock:
        assert isinstance(self.service.clock, ManualClock)
        return self.service.clock


def site_file(directory: Path, user: str) -> Path:
    """Settings of a site with the cluster of `directory`/kubeconfig, as `user`."""
    path = directory / f"{user}.toml"
    path.write_text(f'[site.lab]\nnodes = []\nplatform = "kubernetes"\nkubeconfig = "kubeconfig"\ncontext = "{user}"\n')
    return path


@asynccontextmanager
async def bench(
    tmp_path: Path, *, user: str = "admin", when: Callable[[tuple[SimNode, ...]], float] = busy_moment, **rules: Any
) -> AsyncIterator[Bench]:
    """`user` is a profile of the lab's RBAC, `when` the time of the lab's clock."""
    hardware = fleet(3, 7)
    service = KubeService(hardware, ManualClock(when(hardware)), "kubernetes")
    await service.start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(service.kubeconfig())
    spec = SiteSpec("lab", platform="kubernetes", changes=ChangeSpec(**rules))
    spec = replace(spec, kubernetes=replace(spec.kubernetes, kubeconfig=kubeconfig, context=user))
    site = Site(spec, clock=SystemClock())
    desk = ChangeDesk(spec, site, tmp_path / "state")
    await desk.open_window(30, "INC-1")
    made = Bench(service, hardware, site, desk)
    made.want_driver(NEWER)
    try:
        yield made
    finally:
        await desk.close()
        await site.close()
        await service.close()


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made
