"""Where GPU instances may stand on a board's grid. Pure; the rules are those of NVIDIA's MIG user guide:

1. instances do not overlap in placement units, and begin where their profile may begin;
2. of a profile there are at most `max_instances`, of those with media engines (`+me`) one per GPU;
3. compute slices are bound to their place: an instance uses the first ones over its units, and what it covers and does
   not use is nobody's. So two 3g of seven slices leave one stranded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice

from backends.nodes.mig.catalogue import Board, Profile

MOST_ARRANGEMENTS = 4096
"""More than any board has for one set of profiles; a bound for tables to come."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A GPU instance at its place."""

    profile: Profile
    start: int

    @property
    def size(self) -> int:
        return self.profile.size

    @property
    def units(self) -> range:
        return range(self.start, self.start + self.profile.size)

    @property
    def label(self) -> str:
        """0:4, as nvidia-smi mig -lgi writes start and size."""
        return f"{self.start}:{self.profile.size}"


Layout = tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One instance to place; `start` where it must stand, None where it may stand anywhere."""

    profile: Profile
    start: int | None = None

    @property
    def words(self) -> str:
        """3g.40gb, or 3g.40gb:4 with its place."""
        return self.profile.name if self.start is None else f"{self.profile.name}:{self.start}"


@dataclass(frozen=True, slots=True)
class Room:
    """What a layout leaves of a board."""

    free_units: tuple[int, ...]
    """Placement units under no instance that some profile can still use."""
    free_slices: tuple[int, ...]
    """Compute slices over them."""
    stranded_units: tuple[int, ...]
    """Under no instance, and no profile can use them: the unit without a compute slice."""
    stranded_slices: tuple[int, ...]
    """Covered by an instance that does not use them, or over units that no profile can use."""
    covers: tuple[tuple[Placement, int], ...]
    """The instances that strand compute slices, and how many each."""
    fits: tuple[tuple[Profile, int], ...]
    """Profiles that can still be placed, and how many of each alone."""
    scattered: tuple[Profile, ...]
    """Profiles that the sum of the free slices would allow, but no place is left for."""

    @property
    def is_fragmented(self) -> bool:
        """The free slices together would hold a larger profile than any place does."""
        largest = max((profile.size for profile, _ in self.fits), default=0)
        return any(profile.size > largest for profile in self.scattered)


@dataclass(frozen=True, slots=True)
class Stranded:
    """What nobody can use while the layout stands; in slices of the board."""

    compute_slices: int = 0
    memory_slices: int = 0
    reasons: tuple[str, ...] = ()
    """A sentence for the compute slices, one for the memory slices."""


def used_slices(board: Board, placement: Placement) -> tuple[int, ...]:
    """The compute slices the instance computes with: the first ones over its units."""
    return covered_slices(board, placement)[: placement.profile.compute_slices]


def covered_slices(board: Board, placement: Placement) -> tuple[int, ...]:
    """The compute slices over its units, used or not."""
    found = {board.slice_at(unit) for unit in placement.units}
    return tuple(sorted(each for each in found if each is not None))


def faults(board: Board, layout: Sequence[Placement]) -> list[str]:
    """Why the layout cannot be, one sentence per broken rule; empty for a valid one."""
    said = []
    taken: dict[int, Placement] = {}
    for each in layout:
        if each.start not in each.profile.starts or each.start + each.size > board.units:
            said.append(f"{each.profile.name} cannot begin at {each.start}")
        for unit in each.units:
            other = taken.setdefault(unit, each)
            if other is not each:
                said.append(f"{other.profile.name} {other.label} and {each.profile.name} {each.label} overlap")
                break
    counts = Counter(each.profile for each in layout)
    said += [
        f"{count} {profile.name}, the board allows {profile.max_instances}"
        for profile, count in counts.items()
        if count > profile.max_instances
    ]
    if sum(each.profile.takes_media for each in layout) > 1:
        said.append("more than one instance with media engines (+me)")
    if sum(each.profile.compute_slices for each in layout) > board.compute_slices:
        said.append(f"more than {board.compute_slices} compute slices")
    return said


def may_join(board: Board, layout: Sequence[Placement], more: Placement) -> bool:
    """Whether `more` can stand beside the instances of a valid layout."""
    if any(more.start < each.start + each.size and each.start < more.start + more.size for each in layout):
        return False
    if more.profile.takes_media and any(each.profile.takes_media for each in layout):
        return False
    same = sum(each.profile.name == more.profile.name for each in layout)
    compute = sum(each.profile.compute_slices for each in layout) + more.profile.compute_slices
    return same < more.profile.max_instances and compute <= board.compute_slices


def places(board: Board, layout: Sequence[Placement], profile: Profile) -> list[Placement]:
    """Every place where one more `profile` can stand."""
    found = (Placement(profile, start) for start in profile.starts)
    return [each for each in found if may_join(board, layout, each)]


def arrangements(board: Board, wanted: Sequence[Wanted], beside: Sequence[Placement] = ()) -> Iterator[Layout]:
    """Every way to place `wanted` beside what stands; like instances are not told apart. Bounded."""
    groups: dict[Wanted, int] = Counter(wanted)
    # Large ones have the fewest places: a dead end shows early. Those with a place of their own go before all others.
    order = sorted(
        groups.items(), key=lambda item: (item[0].start is None, -item[0].profile.size, item[0].profile.name)
    )
    for each in islice(_arrange(board, order, tuple(beside)), MOST_ARRANGEMENTS):
        yield each[len(beside) :]


def _arrange(board: Board, groups: Sequence[tuple[Wanted, int]], standing: Layout) -> Iterator[Layout]:
    if not groups:
        yield standing
        return
    (one, count), rest = groups[0], groups[1:]
    starts = one.profile.starts if one.start is None else (one.start,) * (one.start in one.profile.starts)
    open_places = [
        place for place in (Placement(one.profile, start) for start in starts) if may_join(board, standing, place)
    ]
    for chosen in combinations(open_places, count):
        layout = standing
        for place in chosen:
            if not may_join(board, layout, place):
                break
            layout = (*layout, place)
        else:
            yield from _arrange(board, rest, layout)


def can_arrange(board: Board, wanted: Sequence[Wanted], beside: Sequence[Placement] = ()) -> bool:
    return next(arrangements(board, wanted, beside), None) is not None


def room(board: Board, layout: Sequence[Placement]) -> Room:
    """What the layout leaves: free, stranded, scattered, and what still fits."""
    taken = {unit for each in layout for unit in each.units}
    open_places = [place for profile in board.profiles for place in places(board, layout, profile)]
    usable = {unit for place in open_places for unit in place.units}
    free = tuple(unit for unit in range(board.units) if unit not in taken and unit in usable)
    covers = tuple(
        (each, idle)
        for each in layout
        if (idle := len(covered_slices(board, each)) - len(used_slices(board, each))) > 0
    )
    used = {number for each in layout for number in used_slices(board, each)}
    free_slices = tuple(sorted({number for unit in free if (number := board.slice_at(unit)) is not None} - used))
    return Room(
        free_units=free,
        free_slices=free_slices,
        stranded_units=tuple(unit for unit in range(board.units) if unit not in taken and unit not in usable),
        stranded_slices=tuple(
            number for number in range(board.compute_slices) if number not in used and number not in free_slices
        ),
        covers=covers,
        fits=tuple(
            (profile, _most(board, layout, profile))
            for profile in board.profiles
            if any(place.profile is profile for place in open_places)
        ),
        scattered=_scattered(board, layout, free, free_slices, open_places),
    )


def stranded(board: Board, left: Room) -> Stranded:
    """What a layout loses, with the reasons."""
    compute = len(left.stranded_slices)
    memory = len(left.stranded_units) * board.memory_slices // board.units
    said = []
    if compute:
        why = [
            f"{place.profile.name} at {place.label} covers {len(covered_slices(board, place))} and uses "
            f"{len(used_slices(board, place))}"
            for place, _ in left.covers
        ]
        said.append(f"{_slices(compute, 'compute')}: {'; '.join(why)}")
    if memory:
        units = ", ".join(map(str, left.stranded_units))
        said.append(f"{_slices(memory, 'memory')}: unit {units} has no compute slice left")
    return Stranded(compute, memory, tuple(said))


def _slices(count: int, kind: str) -> str:
    return f"{count} {kind} {'slice is' if count == 1 else 'slices are'} stranded"


def _most(board: Board, layout: Sequence[Placement], profile: Profile) -> int:
    """How many more of `profile` alone; they all have one size, so the leftmost free places are the most."""
    standing = list(layout)
    for place in sorted(places(board, layout, profile), key=lambda each: each.start):
        if may_join(board, standing, place):
            standing.append(place)
    return len(standing) - len(layout)


def _scattered(
    board: Board,
    layout: Sequence[Placement],
    free: Sequence[int],
    free_slices: Sequence[int],
    open_places: Sequence[Placement],
) -> tuple[Profile, ...]:
    """Plain profiles only: their variants stand where they stand."""
    counts = Counter(each.profile.name for each in layout)
    return tuple(
        profile
        for profile in board.profiles
        if profile.is_plain
        and profile.size
        and profile.size <= len(free)
        and profile.compute_slices <= len(free_slices)
        and counts[profile.name] < profile.max_instances
        and not any(place.profile is profile for place in open_places)
    )


@lru_cache(maxsize=32)
def feasible(board: Board) -> frozenset[tuple[str, ...]]:
    """Every set of profiles that has a place on the empty board, as sorted names; the empty set is one."""
    found: set[tuple[str, ...]] = set()
    by_start = [
        [Placement(profile, start) for profile in board.profiles if start in profile.starts]
        for start in range(board.units)
    ]

    def walk(unit: int, names: tuple[str, ...], compute: int, media: bool) -> None:
        """Each layout once: by its places from left to right."""
        found.add(tuple(sorted(names)))
        for start in range(unit, board.units):
            for each in by_start[start]:
                profile = each.profile
                more = compute + profile.compute_slices
                if (
                    more <= board.compute_slices
                    and not (media and profile.takes_media)
                    and names.count(profile.name) < profile.max_instances
                ):
                    walk(start + each.size, (*names, profile.name), more, media or profile.takes_media)

    walk(0, (), 0, media=False)
    return frozenset(found)


def describe(profiles: Sequence[Profile]) -> str:
    """2x 3g.40gb + 1g.10gb, in the order given."""
    return counted(Counter(each.name for each in profiles))


def counted(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items())
