"""nvidia-smi's MIG commands as words: what one leaves behind and whose work it ends, and those between two layouts.

Options: NVIDIA MIG User Guide, `nvidia-smi mig -h`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from backends.changes.mig_layout import FULL, OFF, MigLayout, Place, paired, parse_wanted, part_of

NO_NAMES: Mapping[str, str] = {}
_COMPUTE_IDS = {"0": "1c", "1": "2c", "2": "3c", "3": "4c", "4": "7c"}
"""Id of a compute instance profile in `-cci` -> its slices."""
_COMPUTE_NAME = re.compile(r"(\d+c\.)?\d+g\.\d+gb(?:[+-][a-z.]+)?")


def option(argv: Sequence[str], *names: str) -> str | None:
    """The word behind an option, "" for an option without one; None where it is not given."""
    for at, word in enumerate(argv):
        if word in names:
            following = argv[at + 1] if at + 1 < len(argv) else "-"
            return "" if following.startswith("-") else following
    return None


def _ids(text: str | None) -> set[int] | None:
    return {int(word) for word in text.split(",") if word.strip().isdigit()} if text else None


def hits(argv: Sequence[str]) -> set[int] | None:
    """The GPU instances whose work a command ends; None: of the whole GPU."""
    if option(argv, "-mig", "--multi-instance-gpu") is not None:
        return None
    if option(argv, "-dci", "--destroy-compute-instance", "-dgi", "--destroy-gpu-instance") is not None:
        return _ids(option(argv, "-gi", "--gpu-instance-id"))
    return set()


def ids_moved(argv: Sequence[str], planned: MigLayout, found: MigLayout) -> tuple[int, ...]:
    """The GPU instances that a command names by an id which is not that of the same instance any more, or never was."""

    def same(gi: int) -> bool:
        expected = [place for place in planned.places if place.gi == gi]
        there = [place for place in found.places if place.gi == gi]
        return len(expected) == len(there) == 1 and there[0].is_like(expected[0])

    named = _ids(option(argv, "-gi", "--gpu-instance-id")) or set()
    return tuple(sorted(gi for gi in named if not same(gi)))


def all_hits(lines: Iterable[Sequence[str]]) -> set[int] | None:
    """`hits` of several commands together."""
    found: set[int] = set()
    for argv in lines:
        ended = hits(argv)
        if ended is None:
            return None
        found |= ended
    return found


def after(layout: MigLayout, argv: Sequence[str], names: Mapping[str, str] = NO_NAMES) -> MigLayout | None:
    """The layout that a command leaves behind; None for a command that is not understood.

    `names` are the profiles of the board by the ids that the command may call them by.
    """
    mode = option(argv, "-mig", "--multi-instance-gpu")
    if mode is not None:
        return {"0": OFF, "1": replace(layout, enabled=True)}.get(mode)
    chosen = _ids(option(argv, "-gi", "--gpu-instance-id"))

    def those(place: Place) -> bool:
        return chosen is None or place.gi in chosen

    if option(argv, "-dci", "--destroy-compute-instance") is not None:
        if option(argv, "-ci", "--compute-instance-id") is not None:
            return None
        emptied = (replace(place, computes=()) if those(place) else place for place in layout.places)
        return replace(layout, places=tuple(emptied))
    if option(argv, "-dgi", "--destroy-gpu-instance") is not None:
        return replace(layout, places=tuple(place for place in layout.places if not those(place)))
    created = option(argv, "-cgi", "--create-gpu-instance")
    if created:
        full = (FULL,) if "-C" in argv or "--default-compute-instance" in argv else ()
        places = (replace(place.named(names), computes=full) for place in parse_wanted(created).places)
        return MigLayout(True, (*layout.places, *places))
    computes = option(argv, "-cci", "--create-compute-instance")
    if computes is None:
        return None
    filled = []
    for place in layout.places:
        parts = _parts(computes, place) if those(place) else ()
        if parts is None:
            return None
        filled.append(replace(place, computes=(*place.computes, *parts)))
    return replace(layout, places=tuple(filled))


def _parts(computes: str, place: Place) -> tuple[str, ...] | None:
    """What the words of `-cci` make in a GPU instance; no words make the one that fills it. None: not understood."""
    made = []
    for word in computes.split(",") if computes else ():
        part = _COMPUTE_IDS.get(word) or (part_of(word) if _COMPUTE_NAME.fullmatch(word) else None)
        if part is None:
            return None
        made.append(FULL if part == f"{_slices(place)}c" else part)
    return tuple(made) or (FULL,)


def commands(gpu: str, current: MigLayout, wanted: MigLayout) -> list[tuple[str, ...]]:
    """The nvidia-smi commands from one layout to another, in order; none where they are alike.

    GPU instances that both have are left alone. `wanted` is made as far as `not_made_again` says nothing. A GPU
    instance whose id nobody knows yet is named `<ID of 3g.40gb:0>`: such a command is there to be told.
    """
    if current.is_like(wanted):
        return []
    if not current.enabled or not wanted.enabled:
        # A mode that is switched takes every instance along.
        emptied = _destroying(gpu, current.places, ())
        mode = (
            [("nvidia-smi", "-i", gpu, "-mig", str(int(wanted.enabled)))] if current.enabled != wanted.enabled else []
        )
        return [*emptied, *mode, *_creating(gpu, wanted.places)]
    pairing = paired(current, wanted)
    filling = [(mine, its) for mine, its in pairing.both if not mine.holds_like(its)]
    emptied_first = [mine for mine, _ in filling if mine.computes]
    stays = [mine for mine, _ in pairing.both]
    return [
        *_destroying(gpu, pairing.here, stays, emptied_first),
        *_creating(gpu, pairing.there),
        *_filling(gpu, filling, whole=len(filling) == len(stays) and not pairing.there),
    ]


def _destroying(
    gpu: str, goes: Sequence[Place], stays: Sequence[Place], emptied: Sequence[Place] = ()
) -> list[tuple[str, ...]]:
    """Without `-gi` where nothing stays: that is one command, and takes what was half made as well."""
    mig = ("nvidia-smi", "mig", "-i", gpu)
    busy = [place for place in (*goes, *emptied) if place.computes]
    made: list[tuple[str, ...]] = []
    if busy and all(place in emptied or not place.computes for place in stays):
        made.append((*mig, "-dci"))
    else:
        made += [(*mig, "-dci", "-gi", _named(place)) for place in busy]
    if goes and not stays:
        made.append((*mig, "-dgi"))
    else:
        made += [(*mig, "-dgi", "-gi", _named(place)) for place in goes]
    return made


def _creating(gpu: str, places: Iterable[Place]) -> list[tuple[str, ...]]:
    mig, listed = ("nvidia-smi", "mig", "-i", gpu), _largest_first(places)
    made = []
    for full, more in ((True, ("-C",)), (False, ())):
        words = ",".join(place.words for place in listed if bool(place.computes) is full)
        if words:
            made.append((*mig, "-cgi", words, *more))
    return made


def _filling(gpu: str, filling: Sequence[tuple[Place, Place]], *, whole: bool) -> list[tuple[str, ...]]:
    mig = ("nvidia-smi", "mig", "-i", gpu)
    if filling and whole and all(its.computes == (FULL,) for _, its in filling):
        return [(*mig, "-cci")]
    return [(*mig, "-cci", "-gi", _named(mine)) for mine, its in filling if its.computes]


def _named(place: Place) -> str:
    return f"<ID of {place.words}>" if place.gi is None else str(place.gi)


def reached(current: MigLayout, wanted: MigLayout) -> MigLayout:
    """`wanted` once `commands` were run, with the ids that are known: those of what stays."""
    if not current.enabled or not wanted.enabled:
        return replace(wanted, places=tuple(replace(place, gi=None) for place in wanted.places))
    pairing = paired(current, wanted)
    stay = (replace(mine, computes=its.computes) for mine, its in pairing.both)
    return replace(wanted, places=(*stay, *(replace(place, gi=None) for place in pairing.there)))


def _largest_first(places: Iterable[Place]) -> list[Place]:
    """The driver places greedily: small ones first can leave no room for a large one."""
    return sorted(places, key=_slices, reverse=True)


def _slices(place: Place) -> int:
    named = re.match(r"(\d+)g\.", place.profile)
    return int(named[1]) if named else 0
