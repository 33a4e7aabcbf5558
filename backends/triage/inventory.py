"""Which GPUs each node has shown, kept over restarts: one that vanished over night is told in the morning.

`gpus.json` of the state directory (0600) holds all sites. A write takes a lock, reads what is there, adds what is new
and moves a synced copy into place, so that consoles and a `gpudeck check` in cron never undo each other: more GPUs and
later times win, whoever writes last. What was seen of a node before it was forgotten counts no more. A file that cannot
be read or written costs the memory beyond this process, nothing else: a damaged one is kept aside before another is
written, and one of another version of gpudeck is left as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from backends.domain import clean
from backends.triage.boards import Board, Boards, forgotten, merged
from backends.triage.stored import maybe, moment, write_whole

FILE_NAME = "gpus.json"
LOCK_NAME = ".gpus.lock"
SCHEMA = "gpudeck/gpus/1"
KEPT = 4000
"""Nodes of all sites; those seen last stay."""
BOARDS_KEPT = 32
SIZE_LIMIT = 8 << 20
NAME_LIMIT = 256
RENEW_SECONDS = 3600.0
"""How old the written time of a node's last full reading may get while it is well."""

Key: TypeAlias = tuple[str, str]
"""(site, node)"""
Signature: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the file holds after a look at it, and what was written."""

    records: Mapping[Key, Boards] | None = None
    """None where there is nothing new, where another writer was at it, or where the file cannot be read."""
    signature: Signature | None = None
    written: Mapping[Key, Boards] = field(default_factory=dict)
    warning: str | None = None
    damaged: bool = False
    """Something in the file cannot be read."""
    aside: Path | None = None
    """Where a damaged file was put before another was written."""


class Inventory:
    """Of one site. Without a directory it lasts as long as the process."""

    def __init__(self, site: str, directory: Path | None = None) -> None:
        self.site = site
        self.warning: str | None = None
        """What is wrong with the file, in words; None when it is well."""
        self.file = None if directory is None else directory / FILE_NAME
        self._kept: Mapping[Key, Boards] = {}
        """As the file held it last."""
        self._pending: dict[Key, Boards] = {}
        self._aside: Path | None = None
        self._signature: Signature | None = None
        self.take(self.exchange({}))

    @property
    def pending(self) -> dict[Key, Boards]:
        """What is to be written."""
        return dict(self._pending)

    @property
    def nodes(self) -> dict[str, Boards]:
        """Every node of the site of which anything is known."""
        known = {**self._kept, **self._pending}
        return {node: boards for (site, node), boards in known.items() if site == self.site}

    def of(self, node: str) -> Boards | None:
        """The most GPUs that the node has shown; None where it was never seen, or was forgotten."""
        key = (self.site, node)
        return self._pending.get(key) or self._kept.get(key)

    def note(self, node: str, boards: Boards | None, *, at_end: bool = False) -> None:
        """What `node` has shown by now: to be written where it is news, or where the written time is old.

        `at_end`: the last time that this process tells.
        """
        if boards is None or self.file is None:
            return
        known = self.of(node)
        is_same = known is not None and (known.boards, known.fewer_at) == (boards.boards, boards.fewer_at)
        if known is None or not is_same or boards.at - known.at >= (1.0 if at_end else RENEW_SECONDS):
            self._pending[self.site, node] = boards

    def exchange(self, pending: Mapping[Key, Boards]) -> Exchange:
        """Writes `pending` and reads what others wrote. Blocks, changes nothing here: it may run in a thread."""
        if self.file is None:
            return Exchange()
        if not pending:
            signature = _sign(self.file)
            return Exchange() if signature == self._signature else _read(self.file, signature)
        try:
            with _locked(self.file):
                found = _read(self.file, None)
                if found.records is None and not found.damaged:
                    return found
                # What a damaged file no longer tells is known here, unless this process has just begun.
                records = {**(self._kept if found.damaged else {}), **(found.records or {})}
                for key, boards in pending.items():
                    records[key] = merged(records.get(key), boards)
                aside = _put_aside(self.file) if found.damaged else None
                _write(self.file, records)
                return Exchange(records, _sign(self.file), pending, aside=aside)
        except BlockingIOError:
            return Exchange()  # another one writes just now: with the next look
        except OSError as error:
            why = error.strerror or error
            return Exchange(
                warning=f"{self.file} cannot be written: {why}; which GPUs there were lasts until gpudeck ends"
            )

    def take(self, found: Exchange) -> frozenset[str]:
        """Makes `found` count; the nodes of which others know something else than was known here."""
        self._aside = found.aside or self._aside
        if found.warning is not None or found.records is not None:
            damaged = None if self._aside is None else f"{self.file} was damaged: it is kept as {self._aside.name}"
            self.warning = found.warning or damaged
        if found.records is None:
            self._signature = found.signature or self._signature
            return frozenset()
        before = self.nodes
        for key, boards in found.written.items():
            if self._pending.get(key) is boards:
                del self._pending[key]
        self._kept, self._signature = found.records, found.signature
        after = self.nodes
        return frozenset(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

    def forget(self, node: str, now: float) -> bool:
        """What the node shows next is right; False when nothing was known. Blocks; raises OSError."""
        if self.file is None or not self.file.exists():
            return False
        with _locked(self.file, wait=True):
            found = _read(self.file, None)
            records = dict(found.records or {})
            known = records.get((self.site, node))
            if known is None or not known.count:
                return False
            records[self.site, node] = forgotten(now)
            if found.damaged:
                self._aside = _put_aside(self.file)
            _write(self.file, records)
        self.take(self.exchange({}))
        return True


def _sign(file: Path) -> Signature | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)


@contextlib.contextmanager
def _locked(file: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock of `file`; raises BlockingIOError where another holds it, other OSErrors where there is none."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(file.with_name(LOCK_NAME), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _write(file: Path, records: Mapping[Key, Boards]) -> None:
    """Raises OSError; a reader sees the old file or the new one, whole."""
    newest = sorted(records, key=lambda key: -records[key].at)[:KEPT]
    nodes = [{"site": site, "node": node, **_told(records[site, node])} for site, node in sorted(newest)]
    content = json.dumps({"schema": SCHEMA, "nodes": nodes}, allow_nan=False).encode("ascii")
    write_whole(file, content)


def _put_aside(file: Path) -> Path:
    """Moves a damaged file out of the way, named for when it was written; raises OSError."""
    aside = file.with_name(f"{file.name}.damaged-{file.stat().st_mtime_ns}")
    file.replace(aside)
    return aside


def _told(known: Boards) -> dict[str, Any]:
    gpus = [[board.key, board.bus_id] for board in known.boards[:BOARDS_KEPT]]
    return {"gpus": gpus, "at": known.at, "fewer_at": known.fewer_at, "forgotten_at": known.forgotten_at}


def _read(file: Path, signature: Signature | None) -> Exchange:
    """What the file holds; with a warning where not everything can be read, and None for records where nothing can."""
    try:
        with file.open("rb") as opened:
            content = opened.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        return Exchange({}, signature)
    except OSError as error:
        return Exchange(warning=f"{file} cannot be read: {error.strerror or error}; nothing is written there")
    try:
        raw = json.loads(content)
        schema, nodes = raw["schema"], raw["nodes"] if raw["schema"] == SCHEMA else []
        if not isinstance(nodes, list):
            raise TypeError("no list")
    except (ValueError, TypeError, KeyError, RecursionError):
        told = f"{file} cannot be read: which GPUs there were is not known"
        return Exchange(None, signature, warning=told, damaged=True)
    if schema != SCHEMA:
        told = f"{file} is of another version of gpudeck ({clean(str(schema), 40)}): it is left as it is"
        return Exchange(None, signature, warning=told)
    records, broken = {}, 0
    for each in nodes[:KEPT]:
        try:
            key, boards = _parsed(each)
        except (ValueError, TypeError, KeyError):
            broken += 1
        else:
            records[key] = boards
    told = f"{broken} of {len(nodes)} nodes in {file} cannot be read: which GPUs they had is not known"
    return Exchange(records, signature, warning=told if broken else None, damaged=bool(broken))


def _parsed(raw: Any) -> tuple[Key, Boards]:
    """Raises ValueError, TypeError or KeyError."""
    boards = tuple(Board(_text(key), None if bus is None else _text(bus)) for key, bus in raw["gpus"][:BOARDS_KEPT])
    known = Boards(boards, moment(raw["at"]), maybe(moment, raw["fewer_at"]), maybe(moment, raw["forgotten_at"]))
    return (_text(raw["site"]), _text(raw["node"])), known


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("names are texts")
    return clean(value, NAME_LIMIT)
