"""The cluster's part of a MIG plan, typed with kubectl against a real API server."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace

import pytest

from backends.nodes.mig.cluster import DEPLOY, OPERANDS, PAUSED, afterwards, before
from backends.nodes.mig.plan import Step
from backends.nodes.mig.target import Target, target_of_model
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
NODE, OTHER = "dgx01", "dgx02"


def target() -> Target:
    return replace(target_of_model("H100-80GB"), node=NODE, platform="kubernetes")


async def typed(step: Step, server: KubeApiserver) -> str:
    """What kubectl said; it must end well."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not there")
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig())}
    process = await asyncio.create_subprocess_exec(
        "bash", "-ec", step.command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def deployed(kube: Admin, name: str) -> dict[str, str]:
    """Deploy label -> value, of the operands that are paused."""
    found = await kube.get(objects.node(name))
    labels = found["metadata"]["labels"]
    return {each: labels[DEPLOY + each] for each in OPERANDS if DEPLOY + each in labels}


async def test_what_is_deployed_is_paused_and_comes_back_and_nothing_else_is_touched(
    kube: Admin, kube_server: KubeApiserver
) -> None:
    was = {"device-plugin": "true", "dcgm": "true", "dcgm-exporter": "false"}
    labels = {DEPLOY + each: was.get(each) for each in OPERANDS}
    await kube.create(objects.node(NODE, labels=labels), objects.node(OTHER, labels=labels))
    assert await deployed(kube, NODE) == was
    steps = {step.kind: step for step in (*before(target()), *afterwards(target()))}
    await typed(steps["pause-operands"], kube_server)
    assert await deployed(kube, NODE) == {**was, "device-plugin": PAUSED, "dcgm": PAUSED}
    assert await deployed(kube, OTHER) == was
    await typed(steps["resume-operands"], kube_server)
    assert await deployed(kube, NODE) == was


async def test_the_wait_ends_when_the_pods_of_the_node_are_gone(kube: Admin, kube_server: KubeApiserver) -> None:
    here, elsewhere = objects.operand("dcgm-exporter", NODE), objects.operand("dcgm-exporter", OTHER)
    await kube.create(objects.node(NODE), objects.node(OTHER), here, elsewhere)
    wait = next(step for step in before(target()) if step.kind == "wait-operands")
    waiting = asyncio.create_task(typed(wait, kube_server))
    await kube.delete(here)
    said = await waiting
    assert OTHER not in said
    assert await typed(wait, kube_server) == "", "nothing is there to wait for"
