"""Why a wish cannot be, and what is nearest to it.

Nearest is defined, so that the same wish always gets the same answer:

- a name the board does not have becomes the profile with the same number here (1g.5gb of a 40 GB board is 1g.10gb of
  an 80 GB board), else the plain ones with as many compute slices, else those with the nearest memory; "40gb" becomes
  every plain profile of that size. Where the name is another board's, so may be the recipe: the two ways to halve this
  board follow, two equal instances and two that use all compute slices;
- pinned places that cannot be are given up;
- of a set that does not fit: its largest part (most compute slices, then most memory, then most instances), and as many
  instances of profiles no larger than asked for (the same measure, then the fewest changes); a profile with an
  attribute (+me, -me, +gfx) only where one was asked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

from backends.nodes.mig.catalogue import Board, Profile, profiles_called
from backends.nodes.mig.geometry import Wanted, counted, feasible
from backends.nodes.mig.target import Target
from backends.nodes.mig.wish import Asked

MOST_NEAR = 4


class Suggestion(NamedTuple):
    why: str
    profiles: tuple[Profile, ...]


def hindrance(target: Target) -> str | None:
    """What forbids any MIG change on this GPU, in a sentence; None where nothing does."""
    name = target.name or "this GPU"
    if target.virtualization == "vgpu":
        return f"{name} is a vGPU as its guest sees it: MIG is divided on the host, not here"
    if target.lost:
        return "the GPU is lost: nothing can be changed before it answers again"
    if target.board is None:
        return f"{name} has no MIG"
    if target.enabled is None:
        return f"NVML tells no MIG mode of {name}: the board or its driver has no MIG"
    least = target.board.least_driver(target.name)
    if not target.enabled and _older(target.driver, least):
        return f"driver {target.driver} has no MIG on the {target.name or target.board.key}: it takes {least}"
    return None


def prerequisites(target: Target) -> list[str]:
    """What MIG takes on this board, a sentence each; nothing of what is known to be so, as where MIG is on."""
    board = target.board
    if board is None or target.enabled:
        return []
    name = target.name or board.key
    said = []
    if target.driver is None:
        said.append(f"MIG takes driver {board.least_driver(name)} or newer on the {name}")
    for model in board.prerequisites(name):
        if model.needs is not None:
            said.append(f"MIG takes {model.needs} on the {model.name}")
        elif model.min_driver is not None and target.driver is None and board.model(name) is None:
            said.append(f"MIG takes driver {model.min_driver} or newer on the {model.name}")
    return said


def _older(driver: str | None, least: str) -> bool:
    """Whether a driver version is known to be below `least`."""
    try:
        return driver is not None and [int(part) for part in driver.split(".")] < [int(p) for p in least.split(".")]
    except ValueError:
        return False


def why_unknown(target: Target) -> str:
    """Why nothing can be put beside what stands: not every profile of it is known."""
    unnamed = [each.name for each in target.standing if each.profile is None]
    if unnamed:
        return f"no profile was told of {', '.join(unnamed)}: nvidia-smi tells none, nor an old driver without root"
    return "an instance that is there has a profile the table lacks"


def why_not(board: Board, counts: Mapping[Wanted, int], beside: str = "") -> str:
    """The broken rules, one sentence each, of a set of profiles that the board has but cannot place."""
    totals: Counter[Profile] = Counter()
    for each, count in counts.items():
        totals[each.profile] += count
    said = [
        f"the {board.key} takes at most {profile.max_instances} of {profile.name}, not {count}"
        for profile, count in totals.items()
        if count > profile.max_instances
    ]
    if sum(profile.takes_media for profile in totals) > 1:
        said.append("one instance with media engines (+me) per GPU")
    said += [
        f"{each.profile.name} begins at {_listed(each.profile.starts)}, not at {each.start}"
        for each in counts
        if each.start is not None and each.start not in each.profile.starts
    ]
    compute = sum(profile.compute_slices * count for profile, count in totals.items())
    if compute > board.compute_slices:
        said.append(f"{compute} compute slices are asked for, the GPU has {board.compute_slices}")
    units = sum(profile.size * count for profile, count in totals.items())
    if units > board.units:
        memory = -(-units * board.memory_slices // board.units)
        said.append(f"{memory} memory slices are asked for, the GPU has {board.memory_slices}")
    if not said:
        places = "; ".join(f"{each.name} takes {each.size} from {_listed(each.starts)}" for each in totals)
        said.append(f"the sums fit, the places do not ({places})")
    return beside + "; ".join(said)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + (" or " if len(numbers) > 1 else "") + str(numbers[-1])


def why_foreign(board: Board, foreign: Sequence[Asked]) -> str:
    """Each name the board does not have, where it belongs, and what this board has."""
    said = [_why_foreign(board, name) for name in dict.fromkeys(each.name for each in foreign)]
    return f"{'; '.join(said)}. The {board.key} has {', '.join(profile.name for profile in board.profiles)}"


def _why_foreign(board: Board, name: str) -> str:
    if name.isdigit():
        return f"no profile of the {board.key} has the number {name}"
    meant = [each.name for each in substitutes(board, name)]
    if "." not in name:
        exact = [each for each in board.profiles if each.is_plain and name in each.name.split(".")]
        return f"{name} is a size and no profile: {_said(meant)} {'has' if len(meant) == 1 else 'have'} " + (
            "it" if exact else "what is nearest"
        )
    others = list(profiles_called(name))
    if not others:
        return f"{name} is no profile of any board in the table"
    owner, profile = others[0]
    share = f"the 1/{owner.compute_slices}" if profile.compute_slices == 1 else f"a {profile.compute_slices}-slice"
    here = f", which is {_said(meant)} here" if meant else ""
    return (
        f"{name} is no profile of the {board.key}: it is {share} profile of the "
        f"{_said([each.key for each, _ in others])}{here}"
    )


def _said(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def substitutes(board: Board, name: str) -> list[Profile]:
    """What stands here for a name the board does not have, best first; see the definition above."""
    twins = [
        twin
        for owner, profile in profiles_called(name)
        if owner.compute_slices == board.compute_slices and profile.id is not None
        for twin in [board.profile_by_id(profile.id)]
        if twin is not None
    ]
    if twins:
        # One name has different numbers on different boards: the nearest memory is the likeliest.
        return sorted(dict.fromkeys(twins), key=lambda each: abs((each.memory_gb or 0) - (_figure(name) or 0)))
    plain = [each for each in board.profiles if each.is_plain]
    if name.isdigit():
        return []
    if name.endswith("g") and name[:-1].isdigit():
        away = min(abs(each.compute_slices - int(name[:-1])) for each in plain)
        return [each for each in plain if abs(each.compute_slices - int(name[:-1])) == away]
    same = [each for each in plain if f"{each.compute_slices}g" == name.partition(".")[0]]
    return _by_memory(same or plain, _figure(name))


def _figure(name: str) -> int | None:
    """The memory in a profile's name or a size: 40 of 3g.40gb and of 40gb."""
    found = re.search(r"(\d+)gb", name)
    return int(found[1]) if found else None


def _by_memory(profiles: Sequence[Profile], figure: int | None) -> list[Profile]:
    if figure is None or not profiles:
        return list(profiles)
    away = min(abs((each.memory_gb or 0) - figure) for each in profiles)
    return [each for each in profiles if abs((each.memory_gb or 0) - figure) == away]


def near_foreign(board: Board, known: Sequence[Profile], foreign: Sequence[Asked]) -> Iterator[Suggestion]:
    """The wish in this board's names where that can be placed, then the ways to halve the board."""
    asked: Counter[str] = Counter()
    for each in foreign:
        asked[each.name] += each.count
    meant = {name: substitutes(board, name) for name in asked}
    fitting = sorted(_translations(board, known, asked, meant), key=lambda each: len(set(each)))
    sizes = all("." not in each.name for each in foreign)
    for profiles in fitting:
        yield Suggestion(
            "of that size, or nearest to it" if sizes else "the same with the names of this board", profiles
        )
    if not fitting and all(meant.values()):
        first = Counter(known)
        for name, count in asked.items():
            first[meant[name][0]] += min(count, board.units)
        yield from near_set(board, first)
    if any(True for each in foreign for _ in profiles_called(each.name)):
        yield from halves(board)


def _translations(
    board: Board, known: Sequence[Profile], asked: Mapping[str, int], meant: Mapping[str, Sequence[Profile]]
) -> list[tuple[Profile, ...]]:
    """`known` with something of `meant` for each name of `asked`, as often as it is asked for; those that fit.

    Made one instance at a time: of what does not fit already nothing larger is tried, so that there are never more than
    there are sets of profiles on the board.
    """
    if len(known) + sum(asked.values()) > board.units or not _fits(board, known):
        return []
    found = {_names(known): tuple(known)}
    for name, count in asked.items():
        for _ in range(count):
            grown: dict[tuple[str, ...], tuple[Profile, ...]] = {}
            for profiles in found.values():
                for each in meant[name]:
                    if _fits(board, (*profiles, each)):
                        grown.setdefault(_names((*profiles, each)), (*profiles, each))
            found = grown
    return list(found.values())


def halves(board: Board) -> Iterator[Suggestion]:
    plain = [each for each in board.profiles if each.is_plain]
    twice = [each for each in plain if _fits(board, (each, each))]
    if twice:
        half = max(twice, key=lambda each: (each.compute_slices, each.size))
        yield Suggestion("two equal instances", (half, half))
    pairs = [
        pair
        for pair in combinations_with_replacement(plain, 2)
        if sum(each.compute_slices for each in pair) == board.compute_slices and _fits(board, pair)
    ]
    if pairs:
        pair = max(pairs, key=lambda each: sum(one.size for one in each))
        yield Suggestion("two instances that use every compute slice", tuple(reversed(pair)))


def near_set(board: Board, wanted: Mapping[Profile, int], must: Sequence[Profile] = ()) -> Iterator[Suggestion]:
    """For a set that cannot be placed: its largest part, with `must` in it where possible, then one of smaller ones."""
    asked: Counter[str] = Counter({profile.name: count for profile, count in wanted.items()})
    needed = Counter(each.name for each in must)
    parts = [names for names in feasible(board) if names and not Counter(names) - asked]
    kept = [names for names in parts if not needed - Counter(names)] or parts
    if kept:
        best = max(kept, key=lambda names: _measure(board, names))
        left_out = asked - Counter(best)
        ordered = {each.name: left_out[each.name] for each in board.profiles if left_out[each.name]}
        yield Suggestion(f"without {counted(ordered)}", _profiles(board, best))
    if sum(asked.values()) <= board.units:
        everything: list[Profile] = [profile for profile, count in wanted.items() for _ in range(count)]
        attributes = {"", *(each.attribute for each in everything)}
        smaller = [
            names
            for names in feasible(board)
            if len(names) == len(everything)
            and all(each.attribute in attributes for each in _profiles(board, names))
            and no_larger(_profiles(board, names), everything)
        ]
        if smaller:
            best = max(smaller, key=lambda names: (_measure(board, names)[:2], _unchanged(names, asked), names))
            yield Suggestion("as many instances, none larger", _profiles(board, best))


def _unchanged(names: Sequence[str], asked: Counter[str]) -> int:
    return sum((Counter(names) & asked).values())


def uses_more(board: Board, profiles: Sequence[Profile]) -> tuple[Profile, ...] | None:
    """As many instances of the same memory that compute with more slices than `profiles`; None where there are none."""
    compute, memory, _, _ = _measure(board, [each.name for each in profiles])
    larger = [
        names
        for names in feasible(board)
        if len(names) == len(profiles)
        and _measure(board, names)[0] > compute
        and _measure(board, names)[1] == memory
        and no_larger(profiles, list(_profiles(board, names)))
        and all(each.is_plain for each in _profiles(board, names) if each not in profiles)
    ]
    best = max(larger, key=lambda names: _measure(board, names), default=None)
    return None if best is None else _profiles(board, best)


def _measure(board: Board, names: Sequence[str]) -> tuple[int, int, int, tuple[int, ...]]:
    found = _profiles(board, names)
    order = tuple(-[each.name for each in board.profiles].index(name) for name in sorted(names))
    return sum(each.compute_slices for each in found), sum(each.size for each in found), len(found), order


def _profiles(board: Board, names: Sequence[str]) -> tuple[Profile, ...]:
    """Largest first."""
    found = [each for name in names for each in board.profiles if each.name == name]
    return tuple(sorted(found, key=lambda each: (-each.size, -each.compute_slices, each.name)))


def _fits(board: Board, profiles: Sequence[Profile]) -> bool:
    return _names(profiles) in feasible(board)


def _names(profiles: Sequence[Profile]) -> tuple[str, ...]:
    return tuple(sorted(each.name for each in profiles))


def no_larger(ours: Sequence[Profile], theirs: list[Profile]) -> bool:
    """Whether each of ours can be paired with one of theirs that is at least as large, none used twice."""
    if not ours:
        return True
    first, rest = ours[0], ours[1:]
    for position, each in enumerate(theirs):
        larger = first.compute_slices <= each.compute_slices and first.size <= each.size
        if larger and no_larger(rest, theirs[:position] + theirs[position + 1 :]):
            return True
    return False
