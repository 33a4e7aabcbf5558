"""What the triage must say of each scenario of the lab, in a fleet of twelve machines."""

from __future__ import annotations

from typing import NamedTuple


class Expected(NamedTuple):
    rule: str
    severity: str
    node: str | None
    gpu: int | None
    words: str
    """In the claim."""


EXPECTED: dict[str, Expected] = {
    "node-unreachable": Expected("node-unreachable", "critical", "vm-01", None, "cannot be reached"),
    "ssh-auth": Expected("node-access", "warning", "l40s-01", None, "refuses the SSH key"),
    "gpu-lost": Expected("gpu-lost", "critical", "dgx-h100-01", 3, "fallen off the bus (XID 79)"),
    "ecc": Expected("ecc-uncorrected", "critical", "dgx-h100-02", 2, "2 uncorrectable memory errors"),
    "row-remap": Expected("row-remap-pending", "critical", "dgx-h100-03", 5, "replace a failed memory row"),
    "thermal": Expected("hw-thermal", "warning", "dgx-h100-04", 0, "too hot"),
    "pcie-narrow": Expected("pcie-width", "warning", "dgx-h100-05", 6, "x4 of x16"),
    "nvlink-down": Expected("nvlink-down", "critical", "dgx-h100-06", 4, "NVLink 7 is down"),
    "probe-cut": Expected("node-unreadable", "warning", "hgx-h200-02", None, "cuts the probe off"),
    "no-python": Expected("fallback-transport", "info", "hgx-h200-01", None, "nvidia-smi only"),
    "nvswitch-fatal": Expected(
        "sxid-fatal", "critical", "dgx-a100-02", None, "NVSwitch fatal error (SXID 20034): a link"
    ),
    "power-brake": Expected("power-brake", "warning", "hgx-h200-01", None, "8 of 8 GPUs are slowed down by the power"),
    "warm": Expected("sw-thermal", "warning", "dgx-h100-06", 1, "temperature limit"),
    "slow-clock": Expected("radar-clock", "warning", "dgx-h100-03", 2, "runs at 1080 MHz where its"),
    "ecc-corrected": Expected("radar-ecc-count", "info", "dgx-h100-05", 1, "corrected ECC errors"),
    "gsp-timeout": Expected("xid-119", "critical", "dgx-h100-05", 3, "XID 119: GSP RPC Timeout"),
    "app-fault": Expected("xid-31", "info", "dgx-a100-01", 3, "XID 31: GPU memory page fault"),
    "memory-held": Expected("memory-held", "warning", "dgx-a100-01", 6, "held by no live process"),
    "persistence-off": Expected("persistence", "info", "dgx-a100-02", None, "off on 8 GPUs"),
    "mig-pending": Expected("mig-pending", "info", "dgx-a100-02", 2, "turn MIG on"),
    "fabric": Expected("fabric-manager", "critical", "hgx-h200-02", None, "Fabric Manager does not run (failed)"),
    "disk-full": Expected("disk-full", "warning", "hgx-h200-02", None, "/scratch is nearly full"),
    "rdma-down": Expected("rdma-port", "warning", "dgx-h100-02", None, "RDMA mlx5_3 port 1 is down"),
    "driver-drift": Expected("driver-drift", "info", "dgx-h100-04", None, "driver 580.95.05 differs from its 5 peers"),
    "vbios-drift": Expected("vbios-drift", "info", "dgx-h100-02", None, "VBIOS of GPU 6 differs"),
    "clock-skew": Expected("clock-skew", "warning", "dgx-a100-01", None, "clock is 5 min ahead"),
    "stall": Expected("node-unreadable", "critical", "dgx-a100-02", None, "NVML does not come back"),
    "vgpu-unlicensed": Expected("vgpu-unlicensed", "warning", "vm-01", 0, "no vGPU licence"),
}
"""The lab's `quiet` is the one scenario of the machines that is not here."""

ON_PLATFORMS: dict[str, Expected] = {
    "operator-driver-build": Expected("operand-driver", "critical", "dgx-h100-01", None, "driver crashes"),
    "operator-driver-slow": Expected("operand-driver", "info", "dgx-h100-02", None, "driver is still starting"),
    "operator-validator-crash": Expected(
        "operand-validator", "critical", "dgx-h100-03", None, "validator crashes in cuda-validation"
    ),
    "operator-mig-failed": Expected("mig-manager", "warning", "dgx-h100-04", None, "change to all-1g.10gb failed"),
    "operator-upgrade-drain": Expected("driver-upgrade", "warning", "dgx-h100-05", None, "stuck at drain-required"),
    "operator-nfd-down": Expected("nfd", "critical", None, None, "node feature discovery is down"),
    "operator-olm-unapproved": Expected("olm-approval", "info", None, None, "waits for approval"),
    "scc-refused": Expected(
        "scc-refused", "warning", None, None, "refuse the pods of Deployment team-search/llama-guard"
    ),
    "metrics-unscraped": Expected(
        "monitoring-absent", "warning", None, None, "no GPU metrics of any node reach the cluster's monitoring"
    ),
    "alloc-idle": Expected("alloc-idle", "info", "dgx-h100-01", None, "holds 1 nvidia.com/gpu and uses none"),
    "alloc-unasked": Expected("alloc-unasked", "warning", "dgx-h100-02", 1, "which was given no GPU"),
    "alloc-twice": Expected("alloc-twice", "warning", "dgx-h100-03", 1, "is used by 2 workloads and is not shared"),
    "alloc-orphan": Expected("alloc-orphan", "warning", "dgx-h100-04", 3, "that the platform does not know"),
    "alloc-host": Expected("alloc-host", "warning", "dgx-h100-05", 2, "outside of any container"),
    "docker-no-runtime": Expected("operand-toolkit", "critical", "dgx-h100-01", None, "container toolkit is missing"),
}
"""Those of a platform, played on the one that they name first."""
