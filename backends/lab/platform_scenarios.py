"""Scripted faults of the platform: a GPU Operator that does not come up, work that differs from what was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.contract import GpudeckError
from backends.lab.kube import scc
from backends.lab.kube.operands import OperandFault
from backends.lab.stage import Scenario, Stage

if TYPE_CHECKING:
    from backends.lab.kube.cluster import Cluster

CLUSTERS = ("kubernetes", "openshift")
PLATFORMS = (*CLUSTERS, "docker")


def _cluster(stage: Stage) -> Cluster:
    if stage.cluster is None:
        raise GpudeckError("this scenario needs a Kubernetes cluster", "Start the lab with --platform kubernetes.")
    return stage.cluster


def _fail_operand(stage: Stage, slot: int, fault: OperandFault) -> None:
    cluster, (node, _) = _cluster(stage), stage.board(slot, 0)
    cluster.fail_operand(node.name, fault)
    stage.undone_by(lambda: cluster.mend_operand(node.name))


def _operator_driver_build(stage: Stage) -> None:
    node, _ = stage.board(0, 0)
    kernel, driver = node.machine.kernel, node.machine.driver
    said = (
        f"Starting installation of NVIDIA driver version {driver} for Linux kernel version {kernel}",
        "Stopping NVIDIA persistence daemon...",
        "Unloading NVIDIA driver kernel modules...",
        "Updating the package cache...",
        "Installing Linux kernel headers...",
        f"E: Unable to locate package linux-headers-{kernel}",
        "Could not install the kernel headers: the driver cannot be built",
    )
    message = "back-off 5m0s restarting failed container=nvidia-driver-ctr"
    _fail_operand(stage, 0, OperandFault("driver", "nvidia-driver-ctr", "CrashLoopBackOff", message, said, restarts=6))


def _operator_driver_slow(stage: Stage) -> None:
    said = ("Building NVIDIA driver package nvidia-modules...", "Compiling kernel modules with 16 processes...")
    message = "Startup probe failed: the driver is not ready"
    _fail_operand(stage, 1, OperandFault("driver", "nvidia-driver-ctr", "", message, said, restarts=0))


def _operator_validator_crash(stage: Stage) -> None:
    said = (
        "[Vector addition of 50000 elements]",
        "Failed to allocate device vector A (error code system not yet initialized)!",
    )
    message = "back-off 2m40s restarting failed container=cuda-validation"
    fault = OperandFault("operator-validator", "cuda-validation", "CrashLoopBackOff", message, said, restarts=5)
    _fail_operand(stage, 2, fault)


def _operator_mig_failed(stage: Stage) -> None:
    cluster, (node, _) = _cluster(stage), stage.board(3, 0)
    cluster.fail_mig(node.name)
    stage.undone_by(lambda: cluster.fail_mig(None))


def _operator_upgrade_drain(stage: Stage) -> None:
    cluster, (node, _) = _cluster(stage), stage.board(4, 0)
    cluster.hold_upgrade(node.name)
    stage.undone_by(lambda: cluster.hold_upgrade(None))


def _operator_nfd_down(stage: Stage) -> None:
    cluster = _cluster(stage)
    cluster.stop_discovery(True)
    stage.undone_by(lambda: cluster.stop_discovery(False))


def _openshift(stage: Stage) -> Cluster:
    cluster = _cluster(stage)
    if cluster.platform != "openshift":
        raise GpudeckError("this scenario needs OpenShift", "Start the lab with --platform openshift.")
    return cluster


def _operator_olm_unapproved(stage: Stage) -> None:
    cluster = _openshift(stage)
    cluster.hold_install_plan(True)
    stage.undone_by(lambda: cluster.hold_install_plan(False))


def _metrics_unscraped(stage: Stage) -> None:
    cluster = _openshift(stage)
    cluster.monitor(False)
    stage.undone_by(lambda: cluster.monitor(True))


def _scc_refused(stage: Stage) -> None:
    cluster = _openshift(stage)
    scc.refuse(cluster.store, cluster.clock.now())
    stage.undone_by(lambda: scc.admit(cluster.store))


def _alloc_idle(stage: Stage) -> None:
    _, gpu = stage.board(0, 5)
    stage.put(gpu.faults, held_idle=True)


def _alloc_unasked(stage: Stage) -> None:
    _, gpu = stage.board(1, 1)
    stage.put(gpu.faults, serves=True, unasked=True)


def _alloc_twice(stage: Stage) -> None:
    _, gpu = stage.board(2, 1)
    stage.put(gpu.faults, serves=True, intruder="pod")


def _alloc_orphan(stage: Stage) -> None:
    _, gpu = stage.board(3, 3)
    stage.put(gpu.faults, intruder="orphan")


def _alloc_host(stage: Stage) -> None:
    _, gpu = stage.board(4, 2)
    stage.put(gpu.faults, intruder="host")


def _docker_no_runtime(stage: Stage) -> None:
    node, _ = stage.board(0, 0)
    stage.put(node.host_faults, no_gpu_runtime=True)


PLATFORM_SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "operator-driver-build",
        "the driver of a node does not build: no kernel headers",
        _operator_driver_build,
        CLUSTERS,
    ),
    Scenario(
        "operator-driver-slow",
        "the driver of a node still compiles: the toolkit waits for it",
        _operator_driver_slow,
        CLUSTERS,
    ),
    Scenario(
        "operator-validator-crash",
        "the CUDA validation of a node crashes: system not yet initialized",
        _operator_validator_crash,
        CLUSTERS,
    ),
    Scenario(
        "operator-mig-failed", "the MIG manager of a node failed: the GPU is in use", _operator_mig_failed, CLUSTERS
    ),
    Scenario(
        "operator-upgrade-drain",
        "the driver upgrade of a node is stuck at its drain",
        _operator_upgrade_drain,
        CLUSTERS,
    ),
    Scenario(
        "operator-nfd-down", "node feature discovery is down: no node has GPU labels", _operator_nfd_down, CLUSTERS
    ),
    Scenario(
        "operator-olm-unapproved",
        "OpenShift: the operator's InstallPlan waits for approval",
        _operator_olm_unapproved,
        ("openshift",),
    ),
    Scenario(
        "scc-refused",
        "OpenShift: security context constraints refuse the pods of a Deployment that asks for a GPU",
        _scc_refused,
        ("openshift",),
    ),
    Scenario(
        "metrics-unscraped",
        "OpenShift: the cluster's Prometheus does not look into the operator's namespace",
        _metrics_unscraped,
        ("openshift",),
    ),
    Scenario("alloc-idle", "a workload holds a GPU and runs nothing on it", _alloc_idle, PLATFORMS),
    Scenario("alloc-unasked", "a workload uses a GPU that it was not given", _alloc_unasked, PLATFORMS),
    Scenario("alloc-twice", "two workloads, each given a GPU of its own, are on the same one", _alloc_twice, CLUSTERS),
    Scenario("alloc-orphan", "a process of a container that is gone is on a GPU", _alloc_orphan, PLATFORMS),
    Scenario("alloc-host", "a process outside of any container is on a GPU of the cluster", _alloc_host, CLUSTERS),
    Scenario(
        "docker-no-runtime", "the container engine of a node knows no NVIDIA runtime", _docker_no_runtime, ("docker",)
    ),
)
