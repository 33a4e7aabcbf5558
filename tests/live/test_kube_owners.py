"""Whose workload it is, and the triage of a cluster, on a real API server: a site without nodes of its own."""

from __future__ import annotations

import pytest

from backends.domain import GpuProcess, KubernetesSpec, Severity, SiteSpec
from backends.ownership import owner_words
from backends.site import Site
from tests.kube import objects
from tests.kube.admin import Admin
from tests.kube.server import KubeApiserver

pytestmark = pytest.mark.real("kube-apiserver")
WAIT_SECONDS = 30.0


def site(server: KubeApiserver, user: str = "admin") -> Site:
    kubernetes = KubernetesSpec(kubeconfig=server.kubeconfig(user))
    return Site(SiteSpec("prod", platform="kubernetes", kubernetes=kubernetes))


async def test_a_process_s_container_leads_to_its_pod_and_to_what_owns_it(
    kube: Admin, kube_server: KubeApiserver
) -> None:
    job = objects.controller("batch/v1", "Job", "train")
    pod = objects.pod("train-x", node="dgx01", gpus={"nvidia.com/gpu": 1}, owner=job, labels={"user": "carla"})
    await kube.create(*objects.good_cluster("dgx01"), pod)
    digits = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    opened = site(kube_server)
    try:
        triage = await opened.observe(WAIT_SECONDS, 0)
        ownership = opened.ownership.reading.value
        assert ownership is not None
        workload = next(each for each in ownership.holders("dgx01") if each.name == "train-x")
        assert (workload.title, owner_words(workload), workload.user) == ("team/train-x", "Job train", "carla")
        assert ownership.of(GpuProcess(1, container_id=digits)) is not None
        assert [each.claim for each in triage.findings if each.severity is not Severity.INFO] == []
    finally:
        await opened.close()


async def test_a_driver_that_crashes_is_the_first_finding(kube: Admin, kube_server: KubeApiserver) -> None:
    sick = objects.operand("driver", "dgx02", nvidia_driver_ctr=objects.crashing("exit 1"))
    await kube.create(*objects.good_cluster("dgx01"), objects.node("dgx02", allocatable=0), sick)
    opened = site(kube_server)
    try:
        triage = await opened.observe(WAIT_SECONDS, 0)
    finally:
        await opened.close()
    first = triage.findings[0]
    assert (first.rule, first.severity, first.subject.node) == ("operand-driver", Severity.CRITICAL, "dgx02")
    assert first.claim == "driver crashes in nvidia-driver-ctr"


async def test_rights_that_are_missing_are_one_note_and_break_nothing(kube: Admin, kube_server: KubeApiserver) -> None:
    await kube.create(*objects.good_cluster("dgx01"))
    opened = site(kube_server, "tenant")
    try:
        triage = await opened.observe(WAIT_SECONDS, 0)
    finally:
        await opened.close()
    assert [(each.rule, each.severity) for each in triage.findings] == [("platform-not-permitted", Severity.WARNING)]
