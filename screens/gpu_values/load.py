"""What the GPU does now: utilisation, power, temperature, clocks, memory."""

from __future__ import annotations

from backends.domain import Gpu
from screens.condition import is_hot
from screens.gpu_values.clock_reasons import power_cap_note, reasons_of
from screens.gpu_values.lines import Group, bar, degrees, line, told, trend, words
from screens.node_pages.view import NodeView
from tui.widgets import units
from tui.widgets.sheet import Line, Prose, Section


def utilization(view: NodeView, gpu: Gpu) -> Group:
    busy = gpu.utilization
    values = (
        ("GPU", busy.gpu_percent, trend(view, gpu, "utilization")),
        ("memory access", busy.memory_percent, ""),
        ("encoder", busy.encoder_percent, ""),
        ("decoder", busy.decoder_percent, ""),
    )
    lines = [line(label, units.number(now), "%", beside=bar(now, view), trend=past) for label, now, past in values]
    return Group(Section("UTILISATION", tuple(lines)), any(value is not None for _, value, _ in values), "utilisation")


def power(view: NodeView, gpu: Gpu) -> Group:
    watts = gpu.power
    limit = "" if watts.limit_watts is None else f"of {units.number(watts.limit_watts)} limit"
    energy = None if watts.energy_joules is None else watts.energy_joules / 3.6e6
    lines = [
        line("draw", units.number(watts.draw_watts, 1), "W", beside=limit, trend=trend(view, gpu, "power")),
        line("limit", units.number(watts.limit_watts), "W", _lowered(gpu), _limit_range(gpu)),
        line("default", units.number(watts.default_limit_watts), "W"),
        line("energy", units.number(energy, 1), "kWh", beside="since the driver started" if energy is not None else ""),
    ]
    known = (watts.draw_watts, watts.limit_watts, watts.default_limit_watts, watts.energy_joules)
    return Group(Section("POWER", tuple(lines)), any(value is not None for value in known), "power")


def _lowered(gpu: Gpu) -> str:
    limit, default = gpu.power.limit_watts, gpu.power.default_limit_watts
    return "warn" if limit is not None and default is not None and limit < default else ""


def _limit_range(gpu: Gpu) -> str:
    low, high = gpu.power.min_limit_watts, gpu.power.max_limit_watts
    return "" if low is None or high is None else f"settable {units.number(low)} to {units.number(high)}"


def temperature(view: NodeView, gpu: Gpu) -> Group:
    """Absolute temperatures with absolute limits, headroom with limits of headroom: never one against the other."""
    heat, unit = gpu.temperature, degrees(view)
    hot = "bad" if "hw_thermal_slowdown" in (gpu.clocks.event_reasons or ()) else ("warn" if is_hot(gpu) else "")
    limits = (
        ("slowdown", heat.slowdown_celsius),
        ("shutdown", heat.shutdown_celsius),
        ("highest", heat.gpu_max_celsius),
    )
    known_limits = [(word, value) for word, value in limits if value is not None]
    lines = [
        line(
            "GPU",
            units.number(heat.gpu_celsius),
            unit,
            hot,
            _held_against(limits),
            trend(view, gpu, "temperature"),
        ),
        line(
            "memory",
            units.number(heat.memory_celsius),
            unit,
            _over(heat.memory_celsius, heat.memory_max_celsius),
            _held_against((("highest", heat.memory_max_celsius),)),
            trend(view, gpu, "memory_temperature"),
        ),
        *[line(f"  {word} at", units.number(value), unit) for word, value in known_limits[1:]],
    ]
    if heat.margin_celsius is not None or heat.slowdown_tlimit_celsius is not None:
        lines += _headroom(view, gpu)
    known = (heat.gpu_celsius, heat.memory_celsius, heat.margin_celsius, heat.slowdown_celsius, heat.shutdown_celsius)
    return Group(Section("TEMPERATURE", tuple(lines)), any(value is not None for value in known), "temperature")


def _held_against(limits: tuple[tuple[str, int | None], ...]) -> str:
    return next((f"{word} at {value}" for word, value in limits if value is not None), "")


def _over(value: int | None, limit: int | None) -> str:
    return "warn" if value is not None and limit is not None and value >= limit else ""


def _headroom(view: NodeView, gpu: Gpu) -> list[Line]:
    heat = gpu.temperature
    used_up = "bad" if heat.margin_celsius is not None and heat.margin_celsius <= 0 else ""
    limits = [
        line(f"  {word} at", units.number(value), degrees(view), beside="of headroom")
        for word, value in (("slowdown", heat.slowdown_tlimit_celsius), ("shutdown", heat.shutdown_tlimit_celsius))
        if value is not None
    ]
    left = line(
        "headroom",
        units.number(heat.margin_celsius),
        degrees(view),
        used_up,
        "left to T.Limit",
        trend(view, gpu, "headroom"),
    )
    return [left, *limits]


def clocks(view: NodeView, gpu: Gpu) -> Group:
    rates = gpu.clocks
    rows = (
        ("SM", rates.sm_mhz, rates.max_sm_mhz, trend(view, gpu, "sm_clock")),
        ("graphics", rates.graphics_mhz, rates.max_graphics_mhz, ""),
        ("memory", rates.memory_mhz, rates.max_memory_mhz, ""),
        ("video", rates.video_mhz, rates.max_video_mhz, ""),
    )
    lines: list[Line | Prose] = [
        line(label, units.number(now), "MHz", beside="" if best is None else f"of {best}", trend=past)
        for label, now, best, past in rows
    ]
    state = gpu.performance_state
    lines.append(words("performance", None if state is None else f"P{state}" + (", the highest" if state == 0 else "")))
    lines += _held_back(view, gpu)
    known = [value for _, now, best, _ in rows for value in (now, best)]
    measured = any(value is not None for value in (*known, state, rates.event_reasons))
    return Group(Section("CLOCKS", tuple(lines)), measured, "clocks")


def _held_back(view: NodeView, gpu: Gpu) -> list[Line | Prose]:
    if gpu.clocks.event_reasons is None:
        return [words("held back by", None)]
    reasons = reasons_of(gpu)
    if not reasons:
        return [words("held back by", "nothing")]
    lines: list[Line | Prose] = [words("held back by", "")]
    for reason in reasons:
        sign = view.glyphs.of(reason.style) if reason.style else view.glyphs.dot
        lines += [
            told(sign, reason.title, reason.style),
            Prose(f"{reason.meaning} {reason.action.format(index=gpu.index)}", indent=2),
        ]
    note = power_cap_note(gpu)
    return [*lines, Prose(note, "warn", indent=2)] if note else lines


def memory(view: NodeView, gpu: Gpu) -> Group:
    held = gpu.memory
    total = "" if held.total_bytes is None else f"of {units.gib(held.total_bytes)}"
    bar1 = "" if held.bar1_total_bytes is None else f"of {units.gib(held.bar1_total_bytes)}"
    percent = held.used_percent
    lines = [
        line("used", units.gib(held.used_bytes), "GiB", beside=total, trend=trend(view, gpu, "memory")),
        line("", units.number(percent), "%", beside=bar(percent, view)),
        line("free", units.gib(held.free_bytes), "GiB"),
        line("reserved", units.gib(held.reserved_bytes), "GiB", beside="by the driver" if held.reserved_bytes else ""),
        line("BAR1 used", units.gib(held.bar1_used_bytes), "GiB", beside=bar1),
    ]
    if percent is None:
        del lines[1]
    known = (held.used_bytes, held.total_bytes, held.free_bytes, held.reserved_bytes, held.bar1_used_bytes)
    return Group(Section("MEMORY", tuple(lines)), any(value is not None for value in known), "memory")
