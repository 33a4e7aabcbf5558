"""The cluster's own monitoring as the backend `openshift` asks it: the lab's, over TLS, with the user's token."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from backends.contract import SiteContext
from backends.domain import MetricsOff, Stack
from backends.feed import ManualClock, closing
from backends.kubernetes.api import Api
from backends.lab.hardware import fleet
from backends.lab.kube import thanos
from backends.lab.kube.access import PUBLISHED
from backends.lab.kube.cluster import KINDS
from backends.lab.kube.openshift import CERTIFICATES
from backends.lab.kube.operands import OperandFault
from backends.lab.kube.promql import NotUnderstood, Series, evaluate
from backends.lab.kube.series import FOR_SECONDS
from backends.lab.kube.service import KubeService
from backends.lab.kube.thanos import Thanos
from backends.openshift.backend import OpenShift
from backends.openshift.monitored import Monitored
from tests.kube.fixtures import context
from tests.lab.client import busy_moment

HARDWARE = 6
WAIT = 10.0
NO_STACK = Stack("openshift")
BROKEN = OperandFault("driver", "nvidia-driver-ctr", "CrashLoopBackOff", "back-off", ("no headers",), restarts=6)


class OneCluster:
    """The lab's OpenShift, and what a backend is opened with."""

    def __init__(self, directory: Path) -> None:
        hardware = fleet(HARDWARE, 7)
        self.clock = ManualClock(busy_moment(hardware))
        self.service = KubeService(hardware, self.clock, "openshift")
        self.directory = directory
        self.told = asyncio.Event()
        """Somebody who asked has news."""

    @property
    def thanos(self) -> Thanos:
        assert self.service.thanos is not None
        return self.service.thanos

    async def tick(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        self.service.cluster.tick()
        self.thanos.scraped.tick()

    def context(self, user: str = "admin", change: Callable[[dict[str, Any]], object] | None = None) -> SiteContext:
        """`change` edits the kubeconfig."""
        document = json.loads(self.service.kubeconfig())
        if change is not None:
            change(document)
        path = self.directory / f"kubeconfig-{user}"
        path.write_text(json.dumps(document))
        made = context(path, context=user, monitoring_url=self.thanos.url)
        return dataclasses.replace(made, site=dataclasses.replace(made.site, platform="openshift"))

    @contextlib.asynccontextmanager
    async def asking(self, *arguments: Any, url: str | None = None, wait: float = WAIT) -> AsyncIterator[Monitored]:
        """What has asked once, on the lab's own clock."""
        api = Api(self.context(*arguments).site.kubernetes, self.clock)
        made = Monitored(api, self.clock, self.changed)
        try:
            await made.look(url or self.thanos.url, NO_STACK, wait=wait)
            yield made
        finally:
            await made.close()
            await api.close()

    def changed(self) -> None:
        self.told.set()

    async def stack(self, *arguments: Any) -> Stack:
        backend = OpenShift.open(self.context(*arguments))
        try:
            async with closing(backend.stack()) as stacks:
                return await anext(stacks)
        finally:
            await backend.close()


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[OneCluster]:
    made = OneCluster(tmp_path)
    await made.service.start()
    yield made
    await made.service.close()


async def test_the_first_stack_says_from_which_nodes_metrics_arrive_and_which_gpus_are_busy(lab: OneCluster) -> None:
    stack = await lab.stack()
    assert (stack.monitoring_url, stack.monitoring_problem) == (lab.thanos.url, None)
    assert stack.monitoring is not None
    assert {each.node: each.gpus for each in stack.monitoring.nodes} == {
        node.name: len(node.gpus) for node in fleet(HARDWARE, 7)
    }
    by_node = {each.node: each.busy for each in stack.monitoring.nodes}
    assert by_node["dgx-a100-01"] is None, "some of its GPUs are cut, and tell no utilisation"
    assert by_node["dgx-h100-01"] is not None
    assert stack.monitoring.alerts == ()


async def test_alerts_follow_what_the_operator_does_and_fire_when_it_has_lasted(lab: OneCluster) -> None:
    began = lab.clock.now()
    lab.service.cluster.fail_operand("dgx-h100-01", BROKEN)
    await lab.tick(1.0)
    stack = await lab.stack()
    assert stack.monitoring is not None
    assert stack.monitoring.alerts == (), "they wait"
    await lab.tick(FOR_SECONDS)
    stack = await lab.stack()
    assert stack.monitoring is not None
    told = {each.name: (each.severity, each.node, each.namespace, each.since) for each in stack.monitoring.alerts}
    assert told == {
        "GPUOperatorNodeDeploymentDriverFailed": ("warning", "dgx-h100-01", "nvidia-gpu-operator", began + 1),
        "GPUOperatorNodeDeploymentFailed": ("warning", "dgx-h100-01", "nvidia-gpu-operator", began + 1),
        "GPUOperatorReconciliationFailed": ("warning", None, "nvidia-gpu-operator", began + 1),
    }
    assert stack.monitoring.get("dgx-h100-01") is None, "its exporter waits for the driver"


async def test_why_no_metrics_arrive_is_looked_up(lab: OneCluster) -> None:
    policy = KINDS["clusterpolicies"]
    lab.service.cluster.monitor(False)
    stack = await lab.stack()
    assert stack.monitoring is not None
    assert (stack.monitoring.nodes, stack.monitoring.off) == ((), MetricsOff.UNLABELLED)
    lab.service.cluster.monitor(True)
    lab.service.cluster.store.update(
        policy, None, "gpu-cluster-policy", lambda each: each["spec"]["dcgmExporter"].pop("serviceMonitor")
    )
    stack = await lab.stack()
    assert stack.monitoring is not None
    assert stack.monitoring.off is MetricsOff.SERVICE_MONITOR


# Who asks


async def test_who_may_read_the_cluster_may_ask_and_who_may_not_is_told_what_is_missing(lab: OneCluster) -> None:
    assert (await lab.stack("viewer")).monitoring is not None
    stack = await lab.stack("team-search")
    assert stack.monitoring is None
    assert "cluster-monitoring-view" in (stack.monitoring_problem or "")
    needed = {str(each.permission): each.what for each in stack.not_permitted}
    assert "cluster-monitoring-view" in needed["get prometheuses.monitoring.coreos.com/api k8s in openshift-monitoring"]


async def test_who_has_no_token_asks_nobody(lab: OneCluster) -> None:
    def by_password(document: dict[str, Any]) -> None:
        document["users"][0]["user"] = {"username": "admin", "password": "secret"}

    async with lab.asking("admin", by_password) as asked:
        assert "has no token" in (asked.problem or "")
        assert asked.denied() == ()
    assert lab.thanos.requests == 0


async def test_who_acts_for_another_asks_nobody_who_does_not_understand_that(lab: OneCluster) -> None:
    stack = await lab.stack("admin", lambda document: document["users"][0]["user"].update({"as": "somebody"}))
    assert "impersonates" in (stack.monitoring_problem or "")
    assert lab.thanos.requests == 0


# Whom the token is shown


async def test_the_token_is_not_sent_where_the_certificate_does_not_verify(lab: OneCluster) -> None:
    for name in CERTIFICATES:
        lab.service.cluster.store.delete(KINDS["configmaps"], PUBLISHED, name)
    stack = await lab.stack()
    assert "the token was not sent" in (stack.monitoring_problem or "")
    assert "default-ingress-cert or oauth-serving-cert" in (stack.monitoring_problem or "")
    assert lab.thanos.requests == 0

    def careless(document: dict[str, Any]) -> None:
        document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True

    stack = await lab.stack("admin", careless)
    assert "the token was not sent" in (stack.monitoring_problem or "")
    assert lab.thanos.requests == 0


async def test_a_certificate_of_another_name_is_not_blamed_on_who_signed_it(lab: OneCluster) -> None:
    async with lab.asking(url=lab.thanos.url.replace("127.0.0.1", "localhost")) as asked:
        assert "Hostname mismatch" in (asked.problem or "")
        assert (asked.problem or "").endswith("; the token was not sent")
    assert lab.thanos.requests == 0


async def test_what_every_user_may_read_of_the_routers_is_enough(lab: OneCluster) -> None:
    def spoil(each: dict[str, Any]) -> None:
        each["data"]["ca-bundle.crt"] = "no PEM"

    lab.service.cluster.store.update(KINDS["configmaps"], PUBLISHED, "default-ingress-cert", spoil)
    assert (await lab.stack()).monitoring is not None


async def test_without_tls_nobody_is_asked(lab: OneCluster) -> None:
    async with lab.asking(url=lab.thanos.url.replace("https", "http")) as asked:
        assert "no https" in (asked.problem or "")


# When


async def test_it_is_asked_again_after_half_a_minute_and_a_failure_is_over_when_it_answers(
    lab: OneCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab.asking() as asked:
        once = lab.thanos.requests
        assert asked.told(NO_STACK) is not None
        await lab.clock.advance(29)
        await asked.look(lab.thanos.url, NO_STACK, wait=WAIT)
        assert lab.thanos.requests == once
        await lab.clock.advance(2)
        monkeypatch.setattr(thanos, "evaluate", broken)
        await asked.look(lab.thanos.url, NO_STACK, wait=WAIT)
        assert lab.thanos.requests == once + 1
        assert asked.told(NO_STACK) is None, "what it said before is not what is so now"
        assert "HTTP 400: invalid parameter" in (asked.problem or "")
        monkeypatch.undo()
        lab.told.clear()
        await lab.clock.advance(31)
        await asked.look(lab.thanos.url, NO_STACK, wait=WAIT)  # in the background: it failed the last time
        await asyncio.wait_for(lab.told.wait(), WAIT)
        assert (asked.problem, asked.told(NO_STACK) is None) == (None, False)
        await asked.look(None, NO_STACK)
        assert (asked.told(NO_STACK), asked.problem) == (None, None)


async def test_while_it_has_not_answered_that_is_said(lab: OneCluster) -> None:
    async with lab.asking(wait=0.0) as asked:
        assert (asked.problem, asked.told(NO_STACK)) == ("it has not answered yet", None)
        await asyncio.wait_for(lab.told.wait(), WAIT)
        assert (asked.problem, asked.told(NO_STACK) is None) == (None, False)


def broken(*_: object) -> list[Series]:
    raise NotUnderstood("broken")


async def test_a_token_that_is_refused_is_loaded_again(lab: OneCluster) -> None:
    """An exec plug-in hands out what it is asked for: a new one each time."""
    plugin = lab.directory / "login"
    count = lab.directory / "count"
    count.write_text("")
    plugin.write_text(
        f"""#!/bin/sh
echo x >> {count}
token=old; test "$(wc -l < {count})" -gt 1 && token={lab.service.users[0].token}
echo '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"'$token'"}}}}'
"""
    )
    plugin.chmod(0o755)

    def by_plugin(document: dict[str, Any]) -> None:
        document["users"][0]["user"] = {
            "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
        }

    api = Api(lab.context("admin", by_plugin).site.kubernetes, lab.clock)
    try:
        old = await api.bearer()
        await lab.clock.advance(10)
        fresh = await api.bearer(refused=old)
        assert (old.token, fresh.token) == ("old", lab.service.users[0].token)
        assert "old" not in repr(old)
    finally:
        await api.close()


# The lab's own PromQL


def test_the_lab_refuses_what_it_does_not_understand() -> None:
    for query in ("", "up{", "rate(up[5m])", "sum(up)", "up >", "{}", "up }", 'up{a="b}'):
        with pytest.raises(NotUnderstood):
            evaluate(query, ())


def test_the_lab_counts_as_prometheus_does() -> None:
    rows = [Series({"__name__": "m", "node": node, "gpu": gpu}, value)
            for node, gpu, value in (("a", "0", 3.0), ("a", "1", 0.0), ("b", "0", 200.0))]  # fmt: skip

    def told(query: str) -> dict[str, float]:
        return {each.labels.get("node", ""): each.value for each in evaluate(query, rows)}

    assert told("count by (node) (group by (node, gpu) (m))") == {"a": 2.0, "b": 1.0}
    assert told("sum by (node) (max by (node, gpu) (m <= 100) > bool 0)") == {"a": 1.0}
    assert told('m{gpu!="1", node=~"[a-b]"}') == {"a": 3.0, "b": 200.0}
    assert told('m{node="b"} or m{node!~"a"} or m') == {"a": 0.0, "b": 200.0}
