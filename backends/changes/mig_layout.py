"""MIG layouts of one GPU as nvidia-smi shows and makes them: pure functions over its words.

Formats and options: NVIDIA MIG User Guide, `nvidia-smi mig -h`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from backends.contract import ConfigError
from backends.domain import Mig

_ROW = re.compile(r"\|\s+(\d+)\s+MIG (\S+)\s+(\d+)\s+(\d+)\s+(\d+):(\d+)\s+\|")
"""`-lgi`: GPU, profile name, profile id, instance id, start:size."""
_COMPUTE_ROW = re.compile(r"\|\s+(\d+)\s+(\d+)\s+MIG (\S+)\s+(\d+)\s+(\d+)\s+(\d+):(\d+)\s+\|")
"""`-lci`: GPU, GPU instance, profile name, profile id, instance id, start:size."""
_TUPLE = re.compile(r"(?:(\d+g\.\d+gb(?:[+-][a-z.]+)?)|(\d+))(?::(\d+))?")
"""A word of `-cgi`: profile name or id, and where it starts."""
_PART = re.compile(r"(\d+c)\.")
"""A compute instance that is a part of its GPU instance has this before the GPU instance's profile."""
FULL = "full"
"""A compute instance that fills its GPU instance."""


@dataclass(frozen=True, slots=True)
class Place:
    """One GPU instance. `profile` is a name (3g.40gb) or an nvidia-smi profile id."""

    profile: str
    start: int | None = None
    """Placement start; None: wherever the driver put it."""
    gi: int | None = None
    """GPU instance id; None before it is made."""
    profile_id: str | None = None
    computes: tuple[str, ...] = ()
    """Its compute instances: FULL, or `1c`, `2c` for parts; empty: it has none, and work cannot use it."""

    @property
    def divided(self) -> bool:
        """Its compute instances are not the one that `-C` makes."""
        return self.computes not in ((), (FULL,))

    def is_like(self, other: Place) -> bool:
        """The same profile at the same place, as far as both say, whatever is in it."""
        names = {self.profile, self.profile_id} - {None}
        if not names.intersection({other.profile, other.profile_id}):
            return False
        return self.start is None or other.start is None or self.start == other.start

    def named(self, names: Mapping[str, str]) -> Self:
        """With the name of its profile, where it is called by an id that `names` knows."""
        name = names.get(self.profile)
        return self if name is None else replace(self, profile=name, profile_id=self.profile)

    @property
    def words(self) -> str:
        return self.profile if self.start is None else f"{self.profile}:{self.start}"

    @property
    def told(self) -> str:
        """With its compute instances, unless one fills it: `3g.40gb:0 (1c 2c)`."""
        return self.words if self.computes == (FULL,) else f"{self.words} ({' '.join(self.computes) or 'no CI'})"

    def holds_like(self, other: Place) -> bool:
        return sorted(self.computes) == sorted(other.computes)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**{**document, "computes": tuple(map(str, document.get("computes", ())))})


@dataclass(frozen=True, slots=True)
class MigLayout:
    """How a GPU is cut up."""

    enabled: bool
    places: tuple[Place, ...] = ()

    @classmethod
    def of(cls, mig: Mig) -> Self:
        """As a reading of the node shows it: a GPU instance without a compute instance is not seen there."""
        places: dict[object, Place] = {}
        for number, instance in enumerate(mig.instances):
            named = instance.profile or "unknown"
            start = None if instance.placement is None else instance.placement[0]
            key = number if instance.gi is None else ("gi", instance.gi)
            place = places.setdefault(key, Place(named.rpartition("c.")[2], start, instance.gi))
            places[key] = replace(place, computes=(*place.computes, part_of(named)))
        return cls(bool(mig.enabled), tuple(places.values()))

    @property
    def hidden_words(self) -> str:
        """What to do about GPU instances that no reading of the node shows; empty where there are none."""
        if all(place.computes for place in self.places):
            return ""
        return (
            "GPU instances without a compute instance are there, which NVML does not list: end them (-dgi), or use them"
        )

    def is_like(self, other: MigLayout) -> bool:
        """The same instances with the same in them, whatever their ids."""
        pairing = paired(self, other)
        alike = all(mine.holds_like(its) for mine, its in pairing.both)
        return self.enabled == other.enabled and alike and not pairing.here and not pairing.there

    @property
    def words(self) -> str:
        """One line: `MIG on: 3g.40gb:0 3g.40gb:4`."""
        return f"MIG {self.short}" if not self.places else f"MIG on: {self.short}"

    @property
    def short(self) -> str:
        """`off`, `3g.40gb:0 3g.40gb:4`."""
        if not self.enabled:
            return "off"
        if not self.places:
            return "on, no instances"
        ordered = sorted(self.places, key=lambda place: -1 if place.start is None else place.start)
        return " ".join(place.told for place in ordered)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        places = tuple(Place.from_json(each) for each in document["places"])
        if "computes" in document:  # a journal from before places told their own
            if document["computes"] not in (0, len(places)):
                raise ValueError("which GPU instances have compute instances is not told")
            places = tuple(replace(place, computes=(FULL,) if document["computes"] else ()) for place in places)
        return cls(bool(document["enabled"]), places)


OFF = MigLayout(enabled=False)


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two layouts side by side."""

    both: tuple[tuple[Place, Place], ...]
    """GPU instances of the same profile at the same place; their compute instances may differ."""
    here: tuple[Place, ...]
    """What only the first has."""
    there: tuple[Place, ...]
    """What only the second has."""


def paired(here: MigLayout, there: MigLayout) -> Pairing:
    """Which GPU instance of one layout is which of the other."""
    both, rest, lacking = [], list(here.places), []
    # What says where it starts chooses first, and of what is alike the same start, the same id, the same contents.
    for place in sorted(there.places, key=lambda each: each.start is None):
        alike = [each for each in rest if each.is_like(place)]
        if not alike:
            lacking.append(place)
            continue
        chosen = max(
            alike,
            key=lambda each: (each.start == place.start, each.gi == place.gi is not None, each.holds_like(place)),
        )
        rest.remove(chosen)
        both.append((chosen, place))
    return Pairing(tuple(both), tuple(rest), tuple(lacking))


def not_made_again(layout: MigLayout, here: MigLayout) -> str:
    """Why `layout` cannot be made out of `here`: what is to be made anew and cannot; empty when nothing is."""
    pairing = paired(here, layout)
    made = [*pairing.there, *(its for mine, its in pairing.both if not mine.holds_like(its))]
    if any(place.profile == "unknown" for place in made):
        return "a GPU instance whose profile is not known is not made again"
    divided = [place.told for place in made if place.divided]
    return f"{', '.join(divided)}: a GPU instance in parts is not made again" if divided else ""


def parse_wanted(text: str) -> MigLayout:
    """`off`, `on`, or profiles separated by commas, each with an optional start: `3g.40gb:0,3g.40gb:4`.

    Each has the compute instance that fills it. Raises ConfigError. Whether the board has room, the driver decides.
    """
    word = text.strip()
    if word in ("off", "on"):
        return MigLayout(enabled=word == "on")
    places = []
    for part in word.split(","):
        match = _TUPLE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"{part.strip()!r} is no MIG profile", "write 3g.40gb,3g.40gb or 9:0,9:4, or off")
        start = None if match[3] is None else int(match[3])
        places.append(Place(match[1] or match[2], start, computes=(FULL,)))
    return MigLayout(enabled=True, places=tuple(places))


def parse_instances(instances: str, computes: str, gpu: int) -> tuple[Place, ...]:
    """The GPU instances of `nvidia-smi mig -lgi` with what `-lci` lists in them."""
    inside: dict[int, tuple[str, ...]] = {}
    for index, gi, profile, *_ in _COMPUTE_ROW.findall(computes):
        if int(index) == gpu:
            inside[int(gi)] = (*inside.get(int(gi), ()), part_of(profile))
    return tuple(
        Place(profile, int(start), int(gi), profile_id, inside.get(int(gi), ()))
        for index, profile, profile_id, gi, start, _ in _ROW.findall(instances)
        if int(index) == gpu
    )


def part_of(profile: str) -> str:
    """`1c` of the compute instance profile 1c.3g.40gb; FULL of one that has the name of its GPU instance."""
    part = _PART.match(profile)
    return FULL if part is None else part[1]


def parse_mode(text: str) -> tuple[bool, bool] | None:
    """(current, pending) of `--query-gpu=mig.mode.current,mig.mode.pending`; None where the board has no MIG."""
    words = [word.strip() for word in text.strip().split(",")]
    if len(words) != 2 or not set(words) <= {"Enabled", "Disabled"}:
        return None
    return words[0] == "Enabled", words[1] == "Enabled"
