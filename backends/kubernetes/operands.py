"""The GPU Operator's operands: how their pods are told by the operator's own labels, and what waits for what.

Names, labels and init containers are those of NVIDIA's gpu-operator v26.7.0 (assets/state-*).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.domain import Operand
from backends.kubernetes.objects import Labels

DEPLOY = "nvidia.com/gpu.deploy."
DRIVER_COMPONENT = ("app.kubernetes.io/component", "nvidia-driver")
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class OperandKind:
    """One line of the table."""

    key: str
    title: str
    apps: tuple[str, ...]
    """Values of the pods' label `app` (`name` for a few); the driver's carry suffixes for kernels and OS versions."""
    deploy: str
    """Ending of the node label `nvidia.com/gpu.deploy.*` that puts the operand on a node."""
    container: str
    after: tuple[str, ...] = ("driver", "toolkit")
    starting_seconds: float = 10 * MINUTE
    """Longer than this without being ready is no start-up any more. Our own bound, but for the driver."""

    def operand(self) -> Operand:
        return Operand(self.key, self.title, self.after, self.container)

    def owns(self, labels: Labels) -> bool:
        """Whether a pod or a DaemonSet's template with these labels is this operand."""
        app = labels.get("app") or labels.get("name") or ""
        if self.key == "driver":
            key, value = DRIVER_COMPONENT
            return labels.get(key) == value or app.startswith("nvidia-driver-daemonset")
        return app in self.apps


OPERANDS: tuple[OperandKind, ...] = (
    # The startup probe of the driver gives it 60 s + 120 x 10 s: it may compile a kernel module.
    OperandKind("driver", "driver", (), "driver", "nvidia-driver-ctr", (), 25 * MINUTE),
    OperandKind(
        "toolkit",
        "container toolkit",
        ("nvidia-container-toolkit-daemonset",),
        "container-toolkit",
        "nvidia-container-toolkit-ctr",
        ("driver",),
    ),
    OperandKind(
        "validator",
        "validator",
        ("nvidia-operator-validator",),
        "operator-validator",
        "nvidia-operator-validator",
        ("driver", "toolkit", "device-plugin"),
    ),
    OperandKind(
        "device-plugin",
        "device plugin",
        ("nvidia-device-plugin-daemonset",),
        "device-plugin",
        "nvidia-device-plugin",
    ),
    OperandKind(
        "mps",
        "MPS control daemon",
        ("nvidia-device-plugin-mps-control-daemon",),
        "device-plugin",
        "mps-control-daemon-ctr",
    ),
    OperandKind(
        "gfd", "GPU feature discovery", ("gpu-feature-discovery",), "gpu-feature-discovery", "gpu-feature-discovery"
    ),
    OperandKind("dcgm", "DCGM", ("nvidia-dcgm",), "dcgm", "nvidia-dcgm-ctr"),
    OperandKind("dcgm-exporter", "DCGM exporter", ("nvidia-dcgm-exporter",), "dcgm-exporter", "nvidia-dcgm-exporter"),
    OperandKind("mig-manager", "MIG manager", ("nvidia-mig-manager",), "mig-manager", "nvidia-mig-manager"),
    OperandKind(
        "node-status-exporter",
        "node status exporter",
        ("nvidia-node-status-exporter",),
        "node-status-exporter",
        "nvidia-node-status-exporter",
        (),
    ),
    # Nodes whose workloads are virtual machines have these instead.
    OperandKind(
        "vgpu-manager",
        "vGPU manager",
        ("nvidia-vgpu-manager-daemonset",),
        "vgpu-manager",
        "nvidia-vgpu-manager-ctr",
        (),
        25 * MINUTE,
    ),
    OperandKind(
        "vgpu-device-manager",
        "vGPU device manager",
        ("nvidia-vgpu-device-manager",),
        "vgpu-device-manager",
        "nvidia-vgpu-device-manager",
        ("vgpu-manager",),
    ),
    OperandKind("vfio-manager", "VFIO manager", ("nvidia-vfio-manager",), "vfio-manager", "nvidia-vfio-manager", ()),
    OperandKind(
        "sandbox-validator",
        "sandbox validator",
        ("nvidia-sandbox-validator",),
        "sandbox-validator",
        "nvidia-sandbox-validator",
        ("vgpu-manager", "vfio-manager"),
    ),
    OperandKind(
        "sandbox-device-plugin",
        "sandbox device plugin",
        ("nvidia-sandbox-device-plugin-daemonset", "nvidia-kata-sandbox-device-plugin-daemonset"),
        "sandbox-device-plugin",
        "nvidia-sandbox-device-plugin-ctr",
        ("vgpu-manager", "vfio-manager"),
    ),
    OperandKind("kata-manager", "Kata manager", ("nvidia-kata-manager",), "kata-manager", "nvidia-kata-manager", ()),
    OperandKind(
        "cc-manager", "confidential computing manager", ("nvidia-cc-manager",), "cc-manager", "nvidia-cc-manager", ()
    ),
)
"""In dependency order: the order in which a blocker is looked for."""

BY_KEY: Mapping[str, OperandKind] = {kind.key: kind for kind in OPERANDS}

WAITS_FOR: Mapping[str, str] = {
    "driver-validation": "driver",
    "toolkit-validation": "toolkit",
    "plugin-validation": "device-plugin",
    "vgpu-manager-validation": "vgpu-manager",
    "vfio-pci-validation": "vfio-manager",
}
"""Init container -> the operand whose barrier file in /run/nvidia/validations it waits for."""


def kind_of(labels: Labels) -> OperandKind | None:
    """The operand that a pod with these labels is; None for any other pod."""
    return next((kind for kind in OPERANDS if kind.owns(labels)), None)
