"""The MIG table read again, by code that shares nothing with the planner: what may stand on a board, by brute force.

A pretend nvidia-smi carries out the commands of a plan, choosing places as badly as the driver might.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import product
from typing import Any

TABLE: dict[str, dict[str, Any]] = {
    board["key"]: board
    for board in json.loads(resources.files("backends.nodes.mig").joinpath("profiles.json").read_text())["boards"]
}
PLACED = tuple(key for key, board in TABLE.items() if all("starts" in profile for profile in board["profiles"]))
"""The boards whose placements are known."""

Place = tuple[str, int]
"""(profile, start)"""


def rows(key: str) -> dict[str, dict[str, Any]]:
    return {profile["name"]: profile for profile in TABLE[key]["profiles"]}


def is_valid(key: str, layout: tuple[Place, ...] | list[Place]) -> bool:
    """The rules, counted unit by unit."""
    table, units = rows(key), Counter[int]()
    for name, start in layout:
        if start not in table[name]["starts"]:
            return False
        units.update(range(start, start + table[name]["size"]))
    counts = Counter(name for name, _ in layout)
    return (
        all(count == 1 for count in units.values())
        and all(unit < TABLE[key]["placement_units"] for unit in units)
        and all(count <= table[name]["max"] for name, count in counts.items())
        and sum("+me" in name for name, _ in layout) <= 1
        and sum(table[name]["compute"] for name, _ in layout) <= TABLE[key]["compute_slices"]
    )


@cache
def valid_layouts(key: str) -> frozenset[tuple[Place, ...]]:
    """Every layout there is: each placement unit begins one of the profiles, or none."""
    table = rows(key)
    choices = [
        [None, *((name, start) for name, profile in table.items() if start in profile["starts"])]
        for start in range(TABLE[key]["placement_units"])
    ]
    found: set[tuple[Place, ...]] = set()

    def extend(unit: int, layout: tuple[Place, ...], free_from: int) -> None:
        if unit == len(choices):
            if is_valid(key, layout):
                found.add(layout)
            return
        for choice in choices[unit]:
            if choice is None:
                extend(unit + 1, layout, free_from)
            elif unit >= free_from:
                extend(unit + 1, (*layout, choice), unit + table[choice[0]]["size"])

    extend(0, (), 0)
    return frozenset(found)


@cache
def valid_sets(key: str) -> frozenset[tuple[str, ...]]:
    """Every set of profiles that some layout holds, as sorted names."""
    return frozenset(tuple(sorted(name for name, _ in layout)) for layout in valid_layouts(key))


@dataclass
class PretendSmi:
    """`nvidia-smi` on one GPU: takes command lines, keeps the mode and the GPU instances.

    Where a GPU instance is made without a start, `worlds` branches into every place the driver could choose.
    """

    key: str
    mode: bool
    pending: bool | None = None
    worlds: set[frozenset[tuple[str, int, int]]] = field(default_factory=lambda: {frozenset()})
    """Each: {(profile, start, gi)}"""

    def run(self, command: str) -> None:
        words = command.removeprefix("sudo ").split()
        if words[:2] in (["systemctl", "stop"], ["systemctl", "start"]):
            return
        assert words[0] == "nvidia-smi", command
        if "--gpu-reset" in words:
            self.mode = self.mode if self.pending is None else self.pending
            self.worlds = {frozenset()}
        elif "-mig" in words:
            assert words[1:3] == ["-i", "0"], "never every GPU of the node"
            wanted = words[words.index("-mig") + 1] == "1"
            assert wanted or self.worlds == {frozenset()}, "MIG cannot be switched off with instances"
            self.mode, self.pending = wanted, wanted
        elif "-dgi" in words:
            assert self.computes_gone(words), "compute instances go first"
            self._destroy(words)
        elif "-dci" in words:
            self._gone = words[words.index("-gi") + 1] if "-gi" in words else "all"
        elif "-cgi" in words:
            assert self.mode, "no instances without MIG mode"
            assert words[-1] == "-C", "without its compute instance it is no device"
            for entry in words[words.index("-cgi") + 1].split(","):
                self._create(entry)

    def computes_gone(self, words: list[str]) -> bool:
        return getattr(self, "_gone", None) == (words[words.index("-gi") + 1] if "-gi" in words else "all")

    def _destroy(self, words: list[str]) -> None:
        if "-gi" not in words:
            self.worlds = {frozenset()}
            return
        number = int(words[words.index("-gi") + 1])
        for world in self.worlds:
            assert any(gi == number for _, _, gi in world), f"no GPU instance {number}"
        self.worlds = {frozenset(each for each in world if each[2] != number) for world in self.worlds}

    def _create(self, entry: str) -> None:
        called, _, pinned = entry.partition(":")
        table = rows(self.key)
        name = next(name for name, row in table.items() if called in (name, str(row.get("id"))))
        grown = set()
        for world in self.worlds:
            standing = [(each[0], each[1]) for each in world]
            starts = [int(pinned)] if pinned else table[name]["starts"]
            fitting = [start for start in starts if is_valid(self.key, [*standing, (name, start)])]
            assert fitting, f"Insufficient Resources: {entry} beside {sorted(standing)}"
            fresh = 1 + max((gi for _, _, gi in world), default=100)
            grown |= {world | {(name, start, fresh)} for start in fitting}
        self.worlds = grown

    @property
    def layouts(self) -> set[tuple[Place, ...]]:
        """What may stand now, whatever the driver chose."""
        return {
            tuple(sorted(((name, start) for name, start, _ in world), key=lambda each: each[1]))
            for world in self.worlds
        }


def starts_text(command: str) -> str:
    """The argument of -cgi in a command line."""
    found = re.search(r"-cgi (\S+)", command)
    assert found is not None, command
    return found[1]


def unordered_wishes(key: str, most: int) -> list[tuple[str, ...]]:
    """Every multiset of up to `most` profiles, valid or not."""
    names = list(rows(key))
    return sorted({tuple(sorted(each)) for count in range(most + 1) for each in product(names, repeat=count)})
