"""Hand-made findings for the tests of the screens: what triage would say of `tests.tui.fleets`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from backends.domain import (
    Acknowledgement,
    Check,
    Evidence,
    Finding,
    Hit,
    NextStep,
    Severity,
    Subject,
    Triage,
)
from backends.triage.impact import Impacts
from tests.tui.fleets import NOW

CHECKS = (
    Check("gpu-lost", "lost GPUs", 8),
    Check("ecc-uncorrected", "ECC errors", 6),
    Check("row-remap", "row remapping", 6),
    Check("thermal", "thermal slowdown", 6),
    Check("pcie", "PCIe width and speed", 4),
    Check("nvlink", "NVLink", 4),
    Check("xid", "XID events", 3),
    Check("disk", "scratch disks", 3),
    Check("vgpu", "vGPU licences", 0),
    Check("fabric", "NVSwitch fabric", 0),
)

LOST = Finding(
    id="gpu-lost:dgx01:GPU-lost",
    rule="gpu-lost",
    severity=Severity.CRITICAL,
    subject=Subject("dgx01", "GPU-lost", 2),
    claim="lost from the bus (XID 79)",
    since=NOW - 750,
    evidence=(
        Evidence("XID 79: GPU has fallen off the bus", NOW - 750, "kernel log"),
        Evidence("XID 45 x14: channels torn down", NOW - 749, "kernel log"),
        Evidence("NVML: GPU is lost", None, "nvml"),
    ),
    cause="likely the board lost power or its PCIe link; seldom the driver",
    hits=(
        Hit("python train.py, 60.0 GiB", "alice", 4242),
        Hit("tritonserver llama-70b, 71.2 GiB", "bob", 5151, "0123456789abcdef0123"),
    ),
    steps=(
        NextStep("screen", "the GPU's last values", "dgx01/GPU-lost"),
        NextStep("command", "collect the report before anything is reset", "sudo nvidia-bug-report.sh --safe-mode"),
        NextStep("command", "drain the node, then reset the GPU", "kubectl drain dgx01 --ignore-daemonsets"),
        NextStep("change", "if it returns after the reset: RMA", "rma"),
    ),
    advice_source="NVIDIA XID catalogue",
    folded=("18 NVLinks of GPU 2 are down", "2 processes died"),
)
HOT = Finding(
    id="thermal:dgx01:GPU-dgx01-1",
    rule="thermal",
    severity=Severity.WARNING,
    subject=Subject("dgx01", "GPU-dgx01-1", 1),
    claim="hardware thermal slowdown at 87 °C",
    since=NOW - 1800,
    evidence=(Evidence("87 °C, peers 61 to 64 °C", None, "peers"),),
    hits=(Hit("python train.py", "alice", 4243),),
    steps=(NextStep("command", "what holds the clocks back", "nvidia-smi -q -d PERFORMANCE -i 1"),),
    advice_source="nvml.h",
)
DISK = Finding(
    id="disk:dgx02:/raid",
    rule="disk",
    severity=Severity.WARNING,
    subject=Subject("dgx02"),
    claim="/raid is 96 % full: 612 GiB left of 15360",
    since=NOW - 3 * 86400,
    steps=(NextStep("screen", "the disks of the node", "dgx02/host"),),
)
DRIFT = Finding(
    id="driver:a100",
    rule="driver",
    severity=Severity.INFO,
    subject=Subject("a100"),
    claim="driver 570.86 differs from its 5 peers (580.65.06)",
    since=NOW - 40_000,
)
ACKED = replace(
    HOT,
    id="thermal:dgx02:GPU-dgx02-0",
    severity=Severity.CRITICAL,
    subject=Subject("dgx02", "GPU-dgx02-0", 0),
    acknowledged=Acknowledgement("carol", "fan ordered, ticket 4711", NOW - 600),
)
RECOVERED = replace(
    LOST,
    id="nvlink:dgx02:GPU-dgx02-1",
    severity=Severity.WARNING,
    subject=Subject("dgx02", "GPU-dgx02-1", 1),
    claim="3 of 18 NVLinks are down",
    since=NOW - 9000,
    recovered_at=NOW - 5400,
    hits=(),
)


def triage(*findings: Finding, recovered: tuple[Finding, ...] = (), seen: int = 6, total: int = 6) -> Triage:
    """All nodes were looked at, the oldest reading is three seconds old."""
    return Triage(in_order(findings), recovered, CHECKS, seen, total, NOW - 3)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """As triage gives them."""
    listed, impacts = list(findings), Impacts()
    for each in listed:
        impacts.note(each, int(each.subject.gpu_key is None), NOW)
    return tuple(sorted(listed, key=impacts.place))


SEVERAL = triage(LOST, HOT, DISK, DRIFT)
SETTLED = triage(HOT, ACKED, recovered=(RECOVERED,))
