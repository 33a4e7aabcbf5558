"""The Docker API of a simulated node, through its SSH server, asked by aiodocker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from backends.docker.stats import usage_of
from backends.domain import StackHealth
from backends.feed import ManualClock
from backends.lab.docker import DockerApi, device_ids
from backends.lab.dynamics import Meter
from backends.lab.hardware import fleet
from backends.lab.jobs import jobs
from backends.lab.listener import NodeListener
from backends.lab.server import Lab, LabSpec
from backends.lab.session import Node
from backends.site import Site
from tests.changes.labs import time_with_work_in
from tests.lab.client import busy_moment
from tui.config import load

aiodocker = pytest.importorskip("aiodocker")
WAIT = 20.0


@asynccontextmanager
async def docker_of_a_node(tmp_path: Path) -> AsyncIterator[tuple[Any, DockerApi]]:
    """aiodocker on the socket of a simulated node, forwarded over SSH."""
    (hardware,) = fleet(1, 7)
    clock = ManualClock(busy_moment([hardware]))
    key = asyncssh.generate_private_key("ssh-ed25519")
    api = DockerApi(hardware, clock)
    listener = NodeListener(Node(hardware, clock, 0.0), key, api)
    await listener.refresh()
    try:
        async with (
            asyncio.timeout(WAIT),
            asyncssh.connect(
                "127.0.0.1", listener.port, known_hosts=None, client_keys=[key], agent_path=None, config=None
            ) as connection,
            connection.forward_local_path(str(tmp_path / "d.sock"), "/var/run/docker.sock"),
        ):
            docker = aiodocker.Docker(url=f"unix://{tmp_path / 'd.sock'}")
            try:
                yield docker, api
            finally:
                await docker.close()
    finally:
        await listener.close()


async def test_containers_are_those_of_the_jobs_with_their_gpus(tmp_path: Path) -> None:
    async with docker_of_a_node(tmp_path) as (docker, api):
        info = await docker.system.info()
        assert "nvidia" in info["Runtimes"]
        containers = await docker.containers.list()
        assert containers
        seen = await containers[0].show()
        uuids = {gpu.uuid for gpu in api.node.gpus} | {mig.uuid for gpu in api.node.gpus for mig in gpu.mig}
        (request,) = seen["HostConfig"]["DeviceRequests"]
        assert set(request["DeviceIDs"]) <= uuids
        assert seen["Config"]["Labels"]["com.docker.compose.service"]


def test_a_container_in_an_instance_was_given_that_very_instance() -> None:
    node = next(node for node in fleet(12, 7) if node.name == "dgx-a100-02")
    (gpu,) = [gpu for gpu in node.gpus if len(gpu.mig) == 7]  # seven of one profile, and another one on GPU 1
    at = time_with_work_in(node, gpu.index, *(mig.gi for mig in gpu.mig))
    inside = [job for job in jobs(node, Meter(node), at) if job.instance and job.instance[0] == gpu.index]
    assert {uuid for job in inside for uuid in device_ids(node, job)} == {mig.uuid for mig in gpu.mig}


async def test_logs_stop_start_and_events(tmp_path: Path) -> None:
    async with docker_of_a_node(tmp_path) as (docker, api):
        container = (await docker.containers.list())[0]
        lines = await container.log(stdout=True, stderr=True, tail=2)
        assert all(line.startswith("step ") for line in lines)
        events = docker.events.subscribe()
        while not api.followers:
            await asyncio.sleep(0.01)
        await container.stop()
        told = await events.get()
        while told["Action"] != "stop":
            told = await events.get()
        assert told["Actor"]["ID"] == container.id
        running = {each.id for each in await docker.containers.list()}
        assert container.id not in running
        assert container.id in {each.id for each in await docker.containers.list(all=True)}
        await container.start()
        assert container.id in {each.id for each in await docker.containers.list()}


async def test_the_events_of_a_health_check_come_to_who_did_not_ask_for_others(tmp_path: Path) -> None:
    async with docker_of_a_node(tmp_path) as (docker, api):
        container = (await docker.containers.list())[0]
        events = docker.events.subscribe()
        other = aiodocker.Docker(url=f"unix://{tmp_path / 'd.sock'}")
        try:
            filtered = other.events.subscribe(filters={"type": ["container"], "event": ["stop", "exec_die"]})
            while api.followers < 2:
                await asyncio.sleep(0.01)
            api.execute(container.id, "/bin/healthy")
            await container.stop()
            told = [(await events.get())["Action"] for _ in range(5)]
            assert told == ["exec_create: /bin/healthy", "exec_start: /bin/healthy", "exec_die", "die", "stop"]
            assert [(await filtered.get())["Action"] for _ in range(2)] == ["exec_die", "stop"]
            await other.events.stop()
        finally:
            await other.close()


async def test_an_unknown_container_is_a_404(tmp_path: Path) -> None:
    async with docker_of_a_node(tmp_path) as (docker, _):
        with pytest.raises(aiodocker.exceptions.DockerError) as refused:
            await docker.containers.get("nothing")
        assert refused.value.status == 404


async def test_the_first_stack_holds_what_the_nodes_themselves_say(tmp_path: Path) -> None:
    async with Lab(LabSpec(out=tmp_path, nodes=2, platform="docker")):
        site = Site(load(tmp_path / "site.toml").sites[0])
        try:
            stack = await site.platform.read_stack(WAIT)
        finally:
            await site.close()
    assert [node.health for node in stack.nodes] == [StackHealth.READY] * 2


async def test_the_use_of_a_container_is_told_once_a_second_and_of_a_stopped_one_nothing(tmp_path: Path) -> None:
    async with docker_of_a_node(tmp_path) as (docker, api):
        container, *_ = await docker.containers.list()
        once = usage_of((await container.stats(stream=False))[0])
        assert once.cpu_percent is not None
        assert 0 < once.cpu_percent <= 100 * api.node.machine.cpu_count
        assert once.cpus == api.node.machine.cpu_count
        assert once.memory_bytes is not None
        await container.stop()
        assert usage_of((await container.stats(stream=False))[0]).at is None
