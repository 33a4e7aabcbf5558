"""What comes first of the findings of a site: the one order of the console, of `gpudeck check` and of its JSON.

Open before acknowledged, then the worst severity, then by how much is hit: first how much work, then how many nodes;
of equals the newest. Work and nodes are counted in classes (none, one, several, many), and a class once reached is kept
for `HELD_SECONDS`, so that a process that comes and goes moves nothing. Where nobody knows whom it hits, it is one at
least: that may be somebody's work, and "nobody" may not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple, TypeAlias

from backends.domain import Finding, Hit

MANY = 5
"""So many are many; two to four are several."""
HELD_SECONDS = 600.0


class Impact(NamedTuple):
    """Ordered: the greater, the more is hit."""

    work: int
    """Workloads: 0 none, 1 one, 2 several, 3 many."""
    nodes: int
    """The same of nodes; 0 is a GPU of one."""


def impact_of(hits: Iterable[Hit], nodes: int, *, known: bool = True) -> Impact:
    """`nodes` is how many whole nodes a finding is about, 0 for a part of one; `known`: see `Finding.hits_known`."""
    work = len({_work(hit) for hit in hits})
    return Impact(_class(work if known else max(work, 1)), _class(nodes))


def _class(count: int) -> int:
    return min(count, 1) + (count > 1) + (count >= MANY)


def _work(hit: Hit) -> tuple[str | None, ...]:
    """What makes two hits one piece of work: one owner in one namespace, else one pod, else a command of a user."""
    if hit.owner is not None:
        return (hit.owner, (hit.workload or "").rpartition("/")[0])
    return (hit.workload,) if hit.workload is not None else (hit.user, hit.command, hit.container_id)


Place: TypeAlias = tuple[bool, int, int, int, float, str, int, str]


class Impacts:
    """Of the findings that stand, by id."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Impact, float]] = {}
        """The impact, and when it was last so much."""

    def note(self, finding: Finding, nodes: int, now: float) -> None:
        """What `finding` hits at `now`, seconds since the epoch; `nodes` as for `impact_of`."""
        impact = impact_of(finding.hits, nodes, known=finding.hits_known)
        held = self._held.get(finding.id)
        if held is None or impact >= held[0] or now - held[1] > HELD_SECONDS:
            self._held[finding.id] = (impact, now)

    def keep(self, names: Container[str]) -> None:
        """Forgets all but `names`."""
        self._held = {name: held for name, held in self._held.items() if name in names}

    def place(self, finding: Finding) -> Place:
        """A sort key."""
        work, nodes = self._held[finding.id][0] if finding.id in self._held else (0, 0)
        acknowledged, rank, subject = finding.acknowledged is not None, finding.severity.rank, finding.subject
        index = -1 if subject.gpu_index is None else subject.gpu_index
        return (acknowledged, -rank, -work, -nodes, -finding.begun_at, subject.node or "", index, finding.id)
