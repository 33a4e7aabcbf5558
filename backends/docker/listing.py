"""Which of an engine's containers are read, of those it lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backends.domain.workload import Unread

CONTAINERS_LIMIT = 512
"""Of one node, stopped ones too; a GPU server runs some dozens."""
ENDED = frozenset({"created", "exited", "dead", "stopped", "configured", "initialized"})
"""States in which a container has no process; the last three are Podman's."""


@dataclass(frozen=True, slots=True)
class Listing:
    ids: tuple[str, ...]
    """Of the containers that are read, those that run first, else in the engine's order."""
    running: int = 0
    """Containers that run and are left out."""
    ended: int = 0
    """Containers that have no process and are left out."""

    def left_out(self, node: str) -> tuple[Unread, ...]:
        """In a sentence for each kind."""
        counts = ((self.running, "that run", True), (self.ended, "that are stopped", False))
        return tuple(
            Unread(node, f"{count} containers of {node} {which} are left out, {CONTAINERS_LIMIT} are read", runs)
            for count, which, runs in counts
            if count
        )


def listing(states: Iterable[tuple[str, Any]]) -> Listing:
    """Of (id, state) of every container the engine lists; one that tells no state may run."""
    ordered = sorted(states, key=lambda each: each[1] in ENDED)
    cut = [state in ENDED for _, state in ordered[CONTAINERS_LIMIT:]]
    return Listing(tuple(identity for identity, _ in ordered[:CONTAINERS_LIMIT]), cut.count(False), cut.count(True))
