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
            for created in [least_spoilt(board, stays, _rest(wanted, stays))]
            if created is not None
        ]
        if found:
            _, kept, created = min(found, key=lambda each: each[:2])
            return Solution(kept, created)
    return None


def least_spoilt(board: Board, stays: Layout, wanted: Sequence[Wanted]) -> Layout | None:
    """The places for `wanted` beside `stays` that cost least, largest first; None where there are none."""
    found = arrangements(board, wanted, beside=stays)
    best = min(found, key=lambda created: cost(board, (*stays, *created)), default=None)
    return None if best is None else tuple(sorted(best, key=lambda each: (-each.size, each.start)))


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


def largest_first(wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """In the order in which they are made: those with a place of their own before all others, then by size."""
    return tuple(sorted(wanted, key=lambda each: (each.start is None, -each.profile.size, each.words)))


def driver_ends_there(board: Board, stays: Sequence[Placement], created: Sequence[Placement]) -> bool:
    """Whether the driver, taking any free place for each of `created` in that order, ends in that layout."""
    ends = _driver_ends(board, stays, [Wanted(each.profile) for each in created])
    return ends == {frozenset((*stays, *created))}


def always_fits(board: Board, stays: Sequence[Placement], wanted: Sequence[Wanted]) -> bool:
    """Whether the driver finds a place for each of `wanted` in that order, whichever it takes for those before."""
    return _driver_ends(board, stays, wanted) is not None


def _driver_ends(
    board: Board, stays: Sequence[Placement], wanted: Sequence[Wanted]
) -> set[frozenset[Placement]] | None:
    """Every layout it may end in; None where one of its choices leaves no place for a later instance.

    Where the driver places an instance without a start is not documented: what holds for every choice holds for its
    own.
    """
    states: set[frozenset[Placement]] = {frozenset(stays)}
    for each in wanted:
        grown = set()
        for state in states:
            found = [place for place in places(board, tuple(state), each.profile) if each.start in (None, place.start)]
            if not found:
                return None
            grown |= {state | {place} for place in found}
        states = grown
    return states
