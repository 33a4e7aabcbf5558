"""Clocks that heat or power takes away.

A software power cap at full load is how a board works at its limit: no finding. Reasons are the driver's own
(nvmlDeviceGetCurrentClocksEventReasons).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backends.domain import Evidence, Finding, Gpu, NextStep, Severity, plural
from backends.triage import hits, steps
from backends.triage.rule import NVML_H, finding, of_gpu, of_node
from backends.triage.state import NodeView, is_consumer

NEAR_SHUTDOWN_CELSIUS = 3
"""So little below the shutdown limit the work is as good as lost."""

SW_THERMAL_SECONDS = 5.0
"""The driver's own slowdown is how it keeps a board at its limit; for a second now and then it costs nothing."""
LIMITED_SHARE = 0.95
"""A power limit below this share of the board's default was set by somebody."""


@dataclass(frozen=True, slots=True)
class Slowdown:
    rule: str
    reason: str
    claim: str
    cause: str
    todo: str


HW_THERMAL = Slowdown(
    "hw-thermal",
    "hw_thermal_slowdown",
    "is slowed down by its hardware because it is too hot",
    "likely the cooling: a fan, the air flow, the coolant, or a heat sink that has come loose",
    "see inlet temperature and fans in the machine's management console",
)
SW_THERMAL = Slowdown(
    "sw-thermal",
    "sw_thermal_slowdown",
    "is slowed down by the driver to stay within its temperature limit",
    "likely the cooling has no margin left: warm inlet air, dust, a fan at its end",
    "see inlet temperature and fans in the machine's management console",
)
POWER_BRAKE = Slowdown(
    "power-brake",
    "hw_power_brake_slowdown",
    "is slowed down by the power brake of its machine",
    "likely a power supply that failed, or a power limit of the rack",
    "see the power supplies in the machine's management console",
)
HW_OTHER = Slowdown(
    "hw-slowdown",
    "hw_slowdown",
    "is slowed down by its hardware",
    "likely heat or power: this driver does not tell which",
    "see temperatures and power supplies in the machine's management console",
)
_SPECIFIC = frozenset({HW_THERMAL.reason, POWER_BRAKE.reason})
_WATCHED = frozenset({HW_THERMAL.reason, SW_THERMAL.reason, POWER_BRAKE.reason, HW_OTHER.reason})


def hw_thermal(view: NodeView) -> Iterator[Finding]:
    return _slowed(view, HW_THERMAL)


def sw_thermal(view: NodeView) -> Iterator[Finding]:
    return _slowed(view, SW_THERMAL)


def power_brake(view: NodeView) -> Iterator[Finding]:
    return _slowed(view, POWER_BRAKE)


def hw_other(view: NodeView) -> Iterator[Finding]:
    """The umbrella bit alone, while the GPU has work: older drivers and boards set nothing else."""
    for gpu in view.gpus:
        reasons = gpu.clocks.event_reasons
        if reasons and HW_OTHER.reason in reasons and "gpu_idle" not in reasons and not _SPECIFIC.intersection(reasons):
            yield _finding(view, gpu, HW_OTHER)


def _slowed(view: NodeView, slowdown: Slowdown) -> Iterator[Finding]:
    reason = slowdown.reason
    for gpu in view.gpus:
        reasons = gpu.clocks.event_reasons
        if reasons and reason in reasons:
            yield _finding(view, gpu, slowdown)


def has_reasons(gpu: Gpu) -> bool:
    return gpu.clocks.event_reasons is not None


def is_slowed(gpu: Gpu) -> bool:
    """Heat or power takes clocks away from it: its clocks say nothing more."""
    return bool(_WATCHED.intersection(gpu.clocks.event_reasons or ()))


def _finding(view: NodeView, gpu: Gpu, slowdown: Slowdown) -> Finding:
    return finding(
        slowdown.rule,
        _severity(gpu, slowdown),
        of_gpu(view, gpu),
        slowdown.claim,
        view.now,
        evidence=_evidence(gpu),
        cause=slowdown.cause,
        hits=hits.of_gpu(gpu),
        steps=_what_to_do(view, gpu, slowdown),
        source=NVML_H,
    )


def _severity(gpu: Gpu, slowdown: Slowdown) -> Severity:
    headroom = _degrees_to_shutdown(gpu)
    if headroom is not None and headroom <= NEAR_SHUTDOWN_CELSIUS:
        return Severity.CRITICAL
    if slowdown in (SW_THERMAL, HW_OTHER) and is_consumer(gpu):
        return Severity.INFO
    if slowdown is SW_THERMAL and "gpu_idle" in (gpu.clocks.event_reasons or ()):
        return Severity.INFO
    return Severity.WARNING


def limited(view: NodeView) -> Iterator[Finding]:
    """One finding for a node: GPUs that may draw less than their boards do by default."""
    low = [gpu for gpu in view.gpus if _is_limited(gpu)]
    if not low:
        return
    yield finding(
        "power-limit",
        Severity.INFO,
        of_node(view),
        f"{plural(len(low), 'GPU')} may draw less than the board's default",
        view.now,
        evidence=[
            Evidence(
                f"GPU {gpu.index}: {gpu.power.limit_watts:.0f} of {gpu.power.default_limit_watts:.0f} W", None, "nvml"
            )
            for gpu in low
        ],
        cause="likely a limit set by hand (nvidia-smi -pl) or by the machine: work there takes longer",
        steps=[
            steps.command(f"on {view.name}: limits and who may set them", "nvidia-smi -q -d POWER"),
            steps.open_node(view),
        ],
        source=NVML_H,
        magnitude=float(len(low)),
    )


def _is_limited(gpu: Gpu) -> bool:
    limit, default = gpu.power.limit_watts, gpu.power.default_limit_watts
    return limit is not None and default is not None and not gpu.vgpu.is_guest and 0 < limit < LIMITED_SHARE * default


def has_power_limits(gpu: Gpu) -> bool:
    return gpu.power.limit_watts is not None and gpu.power.default_limit_watts is not None and not gpu.vgpu.is_guest


def _degrees_to_shutdown(gpu: Gpu) -> int | None:
    """Absolute limits with absolute temperatures, T.Limit with T.Limit: never mixed."""
    temperature = gpu.temperature
    if temperature.gpu_celsius is not None and temperature.shutdown_celsius is not None:
        return temperature.shutdown_celsius - temperature.gpu_celsius
    if temperature.margin_celsius is not None and temperature.shutdown_tlimit_celsius is not None:
        return temperature.margin_celsius - temperature.shutdown_tlimit_celsius
    return None


def _evidence(gpu: Gpu) -> list[Evidence]:
    temperature, clocks, power = gpu.temperature, gpu.clocks, gpu.power
    lines = [f"clock event reasons: {', '.join(clocks.event_reasons or ())}"]
    if temperature.gpu_celsius is not None:
        limit = next(
            (
                f", {name} at {value} °C"
                for name, value in (("slowdown", temperature.slowdown_celsius), ("limit", temperature.gpu_max_celsius))
                if value is not None
            ),
            "",
        )
        if temperature.margin_celsius is not None:
            limit = f", {temperature.margin_celsius} °C of headroom (T.Limit)"
        lines.append(f"{temperature.gpu_celsius} °C{limit}")
    if clocks.sm_mhz is not None:
        most = "" if clocks.max_sm_mhz is None else f" of {clocks.max_sm_mhz}"
        lines.append(f"SM clock {clocks.sm_mhz}{most} MHz")
    if power.draw_watts is not None:
        most = "" if power.limit_watts is None else f" of {power.limit_watts:.0f}"
        lines.append(f"draws {power.draw_watts:.0f}{most} W")
    return [Evidence(line, None, "nvml") for line in lines]


def _what_to_do(view: NodeView, gpu: Gpu, slowdown: Slowdown) -> list[NextStep]:
    return [
        steps.advice(f"{view.name}: {slowdown.todo}"),
        steps.command(f"on {view.name}: sensors of the machine", "ipmitool sdr"),
        steps.command(
            f"on {view.name}: what the driver counted", f"nvidia-smi -q -d PERFORMANCE,TEMPERATURE -i {gpu.index}"
        ),
        steps.open_gpu(view, gpu, "charts"),
    ]
