"""Where in a TOML text a key is set: `tomllib` tells values and no places."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Keys = tuple[str, ...]

_HEADER = re.compile(r"\s*\[(?P<table>[^\[\]]+)\]\s*(#.*)?$")
_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_SETS = re.compile(rf"\s*(?P<key>{_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


class TomlLines:
    """The lines of one valid document that open a table or set a key."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._places: dict[Keys, int] = {}
        """Keys of keys -> number of its line, from 1, in their order."""
        table: Keys = ()
        for number, line in enumerate(self._lines, 1):
            if header := _HEADER.match(line):
                table = _path(header["table"])
                self._places.setdefault(table, number)
            elif sets := _SETS.match(line):
                self._places.setdefault((*table, *_path(sets["key"])), number)

    def line(self, path: Keys, word: str = "") -> int:
        """Where `path` is set; else where `path` without its last keys is; 1 when nothing of it is found as written.

        Within a value of several lines, or of an inline table, the line that has `word`.
        """
        for known in range(len(path), 0, -1):
            place = self._places.get(path[:known])
            if place is not None:
                return self._within(place, word or ("" if known == len(path) else path[known]))
        return 1

    def _within(self, place: int, word: str) -> int:
        if not word:
            return place
        starts = sorted(self._places.values())
        after = bisect_right(starts, place)
        end = starts[after] if after < len(starts) else len(self._lines) + 1
        return next((at for at in range(place, end) if word in self._lines[at - 1]), place)


def _path(key: str) -> Keys:
    """The keys of a dotted key."""
    try:
        value: object = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        # Within a string of several lines, where anything may look like a key.
        return ()
    path = []
    while isinstance(value, dict):
        ((name, value),) = value.items()
        path.append(name)
    return tuple(path)
