"""From what stands on a GPU to what is wanted: what stays, what goes, what is made and where. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backends.nodes.mig.catalogue import Board
from backends.nodes.mig.geometry import Layout, Wanted
from backends.nodes.mig.solve import Standing, always_fits, largest_first, least_spoilt, solve
from backends.nodes.mig.target import UNPLACED_NOTE, GpuInstance, Target, possible_layouts


@dataclass(frozen=True, slots=True)
class Way:
    keeps: tuple[GpuInstance, ...]
    created: Layout = ()
    """Largest first."""
    adds: tuple[Wanted, ...] = ()
    """Made wherever the driver finds a place, largest first: those that stay stand where nobody could read it."""
    after: Layout | None = None
    """By place; None where the places of what stays are not known."""
    note: str | None = None


def anew(target: Target, wanted: Sequence[Wanted]) -> Way:
    """The whole layout: what it does not name goes. `wanted` must have a place on the empty board."""
    assert target.board is not None, "asked for only with a board"
    board, layout, standing = target.board, target.layout, target.standing
    if layout is None and _same_profiles(board, standing, wanted):
        return Way(standing)
    movable = layout is not None and all(each.gi is not None for each in standing)
    stands = (
        [Standing(place, len(each.processes or ())) for place, each in zip(layout or (), standing, strict=True)]
        if movable
        else []
    )
    solution = solve(board, stands, wanted)
    assert solution is not None, "without anything that stays it can be placed"
    stays = tuple((layout or ())[position] for position in solution.kept)
    return Way(
        keeps=tuple(standing[position] for position in solution.kept),
        created=solution.created,
        after=_by_place((*stays, *solution.created)),
        note=UNPLACED_NOTE if layout is None else None,
    )


def beside(target: Target, wanted: Sequence[Wanted]) -> Way | str:
    """`wanted` beside everything that stands, none of which is touched; or why that cannot be, in a sentence.

    Where the places are not known it is possible only if it is so wherever they may stand.
    """
    assert target.board is not None, "asked for only with a board"
    board, layout, standing = target.board, target.layout, target.standing
    if layout is not None:
        created = least_spoilt(board, layout, wanted)
        if created is None:
            return f"beside {_placed_words(layout)} there is no place for {_words(wanted)}"
        return Way(standing, created, after=_by_place((*layout, *created)))
    layouts = possible_layouts(board, standing)
    ordered = largest_first(wanted)
    if not layouts or not all(always_fits(board, each, ordered) for each in layouts):
        return (
            "where the GPU instances stand could not be read (root only), and not everywhere they may stand is there "
            f"room for {_words(wanted)} beside them: read the node as root"
        )
    return Way(standing, adds=ordered)


def _by_place(layout: Layout) -> Layout:
    return tuple(sorted(layout, key=lambda each: each.start))


def _same_profiles(board: Board, standing: Iterable[GpuInstance], wanted: Iterable[Wanted]) -> bool:
    """What stands is what is wanted, wherever it stands."""
    pinned = any(each.start is not None for each in wanted)
    profiles = [board.profile(each.profile or "") for each in standing]
    return not pinned and Counter(profiles) == Counter(each.profile for each in wanted)


def _words(wanted: Iterable[Wanted]) -> str:
    """4x 1g.10gb + 3g.40gb:4"""
    counts = Counter(each.words for each in wanted)
    return " + ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items())


def _placed_words(layout: Layout) -> str:
    return ", ".join(f"{each.profile.name} at {each.label}" for each in _by_place(layout))
