"""A GPU's values as the cells of the fleet's columns. Not measured is always `n/a`, dimmed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.nvlinks import misses_links
from screens.condition import HOT_REASONS, SLOW_REASONS, link_errors
from tui.widgets import units
from tui.widgets.columns import Cell, Column
from tui.widgets.glyphs import NOT_MEASURED
from tui.widgets.spark import meter

if TYPE_CHECKING:
    from backends.domain import Gpu
    from screens.condition import Condition
    from tui.widgets.glyphs import Glyphs

METER_WIDTH = 8
SPARK_WIDTH = 30
MIG_WIDTH = 14
POWER_WIDTH = 9

COLUMNS: tuple[Column, ...] = (
    Column("name", "NODE / GPU", 17, grow=14),
    Column("state", "STATE", 8),
    Column("utilization", "%", 4, "right"),
    Column("meter", "UTIL", METER_WIDTH, min_terminal_width=110, sortable=False),
    Column("memory", "GiB", 11, "right"),
    Column("power", "W", POWER_WIDTH, "right"),
    Column("temperature", "C", 3, "right"),
    Column("clocks", "CLOCKS", 8),
    Column("ecc", "ECC", 5, "right"),
    Column("remaps", "REMAP", 6, "right", min_terminal_width=140),
    Column("links", "LINK", 5, "right"),
    Column("mig", "MIG", MIG_WIDTH, min_terminal_width=100),
    Column("processes", "PROC", 4, "right", min_terminal_width=120),
    Column("workload", "WORKLOAD", 12, min_terminal_width=120, grow=30),
    Column("user", "USER", 12, min_terminal_width=180, grow=8),
    Column("spark", "5 MIN", SPARK_WIDTH, min_terminal_width=156, sortable=False),
)
"""80 cells hold the name, the state and the eight figures that matter; the rest comes with room."""

_NEVER = 1_000_000
_ALONE = {"workload": {"min_terminal_width": _NEVER, "sortable": False}, "user": {"min_terminal_width": 120}}
ALONE_COLUMNS = tuple(replace(column, **_ALONE.get(column.key, {})) for column in COLUMNS)  # type: ignore[arg-type]
"""On a site without a platform nobody tells of workloads: the user has their place."""

CELL_INDEX = {column.key: index for index, column in enumerate(COLUMNS)}
MISSING = Cell(NOT_MEASURED, "dim")

REASON_WORDS: dict[str, Cell] = {
    "hw_thermal_slowdown": Cell("HW-therm", "bad"),
    "hw_power_brake_slowdown": Cell("brake", "bad"),
    "hw_slowdown": Cell("HW-slow", "bad"),
    "sw_thermal_slowdown": Cell("SW-therm", "warn"),
    "sw_power_cap": Cell("pwr-cap", "dim"),
    "sync_boost": Cell("sync", "dim"),
    "applications_clocks_setting": Cell("app-clk", "dim"),
    "display_clock_setting": Cell("display", "dim"),
    "gpu_idle": Cell("idle", "dim"),
}
"""Clock event reasons in short, most serious first."""


def measured(text: str, style: str = "") -> Cell:
    return MISSING if text == NOT_MEASURED else Cell(text, style)


def state_cell(condition: Condition, glyphs: Glyphs) -> Cell:
    return Cell(f"{glyphs.of(condition.style)} {condition.word}", condition.style)


def meter_cell(percent: float | None, glyphs: Glyphs) -> Cell:
    return Cell(meter(percent, METER_WIDTH, glyphs.ascii), "accent")


def clock_cell(gpu: Gpu) -> Cell:
    """The most serious clock event reason; blank when the clocks are held back by nothing."""
    reasons = gpu.clocks.event_reasons
    if reasons is None:
        return MISSING
    known = next((cell for reason, cell in REASON_WORDS.items() if reason in reasons), None)
    return known or Cell(reasons[0] if reasons else "")


def temperature_cell(gpu: Gpu) -> Cell:
    reasons = gpu.clocks.event_reasons or ()
    style = "bad" if "hw_thermal_slowdown" in reasons else ("warn" if HOT_REASONS.intersection(reasons) else "")
    return measured(units.number(gpu.temperature.gpu_celsius), style)


def ecc_cell(gpu: Gpu) -> Cell:
    """Volatile errors, uncorrected/corrected."""
    if gpu.ecc.enabled is False:
        return Cell("off", "warn")
    counts = gpu.ecc.volatile
    uncorrected, corrected = units.count(counts.uncorrected), units.count(counts.corrected)
    text = units.pair(uncorrected, corrected)
    if len(text) > 5:  # the serious one of the two, rather than a cut figure
        text = f"{uncorrected}/+" if counts.uncorrected else f"{uncorrected}/{corrected}"
    return measured(text, "bad" if counts.uncorrected else ("warn" if counts.corrected else ""))


def remap_cell(gpu: Gpu) -> Cell:
    rows = gpu.remapped_rows
    if rows.failed:
        return Cell("failed", "bad")
    if rows.pending:
        return Cell("reset", "warn")
    known = [count for count in (rows.corrected, rows.uncorrected) if count is not None]
    return measured(units.count(sum(known) if known else None))


def links_cell(gpu: Gpu, around: Sequence[Gpu] = ()) -> Cell:
    """Active of all links; `!` marks counted errors. `around` are the GPUs of its node: they tell what should be up."""
    if not gpu.links:
        return Cell("none", "dim") if gpu.links == () else MISSING
    told = [link.active for link in gpu.links if link.active is not None]
    if not told:
        return MISSING
    active, errors = sum(told), link_errors(gpu) or 0
    text = f"{active}/{len(gpu.links)}"
    if misses_links(gpu, around):
        return Cell(text, "bad")
    if not active:
        return Cell(text, "dim")
    return Cell(f"!{active}" if errors else text, "warn" if errors else "")


def mig_cell(gpu: Gpu) -> Cell:
    """`off`, or the slices: as a list where it fits, else as counts."""
    mig = gpu.mig
    if mig.enabled is None:
        return MISSING
    if mig.pending is not None and mig.pending != mig.enabled:
        return Cell(f"{'on' if mig.pending else 'off'} at reset", "warn")
    if not mig.enabled:
        return Cell("off", "dim")
    if not mig.instances:
        return Cell("on, empty", "warn")
    shapes = [(instance.profile or "?").rpartition(".")[0].rpartition(".")[2] or "?" for instance in mig.instances]
    listed = " ".join(shapes)
    if len(listed) <= MIG_WIDTH:
        return Cell(listed, "accent")
    counted = " ".join(f"{count}x{shape}" for shape, count in Counter(shapes).items())
    return Cell(counted if len(counted) <= MIG_WIDTH else f"{len(shapes)} slices", "accent")


def process_count(gpu: Gpu) -> int | None:
    return None if gpu.processes is None else len(gpu.processes) + gpu.processes_omitted


def top_user(gpu: Gpu) -> str | None:
    """Whose processes hold the most memory; None when no process names its user."""
    held: dict[str, int] = {}
    for process in gpu.processes or ():
        if process.user is not None:
            held[process.user] = held.get(process.user, 0) + (process.memory_bytes or 0)
    return max(held, key=lambda user: held[user]) if held else None


def user_cell(gpu: Gpu) -> Cell:
    user = top_user(gpu)
    if user is None:
        return Cell("") if gpu.processes == () else MISSING
    return Cell(user)


def gpu_cells(
    gpu: Gpu,
    name: str,
    condition: Condition,
    trend: str,
    glyphs: Glyphs,
    around: Sequence[Gpu] = (),
    work: Cell = MISSING,
) -> tuple[str | Cell, ...]:
    """One cell per entry of `COLUMNS`; `around` are the GPUs of its node."""
    slow = SLOW_REASONS.intersection(gpu.clocks.event_reasons or ())
    return (
        name,
        state_cell(condition, glyphs),
        measured(units.number(gpu.utilization.gpu_percent)),
        meter_cell(gpu.utilization.gpu_percent, glyphs),
        measured(units.gib_pair(gpu.memory.used_bytes, gpu.memory.total_bytes)),
        measured(units.watts_pair(gpu.power.draw_watts, gpu.power.limit_watts), "warn" if slow else ""),
        temperature_cell(gpu),
        clock_cell(gpu),
        ecc_cell(gpu),
        remap_cell(gpu),
        links_cell(gpu, around),
        mig_cell(gpu),
        measured(units.count(process_count(gpu))),
        work,
        user_cell(gpu),
        Cell(trend, "accent"),
    )


SortKey = Callable[["Gpu"], float | str | None]
GPU_SORT: dict[str, SortKey] = {
    "utilization": lambda gpu: gpu.utilization.gpu_percent,
    "memory": lambda gpu: gpu.memory.used_bytes,
    "power": lambda gpu: gpu.power.draw_watts,
    "temperature": lambda gpu: gpu.temperature.gpu_celsius,
    "clocks": lambda gpu: clock_cell(gpu).text if gpu.clocks.event_reasons is not None else None,
    "ecc": lambda gpu: (
        None
        if gpu.ecc.volatile.uncorrected is None
        else gpu.ecc.volatile.uncorrected * 10**9 + (gpu.ecc.volatile.corrected or 0)
    ),
    "remaps": lambda gpu: (
        None
        if gpu.remapped_rows.uncorrected is None
        else float(gpu.remapped_rows.uncorrected) + (gpu.remapped_rows.corrected or 0)
    ),
    "links": lambda gpu: sum(link.active is True for link in gpu.links) if gpu.links else None,
    "mig": lambda gpu: None if gpu.mig.enabled is None else len(gpu.mig.instances),
    "processes": process_count,
    "user": top_user,
}
"""What a column sorts a GPU by; `name`, `state` and `workload` are sorted by the rows themselves."""
