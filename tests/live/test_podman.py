"""The Docker backend against a real Podman: what its API says in other words than dockerd, and what it leaves out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from backends.contract import Gone, Unreachable
from backends.docker import DockerBackend
from backends.domain import GpuProcess
from backends.domain.log import LogBatch, LogQuery, LogSource
from backends.domain.stack import OperandPhase
from backends.domain.usage import ContainerUsage
from backends.domain.workload import GpuRequest, Owner
from backends.nodes.probe_host import Host
from backends.ownership import Ownership
from tests.live.test_docker import first, named, opened
from tests.podman import Podman

pytestmark = pytest.mark.real("podman")
COMPOSE = (
    "--label=io.podman.compose.project=search",
    "--label=com.docker.compose.project=search",
    "--label=com.docker.compose.service=triton",
)
"""As podman-compose 1.0.3 labels a container."""


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    server = Podman(tmp_path_factory.mktemp("podman")).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def journaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    server = Podman(tmp_path_factory.mktemp("journaled"), journal=True).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["podman", "journaled"])
def each_podman(request: pytest.FixtureRequest) -> Podman:
    """Where what is asked depends on whether logs and events are in files or in the journal."""
    server: Podman = request.getfixturevalue(request.param)
    return server


async def lines(backend: DockerBackend, name: str, query: LogQuery, until: str | None = None) -> list[str]:
    """What is told of a log up to the line `until`; each line has a time."""
    found: list[str] = []
    async with aclosing(backend.logs(LogSource(name, node="dgx01"), query)) as batches:
        async for batch in batches:
            assert all(line.at is not None for line in batch.lines)
            found += [line.text for line in batch.lines]
            if until is not None and until in found:
                break
    return found


# What it is


async def test_it_is_called_podman_with_its_version_and_leaves_its_cdi_devices_untold(podman: Podman) -> None:
    version = podman.run("version", "--format={{.Server.Version}}")
    async with opened(podman.socket) as backend:
        assert await backend.probe() == version
        (node,) = (await first(backend.stack())).nodes
    assert node.runtime == f"podman {version}"
    phases = {state.operand: state.phase for state in node.operands}
    assert phases["engine"] is OperandPhase.READY
    toolkit = node.get("toolkit")
    assert toolkit is not None
    assert "nvidia-ctk cdi list" in (toolkit.message or "Podman told its CDI devices")


async def test_a_socket_that_nobody_serves_is_told_with_what_to_look_at(podman: Podman, tmp_path: Path) -> None:
    async with opened(tmp_path / "podman.sock") as backend:
        with pytest.raises(Unreachable, match="dgx01") as caught:
            await backend.probe()
        assert caught.value.hint == "on the node: systemctl status podman.socket"
        assert (await first(backend.workloads())).unread[0].node == "dgx01"


# Its containers


async def test_containers_come_with_their_gpus_project_owner_and_id(podman: Podman) -> None:
    identity = podman.container("asked", "--device=nvidia.com/gpu=0", *COMPOSE)
    podman.container("every", "--device=nvidia.com/gpu=all")
    podman.container("ignored", "--gpus=all")
    try:
        async with opened(podman.socket) as backend:
            found = await first(backend.workloads())
        asked, every, ignored = (named(found.items, name) for name in ("asked", "every", "ignored"))
        assert asked is not None
        assert asked.gpus == (GpuRequest("device", 1, ("/dev/nvidia0",)),)
        assert (asked.namespace, asked.owner, asked.phase) == ("search", Owner("compose", "triton"), "Running")
        assert asked.started_at is not None
        joined = Ownership(found).container(identity)
        assert joined is not None
        assert joined[0] is asked
        assert every is not None
        assert every.gpus == (GpuRequest("device", 2, ("/dev/nvidia0", "/dev/nvidia1")),)
        assert ignored is not None
        assert ignored.gpus == (), "Podman 4 starts it without a GPU"
    finally:
        podman.remove("asked", "every", "ignored")


async def test_the_cgroup_of_a_container_s_process_leads_to_its_workload(podman: Podman) -> None:
    identity = podman.container("joined", "--device=nvidia.com/gpu=0", *COMPOSE)
    try:
        pid = int(podman.run("container", "inspect", "--format={{.State.Pid}}", "joined"))
        read = Host(None).process(pid)  # type: ignore[no-untyped-call]
        assert read is not None
        assert read["container_id"] == identity
        async with opened(podman.socket) as backend:
            ownership = Ownership(await first(backend.workloads()))
        workload = ownership.of(GpuProcess(pid, container_id=read["container_id"]))
        assert workload is not None
        assert workload.title == "search/joined"
        assert ownership.holders("dgx01") == (workload,)
    finally:
        podman.remove("joined")


async def test_a_container_of_a_pod_names_it(podman: Podman) -> None:
    podman.pod("llama")
    podman.container("server", "--pod=llama")
    podman.container("composed", "--pod=llama", *COMPOSE)
    podman.container("alone")
    try:
        async with opened(podman.socket) as backend:
            found = await first(backend.workloads())
        server, composed, alone = (named(found.items, name) for name in ("server", "composed", "alone"))
        assert server is not None
        assert server.owner == Owner("pod", "llama")
        assert composed is not None
        assert composed.owners == (Owner("pod", "llama"), Owner("compose", "triton"))
        assert alone is not None
        assert alone.owner is None
    finally:
        podman.run("pod", "rm", "-f", "-t0", "llama")
        podman.remove("alone")


async def test_a_container_that_comes_fails_and_goes_is_told(each_podman: Podman) -> None:
    async with opened(each_podman.socket) as backend, aclosing(backend.workloads()) as reading:
        await anext(reading)
        each_podman.container("late", command="exit 3")
        try:
            async for value in reading:
                late = named(value.items, "late")
                if late is not None and late.reason == "Error (exit 3)":
                    break
            assert late is not None
            assert (late.phase, late.containers[0].state) == ("Failed", "terminated")
        finally:
            each_podman.remove("late")
        async for value in reading:
            if named(value.items, "late") is None:
                break


async def test_pauses_and_new_names_are_told(each_podman: Podman) -> None:
    each_podman.container("before")
    try:
        async with opened(each_podman.socket) as backend, aclosing(backend.workloads()) as reading:
            await anext(reading)
            each_podman.run("pause", "before")
            async for value in reading:
                if (paused := named(value.items, "before")) is not None and paused.reason == "paused":
                    break
            each_podman.run("unpause", "before")
            each_podman.run("rename", "before", "after")
            async for value in reading:
                if (renamed := named(value.items, "after")) is not None and renamed.reason is None:
                    break
            assert renamed is not None
            assert renamed.phase == "Running"
    finally:
        each_podman.remove("before", "after")


async def test_a_container_that_is_being_stopped_runs_until_it_has(podman: Podman) -> None:
    podman.container("lingers", command="trap : TERM; while :; do sleep 1; done")
    stopping = podman.begin("stop", "-t60", "lingers")
    try:
        async with opened(podman.socket) as backend:
            while True:
                found = named((await first(backend.workloads())).items, "lingers")
                assert found is not None
                if found.reason is not None:
                    break
        assert (found.phase, found.reason) == ("Running", "stopping")
    finally:
        podman.run("kill", "lingers")
        stopping.wait(timeout=30)
        podman.remove("lingers")


# What it uses


async def test_what_a_container_uses_then_nothing_once_it_has_stopped(podman: Podman) -> None:
    podman.container("busy", "--memory=64m", "--pids-limit=50", command="while :; do :; done")
    source = LogSource("busy", node="dgx01")
    try:
        async with opened(podman.socket) as backend:
            used = await first(backend.usage(source), lambda value: value.cpu_percent is not None)
            assert used.cpu_percent is not None
            assert 0 < used.cpu_percent <= 100.0 * (os.cpu_count() or 1) + 5
            assert used.cpus == os.cpu_count()
            assert used.memory_bytes is not None
            assert 0 < used.memory_bytes < 64 << 20
            assert (used.memory_limit_bytes, used.pids) == (64 << 20, 1)
            assert (used.memory_with_cache, used.pids_limit) == (True, None), "Podman leaves both out"
            assert used.received_bytes is None, "it has no network"
            podman.run("kill", "busy")
            podman.run("wait", "busy")
            assert await first(backend.usage(source)) == ContainerUsage()
            with pytest.raises(Gone, match="no such container"):
                await first(backend.usage(LogSource("nobody", node="dgx01")))
    finally:
        podman.remove("busy")


# Its logs


async def test_logs_of_both_streams_with_times_then_followed(each_podman: Podman) -> None:
    each_podman.container("talks", command="echo one; echo two >&2; sleep 1; echo three; sleep 600")
    try:
        async with opened(each_podman.socket) as backend:
            assert await lines(backend, "talks", LogQuery(follow=True), "three") == ["one", "two", "three"]
            assert await lines(backend, "talks", LogQuery(follow=False, tail_lines=2)) == ["two", "three"]
            assert await lines(backend, "talks", LogQuery(follow=False, since_seconds=600)) == ["one", "two", "three"]
            assert await lines(backend, "talks", LogQuery(follow=False, since_seconds=-600)) == []
            with pytest.raises(Gone, match="no such container"):
                await lines(backend, "nobody", LogQuery(follow=False))
    finally:
        each_podman.remove("talks")


async def test_a_line_that_is_written_in_parts_is_one_line_with_one_time(each_podman: Podman) -> None:
    """Podman logs each write, as of a progress bar, with a time before it. Of a file's tail 4.3 swaps the parts."""
    each_podman.container("parts", command="echo -n 10%; sleep 0.3; echo -n ' 50%'; sleep 0.3; echo ' 100%'; echo done")
    try:
        each_podman.run("wait", "parts")
        async with opened(each_podman.socket) as backend:
            query = LogQuery(follow=False, tail_lines=None)
            assert await lines(backend, "parts", query) == ["10% 50% 100%", "done"]
    finally:
        each_podman.remove("parts")


async def test_of_a_log_in_the_journal_the_tail_has_such_lines_whole_too(journaled: Podman) -> None:
    journaled.container("parts", command="echo first; echo -n 10%; sleep 0.3; echo ' 100%'; echo done")
    try:
        journaled.run("wait", "parts")
        async with opened(journaled.socket) as backend:
            assert await lines(backend, "parts", LogQuery(follow=False, tail_lines=2)) == ["10% 100%", "done"]
    finally:
        journaled.remove("parts")


async def test_a_terminal_has_a_log_too(each_podman: Podman) -> None:
    each_podman.container("terminal", "--tty", command="echo one; echo two >&2; sleep 600")
    try:
        async with opened(each_podman.socket) as backend:
            assert await lines(backend, "terminal", LogQuery(follow=True), "two") == ["one", "two"]
    finally:
        each_podman.remove("terminal")


async def test_the_log_of_a_container_that_restarts_is_followed_into_its_next_runs(each_podman: Podman) -> None:
    each_podman.container("again", "--restart=always", command="echo run; sleep 0.5; exit 1")
    try:
        async with opened(each_podman.socket) as backend:
            told = 0
            batches = backend.logs(LogSource("again", node="dgx01"), LogQuery(follow=True))

            def fourth(batch: LogBatch) -> bool:
                nonlocal told
                told += len(batch.lines)
                return told >= 4

            await first(batches, fourth)
    finally:
        each_podman.remove("again")


async def test_the_log_of_a_container_that_ends_ends(each_podman: Podman) -> None:
    each_podman.container("ends", command="echo one; sleep 0.5; echo two")
    try:
        async with opened(each_podman.socket) as backend:
            assert await lines(backend, "ends", LogQuery(follow=True)) == ["one", "two"]
    finally:
        each_podman.remove("ends")
