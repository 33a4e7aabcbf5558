"""The fleet as rows of its grid: pure, and free of cost for a node that did not change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from backends.domain import NodeState
from screens.aggregate import node_cells, node_sort_value
from screens.cells import CELL_INDEX, GPU_SORT, SPARK_WIDTH, gpu_cells
from screens.condition import FOUND, OK, SEVERITY, Condition, gpu_condition, node_state_words, state_words, worse
from screens.gpu_items import NO_XIDS, Xids, gpu_item, gpu_text
from screens.workloads import UNKNOWN, gpu_cell, node_cell
from tui.widgets import units
from tui.widgets.columns import Cell, LazyRows, Note, Row
from tui.widgets.filter import Filter, Subject, Verdicts
from tui.widgets.glyphs import UNICODE
from tui.widgets.spark import spark

if TYPE_CHECKING:
    from backends.domain import Finding, Fleet, Gpu, NodeReading, Problem
    from backends.feed import History
    from backends.ownership import Ownership
    from tui.widgets.glyphs import Glyphs

SEPARATOR = "\N{UNIT SEPARATOR}"
"""Between node name and GPU key in a row's key: no cleaned name holds it."""
NOTE_AT = CELL_INDEX["power"]
LOST_NOTE_AT = CELL_INDEX["clocks"]

EVERYTHING = Filter()
T = TypeVar("T")


@dataclass(frozen=True)
class FleetView:
    """How the fleet is looked at."""

    folded: frozenset[str] = frozenset()
    """Names of the nodes whose GPUs are hidden."""
    sort: str | None = None
    """A column's key; None keeps the order of the configuration."""
    reverse: bool = False
    layout: Literal["tree", "flat"] = "tree"
    match: Filter = EVERYTHING
    xids: Xids = field(default_factory=lambda: NO_XIDS)
    """What the site has heard of, where the filter asks for it."""
    ownership: Ownership | None = None
    """Whose work it is; None where no platform has told."""
    found: Mapping[str, Condition] = field(default_factory=dict)
    """Row key -> what the triage makes of it: see `found_of`."""
    trends: bool = True
    """False where the trend's column is not shown: it need not be drawn."""
    glyphs: Glyphs = UNICODE


@dataclass
class RowCache:
    """Rows of the last call, reused while what they show is the same object."""

    nodes: dict[str, tuple[object, Row]] = field(default_factory=dict)
    gpus: dict[str, tuple[object, Row]] = field(default_factory=dict)
    trends: dict[str, tuple[int, str]] = field(default_factory=dict)
    subjects: dict[str, tuple[object, Subject]] = field(default_factory=dict)
    words: dict[str, tuple[object, frozenset[str]]] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=Verdicts)

    def prune(self, limit: int) -> None:
        """Forgets everything once it holds more than `limit` GPUs: what is shown comes back at the next call."""
        if len(self.gpus) > limit:
            for kept in (self.nodes, self.gpus, self.trends, self.subjects, self.words, self.verdicts):
                kept.clear()


def fleet_rows(
    fleet: Fleet, history: History | None, now: float, view: FleetView, cache: RowCache | None = None
) -> LazyRows:
    """The rows to show at `now` (seconds since the epoch): nodes with their GPUs under them, or all GPUs in one list.

    Values that were not measured sort last in either direction.
    """
    kept = cache if cache is not None else RowCache()
    kept.prune(4 * sum(len(reading.node.gpus) for reading in fleet.nodes if reading.node) + 64)
    drawing = _Drawing(history, now, view, kept)
    lines = drawing.flat(fleet) if view.layout == "flat" else drawing.tree(fleet)
    return LazyRows([row_key(line.reading.name, line.gpu) for line in lines], lambda index: drawing.row(lines[index]))


def found_of(findings: Iterable[Finding]) -> dict[str, Condition]:
    """What open findings make of the rows of their nodes and GPUs."""
    found: dict[str, Condition] = {}
    for each in findings:
        subject, condition = each.subject, FOUND.get(each.severity)
        if subject.node is None or condition is None or each.acknowledged is not None:
            continue
        for key in {subject.node, f"{subject.node}{SEPARATOR}{subject.gpu_key}" if subject.gpu_key else subject.node}:
            found[key] = worse(found.get(key, OK), condition)
    return found


def row_key(node: str, gpu: Gpu | None = None) -> str:
    return node if gpu is None else f"{node}{SEPARATOR}{gpu.key}"


def identity(key: str) -> tuple[str, str | None]:
    """Node name and GPU key of a row's key; the second is None for a node's row."""
    node, separator, gpu = key.partition(SEPARATOR)
    return node, gpu if separator else None


def problem_text(problem: Problem | None, age: float | None) -> str:
    """What stands on a dead node's row: how old its values are, and why."""
    said = problem.message if problem is not None else "no reading yet"
    return said if age is None else f"{units.coarse_age(age)} old: {said}"


def problem_of(reading: NodeReading, now: float) -> str:
    """`problem_text` of a node; of one whose driver hangs, that."""
    stall, age = reading.node.stall if reading.node is not None else None, reading.age(now)
    if reading.state is NodeState.LIVE and stall is not None:
        return f"{units.coarse_age(age)} old: {stall.told}"
    return problem_text(reading.problem, age)


def without_name(said: str, name: str) -> str:
    """`said` without the node's name before it, for a place that has named the node."""
    return said.replace(f": {name} ", ": ", 1).removeprefix(f"{name} ")


class _Line(NamedTuple):
    """A line before it is drawn: a node, or a GPU of it."""

    reading: NodeReading
    gpu: Gpu | None
    expanded: bool | None = None


class _Drawing:
    def __init__(self, history: History | None, now: float, view: FleetView, cache: RowCache) -> None:
        self.history, self.now, self.view, self.cache = history, now, view, cache

    def tree(self, fleet: Fleet) -> list[_Line]:
        lines: list[_Line] = []
        for reading in self._sorted_nodes(fleet):
            gpus = reading.node.gpus if reading.node else ()
            shown = self._matching(reading)
            if self.view.match and not shown and (gpus or not self._node_matches(reading)):
                continue
            narrowed = len(shown) < len(gpus)
            unfolded = narrowed or reading.name not in self.view.folded
            lines.append(_Line(reading, None, unfolded if gpus else None))
            if unfolded:
                lines.extend(_Line(reading, gpu) for gpu in self._sorted_gpus(reading.name, shown))
        return lines

    def flat(self, fleet: Fleet) -> list[_Line]:
        found = [(reading, gpu) for reading in fleet.nodes for gpu in self._matching(reading)]
        if self.view.sort is not None:
            found = ordered(found, lambda pair: self._gpu_value(*pair), self.view.reverse)
        return [_Line(reading, gpu) for reading, gpu in found]

    def row(self, line: _Line) -> Row:
        """A line as it is drawn."""
        return (
            self._node_row(line.reading, line.expanded) if line.gpu is None else self._gpu_row(line.reading, line.gpu)
        )

    def _sorted_nodes(self, fleet: Fleet) -> list[NodeReading]:
        column = self.view.sort
        if column is None:
            return list(fleet.nodes)
        if column == "workload":
            return ordered(list(fleet.nodes), self._node_owner, self.view.reverse)
        return ordered(
            list(fleet.nodes),
            lambda reading: node_sort_value(reading, column, self.view.found.get(reading.name)),
            self.view.reverse,
        )

    def _node_owner(self, reading: NodeReading) -> str | None:
        return _name(node_cell(reading.node.gpus if reading.node else (), self.view.ownership))

    def _owner(self, node: str, gpu: Gpu) -> str | None:
        return _name(gpu_cell(gpu, node, self.view.ownership))

    def _sorted_gpus(self, node: str, gpus: list[Gpu]) -> list[Gpu]:
        if self.view.sort == "workload":
            return ordered(gpus, lambda gpu: self._owner(node, gpu), self.view.reverse)
        if self.view.sort not in GPU_SORT:
            return gpus
        return ordered(gpus, GPU_SORT[self.view.sort], self.view.reverse)

    def _gpu_value(self, reading: NodeReading, gpu: Gpu) -> float | str | None:
        if self.view.sort == "name":
            return f"{reading.name}{SEPARATOR}{gpu.index:04d}"
        if self.view.sort == "state":
            own = gpu_condition(gpu, reading.node.gpus if reading.node else ())
            return SEVERITY[worse(own, self.view.found.get(row_key(reading.name, gpu))).style]
        if self.view.sort == "workload":
            return self._owner(reading.name, gpu)
        value = GPU_SORT.get(self.view.sort or "")
        return value(gpu) if value else None

    def _matching(self, reading: NodeReading) -> list[Gpu]:
        gpus = reading.node.gpus if reading.node else ()
        if not self.view.match:
            return list(gpus)
        return [gpu for gpu in gpus if self._matches(row_key(reading.name, gpu), self._subject(reading, gpu))]

    def _node_matches(self, reading: NodeReading) -> bool:
        message = reading.problem.message if reading.problem else ""
        item = gpu_item(reading.name, reading.node, None, self._words_of(reading), self.view.xids, self.view.ownership)
        return self.view.match.matches(Subject(f"{gpu_text(item)} {message.lower()}", item.words, item))

    def _matches(self, key: str, subject: Subject) -> bool:
        return self.cache.verdicts.holds(self.view.match, key, subject)

    def _subject(self, reading: NodeReading, gpu: Gpu) -> Subject:
        key = row_key(reading.name, gpu)
        item = gpu_item(reading.name, reading.node, gpu, self._words_of(reading), self.view.xids, self.view.ownership)
        known = self.cache.subjects.get(key)
        if known is not None and _same(known[0], item):
            return known[1]
        subject = Subject(gpu_text(item), state_words(gpu, item.words, item.around), item)
        self.cache.subjects[key] = (item, subject)
        return subject

    def _words_of(self, reading: NodeReading) -> frozenset[str]:
        """The node's words; the same object while its node and state are the same."""
        known = self.cache.words.get(reading.name)
        shown = (reading.node, str(reading.state))
        if known is not None and _same(known[0], shown):
            return known[1]
        words = node_state_words(reading)
        if known is not None and known[1] == words:
            words = known[1]
        self.cache.words[reading.name] = (shown, words)
        return words

    def _node_row(self, reading: NodeReading, expanded: bool | None) -> Row:
        live = reading.is_current
        note = "" if live else without_name(problem_of(reading, self.now), reading.name)
        work = node_cell(reading.node.gpus if reading.node else (), self.view.ownership)
        # A new reading without a new node is a heartbeat: nothing to draw again.
        found = self.view.found.get(reading.name)
        shown = (reading.node, reading.state, note, expanded, self.view.glyphs, work.text, found)
        known = self.cache.nodes.get(reading.name)
        if known is not None and _same(known[0], shown):
            return known[1]
        row = Row(
            row_key(reading.name),
            node_cells(reading, self.view.glyphs, work, found),
            expanded=expanded,
            dim=not live and reading.node is not None,
            note=None if live else Note(NOTE_AT, Cell(note, _note_style(reading))),
        )
        self.cache.nodes[reading.name] = (shown, row)
        return row

    def _gpu_row(self, reading: NodeReading, gpu: Gpu) -> Row:
        key = row_key(reading.name, gpu)
        flat = self.view.layout == "flat"
        trend = self._trend(reading.name, gpu) if self.view.trends else ""
        live = reading.is_current
        work = gpu_cell(gpu, reading.name, self.view.ownership)
        found = self.view.found.get(key)
        shown = (gpu, live, trend, flat, self.view.glyphs, work.text, found)
        known = self.cache.gpus.get(key)
        if known is not None and _same(known[0], shown):
            return known[1]
        name = f"{reading.name} {gpu.index}" if flat else f"{gpu.index} {units.model(gpu.name)}"
        around = reading.node.gpus if reading.node else ()
        condition = worse(gpu_condition(gpu, around), found)
        # What an unreachable node's GPU was is not what it is: its state is told as stale.
        told = condition if live else Condition("stale", "stale")
        cells = gpu_cells(gpu, name, told, trend, self.view.glyphs, around, work)
        note = Note(LOST_NOTE_AT, Cell(gpu.lost_reason or "no reason given", "bad")) if gpu.lost else None
        row = Row(key, _faded(cells) if gpu.lost or not live else cells, 0 if flat else 1, None, False, note)
        self.cache.gpus[key] = (shown, row)
        return row

    def _trend(self, node: str, gpu: Gpu) -> str:
        """Utilisation of the last minutes. Drawn anew when a bucket is complete, not with each sample."""
        if self.history is None:
            return ""
        key = f"{node}/{gpu.key}"
        bucket = int(self.now // self.history.bucket_seconds)
        known = self.cache.trends.get(key)
        if known is None or known[0] != bucket:
            values = self.history.series(key, self.now)
            known = (bucket, spark(values, SPARK_WIDTH, 0.0, 100.0, self.view.glyphs.ascii))
            self.cache.trends[key] = known
        return known[1]


def _name(cell: Cell) -> str | None:
    """What it sorts by: nobody and not told come last."""
    return None if cell is UNKNOWN else cell.text or None


def _same(before: object, after: tuple[object, ...]) -> bool:
    """By identity first: comparing whole nodes by value would cost what the cache saves."""
    return isinstance(before, tuple) and all(
        a is b or (isinstance(a, str | bool) and a == b) for a, b in zip(before, after, strict=True)
    )


def _faded(cells: tuple[str | Cell, ...]) -> tuple[str | Cell, ...]:
    """Last values: every cell looks stale but the state, which says so itself."""
    state = CELL_INDEX["state"]
    return tuple(
        cell if index == state else Cell(cell.text if isinstance(cell, Cell) else cell, "stale")
        for index, cell in enumerate(cells)
    )


def _note_style(reading: NodeReading) -> str:
    return "bad" if reading.state in (NodeState.DOWN, NodeState.LIVE) else "stale"


def ordered(items: list[T], value: Callable[[T], float | str | None], reverse: bool) -> list[T]:
    """`items` sorted by `value`, stable, those without one last."""
    keyed = [(value(item), item) for item in items]
    present = [(key, item) for key, item in keyed if key is not None]
    present.sort(key=lambda pair: (isinstance(pair[0], str), pair[0]), reverse=reverse)
    return [item for _, item in present] + [item for key, item in keyed if key is None]
