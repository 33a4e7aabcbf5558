"""The worlds of the backend `docker`: a real dockerd, a real Podman, and the engine of one of the lab's nodes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from backends.contract import Backend, SiteContext
from backends.docker import DockerBackend
from backends.docker import backend as docker_backend
from backends.domain import DockerSpec, Fleet, Host, Node, NodeReading, NodeSpec, NodeState, Problem, SiteSpec
from backends.feed import ManualClock, SystemClock
from backends.lab.docker import DockerApi, device_ids, labels
from backends.lab.hardware import fleet
from backends.nodes.local import LocalTransport
from tests.dockerd import Dockerd
from tests.lab.client import busy_moment
from tests.podman import Podman

NODE = "dgx01"
STEP_SECONDS = 600.0
GOOD = NodeReading(NODE, NodeState.LIVE, Node(name=NODE, hostname=NODE, driver="580.65.06"), 0.0, None)


class DockerWorld:
    """The node's driver is what its probe says; everything else is asked of the engine."""

    node = NODE
    blocking_operand = "driver"
    blocking_message = "driver/library version mismatch"
    tells_nodes_itself = True
    good = GOOD
    """What the node says of itself while all is well."""

    def __init__(self, spec: DockerSpec, denied: str) -> None:
        """`denied` is the address of an engine that refuses everything."""
        self._spec = spec
        self._denied = denied
        self._fleet = Fleet((self.good,))
        self.namespace, self.pod, self.owner, self.container_id, self.gpus = "search", "triton", ("compose", "s"), "", 2

    def open(self) -> Backend:
        return self._opened(self._spec)

    def open_for_nobody(self) -> Backend:
        return self._opened(DockerSpec(url=self._denied))

    def open_nowhere(self) -> Backend:
        return self._opened(DockerSpec(url="tcp://127.0.0.1:1"))

    def _opened(self, spec: DockerSpec) -> Backend:
        site = SiteSpec("test", nodes=(NodeSpec(NODE),), platform="docker", docker=spec)
        access: Any = LocalTransport()
        return DockerBackend.open(SiteContext(site, SystemClock(), lambda _node: access, lambda: self._fleet))

    async def break_stack(self) -> None:
        problem = Problem("driver-mismatch", self.blocking_message, "", 0.0)
        self._fleet = Fleet((replace(self.good, problem=problem),))

    async def mend_stack(self) -> None:
        self._fleet = Fleet((self.good,))

    async def end_pod(self) -> None:
        raise NotImplementedError

    async def is_schedulable(self) -> bool:
        raise NotImplementedError

    async def mig_layout(self) -> str | None:
        raise NotImplementedError


class RealDocker(DockerWorld):
    def __init__(self, server: Dockerd, denied: str) -> None:
        super().__init__(DockerSpec(socket=str(server.socket)), denied)
        self._server = server
        compose = ("--label=com.docker.compose.project=search", "--label=com.docker.compose.service=s")
        self.container_id = server.container(self.pod, '--gpus="device=0,1"', *compose)

    async def end_pod(self) -> None:
        self._server.run("rm", "-f", self.pod, check=False)


class RealPodman(DockerWorld):
    """Podman does not tell its CDI devices: the node's probe says that there is a specification of NVIDIA's."""

    good = replace(GOOD, node=Node(NODE, hostname=NODE, driver="580.65.06", host=Host(cdi=("nvidia.com/gpu",))))

    def __init__(self, server: Podman, denied: str) -> None:
        super().__init__(DockerSpec(socket=str(server.socket)), denied)
        self._server = server
        compose = ("--label=com.docker.compose.project=search", "--label=com.docker.compose.service=s")
        devices = ("--device=nvidia.com/gpu=0", "--device=nvidia.com/gpu=1")
        self.container_id = server.container(self.pod, *devices, *compose)

    async def end_pod(self) -> None:
        self._server.remove(self.pod)


class LabDocker(DockerWorld):
    def __init__(self, api: DockerApi, clock: ManualClock, denied: str) -> None:
        super().__init__(DockerSpec(url=f"tcp://127.0.0.1:{api.port}"), denied)
        self._api, self._clock = api, clock
        job = next(iter(api._jobs.values()))
        own = labels(job)
        self.pod, self.namespace, self.container_id = job.name, own["com.docker.compose.project"], job.container_id
        self.owner = ("compose", own["com.docker.compose.service"])
        self.gpus = len(device_ids(api.node, job))

    async def end_pod(self) -> None:
        while self.container_id in self._api._jobs:
            await self._clock.advance(STEP_SECONDS)
            self._api.tick()


@contextlib.asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """An engine behind an authorization plug-in that denies everything; its address."""

    async def deny(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "authorization denied by plugin"}, status=403)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", deny)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"tcp://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def soon() -> Any:
    """The stack is looked at ten times a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker_backend, "STACK_SECONDS", 0.1)
        yield


@contextlib.asynccontextmanager
async def real_docker(server: Dockerd) -> AsyncIterator[DockerWorld]:
    async with refusing() as denied:
        made = RealDocker(server, denied)
        try:
            with soon():
                yield made
        finally:
            await made.end_pod()


@contextlib.asynccontextmanager
async def real_podman(server: Podman) -> AsyncIterator[DockerWorld]:
    async with refusing() as denied:
        made = RealPodman(server, denied)
        try:
            with soon():
                yield made
        finally:
            await made.end_pod()


@contextlib.asynccontextmanager
async def lab_docker(_directory: Path) -> AsyncIterator[DockerWorld]:
    (hardware,) = fleet(1, 7)
    clock = ManualClock(busy_moment([hardware]))
    api = DockerApi(hardware, clock)
    await api.start()
    try:
        async with refusing() as denied:
            with soon():
                yield LabDocker(api, clock, denied)
    finally:
        await api.close()
