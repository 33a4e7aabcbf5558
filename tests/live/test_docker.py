"""The Docker backend against a real dockerd: through its socket, and through a real sshd."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from backends.contract import GpudeckError, SiteContext
from backends.docker import DockerBackend
from backends.domain import DockerSpec, Fleet, GpuProcess, NodeSpec, SiteSpec, SshSpec
from backends.domain.log import LogQuery, LogSource
from backends.domain.stack import OperandPhase
from backends.domain.workload import GpuRequest, Owner, Workload
from backends.feed import SystemClock
from backends.nodes.local import LocalTransport
from backends.nodes.probe_host import Host
from backends.nodes.ssh import SshPool
from backends.ownership import Ownership
from tests.dockerd import Dockerd
from tests.sshd import Sshd

pytestmark = pytest.mark.real("dockerd")
WAIT = 30.0
T = TypeVar("T")


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    server = Dockerd(tmp_path_factory.mktemp("dockerd")).start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def opened(socket: Path, access: object | None = None) -> AsyncIterator[DockerBackend]:
    site = SiteSpec("s", nodes=(NodeSpec("dgx01"),), docker=DockerSpec(socket=str(socket)))
    context = SiteContext(site, SystemClock(), lambda _node: access or LocalTransport(), Fleet)  # type: ignore[arg-type, return-value]
    backend = DockerBackend.open(context)
    try:
        async with asyncio.timeout(WAIT):
            yield backend
    finally:
        await backend.close()


async def first(values: AsyncGenerator[T, None], test: Callable[[T], object] = lambda _value: True) -> T:
    async with aclosing(values) as reading:
        async for value in reading:
            if test(value):
                return value
    raise AssertionError("the stream ended")


def named(items: tuple[Workload, ...], name: str) -> Workload | None:
    return next((item for item in items if item.name == name), None)


async def test_containers_come_with_their_gpus_owner_and_id(dockerd: Dockerd) -> None:
    labels = ("--label=com.docker.compose.project=search", "--label=com.docker.compose.service=triton")
    identity = dockerd.container("asked", '--gpus="device=0,1"', *labels)
    dockerd.container("environment", "--runtime=nvidia", "--env=NVIDIA_VISIBLE_DEVICES=all")
    dockerd.container("plain")
    try:
        async with opened(dockerd.socket) as backend:
            found = await first(backend.workloads())
        asked = named(found.items, "asked")
        assert asked is not None
        assert asked.gpus == (GpuRequest("device-request", 2, ("0", "1")),)
        assert (asked.namespace, asked.owner, asked.node, asked.phase) == (
            "search",
            Owner("compose", "triton"),
            "dgx01",
            "Running",
        )
        joined = Ownership(found).container(identity)
        assert joined is not None
        assert joined[0] is asked
        environment, plain = named(found.items, "environment"), named(found.items, "plain")
        assert environment is not None
        assert environment.gpus == (GpuRequest("environment"),)
        assert plain is not None
        assert plain.gpus == ()
        assert plain.started_at is not None
    finally:
        dockerd.run("rm", "-f", "asked", "environment", "plain")


async def test_the_cgroup_of_a_container_s_process_leads_to_its_workload(dockerd: Dockerd) -> None:
    identity = dockerd.container("joined", '--gpus="device=0"', "--label=com.docker.compose.project=search")
    try:
        pid = int(dockerd.run("inspect", "--format={{.State.Pid}}", "joined").strip())
        read = Host(None).process(pid)  # type: ignore[no-untyped-call]
        assert read is not None
        assert read["container_id"] == identity
        async with opened(dockerd.socket) as backend:
            ownership = Ownership(await first(backend.workloads()))
        workload = ownership.of(GpuProcess(pid, container_id=read["container_id"]))
        assert workload is not None
        assert workload.title == "search/joined"
        assert ownership.holders("dgx01") == (workload,)
        here = Host(None).process(os.getpid())  # type: ignore[no-untyped-call]
        assert ownership.of(GpuProcess(os.getpid(), container_id=here.get("container_id"))) is None
    finally:
        dockerd.run("rm", "-f", "joined")


async def test_a_container_that_comes_and_one_that_fails_are_told(dockerd: Dockerd) -> None:
    async with opened(dockerd.socket) as backend, aclosing(backend.workloads()) as reading:
        await anext(reading)
        dockerd.container("late", command="exit 3")
        try:
            async for value in reading:
                late = named(value.items, "late")
                if late is not None and late.phase == "Failed":
                    break
            assert late is not None
            assert late.reason == "Error (exit 3)"
            assert late.containers[0].state == "terminated"
        finally:
            dockerd.run("rm", "-f", "late")


async def test_what_a_container_uses_then_nothing_once_it_has_stopped(dockerd: Dockerd) -> None:
    dockerd.container("busy", "--memory=64m", "--pids-limit=50", command="while :; do :; done")
    source = LogSource("busy", node="dgx01")
    try:
        async with opened(dockerd.socket) as backend:
            used = await first(backend.usage(source), lambda value: value.cpu_percent is not None)
            assert used.cpu_percent is not None
            assert 0 < used.cpu_percent <= 100.0 * (os.cpu_count() or 1) + 5
            assert used.cpus == os.cpu_count()
            assert used.memory_bytes is not None
            assert 0 < used.memory_bytes < 64 << 20
            assert (used.memory_limit_bytes, used.pids, used.pids_limit) == (64 << 20, 1, 50)
            assert not used.memory_with_cache
            assert used.received_bytes is None, "it has no network"
            dockerd.run("kill", "busy")
            stopped = await first(backend.usage(source))
            assert (stopped.at, stopped.memory_bytes, stopped.pids) == (None, None, None)
    finally:
        dockerd.run("rm", "-f", "busy", check=False)


async def test_logs_with_times_then_followed(dockerd: Dockerd) -> None:
    dockerd.container("talks", command="echo one; echo two; sleep 1; echo three; sleep 600")
    try:
        async with opened(dockerd.socket) as backend:
            source = LogSource("talks", node="dgx01")
            lines: list[str] = []
            async with aclosing(backend.logs(source, LogQuery(follow=True))) as batches:
                async for batch in batches:
                    assert all(line.at is not None for line in batch.lines)
                    lines += [line.text for line in batch.lines]
                    if "three" in lines:
                        break
            assert lines == ["one", "two", "three"]
            with pytest.raises(GpudeckError, match="No such container"):
                await first(backend.logs(LogSource("nobody", node="dgx01"), LogQuery(follow=False)))
    finally:
        dockerd.run("rm", "-f", "talks")


async def test_the_stack_tells_engine_and_runtime(dockerd: Dockerd) -> None:
    async with opened(dockerd.socket) as backend:
        assert await backend.probe()
        (node,) = (await first(backend.stack())).nodes
    phases = {state.operand: state.phase for state in node.operands}
    assert phases["engine"] is OperandPhase.READY
    assert phases["toolkit"] is OperandPhase.READY
    assert node.runtime is not None
    assert node.runtime.startswith("docker ")


@pytest.mark.real("sshd")
async def test_the_socket_of_a_node_is_reached_through_its_ssh_connection(dockerd: Dockerd, tmp_path: Path) -> None:
    server = Sshd(tmp_path / "sshd").start()
    config = server.write_config(tmp_path / "config", "dgx01")
    pool = SshPool(SshSpec(config_file=config))
    try:
        async with opened(dockerd.socket, pool.transport(NodeSpec("dgx01"))) as backend:
            dockerd.container("over-ssh")
            found = await first(backend.workloads())
            assert named(found.items, "over-ssh") is not None
        async with opened(tmp_path / "nothing.sock", pool.transport(NodeSpec("dgx01"))) as backend:
            (node,) = (await first(backend.stack())).nodes
            assert node.blocker is not None
            assert node.blocker.state.operand == "engine"
            assert "cannot be reached" in (node.blocker.state.message or "")
    finally:
        dockerd.run("rm", "-f", "over-ssh", check=False)
        await pool.close()
        server.stop()
