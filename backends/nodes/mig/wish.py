"""What is asked for: "3g.40gb,3g.40gb", "4x 1g.10gb + 1x 3g.40gb on gpu 2", "9:4,19:0", "all-balanced".

A wish is the whole layout of the GPU after the change, as mig-parted means it; with a leading plus ("+1g.10gb") it adds
to what is there. Profiles are names or the numbers of nvidia-smi, `:start` pins one to its place, and so does
`@start:size`, as a plan shows it. "40gb" or "3g" is
understood as a size, which no board knows as a profile: the answer then names those that have it.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field

from backends.contract import ConfigError
from backends.domain import clean
from backends.nodes.mig.catalogue import Board, Profile, attribute_form, profiles_called
from backends.nodes.mig.geometry import Wanted

TEXT_LIMIT = 400
EXAMPLES = (
    'a wish is like "3g.40gb,3g.40gb", "4x 1g.10gb + 1x 3g.40gb", "3g.40gb:4" for its place, "+1g.10gb" or '
    '"all-balanced"'
)

_PROFILE = r"\d{1,2}g\.\d{1,4}gb(?:[+.](?:me(?:\.all)?|gfx)|-me)*(?=x\d|\+\s*\d|[^\w.+-]|$)"
_TIMES = r"\s*[x×*]\s*"
_ITEM = re.compile(
    rf"(?:(?P<count>\d{{1,4}}){_TIMES})?(?:(?:nvidia\.com/)?mig[- ])?"
    rf"(?P<name>{_PROFILE}|\d{{1,4}}gb\b|\d{{1,2}}g(?![\w.])|\d{{1,3}}(?![\w.]))"
    rf"(?::(?P<start>\d{{1,2}})\b|@(?P<at>\d{{1,2}})(?::(?P<size>\d{{1,2}}))?\b)?(?:{_TIMES}(?P<after>\d{{1,4}})\b)?"
)
_BETWEEN = re.compile(r"\s*(?:[,;+]|\band\b)\s*|\s+")
_ON_GPU = re.compile(r"\s+on\s+gpu\s*(\d{1,3})$")
_CONFIG = re.compile(r"(?:all|custom)(?:-[a-z0-9.+-]{1,40})?")
_COMPUTE_INSTANCE = re.compile(r"\d+c\.\d+g\.\d+gb")


class WishError(ConfigError):
    """The text cannot be read as a wish."""

    code = "wish"


@dataclass(frozen=True, slots=True)
class Asked:
    """One entry of a wish, as it was written."""

    name: str
    """A profile's name, its number, or a size as "40gb" or "3g"."""
    count: int = 1
    start: int | None = None
    size: int | None = None
    """Units that it takes from there, where that was written: its profile must take as many."""

    def __str__(self) -> str:
        place = "" if self.start is None else f":{self.start}"
        return (f"{self.count}x " if self.count > 1 else "") + self.name + place


@dataclass(frozen=True, slots=True)
class Wish:
    asked: tuple[Asked, ...] = ()
    config: str | None = None
    """A configuration's name, instead of `asked`."""
    adds: bool = False
    """Beside what is there, instead of the whole layout."""
    gpu_index: int | None = None
    """From "on gpu 2"."""

    def __str__(self) -> str:
        return self.config or ("+" if self.adds else "") + " + ".join(map(str, self.asked))


@dataclass(frozen=True, slots=True)
class Resolved:
    """A wish in the profiles of one board."""

    enabled: bool
    """MIG mode after the change."""
    counts: dict[Wanted, int] = field(default_factory=dict)
    """Not multiplied out: a wish for a million instances is refused, not built."""
    foreign: tuple[Asked, ...] = ()
    """What the board has no profile for."""

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """One entry per instance; asked for only once the counts are known to be small."""
        return tuple(each for each, count in self.counts.items() for _ in range(count))


def parse(text: str) -> Wish:
    """The wish in `text`; raises `WishError`."""
    if len(text) > TEXT_LIMIT:
        raise WishError("the wish is too long", EXAMPLES)
    words = " ".join(text.lower().split())
    on_gpu = _ON_GPU.search(words)
    if on_gpu is not None:
        words = words[: on_gpu.start()]
    gpu_index = None if on_gpu is None else int(on_gpu[1])
    if not words:
        raise WishError("the wish is empty", EXAMPLES)
    if _CONFIG.fullmatch(words):
        return Wish(config=attribute_config(words), gpu_index=gpu_index)
    adds = words.startswith("+")
    return Wish(tuple(_items(words.removeprefix("+").strip())), adds=adds, gpu_index=gpu_index)


def _items(words: str) -> list[Asked]:
    items: list[Asked] = []
    at = 0
    while at < len(words):
        if items:
            gap = _BETWEEN.match(words, at)
            at = at if gap is None else gap.end()
            if gap is None or at == len(words):
                raise _unreadable(words, at)
        found = _ITEM.match(words, at)
        if found is None:
            raise _unreadable(words, at)
        count = int(found["count"] or 1) * int(found["after"] or 1)
        if count < 1:
            raise WishError(f"{clean(found[0], 40)!r} asks for none", EXAMPLES)
        start, size = found["start"] or found["at"], found["size"]
        name = attribute_form(found["name"])
        items.append(Asked(name, count, int(start) if start else None, int(size) if size else None))
        at = found.end()
    return items


def _unreadable(words: str, at: int) -> WishError:
    rest = clean(words[at:] or words, 40)
    if _COMPUTE_INSTANCE.match(rest):
        return WishError(
            f"{rest!r} is a compute instance, a part of a GPU instance", "ask for GPU instances, without the 1c."
        )
    return WishError(f"the wish cannot be read at {rest!r}", EXAMPLES)


def attribute_config(name: str) -> str:
    """all-1g.10gb+me -> all-1g.10gb.me, the form of mig-parted."""
    return name.replace("+", ".")


def configurations(board: Board) -> dict[str, dict[Profile, int] | None]:
    """The configurations mig-parted and MIG Manager name for a board, with their instances; None: MIG is off.

    all-<profile> for each profile at its maximum, with a dot for the plus sign; all-balanced is 2x 1g, 2g and 3g on a
    board of seven slices, 2x 1g and 2g on one of four.
    """
    named: dict[str, dict[Profile, int] | None] = {"all-disabled": None, "all-enabled": {}}
    named |= {f"all-{attribute_config(each.name)}": {each: each.max_instances} for each in board.profiles}
    balance = {1: 2, 2: 1, 3: 1} if board.compute_slices == 7 else {1: 2, 2: 1}
    balanced: dict[Profile, int] = {}
    for slices, count in balance.items():
        plain = [each for each in board.profiles if each.is_plain and each.compute_slices == slices]
        if plain:
            balanced[min(plain, key=lambda each: each.size)] = count
    if len(balanced) == len(balance):
        named["all-balanced"] = balanced
    return named


def resolve(board: Board, wish: Wish) -> Resolved:
    """`wish` in the profiles of `board`.

    Raises `WishError` for a configuration that nobody but its author knows, and for a place of another size.
    """
    if wish.config is not None:
        return _configured(board, wish.config)
    counts: dict[Wanted, int] = {}
    foreign = []
    for each in wish.asked:
        profile = board.profile_by_id(int(each.name)) if each.name.isdigit() else board.profile(each.name)
        if profile is None:
            foreign.append(each)
            continue
        if each.size not in (None, profile.size):
            raise WishError(
                f"{profile.name} takes {profile.size} units of the {board.key}, not {each.size}",
                f"its place is written {profile.name}:{each.start}",
            )
        wanted = Wanted(profile, each.start)
        counts[wanted] = counts.get(wanted, 0) + each.count
    return Resolved(enabled=True, counts=counts, foreign=tuple(foreign))


def _configured(board: Board, name: str) -> Resolved:
    named = configurations(board)
    if name in named:
        instances = named[name]
        return Resolved(instances is not None, {Wanted(each): count for each, count in (instances or {}).items()})
    every = re.fullmatch(rf"all-({_PROFILE})", name)
    if every is not None:
        profile = board.profile(every[1])
        if profile is not None:
            return Resolved(enabled=True, counts={Wanted(profile): profile.max_instances})
        count = max((each.max_instances for _, each in profiles_called(every[1])), default=1)
        return Resolved(enabled=True, foreign=(Asked(attribute_form(every[1]), count),))
    near = difflib.get_close_matches(name, named, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise WishError(
        f"no configuration of the {board.key} is called {clean(name, 48)!r}",
        f"{hint}it has {', '.join(named)}; what a site's own configuration holds is asked for by its profiles",
    )
