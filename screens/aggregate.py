"""A node's GPUs taken together, and a site's nodes: sums, ranges and worst states, each named for what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.domain import NodeState
from backends.nvlinks import missed_links
from screens.cells import MISSING, POWER_WIDTH, clock_cell, measured, meter_cell, process_count, state_cell
from screens.cells import top_user as gpu_top_user
from screens.condition import LOST, SEVERITY, gpu_condition, is_hot, link_errors, node_condition, worse
from tui.widgets import units
from tui.widgets.columns import Cell

if TYPE_CHECKING:
    from backends.domain import Fleet, Gpu, Node, NodeReading
    from screens.condition import Condition
    from tui.widgets.glyphs import Glyphs


def present(gpus: Iterable[Gpu], value: Callable[[Gpu], float | None]) -> list[float]:
    """What was measured, of the GPUs that answer: a lost GPU's last values are history, not load."""
    return [known for gpu in gpus if not gpu.lost and (known := value(gpu)) is not None]


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def node_utilization(gpus: Iterable[Gpu]) -> float | None:
    """The mean over the GPUs that measured it."""
    return mean(present(gpus, lambda gpu: gpu.utilization.gpu_percent))


def node_memory(gpus: tuple[Gpu, ...]) -> tuple[int | None, int | None]:
    used = present(gpus, lambda gpu: gpu.memory.used_bytes)
    total = present(gpus, lambda gpu: gpu.memory.total_bytes)
    return (int(sum(used)) if used else None, int(sum(total)) if total else None)


def node_power(gpus: Iterable[Gpu]) -> float | None:
    draws = present(gpus, lambda gpu: gpu.power.draw_watts)
    return sum(draws) if draws else None


def hottest(gpus: Iterable[Gpu]) -> float | None:
    return max(present(gpus, lambda gpu: gpu.temperature.gpu_celsius), default=None)


def node_cells(
    reading: NodeReading, glyphs: Glyphs, work: Cell = MISSING, found: Condition | None = None
) -> tuple[str | Cell, ...]:
    """One cell per entry of `screens.cells.COLUMNS`; `found` is what the triage says of the node."""
    gpus = reading.node.gpus if reading.node else ()
    busy = node_utilization(gpus)
    used, total = node_memory(gpus)
    return (
        f"{reading.name} {_models(gpus)}",
        state_cell(worse(node_condition(reading), found), glyphs),
        measured(units.number(busy)),
        meter_cell(busy, glyphs),
        measured(_whole_gib(used, total)),
        measured(_power(gpus)),
        measured(units.number(hottest(gpus)), "warn" if any(is_hot(gpu) for gpu in gpus) else ""),
        _worst_clock(gpus),
        _ecc(gpus),
        _remaps(gpus),
        _links(gpus),
        _mig(gpus),
        measured(units.count(_process_total(gpus))),
        work,
        _user(gpus),
        Cell(_coverage(gpus), "dim"),
    )


def _models(gpus: tuple[Gpu, ...]) -> str:
    """`8x H100 80GB HBM3`: the most common model."""
    if not gpus:
        return ""
    (name, _), *_ = Counter(gpu.name for gpu in gpus).most_common(1)
    return f"{len(gpus)}x {units.model(name)}"


def _whole_gib(used: int | None, total: int | None) -> str:
    left, right = (units.number(None if count is None else count / units.GIB) for count in (used, total))
    return units.pair(left, right)


def _power(gpus: tuple[Gpu, ...]) -> str:
    """The sums of draw and limit; the draw alone where both have no room."""
    limits = present(gpus, lambda gpu: gpu.power.limit_watts)
    draw = units.number(node_power(gpus))
    both = units.pair(draw, units.number(sum(limits) if limits else None))
    return both if len(both) <= POWER_WIDTH else draw


def _worst_clock(gpus: tuple[Gpu, ...]) -> Cell:
    cells = [clock_cell(gpu) for gpu in gpus if gpu.clocks.event_reasons is not None]
    serious = [cell for cell in cells if SEVERITY.get(cell.style, 0) >= SEVERITY["warn"]]
    if not cells:
        return MISSING
    return max(serious, key=lambda cell: SEVERITY[cell.style]) if serious else Cell("")


def _ecc(gpus: tuple[Gpu, ...]) -> Cell:
    uncorrected = present(gpus, lambda gpu: gpu.ecc.volatile.uncorrected)
    corrected = present(gpus, lambda gpu: gpu.ecc.volatile.corrected)
    if not uncorrected and not corrected:
        return MISSING
    hard, soft = int(sum(uncorrected)), int(sum(corrected))
    text = f"{units.count(hard) if uncorrected else '?'}/{units.count(soft) if corrected else '?'}"
    return Cell(text if len(text) <= 5 else f"{text.partition('/')[0]}/+", "bad" if hard else ("warn" if soft else ""))


def _remaps(gpus: tuple[Gpu, ...]) -> Cell:
    if any(gpu.remapped_rows.failed for gpu in gpus):
        return Cell("failed", "bad")
    if any(gpu.remapped_rows.pending for gpu in gpus):
        return Cell("reset", "warn")
    known = present(gpus, lambda gpu: gpu.remapped_rows.uncorrected)
    known += present(gpus, lambda gpu: gpu.remapped_rows.corrected)
    return measured(units.count(int(sum(known)) if known else None))


def _links(gpus: tuple[Gpu, ...]) -> Cell:
    linked = [gpu for gpu in gpus if gpu.links and not gpu.lost]
    told = [link.active for gpu in linked for link in gpu.links or () if link.active is not None]
    if not told:
        return MISSING
    down = sum(map(len, missed_links(gpus).values()))
    if down:
        return Cell(f"{down} dn", "bad")
    if not any(told):
        return Cell("none", "dim")
    errors = sum(link_errors(gpu) or 0 for gpu in linked)
    return Cell("errs", "warn") if errors else Cell("up")


def _mig(gpus: tuple[Gpu, ...]) -> Cell:
    modes = [gpu.mig.enabled for gpu in gpus if gpu.mig.enabled is not None]
    if not modes:
        return MISSING
    return Cell(f"{sum(modes)} of {len(gpus)}", "accent") if any(modes) else Cell("off", "dim")


def _process_total(gpus: tuple[Gpu, ...]) -> int | None:
    known = present(gpus, process_count)
    return int(sum(known)) if known else None


def _user(gpus: tuple[Gpu, ...]) -> Cell:
    users = {user for gpu in gpus if (user := gpu_top_user(gpu)) is not None}
    if not users:
        return Cell("") if any(gpu.processes == () for gpu in gpus) else MISSING
    return Cell(next(iter(users)) if len(users) == 1 else f"{len(users)} users")


def _coverage(gpus: tuple[Gpu, ...]) -> str:
    """Of how many GPUs the mean utilisation is, when not of all; and between what it ranges."""
    busy = present(gpus, lambda gpu: gpu.utilization.gpu_percent)
    if not busy:
        return ""
    span = f"{min(busy):.0f}..{max(busy):.0f} %"
    return span if len(busy) == len(gpus) else f"{span} of {len(busy)}"


_NODE_SORT: dict[str, Callable[[tuple[Gpu, ...]], float | str | None]] = {
    "utilization": node_utilization,
    "memory": lambda gpus: node_memory(gpus)[0],
    "power": node_power,
    "temperature": hottest,
    "clocks": lambda gpus: SEVERITY[_worst_clock(gpus).style] if _worst_clock(gpus) is not MISSING else None,
    "ecc": lambda gpus: max(present(gpus, lambda gpu: gpu.ecc.volatile.uncorrected), default=None),
    "remaps": lambda gpus: max(present(gpus, lambda gpu: gpu.remapped_rows.uncorrected), default=None),
    "links": lambda gpus: -sum(map(len, missed_links(gpus).values())) if any(gpu.links for gpu in gpus) else None,
    "mig": lambda gpus: sum(gpu.mig.enabled is True for gpu in gpus),
    "processes": _process_total,
    "user": lambda gpus: _user(gpus).text or None,
}


def node_sort_value(reading: NodeReading, column: str, found: Condition | None = None) -> float | str | None:
    """What a column sorts the node by; None without a value. `found` is what the triage says of the node."""
    if column == "name":
        return reading.name
    if column == "state":
        return SEVERITY[worse(node_condition(reading), found).style]
    value = _NODE_SORT.get(column)
    return None if value is None or reading.node is None else value(reading.node.gpus)


@dataclass(frozen=True, slots=True)
class NodeTotals:
    """What one node adds to the line over the site."""

    gpus: int
    conditions: Counter[Condition]
    utilizations: tuple[float, ...]
    watts: float | None


def node_totals(gpus: Sequence[Gpu]) -> NodeTotals:
    utilizations = present(gpus, lambda gpu: gpu.utilization.gpu_percent)
    conditions = Counter(gpu_condition(gpu, gpus) for gpu in gpus)
    return NodeTotals(len(gpus), conditions, tuple(utilizations), node_power(gpus))


class SiteTotals:
    """The totals of every node, counted again only where the node said something else: of a thousand, few did."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Node, NodeTotals]] = {}

    def of(self, fleet: Fleet) -> list[NodeTotals]:
        """Those of the nodes that answer now."""
        live = [(each.name, each.node) for each in fleet.nodes if each.is_current and each.node is not None]
        self._known = {name: self._counted(name, node) for name, node in live}
        return [totals for _, totals in self._known.values()]

    def _counted(self, name: str, node: Node) -> tuple[Node, NodeTotals]:
        known = self._known.get(name)
        return known if known is not None and known[0] is node else (node, node_totals(node.gpus))


def summary(fleet: Fleet, glyphs: Glyphs, site_totals: SiteTotals | None = None) -> tuple[Cell, ...]:
    """One line over the whole site. Sums and means are of the nodes that answer now."""
    live = (site_totals or SiteTotals()).of(fleet)
    unread = sum(not each.is_current and each.state is not NodeState.CONNECTING for each in fleet.nodes)
    by_style = Counter(dict.fromkeys(("bad", "warn"), 0))
    lost = 0
    for totals in live:
        for condition, number in totals.conditions.items():
            if condition == LOST:
                lost += number
            else:
                by_style[condition.style] += number
    busy = mean([percent for totals in live for percent in totals.utilizations])
    draws = [totals.watts for totals in live if totals.watts is not None]
    gpus = Cell(f"{sum(totals.gpus for totals in live)} GPUs") if live or not fleet.nodes else Cell("GPUs n/a", "dim")
    parts = [Cell(f"{len(fleet.nodes)} nodes"), gpus]
    for number, word, style in (
        (unread, "unread", "stale"),
        (lost, "lost", "bad"),
        (by_style["bad"], "failing", "bad"),
        (by_style["warn"], "to look at", "warn"),
    ):
        if number:
            parts.append(Cell(f"{glyphs.of(style)} {number} {word}", style))
    parts.append(measured(f"mean util {busy:.0f} %") if busy is not None else Cell("mean util n/a", "dim"))
    parts.append(Cell(f"{sum(draws) / 1000:.1f} kW") if draws else Cell("power n/a", "dim"))
    return tuple(parts)
