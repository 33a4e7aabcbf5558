"""What the lab's monitoring has scraped: dcgm-exporter's figures of the simulated GPUs, and the operator's alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backends.lab.dynamics import Meter, Sample
from backends.lab.hardware import SimGpu, SimNode
from backends.lab.kube.cluster import KINDS, POLICY_NAME, Cluster
from backends.lab.kube.openshift import MONITORED
from backends.lab.kube.promql import NAME, Series

FOR_SECONDS = 60.0
"""How long it must be so before an alert fires. The operator's rules wait half an hour or longer; a demo does not."""
EXPORTER = "nvidia-dcgm-exporter"
_BY_OPERAND = (
    ("driver", "GPUOperatorNodeDeploymentDriverFailed"),
    ("container-toolkit", "GPUOperatorNodeDeploymentToolkitFailed"),
    ("operator-validator", "GPUOperatorNodeDeploymentCudaFailed"),
)
"""The first operand that is not ready, and the alert that says so."""
_MIB = 1 << 20


class Scraped:
    """The series of one cluster; `tick` watches how long what alerts are about has been so."""

    def __init__(self, cluster: Cluster, hardware: Mapping[str, SimNode]) -> None:
        self._cluster = cluster
        self._hardware = hardware
        self._meters = {name: Meter(node) for name, node in hardware.items()}
        self._active: dict[tuple[str, str | None], float] = {}
        """Alert and node -> since when it is so."""

    def tick(self) -> None:
        now = self._cluster.clock.now()
        so = set(self._conditions()) if self._is_monitored() else set()
        self._active = {key: self._active.get(key, now) for key in so}

    def series(self) -> Iterator[Series]:
        now = self._cluster.clock.now()
        if self._is_monitored():
            yield from self._alerts(now)
            if self._has_monitor():
                yield from self._figures(now)

    def _alerts(self, now: float) -> Iterator[Series]:
        for (name, node), since in self._active.items():
            labels = {"alertname": name, "severity": "warning", "namespace": self._cluster.space}
            labels |= {} if node is None else {"node": node}
            state = "firing" if now - since >= FOR_SECONDS else "pending"
            yield Series({**labels, NAME: "ALERTS", "alertstate": state}, 1.0)
            yield Series({**labels, NAME: "ALERTS_FOR_STATE"}, since)

    def _conditions(self) -> Iterator[tuple[str, str | None]]:
        """Those of the operator's PrometheusRules that the lab can bring about."""
        # What a node says of itself comes from its status exporter.
        for name in (each for each in self._hardware if self._cluster.ready_pod(each, "node-status-exporter")):
            if self._cluster.ready_pod(name, "device-plugin") is None:
                yield "GPUOperatorNodeDeploymentFailed", name
            unready = (alert for part, alert in _BY_OPERAND if self._cluster.ready_pod(name, part) is None)
            if (alert := next(unready, None)) is not None:
                yield alert, name
        policy = self._cluster.store.get(KINDS["clusterpolicies"], None, POLICY_NAME[self._cluster.platform])
        if self._cluster.faults.nfd_down:
            yield "GPUOperatorReconciliationFailedNfdLabelsMissing", None
        elif policy["status"]["state"] != "ready":
            yield "GPUOperatorReconciliationFailed", None

    def _figures(self, now: float) -> Iterator[Series]:
        for name, node in self._hardware.items():
            exporter = self._cluster.ready_pod(name, "dcgm-exporter")
            if exporter is None:
                continue
            target = {
                "container": EXPORTER,
                "endpoint": "gpu-metrics",
                "job": EXPORTER,
                "namespace": self._cluster.space,
                "pod": exporter,
                "service": EXPORTER,
                "Hostname": name,
                "DCGM_FI_DRIVER_VERSION": node.driver_version,
            }
            for gpu in node.gpus:
                if not gpu.faults.lost:
                    yield from _gpu(gpu, self._meters[name].read(gpu, now), target)

    def _is_monitored(self) -> bool:
        space = self._cluster.store.get(KINDS["namespaces"], None, self._cluster.space)
        return bool(space["metadata"].get("labels", {}).get(MONITORED) == "true")

    def _has_monitor(self) -> bool:
        policy = self._cluster.store.get(KINDS["clusterpolicies"], None, POLICY_NAME[self._cluster.platform])
        return policy["spec"]["dcgmExporter"].get("serviceMonitor", {}).get("enabled") is True


def _gpu(gpu: SimGpu, sample: Sample, target: Mapping[str, str]) -> Iterator[Series]:
    """As dcgm-exporter tells a GPU: no temperature of a vGPU, and with MIG on no utilisation but a row per instance."""
    labels = {
        **target,
        "gpu": str(gpu.index),
        "UUID": gpu.uuid,
        "pci_bus_id": gpu.pci_bus_id,
        "device": f"nvidia{gpu.index}",
        "modelName": gpu.name,
    }
    rows = [{"GPU_I_ID": str(each.gi), "GPU_I_PROFILE": each.profile.name} for each in gpu.mig] or [{}]
    for row in rows:
        if not gpu.board.virtual:
            yield Series({**labels, **row, NAME: "DCGM_FI_DEV_GPU_TEMP"}, float(sample.celsius))
        yield Series({**labels, **row, NAME: "DCGM_FI_DEV_FB_USED"}, float(sample.used_bytes // _MIB))
    if not gpu.mig_on:
        yield Series({**labels, NAME: "DCGM_FI_DEV_GPU_UTIL"}, float(sample.utilization_percent))
