"""OpenShift's own monitoring: alerts about GPUs that fire, and nodes whose GPU metrics do not arrive there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from backends.domain import (
    Evidence,
    Finding,
    FiringAlert,
    MetricsOff,
    OperandPhase,
    Severity,
    StackNode,
    Subject,
    plural,
)
from backends.triage import steps
from backends.triage.causes import Cause, holding
from backends.triage.rule import EVIDENCE_KEPT, finding
from backends.triage.rules.stack import log_steps, nodes
from backends.triage.state import SiteState
from backends.triage.words import listed

SOURCE = "OpenShift monitoring"
SEVERITIES = {"critical": Severity.CRITICAL, "warning": Severity.WARNING}
"""Label of the alert's rule -> ours; `info`, `none` and what else there is are notes."""
SETTLE_SECONDS = 300.0
"""An exporter that has been ready for less may not have been scraped yet: Prometheus learns of a target within a
minute or two, and the first figures come with the second beat of DCGM."""
NAMES_TOLD = 4
BY_NODES = "GPUOperatorReconciliationFailed"
"""Fires for an operand that is not ready too: no finding where a node tells which one it is."""

ALERTS: tuple[Cause, ...] = (
    Cause(
        ("GPUOperatorReconciliationFailedNfdLabelsMissing",),
        "the operator could not reconcile for 30 min, and finds no labels of node feature discovery",
        "see whether node feature discovery runs",
    ),
    Cause(
        ("GPUOperatorReconciliationFailed",),
        "the operator could not reconcile for an hour: some operands may not be deployed",
        "read the operator's log",
    ),
    Cause(
        ("GPUOperatorNodeDeploymentDriverFailed",),
        "the validation of the driver has failed there for 30 min",
        "see what the driver's pod on the node does",
    ),
    Cause(
        ("GPUOperatorNodeDeploymentToolkitFailed",),
        "the driver works there, the container toolkit has not for 30 min",
        "see what the container toolkit's pod on the node does",
    ),
    Cause(
        ("GPUOperatorNodeDeploymentCudaFailed",),
        "the driver works there, CUDA work has not for 30 min",
        "see what the validator's pod on the node does",
    ),
    Cause(
        ("GPUOperatorNodeDeploymentFailed",),
        "the device plugin has offered no GPU of the node for 30 min",
        "see what the device plugin's pod on the node does",
    ),
    Cause(
        ("GPUOperatorOpenshiftDriverToolkitEnabledNfdTooOld",),
        "the NFD operator is too old to tell the labels that the driver toolkit needs",
        "upgrade the NFD operator",
    ),
    Cause(
        ("GPUOperatorOpenshiftDriverToolkitEnabledImage",),
        "the imagestream of the driver toolkit is missing, broken or lacks a tag of a node's RHCOS",
        "look at it: oc -n openshift get imagestream driver-toolkit",
    ),
    Cause(
        ("GPUOperatorDriverAutoUpgradeFailures",),
        "the operator's driver upgrade failed on some nodes",
        "see which nodes carry nvidia.com/gpu-driver-upgrade-state=upgrade-failed",
    ),
)
"""The GPU Operator's own (its PrometheusRules, v26.7); the longer names before those that they begin with."""


@dataclass(frozen=True, slots=True)
class Off:
    """Why metrics do not arrive."""

    why: str
    text: str
    command: str
    """`{space}` is the operator's namespace."""


OFF: dict[MetricsOff | None, Off] = {
    MetricsOff.UNLABELLED: Off(
        "the operator's namespace lacks the label openshift.io/cluster-monitoring=true, which the operator sets on"
        " nvidia-gpu-operator alone",
        "let the cluster's Prometheus look into it",
        "oc label namespace {space} openshift.io/cluster-monitoring=true",
    ),
    MetricsOff.LABEL_FALSE: Off(
        "somebody set the label openshift.io/cluster-monitoring of the operator's namespace to something else",
        "let the cluster's Prometheus look into it",
        "oc label namespace {space} openshift.io/cluster-monitoring=true --overwrite",
    ),
    MetricsOff.SERVICE_MONITOR: Off(
        "dcgmExporter.serviceMonitor.enabled is not true in the ClusterPolicy",
        "see what the ClusterPolicy says of it",
        "oc get clusterpolicies.nvidia.com -o jsonpath='{{.items[*].spec.dcgmExporter}}'",
    ),
    None: Off(
        "likely Prometheus cannot reach the exporter: a NetworkPolicy, or a target that is down",
        "see what scrapes it, and what keeps it off",
        "oc -n {space} get servicemonitors,endpoints,networkpolicies",
    ),
}
WANTED = frozenset({MetricsOff.LABEL_FALSE, MetricsOff.SERVICE_MONITOR})
"""Somebody decided it: worth a note, and no more."""


def told(state: SiteState) -> Iterator[Finding]:
    """A finding for each alert and node, and one for the nodes of which no metrics arrive."""
    if state.platform is not None and state.platform.answers("monitoring") and state.platform.stack is not None:
        yield from _alerts(state)
        yield from _absent(state)


def _alerts(state: SiteState) -> Iterator[Finding]:
    assert state.stack is not None
    monitoring = state.stack.monitoring
    subjects = {node.name: subject for node, subject in nodes(state)}
    by_place: dict[tuple[str, str | None], list[FiringAlert]] = {}
    for alert in () if monitoring is None else monitoring.alerts:
        by_place.setdefault((alert.name, alert.node), []).append(alert)
    told_by_nodes = any(each.blocker is not None for each in state.stack.nodes)
    for (name, node), alerts in by_place.items():
        if name == BY_NODES and told_by_nodes:
            continue
        subject = Subject() if node is None else subjects.get(node, Subject(node))
        yield _alert(state, name, subject, alerts)


def _alert(state: SiteState, name: str, subject: Subject, alerts: list[FiringAlert]) -> Finding:
    """`alerts` differ in their pod or severity."""
    severity = max((SEVERITIES.get(each.severity or "", Severity.INFO) for each in alerts), key=lambda each: each.rank)
    since = min((each.since for each in alerts if each.since is not None), default=state.now)
    cause = next(holding(ALERTS, (name,)), None)
    space = next((each.namespace for each in alerts if each.namespace), None)
    rule = "get prometheusrules -A" if space is None else f"-n {shlex.quote(space)} get prometheusrules -o yaml"
    return finding(
        "monitoring-alert" if cause is None else "monitoring-operator",
        severity,
        subject,
        f"alert {name} fires",
        min(since, state.now),
        evidence=[_evidence(each) for each in alerts[:EVIDENCE_KEPT]],
        cause="see the rule behind it" if cause is None else cause.text,
        steps=[
            *([] if cause is None else [steps.advice(cause.step)]),
            steps.open_stack(),
            steps.in_cluster(state.site, "read the rule behind it", rule),
        ],
        source=SOURCE,
        magnitude=float(len(alerts)),
        more=name,
    )


def _evidence(alert: FiringAlert) -> Evidence:
    where = f", pod {alert.pod}" if alert.pod else ""
    space = f", namespace {alert.namespace}" if alert.namespace else ""
    return Evidence(f"severity {alert.severity or 'n/a'}{space}{where}", alert.since, "ALERTS")


def _absent(state: SiteState) -> Iterator[Finding]:
    stack = state.stack
    assert stack is not None
    monitoring = stack.monitoring
    if monitoring is None or monitoring.nameless:
        return
    known = {each.node for each in monitoring.nodes}
    judged = [(node, subject) for node, subject in nodes(state) if _exports(node, state.now)]
    without = [(node, subject) for node, subject in judged if node.name not in known]
    if not without:
        return
    every = len(without) == len(judged)
    names = listed((subject.label for _, subject in without), NAMES_TOLD)
    where = "of any node" if every else f"of {plural(len(without), 'node')}: {names}"
    off = OFF[monitoring.off]
    command = off.command.format(space=shlex.quote(stack.operator_namespace or "nvidia-gpu-operator"))
    yield finding(
        "monitoring-absent",
        Severity.INFO if monitoring.off in WANTED else Severity.WARNING,
        without[0][1] if len(without) == 1 and not every else Subject(),
        f"no GPU metrics {where} reach the cluster's monitoring",
        state.now,
        evidence=[
            Evidence(f"dcgm-exporter is ready on {len(judged)} nodes, metrics arrive from {len(known)}", None, SOURCE)
        ],
        cause=off.why,
        steps=[
            steps.command(off.text, command),
            *log_steps(state, "dcgm-exporter", without[0][0].get("dcgm-exporter")),
            steps.open_stack(),
        ],
        source=SOURCE,
        magnitude=float(len(without)),
    )


def _exports(node: StackNode, now: float) -> bool:
    """Its exporter has been ready for long enough to be scraped."""
    exporter = node.get("dcgm-exporter")
    if exporter is None or exporter.phase is not OperandPhase.READY:
        return False
    return exporter.since is None or now - exporter.since >= SETTLE_SECONDS


def subjects(state: SiteState) -> int:
    """Nodes whose metrics arrive; at least 1 where the cluster's monitoring answers."""
    monitoring = None if state.stack is None else state.stack.monitoring
    return 0 if monitoring is None else max(1, len(monitoring.nodes))
