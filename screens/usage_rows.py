"""What a container uses of its node, in two lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.widgets import units
from tui.widgets.columns import Cell
from tui.widgets.glyphs import NOT_MEASURED, Glyphs

if TYPE_CHECKING:
    from backends.domain import ContainerUsage

NEAR = 0.9
"""Of a limit: so close to it the kernel soon kills, or refuses to fork."""
Lines = tuple[Sequence[Cell], Sequence[Cell]]


def usage_lines(value: ContainerUsage | None, problem: str | None, glyphs: Glyphs) -> Lines:
    """CPU, memory and tasks; then what went over the network and to disks since the container started."""
    if problem is not None:
        return (Cell(f"{glyphs.stale} use of the node {NOT_MEASURED}: {problem}", "stale"),), ()
    if value is None:
        return (Cell("use of the node: asking", "dim"),), ()
    if value.at is None:
        return (Cell("it does not run: it uses nothing", "dim"),), ()
    near_memory = _is_near(value.memory_bytes, value.memory_limit_bytes)
    near_pids = _is_near(value.pids, value.pids_limit)
    held = (
        Cell(f"CPU {_percent(value.cpu_percent)} on {units.number(value.cpus)} CPUs  "),
        Cell(f"memory {_memory(value)}  ", "warn" if near_memory else ""),
        Cell(f"pids {_pids(value)}", "warn" if near_pids else ""),
    )
    moved = (
        Cell(f"net {_moved('in', value.received_bytes, 'out', value.sent_bytes)}  ", "dim"),
        Cell(f"disk {_moved('read', value.read_bytes, 'written', value.written_bytes)}", "dim"),
    )
    return held, moved


def _percent(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.0f} %"


def _memory(value: ContainerUsage) -> str:
    if value.memory_bytes is None:
        return NOT_MEASURED
    cache = " with cache" if value.memory_with_cache else ""
    return f"{units.gib(value.memory_bytes)} of {units.gib(value.memory_limit_bytes)} GiB{cache}"


def _pids(value: ContainerUsage) -> str:
    return units.number(value.pids) + ("" if value.pids_limit is None else f" of {value.pids_limit}")


def _moved(word: str, count: int | None, other_word: str, other: int | None) -> str:
    if count is None and other is None:
        return NOT_MEASURED
    return f"{word} {units.gib(count)} {other_word} {units.gib(other)} GiB"


def _is_near(used: int | None, limit: int | None) -> bool:
    return used is not None and limit is not None and used >= NEAR * limit
