"""What is asked of the cluster's monitoring about GPUs: alerts that fire, whose metrics arrive, how many GPUs are busy.

The metrics are dcgm-exporter's. Its label of the node is `Hostname`, `hostname` in newer versions; the GPU Operator
lets it hold the node's name, older exporters put that of their pod there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from backends.domain import FiringAlert, MetricsOff, Monitoring, NodeMetrics, OperandPhase, Stack
from backends.openshift.monitoring import Sample

ALERTS_KEPT = 256
SPEAKS_OF_GPUS = "(?i).*(gpu|nvidia|dcgm).*"
"""In the name of an alert."""
NODE_LABELS = ("node", "exported_node", "Hostname", "hostname", "kubernetes_node")
"""Where an alert tells its node: `node` is that of node-status-exporter, whose alerts the GPU Operator ships."""
_GPU = "Hostname, hostname, UUID"
_NODE = "Hostname, hostname"
_FIGURES = '{__name__=~"DCGM_FI_DEV_(GPU_TEMP|GPU_UTIL|FB_USED)"}'
"""A vGPU tells no temperature, a GPU with MIG on no utilisation."""
_LOAD = f"max by ({_GPU}) (DCGM_FI_DEV_GPU_UTIL <= 100)"
"""DCGM's marks of what it does not know are huge numbers."""
ARRIVING = f"count by ({_NODE}) (group by ({_GPU}) ({_FIGURES}))"
TOLD = f"count by ({_NODE}) ({_LOAD})"
BUSY = f"sum by ({_NODE}) ({_LOAD} > bool 0)"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class Answers(NamedTuple):
    """As they came, before the platform's names are put in."""

    firing: list[Sample]
    active: list[Sample]
    """Of the same alerts since when; seconds since the epoch."""
    arriving: list[Sample]
    told: list[Sample]
    busy: list[Sample]


def questions(namespace: str | None) -> tuple[str, ...]:
    """In the order of `Answers`; `namespace` is the GPU Operator's."""
    about = [f'alertname=~"{SPEAKS_OF_GPUS}"']
    if namespace is not None and _NAMESPACE.fullmatch(namespace):
        about.append(f'namespace="{namespace}"')
    firing = " or ".join(f'ALERTS{{alertstate="firing",{each}}}' for each in about)
    active = " or ".join(f"ALERTS_FOR_STATE{{{each}}}" for each in about)
    return firing, active, ARRIVING, TOLD, BUSY


def monitoring_of(answers: Answers, stack: Stack, off: MetricsOff | None) -> Monitoring:
    names = _names(stack)
    alerts = sorted(alerts_of(answers, names), key=lambda each: (each.name, each.node or "", each.pod or ""))
    told, busy = _by_node(answers.told, names), _by_node(answers.busy, names)
    arriving = _by_node(answers.arriving, names)
    nodes = tuple(
        NodeMetrics(node, gpus, busy.get(node, 0) if told.get(node) == gpus else None)
        for node, gpus in sorted(arriving.items())
        if node
    )
    more = max(0, len(alerts) - ALERTS_KEPT)
    return Monitoring(tuple(alerts[:ALERTS_KEPT]), more, nodes, nameless="" in arriving, off=off)


def alerts_of(answers: Answers, names: Mapping[str, str]) -> Iterable[FiringAlert]:
    since = {_identity(each): each.value for each in answers.active}
    for each in answers.firing:
        label = each.labels.get
        node = next((told for key in NODE_LABELS if (told := label(key))), None)
        yield FiringAlert(
            name=label("alertname") or "n/a",
            severity=label("severity") or None,
            since=since.get(_identity(each)),
            node=None if node is None else _named(node, names),
            namespace=label("exported_namespace") or label("namespace") or None,
            pod=label("exported_pod") or label("pod") or None,
        )


def missing(stack: Stack, monitoring: Monitoring) -> bool:
    """A node whose exporter is ready has no metrics."""
    known = {each.node for each in monitoring.nodes}
    exporters = {node.name: node.get("dcgm-exporter") for node in stack.nodes}
    return any(
        exporter is not None and exporter.phase is OperandPhase.READY and name not in known
        for name, exporter in exporters.items()
    )


def _identity(sample: Sample) -> frozenset[tuple[str, str]]:
    """Of an alert: what ALERTS and ALERTS_FOR_STATE have in common."""
    return frozenset((key, value) for key, value in sample.labels.items() if key not in ("__name__", "alertstate"))


def _names(stack: Stack) -> dict[str, str]:
    """What a node may be called -> the platform's name of it."""
    found: dict[str, str] = {}
    for node in stack.nodes:
        exporter = node.get("dcgm-exporter")
        if exporter is not None and exporter.pod is not None:
            found[exporter.pod] = node.name
        short = node.name.partition(".")[0]
        # Two nodes that differ in their domain only are not told apart by it.
        found[short] = "" if short in found else node.name
    return {key: name for key, name in found.items() if name} | {node.name: node.name for node in stack.nodes}


def _named(node: str, names: Mapping[str, str]) -> str:
    return names.get(node) or names.get(node.partition(".")[0]) or node


def _by_node(samples: Sequence[Sample], names: Mapping[str, str]) -> dict[str, int]:
    """Node -> the sum; "" holds what names none."""
    found: dict[str, int] = {}
    for labels, value in samples:
        said = labels.get("Hostname") or labels.get("hostname") or ""
        node = _named(said, names) if said else ""
        found[node] = found.get(node, 0) + round(value)
    return found
