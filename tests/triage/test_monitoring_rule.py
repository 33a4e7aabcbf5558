"""What the triage says of alerts of the cluster's monitoring, and of metrics that do not arrive there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from backends.domain import (
    Finding,
    FiringAlert,
    MetricsOff,
    Monitoring,
    NodeMetrics,
    Severity,
    SiteSpec,
    Stack,
    StackNode,
)
from backends.ownership import NOBODY
from backends.triage.rules import monitoring, rule_of
from backends.triage.state import PlatformState, SiteState
from tests.triage.makers import NOW
from tests.tui.stacks import OPERANDS, blocked, well

URL = "https://thanos.example.com"
DRIVER = FiringAlert(
    "GPUOperatorNodeDeploymentDriverFailed", "warning", NOW - 2400, "n1", "nvidia-gpu-operator", "status-exporter-1"
)
ALL = (NodeMetrics("n1", 8, 3), NodeMetrics("n2", 8, 0))


def state_of(told: Monitoring | None, *nodes: StackNode, **more: Any) -> SiteState:
    stack = Stack(
        "openshift",
        operands=OPERANDS,
        nodes=nodes or (well("n1"), well("n2")),
        operator_namespace="gpu-stack",
        **{"monitoring_url": URL, "monitoring": told, **more},
    )
    return SiteState(SiteSpec("prod", platform="openshift"), (), NOW, {}, PlatformState(stack, NOBODY))


def found(told: Monitoring | None, *nodes: StackNode, **more: Any) -> list[Finding]:
    return list(monitoring.told(state_of(told, *nodes, **more)))


def commands(finding: Finding) -> list[str]:
    return [step.target for step in finding.steps if step.target]


# Alerts


def test_an_alert_of_the_operator_is_a_finding_of_its_node_with_what_it_means() -> None:
    (one,) = found(Monitoring((DRIVER,), nodes=ALL))
    assert (one.rule, one.severity, one.subject.node, one.since) == (
        "monitoring-operator",
        Severity.WARNING,
        "n1",
        NOW - 2400,
    )
    assert one.claim == "alert GPUOperatorNodeDeploymentDriverFailed fires"
    assert one.cause == "the validation of the driver has failed there for 30 min"
    assert one.evidence[0].text == "severity warning, namespace nvidia-gpu-operator, pod status-exporter-1"
    assert rule_of(one).id == "monitoring"


def test_anybody_s_alert_is_as_grave_as_its_rule_says_and_points_at_the_rule() -> None:
    alerts = tuple(FiringAlert("NvidiaGpuHot", severity, None) for severity in ("none", "critical", None))
    (one,) = found(Monitoring(alerts, nodes=ALL))
    assert (one.rule, one.severity, one.subject.node, one.since) == (
        "monitoring-alert",
        Severity.CRITICAL,
        None,
        NOW,
    )
    assert any("prometheusrules" in command for command in commands(one))
    (note,) = found(Monitoring((FiringAlert("NvidiaGpuIdle", "info"),), nodes=ALL))
    assert note.severity is Severity.INFO


def test_the_longer_name_of_two_is_the_one_that_is_meant() -> None:
    (one,) = found(Monitoring((FiringAlert("GPUOperatorReconciliationFailedNfdLabelsMissing", "warning"),), nodes=ALL))
    assert "no labels of node feature discovery" in (one.cause or "")


def test_what_the_nodes_tell_themselves_is_not_said_again_for_the_whole_site() -> None:
    alerts = (FiringAlert("GPUOperatorReconciliationFailed", "warning"),)
    assert found(Monitoring(alerts, nodes=ALL)) != []
    assert found(Monitoring(alerts, nodes=ALL), blocked("n1"), well("n2")) == []


def test_a_name_that_takes_over_a_terminal_is_inert_in_a_command() -> None:
    (one,) = found(Monitoring((FiringAlert("Gpu", "warning", namespace="a; rm -rf /"),), nodes=ALL))
    assert "oc -n 'a; rm -rf /' get prometheusrules -o yaml" in commands(one)


# Metrics


def test_where_all_metrics_arrive_nothing_is_said() -> None:
    assert found(Monitoring(nodes=ALL)) == []
    assert found(None) == []


@pytest.mark.parametrize(
    ("off", "severity", "command"),
    [
        (MetricsOff.UNLABELLED, Severity.WARNING, "oc label namespace gpu-stack openshift.io/cluster-monitoring=true"),
        (
            MetricsOff.LABEL_FALSE,
            Severity.INFO,
            "oc label namespace gpu-stack openshift.io/cluster-monitoring=true --overwrite",
        ),
        (
            MetricsOff.SERVICE_MONITOR,
            Severity.INFO,
            "oc get clusterpolicies.nvidia.com -o jsonpath='{.items[*].spec.dcgmExporter}'",
        ),
        (None, Severity.WARNING, "oc -n gpu-stack get servicemonitors,endpoints,networkpolicies"),
    ],
)
def test_without_any_metrics_the_cause_is_named_and_what_to_do(
    off: MetricsOff | None, severity: Severity, command: str
) -> None:
    (one,) = found(Monitoring(off=off))
    assert (one.rule, one.severity, one.subject.node) == ("monitoring-absent", severity, None)
    assert one.claim == "no GPU metrics of any node reach the cluster's monitoring"
    assert commands(one)[0] == command
    assert rule_of(one).id == "monitoring"


def test_one_node_without_metrics_is_that_node_s_finding() -> None:
    (one,) = found(Monitoring(nodes=ALL[:1]))
    assert one.subject.node == "n2"
    assert one.claim == "no GPU metrics of 1 node: n2 reach the cluster's monitoring"


def test_an_exporter_that_has_just_come_up_may_take_its_time() -> None:
    young = well("n2")
    states = tuple(
        dataclasses.replace(each, since=NOW - 60) if each.operand == "dcgm-exporter" else each
        for each in young.operands
    )
    assert found(Monitoring(nodes=ALL[:1]), well("n1"), dataclasses.replace(young, operands=states)) == []


def test_metrics_that_name_no_node_prove_nothing() -> None:
    assert found(Monitoring(nameless=True)) == []


# Not told


def test_while_it_does_not_answer_nothing_is_said_and_nothing_is_over() -> None:
    silent = state_of(None, monitoring_problem="it answers HTTP 503")
    assert list(monitoring.told(silent)) == []
    assert silent.platform is not None
    assert not silent.platform.answers("monitoring")
    assert silent.platform.answers("stack")


def test_where_there_is_nothing_to_ask_any_more_what_it_said_is_over() -> None:
    gone = state_of(None, monitoring_url=None)
    assert gone.platform is not None
    assert gone.platform.answers("monitoring")
    assert monitoring.subjects(gone) == 0
