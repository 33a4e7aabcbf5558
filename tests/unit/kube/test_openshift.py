"""OpenShift's objects and what they mean together."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from backends import stack_report
from backends.allocation import InUse
from backends.domain import (
    ClusterRelease,
    FiringAlert,
    Monitoring,
    NodeMetrics,
    OlmOperator,
    Owner,
    SccClause,
    SccRefusal,
    SiteSpec,
    Stack,
    StackHealth,
    StackNode,
)
from backends.openshift.objects import (
    install_plan_of,
    operator_version,
    operators_of,
    release_of,
    service_version_of,
    subscription_of,
)
from tests.kube import objects as kube
from tests.kube import openshift_objects as openshift


def operators(*raw: dict[str, Any]) -> tuple[OlmOperator, ...]:
    def of(kind: str) -> list[dict[str, Any]]:
        return [each for each in raw if each["kind"] == kind]

    return operators_of(
        [subscription_of(each) for each in of("Subscription")],
        [install_plan_of(each) for each in of("InstallPlan")],
        [service_version_of(each) for each in of("ClusterServiceVersion")],
    )


def test_an_installed_operator_is_healthy() -> None:
    (found,) = operators(openshift.subscription(), openshift.install_plan(), openshift.service_version())
    assert found.healthy
    assert (found.package, found.channel, found.approval) == ("gpu-operator-certified", "stable", "Manual")
    assert (found.installed_csv, found.csv_phase) == (openshift.CSV, "Succeeded")


def test_an_install_plan_that_waits_for_its_approval_is_told() -> None:
    (found,) = operators(openshift.subscription(installed=None), openshift.install_plan("RequiresApproval"))
    assert found.waits_for_approval
    assert not found.healthy
    assert found.csv_phase is None


def test_an_upgrade_that_waits_for_approval_is_no_fault_of_what_runs() -> None:
    (found,) = operators(
        openshift.subscription(plan="install-new"),
        openshift.install_plan("RequiresApproval", "install-new"),
        openshift.service_version(),
    )
    assert found.waits_for_approval
    assert found.healthy


def test_a_failed_csv_tells_why() -> None:
    (found,) = operators(
        openshift.subscription(), openshift.service_version("Failed", "install strategy failed: deadline exceeded")
    )
    assert (found.healthy, found.csv_message) == (False, "install strategy failed: deadline exceeded")


def test_a_catalogue_that_is_down_is_told() -> None:
    bad = {"type": "CatalogSourcesUnhealthy", "status": "True", "message": "targeted catalogsource is missing"}
    (found,) = operators(openshift.subscription(conditions=[bad]), openshift.service_version())
    assert not found.healthy
    assert found.message == "CatalogSourcesUnhealthy: targeted catalogsource is missing"


def test_operators_and_the_release_tell_since_when() -> None:
    failed = openshift.service_version("Failed", "deadline exceeded")
    failed["status"]["lastTransitionTime"] = kube.stamp(kube.NOW - 300)
    plan = openshift.install_plan("RequiresApproval")
    plan["metadata"]["creationTimestamp"] = kube.stamp(kube.NOW - 900)
    (found,) = operators(openshift.subscription(), plan, failed)
    assert (found.since, found.install_plan_at) == (kube.NOW - 300, kube.NOW - 900)
    bad = {"type": "ResolutionFailed", "status": "True", "lastTransitionTime": kube.stamp(kube.NOW - 60)}
    (found,) = operators(openshift.subscription(conditions=[bad]), failed)
    assert found.since == kube.NOW - 60
    version = openshift.cluster_version(failing="Cluster operator etcd is degraded")
    for condition in version["status"]["conditions"]:
        condition["lastTransitionTime"] = kube.stamp(kube.NOW - (40 if condition["type"] == "Failing" else 9000))
    assert release_of(version).since == kube.NOW - 40


def test_other_operators_are_left_out() -> None:
    assert operators(openshift.subscription("pipelines")) == ()


def test_the_release_is_the_newest_that_was_installed_completely() -> None:
    release = release_of(openshift.cluster_version(progressing=True))
    assert (release.version, release.desired) == ("4.18.3", "4.19.1")
    assert (release.available, release.progressing, release.failing) == (True, True, False)
    assert release.message == "Working towards 4.19.1: 120 of 902 done"


def test_a_failing_release_says_why_first() -> None:
    release = release_of(openshift.cluster_version(progressing=True, failing="Cluster operator etcd is degraded"))
    assert (release.failing, release.message) == (True, "Cluster operator etcd is degraded")


@pytest.mark.parametrize("raw", [{}, {"status": {"history": "x", "conditions": [5]}}])
def test_a_release_that_tells_nothing_is_not_known(raw: dict[str, Any]) -> None:
    release = release_of(raw)
    assert (release.version, release.available, release.failing, release.message) == (None, None, None, None)


@pytest.mark.parametrize(
    ("release", "words", "unwell"),
    [
        (ClusterRelease("4.20.4", "4.20.4", True, False, False), None, False),
        (ClusterRelease("4.18.3", "4.19.1", True, True, False, "120 of 902"), "upgrading to 4.19.1: 120 of 902", False),
        (ClusterRelease("4.18.3", "4.19.1", True, True, True, "etcd"), "failing, upgrading to 4.19.1: etcd", True),
        (ClusterRelease("4.18.3", "4.18.3", False, False, False), "not available", True),
        (ClusterRelease(None, None, None, True, None), "being rolled out", False),
        (ClusterRelease(), None, False),
    ],
)
def test_the_release_in_words(release: ClusterRelease, words: str | None, unwell: bool) -> None:
    assert (release.words, release.unwell) == (words, unwell)
    stack = Stack("openshift", cluster=release)
    assert (stack.health is StackHealth.WARNING) is unwell


def test_the_stack_is_titled_by_openshift_s_release_and_not_by_kubernetes() -> None:
    stack = Stack("openshift", "v1.33.4", cluster=ClusterRelease("4.20.4", "4.20.4", True, False, False))
    assert stack.title == "openshift 4.20.4 (kubernetes v1.33.4)"
    assert dataclasses.replace(stack, cluster=None).title == "openshift (kubernetes v1.33.4)"
    assert Stack("openshift").title == "openshift"
    assert Stack("kubernetes", "v1.33.4").title == "kubernetes v1.33.4"


def test_the_report_names_the_release_what_it_fails_at_and_where_metrics_are() -> None:
    release = ClusterRelease("4.20.4", "4.20.5", True, True, True, "Cluster operator etcd is degraded")
    stack = Stack("openshift", "v1.33.4", cluster=release, monitoring_url="https://thanos.example.com")
    lines = stack_report.render(SiteSpec("prod", platform="openshift"), stack, kube.NOW).splitlines()
    assert lines == [
        "prod: openshift 4.20.4 (kubernetes v1.33.4), GPU stack warning",
        "  cluster: failing, upgrading to 4.20.5: Cluster operator etcd is degraded",
        "  metrics: https://thanos.example.com",
    ]
    unserved = dataclasses.replace(stack, monitoring_url=None, monitoring_problem="route a/b: not admitted: why")
    lines = stack_report.render(SiteSpec("prod"), unserved, kube.NOW).splitlines()
    assert "  metrics: n/a, route a/b: not admitted: why" in lines


def test_the_report_names_the_alerts_and_how_many_gpus_are_busy_where_nobody_knows_what_is_used() -> None:
    alerts = tuple(FiringAlert(f"GPUAlert{number:02}", "warning", kube.NOW, "dgx01") for number in range(18))
    nodes = (NodeMetrics("dgx01", 8, 3), NodeMetrics("dgx02", 8, None), NodeMetrics("dgx03", 8, 0))
    stack = Stack(
        "openshift",
        nodes=tuple(StackNode(f"dgx0{number}", StackHealth.READY) for number in (1, 2, 3)),
        monitoring_url="https://thanos.example.com",
        monitoring=Monitoring(alerts, 2, nodes),
    )
    used = {"dgx03": InUse(1, 0)}
    lines = stack_report.render(SiteSpec("prod", platform="openshift"), stack, kube.NOW, used).splitlines()
    assert lines[1:3] == [
        "  metrics: https://thanos.example.com, GPU metrics of 3 nodes",
        "  alert GPUAlert00 (warning) on dgx01",
    ]
    assert "  alerts: 4 more" in lines
    table = [line.split() for line in lines[lines.index("") + 1 :]]
    assert [(row[0], row[-1]) for row in table] == [
        ("NODE", "BUSY(DCGM)"),
        ("dgx01", "3/8"),
        ("dgx02", "n/a"),
        ("dgx03", "-"),  # what is used there is known, which is more
    ]
    told = json.loads(json.dumps(stack_report.document(SiteSpec("prod"), stack, kube.NOW)))["monitoring"]
    assert (told["nodes"][0], told["off"]) == ({"node": "dgx01", "gpus": 8, "busy": 3}, None)
    assert told["alerts"][0]["since"] == kube.NOW
    unread = stack_report.document(SiteSpec("prod"), Stack("openshift"), kube.NOW)
    assert unread["monitoring"] is None


def test_the_report_names_whom_sccs_refuse_and_why() -> None:
    clause = SccClause("Privileged containers are not allowed", "restricted-v2", ".containers[0].privileged")
    refused = SccRefusal("ReplicaSet", "team-a", "llama-7d9", (clause,), owner=Owner("Deployment", "llama"))
    stack = Stack("openshift", "v1.33.4", refused=(refused,))
    lines = stack_report.render(SiteSpec("prod", platform="openshift"), stack, kube.NOW).splitlines()
    assert lines[1:] == [f"  Deployment team-a/llama: SCCs refuse its pods: {clause.words}"]
    (told,) = stack_report.document(SiteSpec("prod"), stack, kube.NOW)["refused"]
    assert (told["owner"]["name"], told["clauses"][0]["scc"], told["gpus"]) == ("llama", "restricted-v2", None)


@pytest.mark.parametrize(
    ("csv", "version"),
    [("gpu-operator-certified.v26.3.0", "v26.3.0"), ("gpu-operator-certified", None), (None, None)],
)
def test_the_operator_s_version_is_in_the_name_of_its_csv(csv: str | None, version: str | None) -> None:
    nfd = OlmOperator("nfd", "openshift-nfd", "nfd", installed_csv="nfd.4.20.0-202510211040")
    gpu = OlmOperator("gpu-operator-certified", "nvidia-gpu-operator", "gpu-operator-certified", installed_csv=csv)
    assert operator_version([nfd, gpu]) == version
