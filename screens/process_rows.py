"""The GPU processes of a node as rows of a grid. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from backends.domain import Gpu, GpuProcess, Node, Workload, plural
from backends.ownership import Ownership, owner_words
from screens.cells import MISSING, measured
from screens.rows import SEPARATOR, ordered
from screens.workloads import line, of_process, process_cells
from tui.widgets import units
from tui.widgets.columns import Cell, Column, Row
from tui.widgets.glyphs import NOT_MEASURED, Glyphs

CONTAINER_DIGITS = 12
"""As `docker ps` shortens an id."""

COLUMNS: tuple[Column, ...] = (
    Column("pid", "PID", 9),
    Column("user", "USER", 9, grow=8),
    Column("gpu", "GPU", 6),
    Column("memory", "GiB", 5, "right"),
    Column("age", "AGE", 8, "right"),
    Column("kind", "KIND", 8, min_terminal_width=100),
    Column("workload", "WORKLOAD", 16, min_terminal_width=70, grow=28),
    Column("owner", "OWNER", 14, min_terminal_width=110, grow=22),
    Column("container", "CONTAINER", CONTAINER_DIGITS, min_terminal_width=130),
    Column("command", "COMMAND", 12, grow=400),
)
"""The GPU's column carries MIG's GPU and compute instance behind it: `1 3/0`."""
_NEVER = 1_000_000
_ALONE: dict[str, int] = {"workload": _NEVER, "owner": _NEVER, "container": 70}
ALONE_COLUMNS = tuple(
    replace(column, min_terminal_width=_ALONE.get(column.key, column.min_terminal_width)) for column in COLUMNS
)
"""On a site without a platform nobody tells of workloads."""
SORTABLE = tuple(column.key for column in COLUMNS)
DESCENDING = frozenset({"memory"})
"""Wanted largest first."""


class Listed(NamedTuple):
    """A process on one GPU; one that uses several GPUs is listed on each."""

    gpu: Gpu
    process: GpuProcess
    workload: Workload | None = None
    """Whose it is; None where nobody the platform knows, or where none has told."""

    @property
    def key(self) -> str:
        """Identity that survives every other process coming and going."""
        process = self.process
        return SEPARATOR.join((self.gpu.key, str(process.pid), f"{process.gi}/{process.ci}", str(process.started_at)))


@dataclass(frozen=True, slots=True)
class Order:
    column: str | None = None
    """None: by GPU, and on each the largest first."""
    reverse: bool = False


_VALUES: dict[str, Callable[[Listed], float | str | None]] = {
    "pid": lambda each: each.process.pid,
    "user": lambda each: each.process.user,
    "gpu": lambda each: each.gpu.index * 10_000 + (each.process.gi or 0) * 100 + (each.process.ci or 0),
    "memory": lambda each: each.process.memory_bytes,
    # The oldest process has the lowest start.
    "age": lambda each: None if each.process.started_at is None else -each.process.started_at,
    "kind": lambda each: each.process.kind,
    "workload": lambda each: None if each.workload is None else each.workload.title,
    "owner": lambda each: None if each.workload is None else owner_words(each.workload) or None,
    "container": lambda each: each.process.container_id,
    "command": lambda each: each.process.command,
}
assert set(_VALUES) == set(SORTABLE)


def listed(node: Node, order: Order, ownership: Ownership | None = None) -> list[Listed]:
    """All GPU processes of the node in `order`; what was not measured comes last in either direction."""
    found = [
        Listed(gpu, process, of_process(process, ownership)) for gpu in node.gpus for process in gpu.processes or ()
    ]
    found.sort(key=lambda each: (each.gpu.index, -(each.process.memory_bytes or 0), each.process.pid))
    return found if order.column is None else ordered(found, _VALUES[order.column], order.reverse)


def process_row(each: Listed, node: str, now: float, stale: bool, ownership: Ownership | None = None) -> Row:
    """One line of the node; `now` is in seconds since the epoch, by the node's clock."""
    process = each.process
    workload, owner = process_cells(process, node, ownership)
    instance = "" if process.gi is None else f" {process.gi}/{units.number(process.ci)}"
    container = "" if process.container_id is None else process.container_id[:CONTAINER_DIGITS]
    cells: tuple[str | Cell, ...] = (
        f"{process.pid:>7}",
        measured(process.user or NOT_MEASURED),
        f"{each.gpu.index}{instance}",
        measured(units.gib(process.memory_bytes)),
        measured(units.coarse_age(_age(process, now))),
        measured(process.kind or NOT_MEASURED),
        workload,
        owner,
        Cell(container, "accent"),
        measured(process.command or NOT_MEASURED),
    )
    if stale:
        cells = tuple(Cell(cell.text if isinstance(cell, Cell) else cell, "stale") for cell in cells)
    return Row(each.key, cells, dim=stale or each.gpu.lost)


def _age(process: GpuProcess, now: float) -> float | None:
    return None if process.started_at is None else max(0.0, now - process.started_at)


def summary(node: Node, found: list[Listed], glyphs: Glyphs) -> list[Cell]:
    """How many, whose, how much; and what could not be read, with the reason where it is known."""
    pids = {each.process.pid for each in found}
    users = {each.process.user for each in found if each.process.user}
    sizes = [each.process.memory_bytes for each in found if each.process.memory_bytes is not None]
    cells = []
    if found:
        held = f"{units.gib(sum(sizes))} GiB" if sizes else NOT_MEASURED
        inside = len({each.process.pid for each in found if each.process.container_id})
        cells.append(Cell(f"{plural(len(pids), 'process', 'processes')}  {plural(len(users), 'user')}  {held}"))
        cells.append(Cell(f"{inside} in containers", "dim"))
    cells += [Cell(f"{glyphs.warn} {said}", "warn") for said in unread(node, found)]
    return cells


def unread(node: Node, found: list[Listed]) -> list[str]:
    """What is missing from the list, in words."""
    said = []
    blind = [gpu for gpu in node.gpus if gpu.processes is None and not gpu.lost]
    if blind:
        where = "" if len(blind) == len(node.gpus) else f" of GPU {', '.join(str(gpu.index) for gpu in blind)}"
        why = " (a vGPU guest)" if all(gpu.vgpu.mode == "vgpu" for gpu in blind) else ""
        said.append(f"processes{where} {NOT_MEASURED}{why}")
    omitted = sum(gpu.processes_omitted for gpu in node.gpus)
    if omitted:
        said.append(f"{omitted} more not read")
    if node.privileged is False and any(each.process.user is None for each in found):
        said.append(f"not root: what others run {NOT_MEASURED}")
    return said


def empty_text(node: Node | None) -> str:
    """What stands where there is no process to list."""
    if node is None:
        return "No value was read yet."
    if not node.gpus:
        return "The node reports no GPU."
    if all(gpu.processes is None for gpu in node.gpus):
        return "NVML lists no processes here."
    return f"No process uses the {plural(len(node.gpus), 'GPU')} of this node."


def details(each: Listed | None) -> tuple[Sequence[Cell], Sequence[Cell], Sequence[Cell]]:
    """What the row of a process has no room for, in three lines: where and since when, its container, its command."""
    if each is None:
        return (), (), ()
    process, workload = each.process, each.workload
    where = f"GPU {each.gpu.index}"
    if process.gi is not None:
        profiles = [one.profile for one in each.gpu.mig.instances if (one.gi, one.ci) == (process.gi, process.ci)]
        where += f" MIG {(profiles or [None])[0] or NOT_MEASURED}"
    inside = process.container_id
    since = Cell(f"{where}  {process.kind or NOT_MEASURED}  since {units.moment(process.started_at)}", "dim")
    container: tuple[Cell, ...] = (Cell("in no container", "dim"),)
    if inside:
        container = (Cell("container ", "dim"), Cell(inside, "accent"))
    if workload is not None:
        name = next((one.name for one in workload.containers if one.id == inside), NOT_MEASURED)
        told = [cell for part in line(workload) for cell in (part, Cell("  "))]
        container = (*told, Cell(f"container {name} {(inside or '')[:CONTAINER_DIGITS]}", "dim"))
    return (since,), container, (Cell(process.command) if process.command else MISSING,)
