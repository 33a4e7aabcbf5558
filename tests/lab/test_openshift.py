"""What the backend `openshift` adds to the stack, read from the lab's API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.domain import Stack
from backends.feed import closing
from backends.openshift.backend import OpenShift
from tests.contract.lab_server import KINDS, LabKube
from tests.kube import objects, openshift_objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LabKube]:
    async with LabKube(tmp_path, KINDS["openshift"]).serving() as server:
        yield server


async def first_stack(server: LabKube) -> Stack:
    backend = OpenShift.open(context(server.kubeconfig()))
    try:
        async with closing(backend.stack()) as stacks:
            return await anext(stacks)
    finally:
        await backend.close()


async def test_the_first_stack_names_release_metrics_and_the_operator_s_version(server: LabKube) -> None:
    admin = Admin(server.kubeconfig())
    await admin.create(
        objects.node("dgx01"),
        objects.cluster_policy(),
        openshift_objects.cluster_version(version="4.18.3", failing="Cluster operator etcd is degraded"),
        openshift_objects.subscription(),
        openshift_objects.service_version(),
        openshift_objects.route("thanos-querier", "openshift-monitoring", "thanos.invalid"),
    )
    await admin.close()
    stack = await first_stack(server)
    assert stack.title.startswith("openshift 4.18.3")
    assert stack.cluster is not None
    assert stack.cluster.words == "failing: Cluster operator etcd is degraded"
    assert stack.monitoring_url == "https://thanos.invalid"
    assert stack.operator_version == openshift_objects.CSV.partition(".")[2]
    assert [each.what for each in stack.support] == ["GPU Operator 26.3 on OpenShift 4.18"]


async def test_without_a_route_there_is_no_url(server: LabKube) -> None:
    assert (await first_stack(server)).monitoring_url is None
