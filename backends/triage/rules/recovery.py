"""What the driver itself asks for (NVML field 230): its word outranks every table."""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Evidence, Finding, Gpu, Severity
from backends.triage import hits, steps
from backends.triage.rule import finding, of_gpu
from backends.triage.state import NodeView

DRIVER = "the driver (NVML field 230)"
CLAIMS: dict[str, tuple[Severity, str]] = {
    "gpu_reset": (Severity.CRITICAL, "must be reset, says the driver"),
    "node_reboot": (Severity.CRITICAL, "its node must be rebooted, says the driver"),
    "system_reboot": (Severity.CRITICAL, "the whole system must be rebooted, says the driver"),
    "bus_reset": (Severity.CRITICAL, "its bus must be reset, says the driver"),
    "drain_p2p": (Severity.WARNING, "must take no peer-to-peer work, says the driver"),
    "drain_and_reset": (Severity.WARNING, "should be drained and reset, says the driver"),
    "recover_imex_domain": (Severity.WARNING, "its IMEX domain must be recovered, says the driver"),
}


def wanted(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        action = gpu.recovery_action
        if action is None or action == "none":
            continue
        severity, claim = CLAIMS.get(action, (Severity.WARNING, f"the driver asks for {action}"))
        yield finding(
            "recovery-action",
            severity,
            of_gpu(view, gpu),
            claim,
            view.now,
            evidence=[Evidence(f"recovery action: {action.replace('_', ' ')}", None, "nvml")],
            hits=hits.of_gpu(gpu),
            steps=[*steps.recovery(view, gpu, action), steps.open_gpu(view, gpu)],
            source=DRIVER,
        )


def tells_action(gpu: Gpu) -> bool:
    return gpu.recovery_action is not None
