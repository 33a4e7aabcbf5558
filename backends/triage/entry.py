"""What the triage keeps of one node between two runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from backends.domain import Event, Finding, Node, NodeReading, NodeSpec, NodeState, Problem
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
