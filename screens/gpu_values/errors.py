"""Memory errors and what they mean, rows that were replaced, and what happened to the GPU.

What an XID and a flag ask for is in NVIDIA's XID catalogue (48, 63, 64, 92, 94, 95) and nvml.h (row remapper).
"""

from __future__ import annotations

from backends.domain import Event, Gpu
from backends.domain.gpu_series import GPU_COUNTERS, series_key
from screens.event_words import runs
from screens.gpu_values.lines import LABEL_WIDTH, Group, reset_line, told, words
from screens.node_pages.view import NodeView
from screens.node_sections import event_lines
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.sheet import Line, Prose, Section

EVENTS_SHOWN = 20
STEPS_SHOWN = 3
CATALOGUE = "Source: NVIDIA XID catalogue, nvml.h."
MEMORY_XIDS: dict[int, str] = {
    48: "an uncorrectable error; alone it asks for a reset, with 63 or 64 to drain first",
    63: "a row was marked to be replaced at the next reset",
    64: "a row could not be replaced",
    92: "many corrected errors; nothing to do now",
    94: "contained: only the process that used that memory was stopped; restart it, reset when it suits",
    95: "uncontained: what else runs here may be wrong too; drain and reset the GPU",
    140: "an error that was not recovered; reset the GPU",
}
"""XIDs that tell more about memory errors than the counters do."""


def ecc(view: NodeView, gpu: Gpu) -> Group:
    counts = gpu.ecc
    recent, life = counts.volatile, counts.aggregate
    lines: list[Line | Prose] = [words("ECC", _ecc_mode(gpu), _mode_style(gpu))]
    known = (recent.corrected, recent.uncorrected, life.corrected, life.uncorrected)
    if any(count is not None for count in known):
        lines += [
            (Cell(f"{'':{LABEL_WIDTH}} uncorrected  corrected", "dim"),),
            _counts("since load", recent.uncorrected, recent.corrected, "bad", "warn"),
            _counts("in its life", life.uncorrected, life.corrected, "warn", ""),
        ]
    lines += _risen(view, gpu, ("ecc_uncorrected", "ecc_corrected"))
    lines += _ecc_meaning(view, gpu)
    measured = counts.enabled is not None or any(count is not None for count in known)
    return Group(Section("MEMORY ERRORS (ECC)", tuple(lines)), measured, "ECC errors")


def _ecc_mode(gpu: Gpu) -> str | None:
    enabled, pending = gpu.ecc.enabled, gpu.ecc.pending
    if enabled is None:
        return None
    later = (
        "" if pending is None or pending == enabled else f", {units.yes_no(pending, 'on', 'off')} after the next reset"
    )
    return units.yes_no(enabled, "on", "off") + later


def _mode_style(gpu: Gpu) -> str:
    changes = gpu.ecc.pending is not None and gpu.ecc.pending != gpu.ecc.enabled
    return "warn" if gpu.ecc.enabled is False or changes else ""


def _counts(label: str, first: int | None, second: int | None, first_style: str, second_style: str) -> Line:
    """Two counters under each other's titles."""
    left, right = units.number(first), units.number(second)
    return (
        Cell(fit(label, LABEL_WIDTH) + " ", "dim"),
        Cell(fit(left, 11, "right"), _count_style(first, first_style)),
        Cell(fit(right, 11, "right"), _count_style(second, second_style)),
    )


def _count_style(count: int | None, style: str) -> str:
    return "dim" if count is None else (style if count else "")


def _ecc_meaning(view: NodeView, gpu: Gpu) -> list[Prose]:
    signs, recent, life = view.glyphs, gpu.ecc.volatile, gpu.ecc.aggregate
    if gpu.ecc.enabled is False:
        return [
            told(
                signs.warn,
                f"ECC is off: memory errors go unseen. nvidia-smi -e 1 -i {gpu.index} and a reset turn it on.",
                "warn",
            )
        ]
    if recent.uncorrected:
        lost = "Memory held wrong values that could not be repaired since the driver was loaded."
        found = _memory_events(view, gpu)
        unknown = "No XID says whether it was contained (94) or not (95): treat the GPU's results as doubtful."
        lines = [told(signs.bad, lost, "bad"), *(found or [Prose(unknown, indent=2)])]
        return [*lines, Prose(CATALOGUE, "dim")]
    if recent.corrected:
        said = "Corrected errors were repaired on the spot: no result is wrong. Watch whether they grow."
        return [told(signs.warn, said, "warn")]
    if life.uncorrected:
        return [told(signs.dot, "Uncorrected errors are from before the driver was loaded.", "dim")]
    return []


def _memory_events(view: NodeView, gpu: Gpu) -> list[Prose]:
    """What the XIDs of this GPU say about its memory errors, each code once, the newest first."""
    newest: dict[int, Event] = {}
    for event in of_gpu(view, gpu):
        if event.code is not None and event.kind == "xid":
            newest[event.code] = event
    return [
        Prose(f"XID {code} at {units.moment(newest[code].at)}: {MEMORY_XIDS[code]}.", indent=2)
        for code in (95, 140, 48, 94, 64, 63, 92)
        if code in newest
    ]


def remapping(view: NodeView, gpu: Gpu) -> Group:
    """What became of failed memory: rows since Ampere, whole pages before."""
    pages = gpu.retired_pages
    if any(each is not None for each in (pages.single_bit, pages.double_bit, pages.pending)):
        return _retirement(view, gpu)
    rows, signs = gpu.remapped_rows, view.glyphs
    lines: list[Line | Prose] = [
        (Cell(f"{'':{LABEL_WIDTH}} uncorrected  corrected", "dim"),),
        _counts("replaced for", rows.uncorrected, rows.corrected, "warn", ""),
        words("pending", units.yes_no(rows.pending), "warn" if rows.pending else ""),
        words("failed", units.yes_no(rows.failed), "bad" if rows.failed else ""),
        *_risen(view, gpu, ("remapped_rows",)),
    ]
    if rows.failed:
        said = "A row could not be replaced: no spare was left for it, or it could not be recorded."
        said += " Take the GPU out of service; NVIDIA asks for an RMA check."
        lines += [told(signs.bad, said, "bad"), Prose(CATALOGUE, "dim")]
    elif rows.pending:
        said = "A row waits to be replaced, which happens at the next reset: drain the GPU, then reset it with"
        said += f" {reset_line(view, gpu)}"
        lines += [told(signs.warn, said, "warn"), Prose(CATALOGUE, "dim")]
    elif rows.uncorrected or rows.corrected:
        lines.append(told(signs.dot, "Spare rows have taken their place: nothing to do.", "dim"))
    known = (rows.corrected, rows.uncorrected, rows.pending, rows.failed)
    return Group(Section("ROW REMAPPING", tuple(lines)), any(each is not None for each in known), "row remapping")


def _retirement(view: NodeView, gpu: Gpu) -> Group:
    pages, signs = gpu.retired_pages, view.glyphs
    lines: list[Line | Prose] = [
        (Cell(f"{'':{LABEL_WIDTH}} uncorrected  corrected", "dim"),),
        _counts("retired for", pages.double_bit, pages.single_bit, "warn", ""),
        words("pending", units.yes_no(pages.pending), "warn" if pages.pending else ""),
    ]
    if pages.pending:
        said = "A page waits to be retired, which happens at the next reset: drain the GPU, then reset it with"
        said += f" {reset_line(view, gpu)}"
        lines += [told(signs.warn, said, "warn"), Prose(CATALOGUE, "dim")]
    elif pages.double_bit or pages.single_bit:
        lines.append(told(signs.dot, "Retired pages are no longer used: nothing to do.", "dim"))
    return Group(Section("PAGE RETIREMENT", tuple(lines)), True, "page retirement")


def _risen(view: NodeView, gpu: Gpu, counters: tuple[str, ...]) -> list[Prose]:
    """What a counter did while the console was looking."""
    return [Prose(text, "warn") for text in risen(view, gpu, counters)]


def risen(view: NodeView, gpu: Gpu, counters: tuple[str, ...]) -> list[str]:
    """The newest rises of counters, each as a sentence with its time."""
    if view.history is None:
        return []
    found = [
        (step.at, f"{view.glyphs.warn} {counter.label} +{step.after - step.before}")
        for counter in GPU_COUNTERS
        if counter.id in counters
        for step in view.history.steps(series_key(view.reading.name, gpu, counter.id))
        if step.after > step.before
    ]
    found.sort(reverse=True)
    return [f"{text} at {units.moment(at)}" for at, text in found[:STEPS_SHOWN]]


def of_gpu(view: NodeView, gpu: Gpu) -> list[Event]:
    """The node's events that are this GPU's, oldest first."""
    return [event for event in view.events if event.is_of(gpu)]


def happened(view: NodeView, gpu: Gpu) -> Group:
    """The newest first, a run of one once."""
    lines: list[Line | Prose] = []
    for event in runs(of_gpu(view, gpu))[::-1][:EVENTS_SHOWN]:
        lines += event_lines(event, view.glyphs)
    nothing = (Cell("none since the console started", "dim"),)
    return Group(Section("EVENTS OF THIS GPU", tuple(lines) or (nothing,)), lasting=True)
