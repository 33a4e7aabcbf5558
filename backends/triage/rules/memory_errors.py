"""ECC errors and row remapping."""

from __future__ import annotations

from collections.abc import Iterator

from backends.domain import Event, Evidence, Finding, Gpu, NextStep, Severity, plural
from backends.triage import hits, instances, steps, xids
from backends.triage.rule import NVML_H, finding, of_gpu
from backends.triage.rules.xid import victims
from backends.triage.state import NodeView
from backends.triage.words import duration

RECENT_SECONDS = 86_400.0
UNCORRECTED_XIDS = frozenset({48, 94, 95, 140, 171, 172})
CONTAINED_XIDS = frozenset({63, 94})
"""The error is contained: the process that read it was ended, the row is replaced at the next reset."""
GRAVE_XIDS = frozenset({48, 64, 95, 140})
"""With one of these beside them it is not."""


def ecc_uncorrected(view: NodeView) -> Iterator[Finding]:
    """Uncorrectable errors since the driver was loaded or the GPU was reset; those of its life before are over."""
    for gpu in view.gpus:
        count = gpu.ecc.volatile.uncorrected
        if count:
            yield _uncorrected(view, gpu, count)


def _recent(view: NodeView, gpu: Gpu) -> list[Event]:
    """What the driver said of the GPU's memory since the node booted."""
    codes = UNCORRECTED_XIDS | CONTAINED_XIDS | GRAVE_XIDS
    return [
        event
        for event in view.events
        if (event.code in codes or event.kind == "ecc_double_bit")
        and view.now - event.at <= RECENT_SECONDS
        and event.at >= (view.booted_at or 0.0)
        and view.gpu_of(event) is gpu
    ]


def _uncorrected(view: NodeView, gpu: Gpu, count: int) -> Finding:
    recent = _recent(view, gpu)
    told = [event for event in recent if event.code in UNCORRECTED_XIDS or event.kind == "ecc_double_bit"]
    codes = {event.code for event in recent}
    grown = view.memory.increase(gpu.key, "ecc_uncorrected", view.now, RECENT_SECONDS)
    is_asked = gpu.recovery_action not in (None, "none")
    is_new = bool(told) or (grown is not None and grown.count > 0) or is_asked
    contained = [event for event in told if event.code in CONTAINED_XIDS]
    if not contained or codes & GRAVE_XIDS or is_asked:
        contained = []
    evidence = [Evidence(f"{plural(count, 'uncorrectable error')} since the last reset or driver load", None, "nvml")]
    if grown is not None and grown.count > 0:
        evidence.append(Evidence(f"{grown.count:,} of them within {duration(grown.seconds)}", None, "nvml"))
    if gpu.ecc.volatile.corrected:
        evidence.append(Evidence(f"{plural(gpu.ecc.volatile.corrected, 'corrected error')} beside them", None, "nvml"))
    if gpu.ecc.aggregate.uncorrected:
        evidence.append(Evidence(f"{gpu.ecc.aggregate.uncorrected:,} over the board's life", None, "nvml"))
    counted_at = None if grown is None else grown.began_at
    return finding(
        "ecc-uncorrected",
        Severity.CRITICAL if is_new and not contained else Severity.WARNING,
        of_gpu(view, gpu),
        f"has {plural(count, 'uncorrectable memory error')} (ECC)"
        + (f", contained{instances.within(gpu, contained)}" if contained else ""),
        told[0].begun_at if told else counted_at or view.now,
        evidence=evidence,
        cause="likely memory cells that failed; "
        + (
            "only the process that read them was ended"
            if contained
            else "work that read them was ended or has wrong data"
        ),
        hits=victims(view, gpu, contained) if contained else hits.of_gpu(gpu),
        steps=_what_to_do(view, gpu, is_contained=bool(contained)),
        source=xids.CATALOGUE,
        magnitude=float(count),
    )


def _what_to_do(view: NodeView, gpu: Gpu, *, is_contained: bool) -> list[NextStep]:
    """NVIDIA's action for a contained error (XID 94) is RESTART_APP: the GPU works on, its reset can wait."""
    now = (
        [steps.advice("restart the application that was hit"), steps.advice("reset the GPU when its work has ended")]
        if is_contained
        else [steps.drain(view)]
    )
    return [
        *now,
        *steps.reset_gpu(view, gpu),
        steps.advice("do they return after the reset? then it is for the vendor"),
        steps.open_gpu(view, gpu),
    ]


def row_remap_failed(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        if gpu.remapped_rows.failed:
            yield finding(
                "row-remap-failed",
                Severity.CRITICAL,
                of_gpu(view, gpu),
                "could not replace a failed memory row",
                view.now,
                evidence=_rows(gpu),
                cause="likely no spare rows are left in that bank of memory",
                hits=hits.of_gpu(gpu),
                steps=[
                    steps.drain(view),
                    *steps.reset_gpu(view, gpu),
                    steps.bug_report(view),
                    steps.advice("the board qualifies for an RMA check by the vendor"),
                    steps.open_gpu(view, gpu),
                ],
                source=NVML_H,
            )


def row_remap_pending(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        if gpu.remapped_rows.pending:
            yield finding(
                "row-remap-pending",
                Severity.WARNING,
                of_gpu(view, gpu),
                "waits for a reset to replace a failed memory row",
                view.now,
                evidence=_rows(gpu),
                cause="likely a memory cell that failed; the GPU works on until the reset",
                hits=hits.of_gpu(gpu),
                steps=[steps.drain(view), *steps.reset_gpu(view, gpu), steps.open_gpu(view, gpu)],
                source=NVML_H,
            )


def page_retirement_pending(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        pages = gpu.retired_pages
        if pages.pending:
            counts = (("uncorrectable errors", pages.double_bit), ("corrected ones", pages.single_bit))
            told = ", ".join(f"{count} after {cause}" for cause, count in counts if count is not None)
            yield finding(
                "page-retirement-pending",
                Severity.WARNING,
                of_gpu(view, gpu),
                "waits for a reset to retire a failed page of memory",
                view.now,
                evidence=[Evidence(f"pages to be retired: yes; retired so far: {told or 'not told'}", None, "nvml")],
                cause="likely a memory cell that failed; the GPU works on until the reset",
                hits=hits.of_gpu(gpu),
                steps=[steps.drain(view), *steps.reset_gpu(view, gpu), steps.open_gpu(view, gpu)],
                source=NVML_H,
            )


def _rows(gpu: Gpu) -> list[Evidence]:
    rows = gpu.remapped_rows
    said = [
        f"{label} {value}"
        for label, value in (
            ("pending", _word(rows.pending)),
            ("failed", _word(rows.failed)),
            ("remapped after uncorrectable errors", rows.uncorrected),
            ("after corrected ones", rows.corrected),
        )
        if value is not None
    ]
    return [Evidence(f"row remapping: {', '.join(said)}", None, "nvml")]


def _word(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"
