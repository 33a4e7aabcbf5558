"""The cluster and its API as the lab runs them: started, moved on each second, described by a kubeconfig."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Sequence

from backends.feed import Clock
from backends.lab.hardware import SimNode
from backends.lab.kube.access import PROFILES, User
from backends.lab.kube.cluster import KINDS, Cluster
from backends.lab.kube.openshift import CERTIFICATES, router_certificate
from backends.lab.kube.operands import ClusterFaults
from backends.lab.kube.series import Scraped
from backends.lab.kube.server import KubeApi
from backends.lab.kube.thanos import Thanos

TICK_SECONDS = 1.0
CONTEXT = "admin"
"""The context that the site's settings name; there is one for each profile."""


class KubeService:
    """`async with` starts and ends it."""

    def __init__(
        self, hardware: Sequence[SimNode], clock: Clock, platform: str, faults: ClusterFaults | None = None
    ) -> None:
        self.clock = clock
        self.cluster = Cluster(hardware, clock, platform, faults)
        secret = secrets.token_hex(16)
        self.users = tuple(User(name, f"{name}.{secret}", may) for name, may in PROFILES.items())
        self.api = KubeApi(self.cluster.store, self.cluster.kinds, self.users, self.cluster.logs, clock)
        self.thanos: Thanos | None = None
        """OpenShift's own monitoring."""
        if platform == "openshift":
            scraped = Scraped(self.cluster, {node.name: node for node in hardware})
            self.thanos = Thanos(scraped, self.users, clock)
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.api.start()
        if self.thanos is not None:
            await self.thanos.start()
            for name in CERTIFICATES:
                self.cluster.store.create(KINDS["configmaps"], router_certificate(name, self.thanos.certificate))
        self._ticking = asyncio.create_task(self._tick(), name="lab cluster")

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        if self.thanos is not None:
            await self.thanos.close()
        await self.api.close()

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_SECONDS)
            self.cluster.tick()
            if self.thanos is not None:
                self.thanos.scraped.tick()

    def kubeconfig(self) -> str:
        """A context for each profile; `CONTEXT` is the current one. JSON is YAML too."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": CONTEXT,
            "clusters": [{"name": "lab", "cluster": {"server": self.api.url}}],
            "users": [{"name": user.name, "user": {"token": user.token}} for user in self.users],
            "contexts": [{"name": user.name, "context": {"cluster": "lab", "user": user.name}} for user in self.users],
        }
        return json.dumps(document, indent=1) + "\n"
