"""The fleet as the console knows it: each node's last good value beside its latest error."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backends.domain.node import Node


class NodeState(StrEnum):
    CONNECTING = "connecting"
    """No value and no error yet."""
    LIVE = "live"
    STALE = "stale"
    """A last good value, and an error since."""
    DOWN = "down"
    """Never answered; the error says why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a node could not be read, in words for a person."""

    code: str
    """Stable, machine readable: unreachable, auth-refused, host-key-unknown, no-python, probe-cut, ..."""
    message: str
    hint: str
    """What to do about it."""
    at: float
    """Seconds since the epoch of the first failure in a row."""


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One node in the fleet."""

    name: str
    state: NodeState
    node: Node | None
    """The last good value; never dropped because of an error."""
    at: float | None
    """When `node` was received, seconds since the epoch."""
    problem: Problem | None

    @property
    def is_current(self) -> bool:
        """Whether `node` is what is so now: the node answers, and no call on it hangs."""
        return self.state is NodeState.LIVE and self.node is not None and self.node.stall is None

    def age(self, now: float) -> float | None:
        """Seconds since the value was received; None without a value."""
        return None if self.at is None else max(0.0, now - self.at)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All nodes of a site in the order of its configuration."""

    nodes: tuple[NodeReading, ...] = ()

    @property
    def live_count(self) -> int:
        return sum(reading.state is NodeState.LIVE for reading in self.nodes)

    def get(self, name: str) -> NodeReading | None:
        return next((reading for reading in self.nodes if reading.name == name), None)
