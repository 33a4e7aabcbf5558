"""What gpudeck asks of the cluster's monitoring, answered by a real Prometheus behind TLS and a check of the token."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from backends.domain import FiringAlert, KubernetesSpec, NodeMetrics, OperandPhase, OperandState, Stack, StackHealth
from backends.domain.stack import StackNode
from backends.feed import SystemClock
from backends.kubernetes.api import Api
from backends.kubernetes.resources import CONFIG_MAPS
from backends.lab.kube.promql import Series, evaluate
from backends.openshift.gpu_metrics import questions
from backends.openshift.monitored import Monitored
from backends.openshift.monitoring import Querier
from tests.contract.lab_server import KINDS, LabKube
from tests.kube import loopback
from tests.kube.server import make_certificates, token
from tests.prometheus import Prometheus

pytestmark = pytest.mark.real("prometheus")
WAIT_SECONDS = 30.0
SPACE = "nvidia-gpu-operator"
TARGET = {"namespace": SPACE, "pod": "nvidia-dcgm-exporter-x7k2p", "container": "nvidia-dcgm-exporter"}
METRICS = """\
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-a0",device="nvidia0",modelName="NVIDIA H100",Hostname="dgx01",pod="llama"} 61
DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-a1",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="dgx01"} 40
DCGM_FI_DEV_GPU_TEMP{gpu="2",UUID="GPU-a2",device="nvidia2",modelName="NVIDIA H100 80GB HBM3",Hostname="dgx01"} 40
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a0",Hostname="dgx01",pod="llama"} 93
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-a1",Hostname="dgx01"} 0
DCGM_FI_DEV_GPU_UTIL{gpu="2",UUID="GPU-a2",Hostname="dgx01"} 100
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-b0",GPU_I_ID="1",GPU_I_PROFILE="3g.40gb",hostname="dgx02"} 50
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-b0",GPU_I_ID="2",GPU_I_PROFILE="3g.40gb",hostname="dgx02"} 50
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-c0",Hostname="vm01"} 4096
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-c0",Hostname="vm01"} 2147483632
gpu_operator_node_device_plugin_devices_total{node="dgx02"} 0
gpu_operator_node_device_plugin_devices_total{node="dgx01"} 3
gpu_operator_reconciliation_status 1
"""
RULES = (
    {
        "alert": "GPUOperatorNodeDeploymentFailed",
        "expr": "gpu_operator_node_device_plugin_devices_total == 0",
        "labels": {"severity": "warning"},
    },
    {"alert": "GPUOperatorReconciliationFailed", "expr": "gpu_operator_reconciliation_status != 1"},
    {"alert": "KubePodCrashLooping", "expr": "gpu_operator_reconciliation_status == 1", "labels": {"severity": "info"}},
    {"alert": "MyNvidiaCardIsWarm", "expr": "sum(DCGM_FI_DEV_GPU_TEMP) > 1", "labels": {"severity": "critical"}},
    {"alert": "DiskFull", "expr": "vector(1)", "labels": {"severity": "critical"}},
    {"alert": "GPUPending", "expr": "vector(1)", "for": "1h"},
)


@dataclass
class Site:
    api: Api
    url: str
    prometheus: Prometheus
    authorizations: list[str | None] = field(default_factory=list)
    """Headers of the requests that came through TLS."""

    async def until_firing(self, count: int) -> None:
        """Until so many alerts fire, asked of Prometheus itself."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(WAIT_SECONDS):
            query = {"query": 'count(ALERTS{alertstate="firing"} and ignoring(alertstate) ALERTS_FOR_STATE)'}
            while True:
                async with session.get(f"{self.prometheus.url}/api/v1/query", params=query) as answer:
                    result = (await answer.json())["data"]["result"]
                if result and int(result[0]["value"][1]) >= count:
                    return
                await asyncio.sleep(0.1)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    prometheus = Prometheus(tmp_path)
    make_certificates(tmp_path)
    exporter = web.Application()
    exporter.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(exporter)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        target = f"127.0.0.1:{runner.addresses[0][1]}"
        await asyncio.to_thread(prometheus.start, target, TARGET, RULES)
        stack.push_async_callback(asyncio.to_thread, prometheus.stop)
        server = await stack.enter_async_context(LabKube(tmp_path, KINDS["openshift"]).serving())
        api = Api(KubernetesSpec(kubeconfig=server.kubeconfig()), SystemClock())
        stack.push_async_callback(api.close)
        published = {
            "metadata": {"name": "default-ingress-cert"},
            "data": {"ca-bundle.crt": (tmp_path / "ca.crt").read_text()},
        }
        await api.send("POST", CONFIG_MAPS.path("openshift-config-managed"), published)
        made = Site(api, "", prometheus)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        port = await stack.enter_async_context(loopback.serving(_door(made, session), tmp_path))
        made.url = f"https://127.0.0.1:{port}/api"
        yield made


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(text=METRICS)


def _door(site: Site, session: aiohttp.ClientSession) -> web.Application:
    """As kube-rbac-proxy before thanos-querier."""

    async def let_in(request: web.Request) -> web.Response:
        said = request.headers.get("Authorization")
        site.authorizations.append(said)
        if said != f"Bearer {token('admin')}":
            return web.Response(status=401, text="Unauthorized\n")
        async with session.get(site.prometheus.url + request.path, params=request.query) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")

    door = web.Application()
    door.router.add_get("/api/{rest:.*}", let_in)
    return door


def node(name: str, phase: OperandPhase = OperandPhase.READY) -> StackNode:
    return StackNode(name, StackHealth.READY, (OperandState("dcgm-exporter", phase),))


STACK = Stack("openshift", nodes=(node("dgx01"), node("dgx02"), node("vm01")), operator_namespace=SPACE)


async def test_alerts_about_gpus_and_metrics_by_node_are_read(site: Site) -> None:
    await site.until_firing(4)
    asked = Monitored(site.api, SystemClock(), lambda: None)
    try:
        await asked.look(site.url, STACK, wait=WAIT_SECONDS)
        told = asked.told(STACK)
    finally:
        await asked.close()
    assert asked.problem is None
    assert told is not None
    assert told.nodes == (NodeMetrics("dgx01", 3, 2), NodeMetrics("dgx02", 1, None), NodeMetrics("vm01", 1, None))
    assert not told.nameless
    assert [(each.name, each.severity, each.node) for each in told.alerts] == [
        ("GPUOperatorNodeDeploymentFailed", "warning", "dgx02"),
        ("KubePodCrashLooping", "info", None),
        ("MyNvidiaCardIsWarm", "critical", None),
    ]
    now = SystemClock().now()
    assert all(each.since is not None and 0 <= now - each.since < 600 for each in told.alerts), told.alerts
    assert isinstance(told.alerts[0], FiringAlert)
    assert set(site.authorizations) == {f"Bearer {token('admin')}"}


async def test_what_prometheus_cannot_parse_is_told_in_its_words(site: Site) -> None:
    with pytest.raises(Exception, match="HTTP 400: invalid parameter"):
        await Querier(site.api).ask(site.url, ["sum by ("])


async def test_the_lab_answers_what_is_asked_as_prometheus_does(site: Site) -> None:
    """The same series, the same queries: the lab's part of PromQL is held against the real one."""
    await site.until_firing(4)
    querier = Querier(site.api)
    (raw,) = await querier.ask(site.url, ['{__name__=~"DCGM.*|ALERTS.*"}'])
    series = [Series(each.labels, each.value) for each in raw]
    assert len(series) > len(METRICS.splitlines()) - 4
    for query in questions(SPACE):
        (real,) = await querier.ask(site.url, [query])
        ours = evaluate(query, series)
        assert {frozenset(each.labels.items()): each.value for each in ours} == {
            frozenset(each.labels.items()): each.value for each in real
        }, query
        assert real, query
