"""Which MIG profiles a board has, and where each may be placed: `profiles.json`, read when it is first asked for.

The file names its sources. A profile's name depends on the board's memory, so every question starts with the board:
by the name NVML gives it, by a short name, or by its PCI device id.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from backends.contract import ConfigError
from backends.domain import clean
from backends.domain.text import NAME_LIMIT

MEDIA = "+me"
"""In the name of a profile that takes the media engines; one such GPU instance fits on a GPU."""
_SIGNIFICANT = re.compile(r"\d+gb?")
_HARMLESS = frozenset(
    (
        "sxm",
        "sxm2",
        "sxm3",
        "sxm4",
        "sxm5",
        "sxm6",
        "pcie",
        "hbm2",
        "hbm2e",
        "hbm3",
        "hbm3e",
        "ac",
        "lc",
        "edition",
        "superchip",
    )
)
"""Words of a model's name that change neither its memory nor its profiles."""


class UnknownBoard(ConfigError):
    """The table has no such board, or more than one that could be meant."""

    code = "unknown-board"


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of GPU instance on one board."""

    name: str
    """3g.40gb, 1g.10gb+me"""
    compute_slices: int
    size: int
    """Placement units, which are memory slices on most boards; 0 where the placements are not known."""
    starts: tuple[int, ...]
    """Placement units where it may begin; empty where the placements are not known."""
    max_instances: int
    id: int | None = None
    """What nvidia-smi calls it by number; not NVML's enum."""
    multiprocessors: int | None = None
    memory_mib: int | None = None
    """As the driver reports it; the name only rounds it."""
    aliases: tuple[str, ...] = ()
    """Names under which other firmware knows it."""

    @property
    def takes_media(self) -> bool:
        return MEDIA in self.name

    @property
    def is_plain(self) -> bool:
        """Without an attribute: 1g.24gb, not 1g.24gb+me, +gfx or -me."""
        return not self.attribute

    @property
    def attribute(self) -> str:
        """+me of 1g.24gb+me; empty for a plain one."""
        return re.sub(r"^\d+g\.\d+gb", "", self.name)

    @property
    def memory_gb(self) -> int | None:
        """The figure in the name."""
        found = re.search(r"\.(\d+)gb", self.name)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a board that takes more for MIG than its siblings."""

    name: str
    """Without the vendor."""
    min_driver: str | None = None
    """None: as the board."""
    needs: str | None = None
    """What has to be set up before, in words."""


@dataclass(frozen=True, slots=True)
class Board:
    """A GPU model as MIG divides it."""

    key: str
    """A100-80GB"""
    architecture: str
    """ampere, hopper or blackwell."""
    names: tuple[str, ...]
    """As NVML says them, without the vendor."""
    pci_device_ids: tuple[str, ...]
    min_driver: str
    """The oldest driver with MIG on this board."""
    compute_slices: int
    memory_slices: int
    units: int
    """Of the placement grid: 8, 4, or 12 where a memory slice is three units."""
    confidence: str
    """high, medium or low: how sure this table is of the board."""
    ids_verified: bool
    """The numbers in `Profile.id` were read from such a board or its family."""
    note: str
    """What is known and what is assumed, in sentences."""
    profiles: tuple[Profile, ...]
    models: tuple[Model, ...] = ()
    """Those with prerequisites of their own."""

    def model(self, name: str | None) -> Model | None:
        return next((each for each in self.models if _is_called(name, each.name)), None)

    def least_driver(self, name: str | None) -> str:
        """The oldest driver with MIG on the model called `name`."""
        model = self.model(name)
        return self.min_driver if model is None or model.min_driver is None else model.min_driver

    def prerequisites(self, name: str | None) -> tuple[Model, ...]:
        """What holds for the model called `name`; everything where it is the name of none, as the board's key."""
        if any(_is_called(name, each) for each in self.names):
            model = self.model(name)
            return () if model is None else (model,)
        return self.models

    @property
    def has_placements(self) -> bool:
        return all(profile.starts for profile in self.profiles)

    @property
    def units_per_slice(self) -> int:
        """Placement units that share one compute slice."""
        return self.units // self.compute_slices

    @property
    def resets_on_mode_change(self) -> bool:
        """Ampere resets the GPU and keeps the mode over a reboot; later boards do neither (MIG user guide)."""
        return self.architecture == "ampere"

    def profile(self, name: str) -> Profile | None:
        """The profile called `name`, by any of its names; `.me` as Kubernetes writes it means `+me`."""
        wanted = attribute_form(name)
        return next((each for each in self.profiles if wanted in (each.name, *each.aliases)), None)

    @property
    def names_by_id(self) -> dict[str, str]:
        """Profile id as nvidia-smi takes it -> the profile's name."""
        return {str(each.id): each.name for each in self.profiles if each.id is not None}

    def profile_by_id(self, number: int) -> Profile | None:
        return next((each for each in self.profiles if each.id == number), None)

    def slice_at(self, unit: int) -> int | None:
        """The compute slice that belongs to a placement unit; None for the unit that has none (7 slices, 8 units)."""
        number = unit // self.units_per_slice
        return number if number < self.compute_slices else None


def _is_called(name: str | None, known: str) -> bool:
    return sorted(_words(name or "")) == sorted(_words(known))


def attribute_form(name: str) -> str:
    """1g.10gb.me.all -> 1g.10gb+me.all: Kubernetes resources and mig-parted names cannot hold a plus sign."""
    return re.sub(r"^(\d+g\.\d+gb)\.(?=me|gfx)", r"\1+", name.strip().lower())


@lru_cache(maxsize=1)
def boards() -> tuple[Board, ...]:
    """Every board of the table, in its order."""
    return tuple(_board(entry) for entry in _table()["boards"])


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("profiles.json").read_text(encoding="utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


def has_no_mig(name: str) -> bool:
    """Whether it is the name of a model that is known to have no MIG: "NVIDIA L40S", "Tesla V100-SXM2-32GB"."""
    words = _words(name)
    told = sorted(word for word in words if word not in _HARMLESS and not _SIGNIFICANT.fullmatch(word))
    return "geforce" in words or any(told == sorted(_words(each)) for each in _table()["without_mig"])


def _board(entry: Mapping[str, Any]) -> Board:
    return Board(
        key=entry["key"],
        architecture=entry["architecture"],
        names=tuple(entry["names"]),
        pci_device_ids=tuple(entry["pci_device_ids"]),
        min_driver=entry["min_driver"],
        compute_slices=entry["compute_slices"],
        memory_slices=entry["memory_slices"],
        units=entry["placement_units"],
        confidence=entry["confidence"],
        ids_verified=entry["ids_verified"],
        note=entry["note"],
        profiles=tuple(_profile(each) for each in entry["profiles"]),
        models=tuple(Model(**each) for each in entry.get("models", ())),
    )


def _profile(entry: Mapping[str, Any]) -> Profile:
    return Profile(
        name=entry["name"],
        compute_slices=entry["compute"],
        size=entry.get("size", 0),
        starts=tuple(entry.get("starts", ())),
        max_instances=entry["max"],
        id=entry.get("id"),
        multiprocessors=entry.get("sm"),
        memory_mib=entry.get("mib"),
        aliases=tuple(entry.get("aliases", ())),
    )


def board_for(name: str | None, pci_device_id: str | None = None) -> Board:
    """The board of a GPU, by its PCI device id where the table has it, else by its name; raises `UnknownBoard`."""
    if pci_device_id is not None:
        device = pci_device_id.upper().replace("0X", "0x")
        for board in boards():
            if device in board.pci_device_ids:
                return board
    if name is None:
        raise UnknownBoard(f"the MIG table has no GPU with the PCI device {pci_device_id or 'n/a'}", _known())
    return board_named(name)


def board_named(text: str) -> Board:
    """The board that `text` means; raises `UnknownBoard` with the nearest names.

    `text` is a name of NVML ("NVIDIA A100-SXM4-80GB"), a short one ("A100-80GB", "B200") or a PCI device id
    ("0x20B210DE", "0x20b2").
    """
    if re.fullmatch(r"0x[0-9a-f]{4}(10de)?", text.strip().lower()):
        device = f"0x{text.strip()[2:6].upper()}10DE"
        found = [board for board in boards() if device in board.pci_device_ids]
        if not found:
            raise UnknownBoard(f"the MIG table has no PCI device {device}", _known())
        return found[0]
    wanted = _words(text)
    for board in boards():
        if any(_is_called(text, name) for name in (board.key, *board.names)):
            return board
    candidates = [board for board in boards() if _may_mean(wanted, board)]
    if len(candidates) == 1:
        return candidates[0]
    said = clean(text, 64)
    if candidates:
        raise UnknownBoard(
            f"{said!r} may mean {' or '.join(board.key for board in candidates)}: their profiles differ",
            "name one of them, or the GPU as nvidia-smi -L writes it",
        )
    raise UnknownBoard(f"the MIG table has no GPU called {said!r}", _nearest(text))


def _may_mean(wanted: tuple[str, ...], board: Board) -> bool:
    """A short name that begins a longer one ("H100 80GB"), or a longer one that adds only harmless words."""
    if not wanted:
        return False
    for name in (board.key, *board.names):
        words = _words(name)
        begins = words[: len(wanted)] == wanted
        adds = set(words) < set(wanted) and set(wanted) - set(words) <= _HARMLESS
        if (begins or adds) and _sizes(wanted) <= _sizes((*words, *_words(board.key))):
            return True
    return False


def _words(text: str) -> tuple[str, ...]:
    words = re.findall(r"[a-z0-9]+", text[:NAME_LIMIT].lower())
    return tuple(word for word in words if word not in ("nvidia", "tesla"))


def _sizes(words: Iterable[str]) -> set[str]:
    return {word for word in words if _SIGNIFICANT.fullmatch(word)}


def _nearest(text: str) -> str:
    names = {name.lower(): name for board in boards() for name in (*board.names, board.key)}
    near = difflib.get_close_matches(text[:NAME_LIMIT].lower().removeprefix("nvidia "), names, n=2, cutoff=0.5)
    meant = f"did you mean {' or '.join(names[each] for each in near)}? " if near else ""
    return f"{meant}{_known()}"


def _known() -> str:
    known = ", ".join(board.key for board in boards())
    return f"the table has {known}; other GPUs have no MIG, or are newer than the table"


def profiles_called(name: str) -> Iterator[tuple[Board, Profile]]:
    """Every board that has a profile of that name, with the profile: for a name that belongs to another board."""
    for board in boards():
        profile = board.profile(name)
        if profile is not None:
            yield board, profile
