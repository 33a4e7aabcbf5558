"""What the cluster's own Prometheus says of the GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MetricsOff(StrEnum):
    """Why the cluster's Prometheus does not scrape dcgm-exporter, where that is found."""

    UNLABELLED = "unlabelled"
    """The operator's namespace lacks the label openshift.io/cluster-monitoring=true."""
    LABEL_FALSE = "label-false"
    """It carries that label with another value: somebody wants it so, and the operator leaves it."""
    SERVICE_MONITOR = "service-monitor"
    """dcgmExporter.serviceMonitor.enabled of the ClusterPolicy is not true."""


@dataclass(frozen=True, slots=True)
class FiringAlert:
    """An alert that fires now and is about GPUs."""

    name: str
    severity: str | None = None
    """critical, warning, info, none: as its rule labels it, which may be any word."""
    since: float | None = None
    """Since when what it tells is so, seconds since the epoch: before it fired, by the `for` of its rule."""
    node: str | None = None
    """By the platform's name where it is one of its nodes."""
    namespace: str | None = None
    pod: str | None = None

    @property
    def words(self) -> str:
        """`GPUOperatorNodeDeploymentFailed (warning) on dgx07`"""
        where = f" on {self.node}" if self.node else f" of pod {self.pod}" if self.pod else ""
        return f"{self.name} ({self.severity or 'no severity'}){where}"


@dataclass(frozen=True, slots=True)
class NodeMetrics:
    """The figures of dcgm-exporter that arrive from one node."""

    node: str
    """By the platform's name where it is one of its nodes."""
    gpus: int
    """GPUs of which any figure arrives."""
    busy: int | None = None
    """Those with a utilisation above 0; None where that is not told of each, as under MIG."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    alerts: tuple[FiringAlert, ...] = ()
    """By name and node."""
    more_alerts: int = 0
    """Those that fire besides and are not listed."""
    nodes: tuple[NodeMetrics, ...] = ()
    """By name."""
    nameless: bool = False
    """GPU metrics arrive that name no node: of no node can be said that it has none."""
    off: MetricsOff | None = None
    """Looked up only while metrics of a node are missing."""

    def get(self, node: str) -> NodeMetrics | None:
        return next((each for each in self.nodes if each.node == node), None)
