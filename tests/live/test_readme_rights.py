"""The roles in the README on a real API server: one reads everything, both together pass every dry run."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from backends.domain import Permission
from backends.kubernetes.backend import Kubernetes
from backends.openshift.backend import OpenShift
from tests.kube import objects, openshift_objects
from tests.kube.admin import Admin
from tests.kube.fixtures import context, until
from tests.kube.server import KubeApiserver
from tests.live.test_platform_changes import NODE, change_of, opened, workload

pytestmark = pytest.mark.real("kube-apiserver")
README = Path(__file__).parents[2] / "README.md"


def roles() -> dict[str, dict[str, Any]]:
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    documents = [each for block in blocks for each in yaml.safe_load_all(block)]
    return {each["metadata"]["name"]: each for each in documents if each["kind"] == "ClusterRole"}


@pytest.fixture
async def cluster(kube: Admin) -> AsyncIterator[Admin]:
    """A good cluster with work of a Deployment and of a Job, and somebody who may read."""
    job = objects.controller("batch/v1", "Job", "train")
    gpus = {"nvidia.com/gpu": 1}
    await kube.create(
        *objects.good_cluster(NODE),
        workload("llama"),
        objects.pod("train-1", node=NODE, namespace="team-b", gpus=gpus, owner=job),
    )
    await kube.bind("viewer", roles()["gpudeck-read"])
    yield kube
    await kube.revoke_all()


async def test_the_reading_role_reads_everything_and_changes_nothing(
    cluster: Admin, kube_server: KubeApiserver
) -> None:
    backend = Kubernetes.open(context(kube_server.kubeconfig("viewer")))
    stack = await until(backend.stack(), lambda stack: stack.nodes and stack.policies)
    workloads = await until(backend.workloads(), lambda found: len(found.items) >= 2)
    assert (stack.not_permitted, workloads.not_permitted) == ((), ())
    assert (await backend.drain_plan(NODE)).not_permitted == ()
    reads = [Permission("get", "pods/log"), Permission("list", "events"), Permission("watch", "namespaces")]
    changes = [Permission("patch", "nodes"), Permission("delete", "pods"), Permission("create", "pods/eviction")]
    answers = await backend.review([*reads, *changes])
    await backend.close()
    assert [each.allowed for each in answers] == [True] * len(reads) + [False] * len(changes)


async def test_the_reading_role_reads_openshift_too(cluster: Admin, kube_server: KubeApiserver) -> None:
    await cluster.create(
        openshift_objects.cluster_version(),
        openshift_objects.subscription(),
        openshift_objects.install_plan(),
        openshift_objects.service_version(),
        openshift_objects.route("thanos-querier", "openshift-monitoring", "thanos.invalid"),
    )
    gpus = {"nvidia.com/gpu": 1}
    await cluster.create(
        objects.pod("served", node=NODE, namespace="team-c", labels={"app": "served"}, gpus=gpus),
        openshift_objects.service("served", "team-c", {"app": "served"}),
        openshift_objects.route("served", "team-c", "served.apps.example.com"),
    )
    (refused,) = await cluster.create(openshift_objects.replica_set("llama-7d9", "team-a"))
    await cluster.create(openshift_objects.failed_create(refused))
    backend = OpenShift.open(context(kube_server.kubeconfig("viewer")))
    assert await backend.probe() == "4.18.3"
    workloads = backend.workloads()
    await until(workloads, lambda found: any(each.routes for each in found.items))
    stack = await until(backend.stack(), lambda stack: stack.operators and stack.cluster and stack.refused)
    await workloads.aclose()  # type: ignore[attr-defined]
    assert stack.not_permitted == ()
    assert stack.monitoring_url == "https://thanos.invalid"
    await backend.close()


@pytest.mark.parametrize(
    ("action", "argument"),
    [
        ("restart", "driver"),
        ("cordon", ""),
        ("drain-force", ""),
        ("mig", "all-1g.10gb"),
        ("upgrade-start", ""),
        ("upgrade-pause", ""),
    ],
)
async def test_with_the_changing_role_every_dry_run_passes(
    cluster: Admin, kube_server: KubeApiserver, tmp_path: Path, action: str, argument: str
) -> None:
    await cluster.bind("writer", *({**role, "metadata": {"name": f"w-{name}"}} for name, role in roles().items()))
    async with opened(kube_server, "writer", tmp_path) as (site, desk):
        change = await change_of(site, action, argument)
        found = await desk.preflight(change)
        assert found.obstacles == ()
        assert found.permissions
        assert all(each.granted for each in found.permissions)
        assert change.radius.undetermined == () or not any(each.uncounted for each in change.radius.undetermined)
