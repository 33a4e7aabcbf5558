"""Which instances may stay, and where the new ones go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from backends.nodes.mig.catalogue import Board
from backends.nodes.mig.geometry import Layout, Placement, Wanted, arrangements, places, room


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance that is there, as far as the choice needs it."""

    placement: Placement
    processes: int


@dataclass(frozen=True, slots=True)
class Solution:
    kept: tuple[int, ...]
    """Positions in what stands."""
    created: Layout
    """Largest first, then by place."""


def solve(board: Board, standing: Sequence[Standing], wanted: Sequence[Wanted]) -> Solution | None:
    """The best way from what stands to what is wanted; None where there is none.

    Best: most instances with processes stay, then most instances, then most processes; of equal ones the layout that
    strands least (`cost`), then the one with the lowest places.
    """

    def weight(kept: tuple[int, ...]) -> tuple[int, int, int]:
        counts = [standing[each].processes for each in kept]
        return sum(count > 0 for count in counts), len(kept), sum(counts)

    for _, equals in groupby(sorted(_subsets(standing, wanted), key=weight, reverse=True), key=weight):
        found = [
            (cost(board, (*stays, *created)), kept, created)
            for kept in equals
            for stays in [tuple(standing[each].placement for each in kept)]
            for created in arrangements(board, _rest(wanted, stays), beside=stays)
        ]
        if found:
            _, kept, created = min(found, key=lambda each: each[:2])
            return Solution(kept, tuple(sorted(created, key=lambda each: (-each.size, each.start))))
    return None


def _subsets(standing: Sequence[Standing], wanted: Sequence[Wanted]) -> Iterator[tuple[int, ...]]:
    """Every set of instances that are all wanted."""
    useful = [position for position, each in enumerate(standing) if any(_is(each.placement, one) for one in wanted)]
    for count in range(len(useful) + 1):
        for kept in combinations(useful, count):
            if _matches(wanted, [standing[each].placement for each in kept]):
                yield kept


def _is(placement: Placement, wanted: Wanted) -> bool:
    return placement.profile == wanted.profile and wanted.start in (None, placement.start)


def _matches(wanted: Sequence[Wanted], stays: Sequence[Placement]) -> bool:
    return len(_rest(wanted, stays)) == len(wanted) - len(stays)


def _rest(wanted: Sequence[Wanted], stays: Sequence[Placement]) -> list[Wanted]:
    """What is still to be made when `stays` stay; one that is wanted at its very place counts for that wish."""
    left = Counter(wanted)
    for each in stays:
        pinned, anywhere = Wanted(each.profile, each.start), Wanted(each.profile)
        taken = pinned if left[pinned] > 0 else anywhere
        if left[taken] > 0:
            left[taken] -= 1
    return list(left.elements())


def cost(board: Board, layout: Layout) -> tuple[object, ...]:
    """What a layout spoils, less is better: stranded compute, stranded memory, the largest profile that still fits."""
    left = room(board, layout)
    largest = max((profile.size for profile, _ in left.fits), default=0)
    starts = tuple(each.start for each in sorted(layout, key=lambda each: (-each.size, each.profile.name, each.start)))
    return len(left.stranded_slices), len(left.stranded_units), -largest, starts


def driver_ends_there(board: Board, stays: Sequence[Placement], created: Sequence[Placement]) -> bool:
    """Whether the driver, taking any free place for each of `created` in that order, ends in that layout.

    Where it places an instance without a start is not documented: what holds for every choice holds for its own.
    """
    states: set[frozenset[Placement]] = {frozenset(stays)}
    for each in created:
        grown = set()
        for state in states:
            found = places(board, tuple(state), each.profile)
            if not found:
                return False
            grown |= {state | {place} for place in found}
        states = grown
    return states == {frozenset((*stays, *created))}
