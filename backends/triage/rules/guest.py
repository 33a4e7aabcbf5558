"""vGPU guests."""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Evidence, Finding, Gpu, Severity
from backends.triage import hits, steps
from backends.triage.rule import finding, of_gpu
from backends.triage.state import NodeView

GRACE_SECONDS = 300.0
"""After a boot the guest's licence client needs a while to reach its server."""


def unlicensed(view: NodeView) -> Iterator[Finding]:
    if view.uptime is not None and view.uptime < GRACE_SECONDS:
        return
    for gpu in view.gpus:
        if needs_licence(gpu) and gpu.vgpu.licensed is False:
            yield finding(
                "vgpu-unlicensed",
                Severity.WARNING,
                of_gpu(view, gpu),
                "has no vGPU licence: the driver restricts its performance",
                view.now,
                evidence=[Evidence(f"{gpu.name or 'vGPU'}: unlicensed", None, "nvml")],
                cause="likely the licence server cannot be reached, the client token is wrong, or no licence is free",
                hits=hits.of_gpu(gpu),
                steps=[
                    steps.command(f"on {view.name}: what the licence client says", "journalctl -u nvidia-gridd -n 50"),
                    steps.advice("the token lies in /etc/nvidia/ClientConfigToken"),
                    steps.open_gpu(view, gpu),
                ],
                source="NVIDIA vGPU licensing guide",
            )


def needs_licence(gpu: Gpu) -> bool:
    return gpu.vgpu.mode == "vgpu" and gpu.vgpu.licensed is not None
