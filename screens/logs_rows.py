"""What the log screen says about a log: whose it is, how the reading goes, what can be chosen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.domain import Container, LogQuery, LogSource, Operand, Stack, StackNode
from backends.logs import LogTail, Search, TailState
from tui.widgets import units
from tui.widgets.cells import fit
from tui.widgets.columns import Cell
from tui.widgets.glyphs import Glyphs

STATES: dict[TailState, tuple[str, str]] = {
    TailState.OPENING: ("stale", "opening"),
    TailState.READING: ("accent", "reading"),
    TailState.FOLLOWING: ("good", "following"),
    TailState.WAITING: ("warn", "interrupted"),
    TailState.ENDED: ("accent", "ended"),
    TailState.FAILED: ("bad", "not readable"),
    TailState.PAUSED: ("stale", "paused"),
}
"""Style token, and by it the glyph, and the word of each state."""
RANGES: tuple[tuple[str, int | None, int | None], ...] = (
    ("the last 100 lines", 100, None),
    ("the last 1,000 lines", 1000, None),
    ("the last 10,000 lines", 10_000, None),
    ("the last 5 minutes", None, 300),
    ("the last hour", None, 3600),
    ("the last day", None, 86_400),
    ("all there is", None, None),
)
"""Words, `LogQuery.tail_lines`, `LogQuery.since_seconds`."""
TITLE_WIDTH = 40
"""Of a log in the list to choose from, at most."""
LAG_SECONDS = 5.0
LAG_RATE = 1000.0
"""Of a log that writes many lines a second it is told how old the last one is: the reader may be too slow for it."""


@dataclass(frozen=True, slots=True)
class LogTarget:
    """A log that can be opened."""

    source: LogSource
    """Without a name it is asked which one of the node's."""
    title: str
    """What it belongs to: an operand and its node, a workload."""


MIG_MANAGER = "mig-manager"
MIG_UNDER_WAY = frozenset({"pending", "rebooting", "failed"})
"""States of a MIG change in which its manager's log tells most."""
ENGINE_PLATFORMS = frozenset({"docker"})
"""Where a node has an engine of its own, and no pods."""


def target_words(targets: Sequence[LogTarget]) -> list[str]:
    """The lines of a list to choose from, in two columns; a name that stands in the title is not told again."""
    width = min(TITLE_WIDTH, max((len(each.title) for each in targets), default=0))
    return [f"{fit(each.title, width)}  {_behind_title(each)}".rstrip() for each in targets]


def _behind_title(target: LogTarget) -> str:
    source = target.source
    return "+".join(source.containers) if target.title.endswith(source.name) else source.name


def operand_target(node: StackNode, key: str, operands: Sequence[Operand]) -> LogTarget | None:
    """The log of an operand on a node, of the container that is not well if there is one; None without a pod."""
    state = node.get(key)
    if state is None or state.pod is None:
        return None
    operand = next((each for each in operands if each.key == key), None)
    containers = (state.container,) if state.container is not None else ()
    title = f"{operand.title if operand is not None else key} on {node.name}"
    return LogTarget(LogSource(state.pod, state.namespace, containers), title)


def node_targets(node: StackNode, operands: Sequence[Operand]) -> tuple[list[LogTarget], int | None]:
    """Every operand's log on a node, and which of them is the one that blocks or changes the node, if one does."""
    found = [(each.key, operand_target(node, each.key, operands)) for each in operands]
    listed = [(key, target) for key, target in found if target is not None]
    blocking = node.blocker.state.operand if node.blocker is not None else None
    if blocking is None and node.mig is not None and node.mig.state in MIG_UNDER_WAY:
        blocking = MIG_MANAGER
    index = next((index for index, (key, _) in enumerate(listed) if key == blocking), None)
    return [target for _, target in listed], index


def stack_targets(stack: Stack, node: StackNode) -> tuple[LogTarget | None, list[LogTarget]]:
    """What to open for a node, None where it is to be asked for, and all there is to choose from."""
    if stack.platform in ENGINE_PLATFORMS:
        return LogTarget(LogSource("", node=node.name), node.name), []
    targets, blocking = node_targets(node, stack.operands)
    return (None if blocking is None else targets[blocking]), targets


def source_cells(tail: LogTail) -> list[Cell]:
    """Whose log, of which containers, which part of it."""
    source, query = tail.source, tail.query
    name = f"{source.namespace}/{source.name}" if source.namespace else source.name or "no container chosen"
    cells = [Cell("+".join(source.containers) or "all containers", "accent")] if source.namespace else []
    cells.append(Cell(name))
    if query.previous:
        cells.append(Cell("former run", "warn"))
    return [*cells, Cell(range_words(query), "dim")]


def range_words(query: LogQuery) -> str:
    known = (words for words, lines, seconds in RANGES if (lines, seconds) == (query.tail_lines, query.since_seconds))
    return next(known, "a part").removeprefix("the ")


def state_cells(tail: LogTail, glyphs: Glyphs, *, below: int | None) -> list[Cell]:
    """How it goes; `below` lines are under the view, None while it follows the end."""
    style, word = STATES[tail.state]
    store = tail.store
    cells = [Cell(f"{glyphs.of(style)} {word}", style)]
    cells.append(Cell(f"{len(store):,} line{'' if len(store) == 1 else 's'}"))
    if tail.state in (TailState.FOLLOWING, TailState.READING):
        cells.append(Cell(f"{tail.rate:,.0f}/s", "dim"))
        lag = tail.lag
        if lag is not None and lag > LAG_SECONDS and tail.rate >= LAG_RATE:
            cells.append(Cell(f"{units.age(lag)} behind", "warn"))
    if store.first:
        cells.append(Cell(f"{store.first:,} earlier lines dropped", "warn"))
    if store.missed:
        cells.append(Cell(f"{store.missed:,} missing", "bad"))
    if below:
        cells.append(Cell(f"{below:,} below: G", "accent"))
    return cells


def search_cells(search: Search, text: str, current: int | None) -> list[Cell]:
    """What is looked for, and how often it is there."""
    if search.problem is not None:
        return [Cell(f"/{text}/ {search.problem}", "bad")]
    rank = search.rank(current) if current is not None else None
    count = f"{len(search):,}" if search.done else f"{len(search):,}+"
    said = f"{rank:,} of {count}" if rank is not None else f"{count} found"
    return [Cell(f"/{text}/ {said}", "accent" if len(search) or not search.done else "warn")]


def container_words(container: Container, width: int) -> str:
    """`init nvidia-driver-ctr  waiting (CrashLoopBackOff), 6 restarts`; the name takes `width` cells."""
    said = [container.state or "not started"]
    if container.reason:
        said[0] += f" ({container.reason})"
    if container.restarts:
        said.append(f"{container.restarts} restart{'' if container.restarts == 1 else 's'}")
    return f"{'init ' if container.init else '     '}{fit(container.name, width)}  {', '.join(said)}"
