"""What is kept of a GPU over time: a new metric is a line in `GPU_SERIES`, a new error counter in `GPU_COUNTERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from backends.domain.gpu import Gpu

GIB = 1024**3


class Limit(NamedTuple):
    """A value of the board's own that a series is held against, in the unit of the series."""

    value: float
    word: str
    severe: bool = False
    """The board stops there; else it slows down or is held back."""
    below: bool = False
    """Trouble lies under it, as with headroom."""
    in_bounds: bool = False
    """To be there is no trouble: a busy board draws what its power limit allows."""


Measure = Callable[[Gpu], float | None]


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """One value that changes from second to second."""

    id: str
    """The last part of the history's key, `node/gpu-key/id`."""
    label: str
    unit: str
    resolution: float
    """In `unit`; a history keeps no finer difference."""
    value: Measure
    """None where it is not measured."""
    top: Measure
    """The upper end of its range; None where the board does not tell."""
    bottom: float = 0.0
    limits: Callable[[Gpu], tuple[Limit, ...]] = lambda _gpu: ()
    filled: bool = False
    """A share of something whole: drawn as an area."""


@dataclass(frozen=True, slots=True)
class GpuCounter:
    """Something that is counted and should not be: only its changes are kept."""

    id: str
    label: str
    source: str
    """The field of the GPU it is read from: while that is the same object, the counter has not changed."""
    value: Callable[[Gpu], int | None]


def _gib(count: int | None) -> float | None:
    return None if count is None else count / GIB


def _power_top(gpu: Gpu) -> float | None:
    """A tenth over the limit, in steps of 50 W: the limit and what overshoots it are inside."""
    most = gpu.power.max_limit_watts or gpu.power.limit_watts
    return None if most is None else 50.0 * -(-most * 1.1 // 50)


def _power_limits(gpu: Gpu) -> tuple[Limit, ...]:
    watts = gpu.power.limit_watts
    return () if watts is None else (Limit(watts, "limit", in_bounds=True),)


def _heat_limits(gpu: Gpu) -> tuple[Limit, ...]:
    heat = gpu.temperature
    known = ((heat.slowdown_celsius, "slowdown", False), (heat.shutdown_celsius, "shutdown", True))
    return tuple(Limit(celsius, word, severe) for celsius, word, severe in known if celsius is not None)


def _headroom_limits(gpu: Gpu) -> tuple[Limit, ...]:
    heat = gpu.temperature
    known = ((heat.slowdown_tlimit_celsius, "slowdown", False), (heat.shutdown_tlimit_celsius, "shutdown", True))
    return tuple(Limit(celsius, word, severe, below=True) for celsius, word, severe in known if celsius is not None)


def _memory_heat_limits(gpu: Gpu) -> tuple[Limit, ...]:
    celsius = gpu.temperature.memory_max_celsius
    return () if celsius is None else (Limit(celsius, "maximum"),)


def _remapped_rows(gpu: Gpu) -> int | None:
    rows = gpu.remapped_rows
    known = [count for count in (rows.corrected, rows.uncorrected) if count is not None]
    return sum(known) if known else None


def _link_errors(gpu: Gpu) -> int | None:
    known = [link.errors for link in gpu.links or () if link.errors is not None]
    return sum(known) if known else None


GPU_SERIES: tuple[GpuSeries, ...] = (
    GpuSeries(
        "utilization", "Utilisation", "%", 0.1, lambda gpu: gpu.utilization.gpu_percent, lambda _gpu: 100.0, filled=True
    ),
    GpuSeries(
        "memory",
        "Memory used",
        "GiB",
        1 / 32,
        lambda gpu: _gib(gpu.memory.used_bytes),
        lambda gpu: _gib(gpu.memory.total_bytes),
        filled=True,
    ),
    GpuSeries("power", "Power", "W", 0.25, lambda gpu: gpu.power.draw_watts, _power_top, limits=_power_limits),
    GpuSeries(
        "temperature",
        "Temperature",
        "°C",
        0.1,
        lambda gpu: gpu.temperature.gpu_celsius,
        lambda _gpu: 110.0,
        limits=_heat_limits,
    ),
    GpuSeries(
        "headroom",
        "Headroom to T.Limit",
        "°C",
        0.1,
        lambda gpu: gpu.temperature.margin_celsius,
        lambda _gpu: 80.0,
        bottom=-20.0,
        limits=_headroom_limits,
    ),
    GpuSeries("sm_clock", "SM clock", "MHz", 1.0, lambda gpu: gpu.clocks.sm_mhz, lambda gpu: gpu.clocks.max_sm_mhz),
    GpuSeries(
        "memory_temperature",
        "Memory temperature",
        "°C",
        0.1,
        lambda gpu: gpu.temperature.memory_celsius,
        lambda _gpu: 110.0,
        limits=_memory_heat_limits,
    ),
)
"""In the order in which they are drawn. A series that a GPU never measured costs its history nothing."""

GPU_COUNTERS: tuple[GpuCounter, ...] = (
    GpuCounter("ecc_uncorrected", "ECC uncorrected", "ecc", lambda gpu: gpu.ecc.volatile.uncorrected),
    GpuCounter("ecc_corrected", "ECC corrected", "ecc", lambda gpu: gpu.ecc.volatile.corrected),
    GpuCounter("remapped_rows", "Remapped rows", "remapped_rows", _remapped_rows),
    GpuCounter("pcie_replays", "PCIe replays", "pcie", lambda gpu: gpu.pcie.replay_count),
    GpuCounter("link_errors", "NVLink errors", "links", _link_errors),
)
"""Most serious first."""


def series_key(node: str, gpu: Gpu, series: str) -> str:
    """Where a site's history keeps a series or a counter of a GPU."""
    return f"{node}/{gpu.key}/{series}"
