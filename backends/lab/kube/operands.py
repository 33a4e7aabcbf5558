"""The GPU Operator's operands on one node: in what order they come up, and where a fault stops them. Pure.

Names, labels, init containers and the barrier files each one waits for are those of GPU Operator v26.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Init:
    """An init container: it ends when its barrier is there, and takes `seconds` after that."""

    name: str
    needs: str | None = None
    """An operand whose readiness it waits for; None waits for nothing."""
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Operand:
    name: str
    """The deploy label's last part: nvidia.com/gpu.deploy.NAME."""
    daemonset: str
    """Also the value of its `app` label."""
    state: str
    """Its name in the operator's own messages."""
    inits: tuple[Init, ...]
    containers: tuple[str, ...]
    seconds: float
    """From the last init container to Ready."""
    log: tuple[str, ...]
    """What the first container writes when all is well."""
    needs_mig: bool = False


OPERANDS: tuple[Operand, ...] = (
    Operand(
        "driver",
        "nvidia-driver-daemonset",
        "state-driver",
        (Init("k8s-driver-manager", seconds=2.0),),
        ("nvidia-driver-ctr",),
        6.0,
        (
            "Loading ipmi and i2c_core kernel modules...",
            "Loading NVIDIA driver kernel modules...",
            "Done, now waiting for signal",
        ),
    ),
    Operand(
        "container-toolkit",
        "nvidia-container-toolkit-daemonset",
        "state-container-toolkit",
        (Init("driver-validation", "driver"),),
        ("nvidia-container-toolkit-ctr",),
        2.0,
        ("Installing toolkit", "Successfully updated runtime config", "Waiting for signal"),
    ),
    Operand(
        "device-plugin",
        "nvidia-device-plugin-daemonset",
        "state-device-plugin",
        (Init("toolkit-validation", "container-toolkit"), Init("config-manager-init")),
        ("nvidia-device-plugin", "config-manager"),
        2.0,
        ("Starting GRPC server for 'nvidia.com/gpu'", "Registered device plugin for 'nvidia.com/gpu' with Kubelet"),
    ),
    Operand(
        "operator-validator",
        "nvidia-operator-validator",
        "state-operator-validation",
        (
            Init("driver-validation", "driver"),
            Init("toolkit-validation", "container-toolkit"),
            Init("cuda-validation", "container-toolkit", 2.0),
            Init("plugin-validation", "device-plugin"),
        ),
        ("nvidia-operator-validator",),
        0.5,
        ("all validations are successful",),
    ),
    Operand(
        "gpu-feature-discovery",
        "gpu-feature-discovery",
        "gpu-feature-discovery",
        (Init("toolkit-validation", "container-toolkit"), Init("config-manager-init")),
        ("gpu-feature-discovery", "config-manager"),
        1.5,
        ("Writing labels to output file", "Sleeping for 60000000000"),
    ),
    Operand(
        "dcgm-exporter",
        "nvidia-dcgm-exporter",
        "state-dcgm-exporter",
        (Init("toolkit-validation", "container-toolkit"),),
        ("nvidia-dcgm-exporter",),
        3.0,
        ("DCGM successfully initialized!", "Starting webserver"),
    ),
    Operand(
        "mig-manager",
        "nvidia-mig-manager",
        "state-mig-manager",
        (Init("toolkit-validation", "container-toolkit"),),
        ("nvidia-mig-manager",),
        1.5,
        ("Waiting for change to 'nvidia.com/mig.config' label",),
        needs_mig=True,
    ),
    Operand(
        "node-status-exporter",
        "nvidia-node-status-exporter",
        "state-node-status-exporter",
        (),
        ("nvidia-node-status-exporter",),
        1.0,
        ("Starting to serve metrics on port 8000",),
    ),
)
"""In the order in which they depend on each other."""
BY_NAME: Mapping[str, Operand] = {operand.name: operand for operand in OPERANDS}


def dependents(name: str) -> tuple[str, ...]:
    """The operand, and those whose init containers wait for it or for one of them."""
    found = [name]
    for operand in OPERANDS:
        if operand.name not in found and any(init.needs in found for init in operand.inits):
            found.append(operand.name)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class OperandFault:
    """One container of an operand that does not get further."""

    operand: str
    container: str
    reason: str
    """The waiting reason, CrashLoopBackOff, ...; empty for one that runs and is not ready."""
    message: str = ""
    log: tuple[str, ...] = ()
    exit_code: int = 1
    restarts: int = 4

    @property
    def crashes(self) -> bool:
        """Over and over, with a back-off between two runs."""
        return self.reason == "CrashLoopBackOff"


@dataclass(slots=True)
class OperandPod:
    """Where one operand's pod is on its way to Ready."""

    operand: Operand
    created_at: float
    step: int = 0
    """Index of the init container that runs; their count when all are done."""
    since: float = 0.0
    """When `step` began."""
    ready: bool = False
    suffix: str = ""
    waiting: str | None = None
    """The barrier the running init container waits for."""
    fault: OperandFault | None = None
    crashes: int = 0
    """Beyond those that the fault came with."""
    crashed_at: float | None = None

    def settle(self) -> None:
        """Ready at once, as on a cluster that has run for days."""
        self.step, self.since, self.ready = len(self.operand.inits), self.created_at, True

    def advance(self, now: float, ready: Mapping[str, bool], fault: OperandFault | None) -> None:
        """Goes as far as the barriers of other operands and `fault` let it.

        With a fault it is where it fails at once: that has lasted for a while.
        """
        self.fault = fault
        while self.step < len(self.operand.inits):
            init = self.operand.inits[self.step]
            self.waiting = None
            if fault is not None and fault.container == init.name:
                self.ready = False
                return
            if init.needs is not None and not ready.get(init.needs, False):
                self.waiting, self.ready = init.needs, False
                return
            if fault is None and now - self.since < init.seconds:
                return
            self.step += 1
            self.since = now
        self.waiting = None
        if fault is not None and fault.container in self.operand.containers:
            self.ready = False
        elif not self.ready:
            self.ready = now - self.since >= self.operand.seconds


@dataclass(slots=True)
class ClusterFaults:
    """What scenarios do to the cluster; the defaults are a well one."""

    operands: dict[str, OperandFault] = field(default_factory=dict)
    """By node."""
    nfd_down: bool = False
    """Node feature discovery does not run: new nodes get no labels."""
    mig_failed: str | None = None
    """The node whose last MIG change failed."""
    mig_wanted: str = "all-1g.10gb"
    upgrade_stuck: str | None = None
    """The node whose driver upgrade waits for its drain."""
    install_plan_waits: bool = False
    """OpenShift: an InstallPlan waits for its approval."""
