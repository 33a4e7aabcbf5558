"""Logs through a real API server: followed, resumed, bounded, inert; and the blocker's own log in the stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.contract import GpudeckError
from backends.domain import KubernetesSpec, LogBatch, LogLine, LogQuery, LogSource
from backends.feed import SystemClock
from backends.kubernetes import logs
from backends.kubernetes.api import Api
from backends.kubernetes.backend import Kubernetes
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context, until
from tests.kube.kubelet import FakeKubelet
from tests.kube.proxy import Fault, FaultProxy
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
SOURCE = LogSource("talker", "logs")


@pytest.fixture
async def kubelet(kube: Admin, kube_server: KubeApiserver) -> AsyncIterator[FakeKubelet]:
    """A node with one pod of two containers that talk."""
    made = FakeKubelet(kube_server)
    async with made.serving():
        pod = objects.pod(
            "talker",
            node="dgx01",
            namespace="logs",
            containers={"main": objects.running(), "side": objects.running()},
            init={"prepare": objects.completed()},
        )
        await kube.create(made.on(objects.node("dgx01")))
        await kube.create(pod)
        yield made


@pytest.fixture
async def api(kube_server: KubeApiserver) -> AsyncIterator[Api]:
    made = Api(KubernetesSpec(kubeconfig=kube_server.kubeconfig()), SystemClock())
    yield made
    await made.close()


async def gathered(batches: AsyncIterator[LogBatch]) -> tuple[list[LogLine], list[str], int]:
    lines: list[LogLine] = []
    problems: list[str] = []
    dropped = 0
    async with asyncio.timeout(20):
        async for batch in batches:
            lines += batch.lines
            dropped += batch.dropped
            problems += [batch.problem] if batch.problem else []
    return lines, problems, dropped


async def test_every_container_is_read_and_told_apart(kubelet: FakeKubelet, api: Api) -> None:
    for name in ("prepare", "main", "side"):
        kubelet.log("talker", name).say(f"{name} one", f"{name} two")
    lines, problems, _ = await gathered(logs.tail(api, SystemClock(), SOURCE, LogQuery(follow=False)))
    assert problems == []
    assert {(line.container, line.text) for line in lines} == {
        (name, f"{name} {number}") for name in ("prepare", "main", "side") for number in ("one", "two")
    }
    assert {line.at for line in lines} == {1_764_060_000.0, 1_764_060_001.0}


async def test_the_end_of_a_log_and_the_former_run_can_be_asked_for(kubelet: FakeKubelet, api: Api) -> None:
    log = kubelet.log("talker", "main")
    log.say(*(f"line {number}" for number in range(50)))
    log.previous.append((1_764_050_000.0, b"it crashed"))
    source = LogSource("talker", "logs", ("main",))
    lines, _, _ = await gathered(logs.tail(api, SystemClock(), source, LogQuery(follow=False, tail_lines=3)))
    assert [line.text for line in lines] == ["line 47", "line 48", "line 49"]
    lines, _, _ = await gathered(logs.tail(api, SystemClock(), source, LogQuery(previous=True)))
    assert [line.text for line in lines] == ["it crashed"]


async def test_a_followed_log_goes_on(kubelet: FakeKubelet, api: Api, kube: Admin) -> None:
    log = kubelet.log("talker", "main")
    log.say("first")
    batches = logs.tail(api, SystemClock(), LogSource("talker", "logs", ("main",)), LogQuery())
    async with asyncio.timeout(20):
        assert [line.text for line in (await anext(batches)).lines] == ["first"]
        log.say("second", at=1_764_060_100.0)
        assert [line.text for line in (await anext(batches)).lines] == ["second"]
    await batches.aclose()  # type: ignore[attr-defined]


async def test_a_cut_log_is_resumed_without_a_line_lost_or_told_twice(
    kubelet: FakeKubelet, kube: Admin, kube_server: KubeApiserver
) -> None:
    log = kubelet.log("talker", "main")
    log.say(*(f"line {number}" for number in range(5)))
    proxy = FaultProxy(kube_server)
    async with proxy.serving():
        proxy.add(Fault("/log", after_events=3))
        api = Api(KubernetesSpec(kubeconfig=kube_server.kubeconfig(server=proxy.url)), SystemClock())
        batches = logs.tail(api, SystemClock(), LogSource("talker", "logs", ("main",)), LogQuery())
        texts: list[str] = []
        problems: list[str] = []
        async with asyncio.timeout(20):
            while len(texts) < 5:
                batch = await anext(batches)
                texts += [line.text for line in batch.lines]
                problems += [batch.problem] if batch.problem else []
        assert texts == [f"line {number}" for number in range(5)]
        assert any("lost" in problem for problem in problems)
        await batches.aclose()  # type: ignore[attr-defined]
        await api.close()


async def test_a_log_is_taken_up_where_its_reader_left_it(kubelet: FakeKubelet, api: Api) -> None:
    for name in ("main", "side"):
        kubelet.log("talker", name).say(*(f"{name} {number}" for number in range(9)))
    query = LogQuery(follow=False, tail_lines=2, resume=(("main", 1_764_060_005.75),))
    source = LogSource("talker", "logs", ("main", "side"))
    lines, problems, _ = await gathered(logs.tail(api, SystemClock(), source, query))
    assert problems == []
    assert [line.text for line in lines if line.container == "main"] == ["main 5", "main 6", "main 7", "main 8"]
    assert [line.text for line in lines if line.container == "side"] == ["side 7", "side 8"]


async def test_a_container_that_has_not_started_is_waited_for(
    kubelet: FakeKubelet, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "NOT_STARTED_SECONDS", 0.05)
    log = kubelet.log("talker", "main")
    log.started = False
    source = LogSource("talker", "logs", ("main",))
    lines, problems, _ = await gathered(logs.tail(api, SystemClock(), source, LogQuery(follow=False)))
    assert lines == []
    assert "waiting to start" in problems[0]
    batches = logs.tail(api, SystemClock(), source, LogQuery())
    asking = asyncio.ensure_future(anext(batches))
    while len(kubelet.requests) < 4:
        kubelet.heard.clear()
        await kubelet.heard.wait()
    log.started = True
    log.say("at last")
    async with asyncio.timeout(20):
        first = await asking
        assert first.retried
        assert "waiting to start" in (first.problem or "")
        assert [line.text for line in (await anext(batches)).lines] == ["at last"], "said once, however often it asked"
    await batches.aclose()  # type: ignore[attr-defined]


async def test_the_next_run_of_a_container_that_crashes_is_followed(
    kubelet: FakeKubelet, api: Api, kube: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "NOT_STARTED_SECONDS", 0.05)
    log = kubelet.log("talker", "main")
    log.say("one")

    async def become(state: dict[str, Any]) -> None:
        pod = objects.pod("talker", node="dgx01", namespace="logs", containers={"main": state})
        await kube.patch(pod, {"status": pod["status"]}, "status")

    batches = logs.tail(api, SystemClock(), LogSource("talker", "logs", ("main",)), LogQuery())
    async with asyncio.timeout(20):
        assert [line.text for line in (await anext(batches)).lines] == ["one"]
        await become(objects.crashing("exit 1"))
        log.end()
        crashed = await anext(batches)
        assert crashed.retried
        assert "does not run (CrashLoopBackOff); its next run is followed" in (crashed.problem or "")
        log.running = True
        log.say("two", at=1_764_060_100.0)
        await become(objects.running())
        assert [line.text for line in (await anext(batches)).lines] == ["two"]
    await batches.aclose()  # type: ignore[attr-defined]


async def test_the_log_of_a_container_that_has_done_its_work_ends(kubelet: FakeKubelet, api: Api, kube: Admin) -> None:
    log = kubelet.log("talker", "prepare")
    log.say("done")
    log.end()
    lines, problems, _ = await gathered(
        logs.tail(api, SystemClock(), LogSource("talker", "logs", ("prepare",)), LogQuery())
    )
    assert ([line.text for line in lines], problems) == (["done"], [])


async def test_a_slow_reader_loses_the_oldest_lines_and_is_told_how_many(
    kubelet: FakeKubelet, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "BUFFER_LINES", 100)
    log = kubelet.log("talker", "main")
    log.say(*(f"line {number}" for number in range(5000)))
    source = LogSource("talker", "logs", ("main",))
    lines, _, dropped = await gathered(logs.tail(api, SystemClock(), source, LogQuery(follow=False, tail_lines=None)))
    assert dropped > 0
    assert len(lines) + dropped == 5000
    assert lines[-1].text == "line 4999"


async def test_hostile_lines_come_out_inert_and_bounded(kubelet: FakeKubelet, api: Api) -> None:
    log = kubelet.log("talker", "main")
    log.say(b"\x1b]52;c;aGk=\x07[@click=app.quit]a\xff\x9b31m", b"x" * 100_000, b"", b"no\rway")
    source = LogSource("talker", "logs", ("main",))
    lines, _, _ = await gathered(logs.tail(api, SystemClock(), source, LogQuery(follow=False)))
    assert len(lines) == 4
    assert lines[0].text.startswith("[@click=app.quit]a")
    assert all(character.isprintable() for line in lines for character in line.text)
    assert len(lines[1].text) == logs.LINE_LIMIT
    assert lines[3].text == "no way"


async def test_a_log_that_may_not_be_read_says_which_right_is_missing(
    kubelet: FakeKubelet, kube_server: KubeApiserver
) -> None:
    api = Api(KubernetesSpec(kubeconfig=kube_server.kubeconfig("nobody")), SystemClock())
    with pytest.raises(GpudeckError, match="cannot get resource"):
        await anext(logs.tail(api, SystemClock(), SOURCE, LogQuery()))
    source = LogSource("talker", "logs", ("main",))
    _, problems, _ = await gathered(logs.tail(api, SystemClock(), source, LogQuery()))
    assert 'cannot get resource "pods/log"' in problems[0]
    await api.close()


async def test_the_stack_tells_the_blocker_s_last_log_line_and_its_events(
    kubelet: FakeKubelet, kube: Admin, kube_server: KubeApiserver
) -> None:
    broken = objects.operand("driver", "dgx01", nvidia_driver_ctr=objects.crashing("exit 1"))
    name = broken["metadata"]["name"]
    kubelet.log(name, "nvidia-driver-ctr").say(
        "Resolving Linux kernel version...", "Could not resolve Linux kernel version", ""
    )
    await kube.create(objects.cluster_policy(), objects.daemon_set("driver"), broken, event_about(name))
    backend = Kubernetes.open(context(kube_server.kubeconfig()))
    stack = await until(backend.stack(), lambda stack: True)
    await backend.close()
    node = stack.get("dgx01")
    assert node is not None
    assert node.blocker is not None
    assert node.blocker.log_line == "Could not resolve Linux kernel version"
    (event,) = node.blocker.events
    assert (event.reason, event.count, event.warning) == ("BackOff", 12, True)
    assert event.text == "Back-off restarting failed container"


def event_about(pod: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{pod}.1", "namespace": objects.NAMESPACE},
        "involvedObject": {"kind": "Pod", "name": pod, "namespace": objects.NAMESPACE},
        "reason": "BackOff",
        "message": "Back-off restarting failed container",
        "type": "Warning",
        "count": 12,
        "lastTimestamp": objects.stamp(objects.NOW),
    }
