"""What the answers of the cluster's monitoring come to: alerts and metrics by node, without a server."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from backends.contract import AuthRefused, NotAllowed, Refused, Unreachable
from backends.domain import FiringAlert, NodeMetrics, OperandPhase, OperandState, Stack, StackHealth, StackNode
from backends.openshift.gpu_metrics import ALERTS_KEPT, Answers, missing, monitoring_of, questions
from backends.openshift.monitoring import Sample, _api_of, _failure, samples_of

NOTHING = Answers([], [], [], [], [])


def node(name: str, pod: str | None = None, phase: OperandPhase = OperandPhase.READY) -> StackNode:
    return StackNode(name, StackHealth.READY, (OperandState("dcgm-exporter", phase, pod=pod),))


def stack(*nodes: StackNode) -> Stack:
    return Stack("openshift", nodes=nodes or (node("dgx01.example.com"), node("dgx02.example.com")))


def alert(name: str = "GPUHot", **labels: str) -> Sample:
    return Sample({"__name__": "ALERTS", "alertname": name, "alertstate": "firing", **labels}, 1.0)


def of_node(name: str, value: float, label: str = "Hostname") -> Sample:
    return Sample({label: name}, value)


def vector(*series: dict[str, Any]) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}}).encode()


# Alerts


def test_an_alert_is_joined_to_since_when_it_is_so_and_to_the_platform_s_node() -> None:
    labels = {"severity": "warning", "namespace": "nvidia-gpu-operator", "node": "dgx01"}
    active = Sample({"__name__": "ALERTS_FOR_STATE", "alertname": "GPUHot", **labels}, 1_765_000_000.0)
    found = monitoring_of(NOTHING._replace(firing=[alert(**labels)], active=[active]), stack(), None)
    assert found.alerts == (
        FiringAlert("GPUHot", "warning", 1_765_000_000.0, "dgx01.example.com", "nvidia-gpu-operator"),
    )


def test_an_alert_without_its_start_or_node_is_told_without() -> None:
    (found,) = monitoring_of(NOTHING._replace(firing=[alert(Hostname="elsewhere")]), stack(), None).alerts
    assert (found.since, found.severity, found.node) == (None, None, "elsewhere")
    (found,) = monitoring_of(NOTHING._replace(firing=[alert()]), stack(), None).alerts
    assert found.node is None
    assert found.words == "GPUHot (no severity)"


def test_alerts_are_bounded_and_the_rest_is_counted() -> None:
    many = [alert(pod=f"p{number:04}") for number in range(ALERTS_KEPT + 3)]
    found = monitoring_of(NOTHING._replace(firing=many), stack(), None)
    assert (len(found.alerts), found.more_alerts) == (ALERTS_KEPT, 3)


def test_a_namespace_that_is_no_name_is_not_put_into_a_query() -> None:
    assert 'namespace="nvidia-gpu-operator"' in questions("nvidia-gpu-operator")[0]
    assert questions('x"} or vector(1)') == questions(None)


# Metrics


def test_metrics_are_counted_by_the_platform_s_name_whatever_the_label_is_called() -> None:
    exporter = node("dgx03.example.com", pod="nvidia-dcgm-exporter-x7k2p")
    told = NOTHING._replace(
        arriving=[
            of_node("dgx01", 8),
            of_node("dgx02.example.com", 8, "hostname"),
            of_node("nvidia-dcgm-exporter-x7k2p", 4),
        ],
        told=[of_node("dgx01", 8), of_node("dgx02.example.com", 3, "hostname"), of_node("dgx03", 4)],
        busy=[of_node("dgx01", 5), of_node("dgx02.example.com", 3, "hostname"), of_node("dgx03", 0)],
    )
    found = monitoring_of(told, stack(*stack().nodes, exporter), None)
    assert found.nodes == (
        NodeMetrics("dgx01.example.com", 8, 5),
        NodeMetrics("dgx02.example.com", 8, None),  # five GPUs with MIG on tell no utilisation: nobody knows
        NodeMetrics("dgx03.example.com", 4, 0),
    )


def test_two_nodes_of_one_short_name_are_not_taken_for_each_other() -> None:
    twins = stack(node("gpu1.east"), node("gpu1.west"))
    found = monitoring_of(NOTHING._replace(arriving=[of_node("gpu1", 8)]), twins, None)
    assert [each.node for each in found.nodes] == ["gpu1"]


def test_metrics_that_name_no_node_are_told_as_such() -> None:
    found = monitoring_of(NOTHING._replace(arriving=[Sample({}, 16)]), stack(), None)
    assert (found.nodes, found.nameless) == ((), True)


def test_metrics_are_missing_of_ready_exporters_alone() -> None:
    told = monitoring_of(NOTHING._replace(arriving=[of_node("dgx01", 8)]), stack(), None)
    assert missing(stack(), told)
    waiting = node("dgx02.example.com", phase=OperandPhase.WAITING)
    assert not missing(stack(node("dgx01.example.com"), waiting), told)
    assert not missing(stack(dataclasses.replace(waiting, operands=())), told)


# The answer itself


def test_series_are_read_and_what_is_no_number_is_left_out() -> None:
    good = {"metric": {"Hostname": "dgx01\x1b[31m", "long": "x" * 1000}, "value": [1.0, "8"]}
    odd: list[Any] = [
        {"metric": {}, "value": [1.0, "NaN"]},
        {"metric": {}, "value": [1.0, "+Inf"]},
        {"metric": {}, "value": "8"},
        {"metric": {}, "value": [1.0, None]},
        {"value": [1.0]},
        7,
    ]
    (found,) = samples_of(vector(good, *odd))
    assert (found.labels["Hostname"], found.value) == ("dgx01", 8.0)
    assert len(found.labels["long"]) == 128


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Log in</html>",
        b"[]",
        b"[" * 100_000,
        json.dumps({"status": "error", "error": "x"}).encode(),
        json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}).encode(),
    ],
)
def test_what_is_no_answer_of_prometheus_is_called_so(body: bytes) -> None:
    with pytest.raises(Unreachable, match="something else"):
        samples_of(body)


def test_a_refusal_names_what_is_missing() -> None:
    refused = _failure(403, b"Forbidden (user=me, verb=get, resource=prometheuses, subresource=api)")
    assert isinstance(refused, NotAllowed)
    assert "cluster-monitoring-view" in refused.message
    assert str(refused.permission) == "get prometheuses.monitoring.coreos.com/api k8s in openshift-monitoring"
    assert isinstance(_failure(401, b""), AuthRefused)
    assert isinstance(_failure(302, b""), Refused)
    error = json.dumps({"status": "error", "errorType": "timeout", "error": "query timed out\x1b[2J"}).encode()
    assert _failure(503, error).message == "it answers HTTP 503: query timed out"
    assert len(_failure(502, b"<html>" + b"x" * 100_000).message) < 240


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ("https://thanos.apps.example.com/api", "https://thanos.apps.example.com/api"),
        ("https://thanos.apps.example.com", "https://thanos.apps.example.com/api"),
        ("https://proxy:8443/prod/", "https://proxy:8443/prod/api"),
    ],
)
def test_the_route_s_own_path_is_not_asked_for_twice(told: str, asked: str) -> None:
    assert _api_of(told) == asked
