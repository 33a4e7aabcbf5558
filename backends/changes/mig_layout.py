"""MIG layouts of one GPU as nvidia-smi shows and makes them: pure functions over its words.

Formats and options: NVIDIA MIG User Guide, `nvidia-smi mig -h`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Place:
    """One GPU instance. `profile` is a name (3g.40gb) or an nvidia-smi profile id."""

    profile: str
    start: int | None = None
    """Placement start; None: wherever the driver put it."""
    gi: int | None = None
    """GPU instance id; None before it is made."""
    profile_id: str | None = None

    def is_like(self, other: Place) -> bool:
        """The same profile at the same place, as far as both say."""
        names = {self.profile, self.profile_id} - {None}
        if not names.intersection({other.profile, other.profile_id}):
            return False
        return self.start is None or other.start is None or self.start == other.start

    @property
    def words(self) -> str:
        return self.profile if self.start is None else f"{self.profile}:{self.start}"


@dataclass(frozen=True, slots=True)
class MigLayout:
    """How a GPU is cut up."""

    enabled: bool
    places: tuple[Place, ...] = ()
    computes: int = 0
    """Compute instances over all GPU instances."""

    @classmethod
    def of(cls, mig: Mig) -> Self:
        """As a reading of the node shows it: a GPU instance without a compute instance is not seen there."""
        places: dict[object, Place] = {}
        for number, instance in enumerate(mig.instances):
            profile = (instance.profile or "unknown").rpartition("c.")[2]
            start = None if instance.placement is None else instance.placement[0]
            key = number if instance.gi is None else ("gi", instance.gi)
            places.setdefault(key, Place(profile, start, instance.gi))
        return cls(bool(mig.enabled), tuple(places.values()), len(mig.instances))

    @property
    def restorable(self) -> bool:
        """Whether it can be made again by its profiles: not when a GPU instance is divided into several computes."""
        named = all(place.profile != "unknown" for place in self.places)
        return named and self.computes in (0, len(self.places))

    @property
    def hidden_words(self) -> str:
        """What to do about GPU instances that no reading of the node shows; empty where there are none."""
        if self.computes >= len(self.places):
            return ""
        return (
            "GPU instances without a compute instance are there, which NVML does not list: end them (-dgi), or use them"
        )

    def is_like(self, other: MigLayout) -> bool:
        """The same instances, whatever their ids."""
        if self.enabled != other.enabled or self.computes != other.computes or len(self.places) != len(other.places):
            return False
        rest = list(other.places)
        # What says where it starts chooses first, and what starts there before what says nothing.
        for place in sorted(self.places, key=lambda each: each.start is None):
            alike = [each for each in rest if place.is_like(each)]
            if not alike:
                return False
            rest.remove(next((each for each in alike if each.start == place.start), alike[0]))
        return True

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
        words = " ".join(place.words for place in ordered)
        if self.computes != len(self.places):
            words += f", {self.computes} compute instances"
        return words

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            bool(document["enabled"]),
            tuple(Place(**each) for each in document["places"]),
            int(document["computes"]),
        )


OFF = MigLayout(enabled=False)


def parse_wanted(text: str) -> MigLayout:
    """`off`, `on`, or profiles separated by commas, each with an optional start: `3g.40gb:0,3g.40gb:4`.

    Raises ConfigError. Whether the board has room for them, the driver decides.
    """
    word = text.strip()
    if word in ("off", "on"):
        return MigLayout(enabled=word == "on")
    places = []
    for part in word.split(","):
        match = _TUPLE.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"{part.strip()!r} is no MIG profile", "write 3g.40gb,3g.40gb or 9:0,9:4, or off")
        places.append(Place(match[1] or match[2], None if match[3] is None else int(match[3])))
    return MigLayout(enabled=True, places=tuple(places), computes=len(places))


def parse_instances(text: str, gpu: int) -> tuple[Place, ...]:
    """The GPU instances of `nvidia-smi mig -lgi`."""
    return tuple(
        Place(profile, int(start), int(gi), profile_id)
        for index, profile, profile_id, gi, start, _ in _ROW.findall(text)
        if int(index) == gpu
    )


def count_computes(text: str, gpu: int) -> int:
    """How many compute instances `nvidia-smi mig -lci` lists of a GPU."""
    return sum(int(row[0]) == gpu for row in _COMPUTE_ROW.findall(text))


def parse_mode(text: str) -> tuple[bool, bool] | None:
    """(current, pending) of `--query-gpu=mig.mode.current,mig.mode.pending`; None where the board has no MIG."""
    words = [word.strip() for word in text.strip().split(",")]
    if len(words) != 2 or not set(words) <= {"Enabled", "Disabled"}:
        return None
    return words[0] == "Enabled", words[1] == "Enabled"


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


def after(layout: MigLayout, argv: Sequence[str]) -> MigLayout | None:
    """The layout that a command leaves behind; None for a command that is not understood."""
    mode = option(argv, "-mig", "--multi-instance-gpu")
    if mode is not None:
        return {"0": OFF, "1": replace(layout, enabled=True)}.get(mode)
    chosen = _ids(option(argv, "-gi", "--gpu-instance-id"))
    those = tuple(place for place in layout.places if chosen is None or place.gi in chosen)
    if option(argv, "-dci", "--destroy-compute-instance") is not None:
        if option(argv, "-ci", "--compute-instance-id") is not None:
            return None
        return replace(layout, computes=max(0, layout.computes - len(those)))
    if option(argv, "-dgi", "--destroy-gpu-instance") is not None:
        return replace(layout, places=tuple(place for place in layout.places if place not in those))
    created = option(argv, "-cgi", "--create-gpu-instance")
    if created:
        places = parse_wanted(created).places
        with_computes = "-C" in argv or "--default-compute-instance" in argv
        return MigLayout(True, (*layout.places, *places), layout.computes + len(places) * with_computes)
    computes = option(argv, "-cci", "--create-compute-instance")
    if computes is not None:
        each = computes.count(",") + 1
        return replace(layout, computes=layout.computes + each * len(those))
    return None


def commands(gpu: str, current: MigLayout, wanted: MigLayout) -> list[tuple[str, ...]]:
    """The nvidia-smi commands from one layout to another, in order; none where they are alike."""
    if current.is_like(wanted):
        return []
    made: list[tuple[str, ...]] = []
    mig = ("nvidia-smi", "mig", "-i", gpu)
    same_places = replace(current, computes=0).is_like(replace(wanted, computes=0))
    if current.computes:
        made.append((*mig, "-dci"))
    if current.places and not same_places:
        made.append((*mig, "-dgi"))
    if current.enabled != wanted.enabled:
        made.append(("nvidia-smi", "-i", gpu, "-mig", "1" if wanted.enabled else "0"))
    if wanted.places and not same_places:
        created = (*mig, "-cgi", ",".join(place.words for place in _largest_first(wanted.places)))
        made.append((*created, "-C") if wanted.computes else created)
    elif wanted.places and wanted.computes:
        made.append((*mig, "-cci"))
    return made


def _largest_first(places: Iterable[Place]) -> list[Place]:
    """The driver places greedily: small ones first can leave no room for a large one."""
    return sorted(places, key=_slices, reverse=True)


def _slices(place: Place) -> int:
    named = re.match(r"(\d+)g\.", place.profile)
    return int(named[1]) if named else 0
