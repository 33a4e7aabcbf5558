"""What the charts of a GPU show: plots and marks from its history and the node's events. Pure."""

from __future__ import annotations

from backends.domain import Event, Gpu
from backends.domain.gpu_series import GPU_COUNTERS, GPU_SERIES, GpuSeries, Limit, series_key
from backends.feed import History, Point
from screens.event_words import condition_of, name_of, what
from screens.node_pages.view import NodeView
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.plot import Mark, Plot, Threshold, figure, nice_top, summary

_MARKED_OF_GPU = frozenset(("xid", "gpu_lost", "gpu_back", "ecc_double_bit"))
_MARKED_OF_NODE = frozenset(("disconnected", "connected", "stalled", "resumed"))
"""Kinds of events that stand on the time axis: of the GPU alone, and of its whole node."""


def shown_series(view: NodeView) -> tuple[GpuSeries, ...]:
    """What the GPU measures or measured, and its utilisation: where that cannot be measured, its chart says why."""
    gpu = view.gpu
    if gpu is None:
        return ()
    return tuple(
        series
        for series in GPU_SERIES
        if series is GPU_SERIES[0] or series.value(gpu) is not None or _kept(view, gpu, series)
    )


def missing_series(view: NodeView) -> tuple[GpuSeries, ...]:
    shown = shown_series(view)
    return () if view.gpu is None else tuple(series for series in GPU_SERIES if series not in shown)


def _kept(view: NodeView, gpu: Gpu, series: GpuSeries) -> bool:
    return view.history is not None and view.history.measured(series_key(view.reading.name, gpu, series.id))


def plot(view: NodeView, gpu: Gpu, series: GpuSeries, end: float, seconds: float, points: int) -> Plot:
    """One series of the GPU over the `seconds` before `end`, in `points` points."""
    key = series_key(view.reading.name, gpu, series.id)
    history = view.history
    told = history.window(key, end, seconds, points) if history is not None and points > 0 else ()
    return Plot(
        title=series.label,
        unit=unit_of(series, view.glyphs.ascii),
        lo=series.bottom,
        hi=series.top(gpu) or _top_of(told, series.value(gpu)),
        points=told,
        thresholds=tuple(threshold(limit) for limit in series.limits(gpu)),
        latest=latest(view, gpu, series),
        filled=series.filled,
        note=_note(gpu, series, kept=_kept(view, gpu, series)),
    )


def unit_of(series: GpuSeries, ascii_only: bool) -> str:
    return series.unit.replace("°", "") if ascii_only else series.unit


def threshold(limit: Limit) -> Threshold:
    style = "accent" if limit.in_bounds else ("bad" if limit.severe else "warn")
    return Threshold(limit.value, limit.word, style, limit.below)


def latest(view: NodeView, gpu: Gpu, series: GpuSeries) -> Cell:
    """The value as it is now; of a GPU that does not answer its last one, and why it is the last."""
    value = series.value(gpu)
    text = NOT_MEASURED if value is None else f"{figure(value)} {unit_of(series, view.glyphs.ascii)}"
    if gpu.lost:
        return Cell(f"{view.glyphs.bad} lost" + ("" if value is None else f", last {text}"), "bad")
    if not view.reading.is_current:
        return Cell(f"{view.glyphs.stale} stale, last {text}", "stale")
    if value is None:
        return Cell(text, "dim")
    passed = [limit for limit in series.limits(gpu) if not limit.in_bounds and threshold(limit).passed(value)]
    if not passed:
        return Cell(text)
    style = "bad" if any(limit.severe for limit in passed) else "warn"
    return Cell(f"{view.glyphs.of(style)} {text}", style)


def _top_of(points: tuple[Point | None, ...], value: float | None) -> float:
    told = summary(points)
    return nice_top(max(told.high if told else 0.0, value or 0.0))


def _note(gpu: Gpu, series: GpuSeries, *, kept: bool) -> str:
    if not kept and series is GPU_SERIES[0] and gpu.mig.enabled:
        return "cannot be measured while MIG is on"
    if not kept and gpu.lost and series.value(gpu) is None:
        return "nothing was read of it before it was lost"
    if not kept and series.value(gpu) is None:
        return "not measured on this GPU"
    return "no sample in this time" if kept else "no sample yet: what is read from now on is kept"


def marks(view: NodeView, gpu: Gpu) -> tuple[Mark, ...]:
    """What happened to the GPU and its connection, and when its counters rose; oldest first."""
    found = [_event_mark(view, event) for event in view.events if _concerns(event, gpu)]
    if view.history is not None:
        found += _counter_marks(view, view.history, gpu)
    return tuple(sorted(found, key=lambda mark: mark.at))


def _concerns(event: Event, gpu: Gpu) -> bool:
    return event.kind in _MARKED_OF_NODE or (event.kind in _MARKED_OF_GPU and event.is_of(gpu))


def _event_mark(view: NodeView, event: Event) -> Mark:
    style = condition_of(event).style
    code = "" if event.code is None else str(event.code)
    sign = view.glyphs.of(style)
    return Mark(event.at, sign, style, code, f"{sign} {name_of(event)}: {what(event)}")


def _counter_marks(view: NodeView, history: History, gpu: Gpu) -> list[Mark]:
    found = []
    for counter in GPU_COUNTERS:
        for step in history.steps(series_key(view.reading.name, gpu, counter.id)):
            more = step.after - step.before
            if more > 0:
                text = f"{view.glyphs.warn} {counter.label} +{more}, now {step.after}"
                found.append(Mark(step.at, view.glyphs.warn, "warn", f"+{more}", text))
    return found
