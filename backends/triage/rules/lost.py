"""GPUs that do not answer any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backends.domain import Event, Evidence, Finding, Gpu, NextStep, Severity
from backends.triage import hits, steps, xids
from backends.triage.rule import NVML_H, finding, of_gpu
from backends.triage.state import NodeView

FELL_OFF_SECONDS = 7 * 86400.0
"""How old the XID 79 of a GPU that is lost now may be to be told as its reason."""


@dataclass(frozen=True, slots=True)
class Loss:
    word: str
    """In the reason that the probe gives."""
    severity: Severity
    claim: str
    cause: str


LOSSES: tuple[Loss, ...] = (
    Loss(
        "reset", Severity.CRITICAL, "wants a reset before it answers again",
        "likely an error after which the driver took it out of service",
    ),
    Loss(
        "permission", Severity.WARNING, "may not be asked by this login",
        "likely the device file is closed to this user or container",
    ),
    Loss(
        "listed by the driver", Severity.CRITICAL, "is known to the driver but not to NVML",
        "likely it fell off the bus or failed to start",
    ),
    Loss("", Severity.CRITICAL, "is lost: it does not answer the driver", "likely it fell off the bus"),
)  # fmt: skip
"""The first whose word is in the probe's reason."""


def gpu_lost(view: NodeView) -> Iterator[Finding]:
    if view.node is None:
        return
    for gpu in view.node.gpus:
        if gpu.lost:
            yield _lost(view, gpu)


def _lost(view: NodeView, gpu: Gpu) -> Finding:
    reason = gpu.lost_reason or "no reason given"
    loss = next(loss for loss in LOSSES if loss.word in reason.lower())
    fall = _newest(view, gpu, lambda event: event.code == xids.FELL_OFF)
    told = fall or _newest(view, gpu, lambda event: event.kind == "gpu_lost")
    evidence = [Evidence(reason, told.at if told else None, "nvml")]
    claim, cause, source = loss.claim, loss.cause, NVML_H
    if fall is not None:
        claim, source = "has fallen off the bus (XID 79)", xids.CATALOGUE
        cause = "likely its PCIe link, its power or its heat: look what came just before"
        evidence.insert(0, Evidence(f"XID 79: {xids.message(fall.text)}", fall.at, "kernel log"))
    return finding(
        "gpu-lost",
        loss.severity,
        of_gpu(view, gpu),
        claim,
        told.at if told else view.now,
        evidence=evidence,
        cause=cause,
        hits=hits.of_gpu(gpu),
        hits_known=gpu.processes is not None,
        steps=_what_to_do(view, gpu, loss, fall),
        source=source,
        slot=gpu.pci_bus_id,
    )


def _what_to_do(view: NodeView, gpu: Gpu, loss: Loss, fall: Event | None) -> list[NextStep]:
    """The driver's own wish (XID 154) comes before the catalogue's."""
    changed = _newest(view, gpu, lambda event: event.code == xids.RECOVERY_CHANGED)
    wish = None if changed is None else xids.recovery_action(changed.text)
    after = (steps.open_gpu(view, gpu), steps.open_events())
    if loss.severity is Severity.WARNING:
        return [steps.advice(f"log in to {view.name} as a user who may open /dev/nvidia{gpu.index}"), *after]
    if wish not in (None, "none"):
        return [*steps.recovery(view, gpu, str(wish)), steps.bug_report(view), *after]
    if loss.word == "reset" and fall is None:
        return [steps.drain(view), *steps.reset_gpu(view, gpu), steps.bug_report(view), *after]
    return [
        steps.drain(view),
        steps.bug_report(view),
        *steps.reboot(view),
        steps.advice("does it come back only after a power cycle, or fall off again? then it is for the vendor"),
        *after,
    ]


def _newest(view: NodeView, gpu: Gpu, holds: Callable[[Event], bool]) -> Event | None:
    booted = view.booted_at or 0.0
    found = [
        event
        for event in view.events
        if holds(event) and event.at >= booted and view.now - event.at <= FELL_OFF_SECONDS and view.gpu_of(event) is gpu
    ]
    return found[-1] if found else None
