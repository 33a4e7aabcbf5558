"""Settings: modes that wait for a reset, persistence, a GPU closed to compute work."""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Evidence, Finding, Gpu, Severity, plural
from backends.resets import loses_mode
from backends.triage import hits, steps
from backends.triage.rule import NVML_H, finding, of_gpu, of_node
from backends.triage.state import NodeView, is_consumer
from backends.triage.words import ranges

STUCK_SECONDS = 360.0
"""The MIG manager of the GPU Operator is done within six minutes; what pends longer is stuck."""


def mig_pending(view: NodeView) -> Iterator[Finding]:
    return _mig_pending(view, "mig-pending", Severity.INFO, "waits for a reset to turn MIG {mode}")


def mig_stuck(view: NodeView) -> Iterator[Finding]:
    """The same, when it has lasted too long for a change in progress; the tracker counts the time."""
    return _mig_pending(view, "mig-stuck", Severity.WARNING, "has waited over 6 minutes for a reset to turn MIG {mode}")


def _mig_pending(view: NodeView, rule: str, severity: Severity, claim: str) -> Iterator[Finding]:
    for gpu in view.gpus:
        mig = gpu.mig
        if mig.enabled is None or mig.pending is None or mig.enabled == mig.pending:
            continue
        mode = "on" if mig.pending else "off"
        yield finding(
            rule,
            severity,
            of_gpu(view, gpu),
            claim.format(mode=mode),
            view.now,
            evidence=[
                Evidence(f"MIG mode is {_on(mig.enabled)}, after the next reset {_on(mig.pending)}", None, "nvml")
            ],
            cause="likely processes, the display or a monitoring agent hold the GPU and keep it from being reset",
            hits=hits.of_gpu(gpu),
            steps=[
                steps.command(f"on {view.name}: who holds the GPU", f"fuser -v /dev/nvidia{_minor(gpu)}"),
                steps.drain(view),
                *steps.reset_gpu(view, gpu),
                steps.open_gpu(view, gpu, "mig"),
            ],
            source="NVIDIA MIG user guide",
        )


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"


def _minor(gpu: Gpu) -> int:
    return gpu.index if gpu.minor_number is None else gpu.minor_number


def ecc_pending(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        ecc = gpu.ecc
        if ecc.enabled is None or ecc.pending is None or ecc.enabled == ecc.pending:
            continue
        yield finding(
            "ecc-pending",
            Severity.INFO,
            of_gpu(view, gpu),
            f"waits for a reset to turn ECC {_on(ecc.pending)}",
            view.now,
            evidence=[Evidence(f"ECC is {_on(ecc.enabled)}, after the next reset {_on(ecc.pending)}", None, "nvml")],
            steps=[steps.drain(view), *steps.reset_gpu(view, gpu), steps.open_gpu(view, gpu)],
            source=NVML_H,
        )


def persistence(view: NodeView) -> Iterator[Finding]:
    """One finding for a node. Guests and desktop boards are run without it."""
    off = [gpu for gpu in view.gpus if wants_persistence(gpu) and gpu.persistence is False]
    if not off:
        return
    mig = [gpu for gpu in off if loses_mode(gpu)]
    evidence = [Evidence(f"persistence mode is off on GPU {ranges(gpu.index for gpu in off)}", None, "nvml")]
    if mig:
        evidence.append(
            Evidence(f"MIG layout that would be lost: GPU {ranges(gpu.index for gpu in mig)}", None, "nvml")
        )
    yield finding(
        "persistence",
        Severity.WARNING if mig else Severity.INFO,
        of_node(view),
        f"persistence mode is off on {plural(len(off), 'GPU')}",
        view.now,
        evidence=evidence,
        cause="likely nvidia-persistenced does not run: the driver unloads between jobs",
        steps=[
            steps.command(f"on {view.name}: start the service", "systemctl enable --now nvidia-persistenced"),
            steps.open_node(view, "host"),
        ],
        source="NVIDIA driver documentation",
    )


def wants_persistence(gpu: Gpu) -> bool:
    return gpu.persistence is not None and not gpu.vgpu.is_guest and not is_consumer(gpu)


def prohibited(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        if gpu.compute_mode == "prohibited":
            yield finding(
                "compute-prohibited",
                Severity.INFO,
                of_gpu(view, gpu),
                "is closed to compute work (compute mode prohibited)",
                view.now,
                evidence=[Evidence("compute mode: prohibited", None, "nvml")],
                cause="likely somebody took it out of service by hand",
                steps=[
                    steps.command(f"on {view.name}: open it again", f"nvidia-smi -c DEFAULT -i {gpu.index}"),
                    steps.open_gpu(view, gpu),
                ],
                source=NVML_H,
            )


def has_mig(gpu: Gpu) -> bool:
    return gpu.mig.enabled is not None and gpu.mig.pending is not None


def has_ecc_mode(gpu: Gpu) -> bool:
    return gpu.ecc.enabled is not None and gpu.ecc.pending is not None


def has_compute_mode(gpu: Gpu) -> bool:
    return gpu.compute_mode is not None
