"""The NVSwitch fabric, and the service that configures it.

A fabric that is not ready lets no CUDA program start (error 802). Fabric Manager may run in a container of the GPU
Operator: a missing unit alone is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Evidence, Finding, Gpu, NextStep, Severity, Subject
from backends.fabric import IN_USE, NOT_RUNNING, SERVICE, is_dark, is_switched, service_state
from backends.triage import hits, steps
from backends.triage.rule import NVML_H, finding, of_gpu, of_node
from backends.triage.state import NodeView
from backends.triage.words import duration, ranges

BOOT_SECONDS = 600.0
"""After a boot Fabric Manager and the registration of 8 GPUs take minutes."""
_UNREADY = {
    "not_started": ("has not joined the NVSwitch fabric", "not in the NVSwitch fabric"),
    "in_progress": ("is still joining the NVSwitch fabric", "still joining the NVSwitch fabric"),
}
"""Fabric state -> the claim for one GPU, and for several."""
_FAILED = ("failed to join the NVSwitch fabric", "failed to join the NVSwitch fabric")
_HEALTH = {
    "unhealthy": (Severity.CRITICAL, "is unhealthy in the NVSwitch fabric"),
    "limited_capacity": (Severity.WARNING, "has limited capacity in the NVSwitch fabric"),
}


def not_ready(view: NodeView) -> Iterator[Finding]:
    """One finding for all GPUs of a node that are alike: they register together."""
    if view.node is None or (view.uptime is not None and view.uptime < BOOT_SECONDS):
        return
    for state, claims in _UNREADY.items():
        if state == "in_progress" and view.uptime is None:
            continue
        waiting = [gpu for gpu in view.gpus if gpu.fabric.state == state and not gpu.vgpu.is_guest]
        if waiting:
            yield _unready(view, waiting, state, *claims)
    failed = [
        gpu
        for gpu in view.gpus
        if gpu.fabric.state == "completed" and gpu.fabric.status not in (None, 0) and not gpu.vgpu.is_guest
    ]
    if failed:
        yield _unready(view, failed, "completed with an error", *_FAILED)


def _unready(view: NodeView, gpus: list[Gpu], state: str, claim: str, many: str) -> Finding:
    service = _service(view)
    evidence = [Evidence(f"fabric state {state.replace('_', ' ')}: GPU {ranges(g.index for g in gpus)}", None, "nvml")]
    if gpus[0].fabric.status:
        evidence.append(Evidence(f"NVML status {gpus[0].fabric.status}", None, "nvml"))
    if service is not None:
        evidence.append(Evidence(f"{SERVICE}: {service}", None, "host"))
    if view.uptime is not None:
        evidence.append(Evidence(f"the node has been up for {duration(view.uptime)}", None, "host"))
    return finding(
        "fabric-not-ready",
        Severity.CRITICAL,
        _subject(view, gpus),
        claim if len(gpus) == 1 else f"{len(gpus)} GPUs: {many}",
        view.now,
        evidence=evidence,
        cause="likely the version of Fabric Manager is not the driver's, or a switch has failed"
        if service == "active"
        else "likely Fabric Manager does not run, or its version is not the driver's",
        hits=hits.of_node(view.node),
        steps=_what_to_do(view),
        source=NVML_H,
    )


def unhealthy(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        told = _HEALTH.get(gpu.fabric.health or "")
        if told is None or gpu.vgpu.is_guest:
            continue
        severity, claim = told
        yield finding(
            "fabric-unhealthy",
            severity,
            of_gpu(view, gpu),
            claim,
            view.now,
            evidence=[Evidence(f"fabric health: {gpu.fabric.health}", None, "nvml")],
            cause="likely an NVLink, a switch port or a switch of the machine",
            hits=hits.of_gpu(gpu),
            steps=_what_to_do(view),
            source=NVML_H,
        )


def manager_down(view: NodeView) -> Iterator[Finding]:
    """The unit is there, the machine has NVSwitches, and systemd says that it does not run."""
    service = _service(view)
    if service not in NOT_RUNNING or not _switched(view):
        return
    ready = all(gpu.fabric.state in (None, "completed", "not_supported") for gpu in view.gpus) and not is_dark(
        view.gpus
    )
    yield finding(
        "fabric-manager",
        Severity.WARNING if ready else Severity.CRITICAL,
        of_node(view),
        f"Fabric Manager does not run ({service})",
        view.now,
        evidence=[
            Evidence(f"{SERVICE}: {service}", None, "host"),
            *(
                [Evidence("no NVLink of any GPU is active: CUDA answers 802", None, "nvml")]
                if is_dark(view.gpus)
                else ()
            ),
            Evidence(f"the machine has NVSwitches; driver {view.node.driver if view.node else 'n/a'}", None, "nvml"),
        ],
        cause="likely its version is not the driver's, or it stopped after an error of a switch",
        hits=hits.of_node(view.node),
        steps=_what_to_do(view),
        source="NVIDIA Fabric Manager user guide",
    )


def in_fabric(gpu: Gpu) -> bool:
    return gpu.fabric.state in IN_USE and not gpu.vgpu.is_guest


def tells_health(gpu: Gpu) -> bool:
    return gpu.fabric.health is not None


def has_service(view: NodeView) -> int:
    return int(_service(view) not in (None, "missing") and _switched(view))


def _service(view: NodeView) -> str | None:
    return service_state(view.node)


def _switched(view: NodeView) -> bool:
    return is_switched(view.gpus, was_switched=view.memory.was_switched) is True


def _subject(view: NodeView, gpus: list[Gpu]) -> Subject:
    return of_gpu(view, gpus[0]) if len(gpus) == 1 < len(view.gpus) else of_node(view)


def _what_to_do(view: NodeView) -> list[NextStep]:
    return [
        steps.fabric_manager(view),
        steps.advice("its version must be exactly the driver's"),
        steps.drain(view),
        steps.restart_fabric_manager(view),
        steps.open_node(view, "topology"),
    ]
