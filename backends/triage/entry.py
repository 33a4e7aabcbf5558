"""What the triage keeps of one node between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backends.domain import Event, Finding, Node, NodeReading, NodeSpec, NodeState, Problem
from backends.triage.boards import merged, shown
from backends.triage.inventory import Exchange, Inventory
from backends.triage.memory import NodeMemory


@dataclass(slots=True)
class Entry:
    """What is kept of one node between two runs."""

    spec: NodeSpec
    memory: NodeMemory = field(default_factory=NodeMemory)
    events: tuple[Event, ...] = ()
    reading: NodeReading | None = None
    looked_at: Looked | None = None
    observed: Node | None = None
    is_current: bool = False
    current_at: float | None = None
    """When its last current values were read, seconds since the epoch."""
    bucket: int = -1
    plain: list[Finding] = field(default_factory=list)
    timed: list[Finding] = field(default_factory=list)
    first_at: float | None = None
    counted_at: float = float("-inf")
    counts: tuple[int, ...] = ()

    def note_boards(self, inventory: Inventory, *, at_end: bool = False) -> None:
        """Tells the inventory what the node has shown until its last reading: the same values come again and again."""
        boards = self.memory.boards
        if boards is not None and boards.fewer_at is None and self.current_at is not None:
            self.memory.boards = boards = replace(boards, at=max(boards.at, self.current_at))
        inventory.note(self.spec.name, boards, at_end=at_end)


@dataclass(frozen=True, slots=True)
class Looked:
    """What decides whether a node must be judged again; compared by identity where that is enough."""

    node: Node | None
    state: NodeState
    problem: Problem | None
    is_current: bool
    events: tuple[Event, ...]

    def is_same(self, other: Looked | None) -> bool:
        return (
            other is not None
            and self.node is other.node
            and self.events is other.events
            and self.state is other.state
            and self.is_current == other.is_current
            and (self.problem is other.problem or self.problem == other.problem)
        )


def recall(entries: Mapping[str, Entry], inventory: Inventory, found: Exchange, now: float) -> bool:
    """Takes what the file holds; whether it changes what a node is held against.

    Others may have seen more GPUs of a node, or somebody has had it forgotten: it is held against what it shows then.
    """
    changed = [name for name in inventory.take(found) if name in entries]
    for name in changed:
        entry, known = entries[name], inventory.of(name)
        if known is not None and entry.memory.boards is not None:
            known = merged(known, entry.memory.boards)
        entry.memory.boards = known if entry.observed is None else shown(known, entry.observed, now)
    return bool(changed)


def sourced(found: Finding, entry: Entry | None) -> Finding:
    """Rules name NVML as the source of a node's values: they are nvidia-smi's where that reads them."""
    node = None if entry is None or entry.reading is None else entry.reading.node
    if node is None or node.transport != "nvidia-smi":
        return found
    is_value = [each.source == "nvml" and each.at is None for each in found.evidence]
    told = zip(found.evidence, is_value, strict=True)
    return replace(found, evidence=tuple(replace(each, source="nvidia-smi") if value else each for each, value in told))
