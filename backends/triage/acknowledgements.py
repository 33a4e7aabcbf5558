"""Who has seen which finding, and why it may stay as it is.

One JSON object a line in `acknowledgements.jsonl` of the state directory (0600), the last line of an id counts. What is
new is appended in one write, so that two consoles of one account do not undo each other. Lines that cannot be read are
left out and told once; a file that cannot be written costs the memory beyond this process, nothing else, and is tried
again.

What is said counts at once and waits in `pending`; `exchange` writes it and reads what others wrote, `take` makes that
count. Only `exchange` blocks, and it changes nothing here: it may run in a thread beside the rest.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from backends.domain import Acknowledgement, Finding, Severity, clean
from backends.triage.stored import maybe, moment, number, write_whole

FILE_NAME = "acknowledgements.jsonl"
KEPT = 500
"""Acknowledgements of all sites; the oldest go first."""
SIZE_LIMIT = 4 << 20
"""Bytes that are read of the file, from its beginning."""
LINES_BEFORE_REWRITE = 2000
"""A longer file is rewritten when a console starts."""
OVER_SECONDS = 86_400.0
"""So long after its finding recovered an acknowledgement holds for the same one: a node that reboots comes and goes."""
OVER_SPACING_SECONDS = 3600.0
"""That a finding is over is written down once in this time: some come and go every minute."""
WHY_LIMIT = 200
WHO_LIMIT = 60


@dataclass(frozen=True, slots=True)
class _Record:
    said: Acknowledgement
    severity: Severity
    magnitude: float | None
    over_at: float | None = None
    """When its finding last recovered."""


_Key: TypeAlias = tuple[str, str]
"""Site, and id of a finding."""
Pending: TypeAlias = Mapping[_Key, _Record | None]
"""What is said of findings and not yet written; None: they are open again."""
_Signature: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """What the file held at one time."""

    signature: _Signature | None
    records: dict[_Key, _Record] | None = None
    """None where there is nothing new to take."""
    warning: str | None = None
    lines: int = 0
    written: Pending = field(default_factory=dict)
    """What was put there before."""


class Acknowledgements:
    """Of one site. Without a directory they last as long as the process."""

    file: Path | None
    """Where they are kept."""

    def __init__(self, site: str, directory: Path | None = None) -> None:
        self.site = site
        self.warning: str | None = None
        """What is wrong with the file, in words; None when it is well."""
        self.file = None if directory is None else directory / FILE_NAME
        self._records: dict[_Key, _Record] = {}
        self._pending: dict[_Key, _Record | None] = {}
        self._signature: _Signature | None = None
        self._lines = 0
        self._exchanging = threading.Lock()
        """A later line counts more: one that is still being written comes before the next."""
        self.refresh()
        if self.file is not None and self._lines > LINES_BEFORE_REWRITE and self.warning is None:
            self._rewrite(self.file)

    @property
    def pending(self) -> Pending:
        """What must still be written, as it is now."""
        return dict(self._pending)

    def add(self, finding: Finding, who: str, why: str, at: float) -> Acknowledgement:
        """`finding` is acknowledged as grave as it is now; an empty `why` is allowed."""
        said = Acknowledgement(clean(who, WHO_LIMIT), clean(why, WHY_LIMIT), at)
        self._note(finding.id, _Record(said, finding.severity, finding.magnitude))
        return said

    def remove(self, identity: str) -> bool:
        """It is open again; False when it was not acknowledged."""
        if (self.site, identity) not in self._records:
            return False
        self._note(identity, None)
        return True

    def of(self, finding: Finding, *, dated: bool = False) -> Acknowledgement | None:
        """What was said of `finding`; None, for good, once it is worse than what was acknowledged.

        It holds too when the finding was over in between, for `OVER_SECONDS`. `dated`: its `since` comes from its
        evidence, so that one which began after the acknowledgement is another.
        """
        record = self._records.get((self.site, finding.id))
        if record is None:
            return None
        worse = finding.severity.rank > record.severity.rank
        grown = (finding.magnitude or 0.0) > (record.magnitude or 0.0)
        forgotten = record.over_at is not None and finding.since - record.over_at > OVER_SECONDS
        if worse or grown or forgotten or (dated and finding.since > record.said.at):
            self.remove(finding.id)
            return None
        return record.said

    def note_over(self, identity: str, at: float) -> None:
        """The finding of that id is no longer so since `at`, seconds since the epoch."""
        record = self._records.get((self.site, identity))
        if record is None or (record.over_at is not None and at - record.over_at < OVER_SPACING_SECONDS):
            return
        self._note(identity, replace(record, over_at=at))

    def _note(self, identity: str, record: _Record | None) -> None:
        if self.file is not None:
            self._pending[self.site, identity] = record
        self._records.pop((self.site, identity), None)
        if record is not None:
            self._records[self.site, identity] = record

    def refresh(self) -> bool:
        """Writes what waits and reads the file again if it is another than before; whether it was. Blocks."""
        return self.take(self.exchange(self.pending))

    def exchange(self, pending: Pending) -> Look:
        """Writes `pending`, and tells what the file holds then, if that is news."""
        with self._exchanging:
            return self._exchange(pending)

    def _exchange(self, pending: Pending) -> Look:
        known, unwritten = self._signature, None
        if self.file is None:
            return Look(known)
        if pending:
            try:
                _append(self.file, pending)
            except OSError as error:
                unwritten = f"{self.file} cannot be written: {error.strerror or error}; this lasts until gpudeck ends"
        signature = _sign(self.file)
        if signature == known and (unwritten or not pending):
            return Look(known, warning=unwritten)
        written = {} if unwritten else pending
        look = Look(None, {}, written=written) if signature is None else _read(self.file, signature, written)
        return replace(look, warning=unwritten or look.warning)

    def take(self, look: Look) -> bool:
        """Makes `look` count; whether it held anything new. What was said here since it began is newer."""
        if look.records is None and look.warning is None:
            return False
        for key, record in look.written.items():
            if key in self._pending and self._pending[key] is record:
                del self._pending[key]
        self._signature = look.signature
        self.warning = look.warning
        if look.records is not None and look.signature is not None:
            self._records, self._lines = look.records, look.lines
            for (_, identity), record in list(self._pending.items()):
                self._note(identity, record)
        return True

    def _rewrite(self, file: Path) -> None:
        """The same without what is superseded; moved into place, so that a reader sees the old one or the new one."""
        lines = [json.dumps(_line(site, identity, record)) for (site, identity), record in self._records.items()]
        try:
            write_whole(file, "".join(f"{line}\n" for line in lines).encode("ascii"))
        except OSError as error:
            self.warning = f"{file} cannot be rewritten: {error.strerror or error}"
        else:
            self._signature = _sign(file)


def _sign(file: Path) -> _Signature | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _append(file: Path, pending: Pending) -> None:
    """Raises OSError."""
    lines = b"".join(json.dumps(_line(*key, record)).encode("ascii") + b"\n" for key, record in pending.items())
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, lines)
    finally:
        os.close(descriptor)


def _read(file: Path, signature: _Signature, written: Pending) -> Look:
    try:
        with file.open("rb") as opened:
            content = opened.read(SIZE_LIMIT + 1)
    except OSError as error:
        # Without a signature it is tried again: rights that are given back change none.
        return Look(None, warning=f"{file} cannot be read: {error.strerror or error}", written=written)
    lines = content[:SIZE_LIMIT].splitlines()
    records: dict[_Key, _Record] = {}
    broken = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            key, record = _parsed(line)
        except (ValueError, TypeError, KeyError, RecursionError):
            broken += 1
            continue
        records.pop(key, None)
        if record is not None:
            records[key] = record
    told = f"{broken} of {len(lines)} lines of {file} cannot be read: they are left out" if broken else None
    if len(content) > SIZE_LIMIT:
        told = f"{file} is longer than {SIZE_LIMIT >> 20} MiB: what stands beyond, the newest, is left out"
    return Look(signature, dict(list(records.items())[-KEPT:]), told, len(lines), written)


def _line(site: str, identity: str, record: _Record | None) -> dict[str, Any]:
    if record is None:
        return {"site": site, "id": identity, "open": True}
    return {
        "site": site,
        "id": identity,
        "who": record.said.who,
        "why": record.said.why,
        "at": record.said.at,
        "severity": str(record.severity),
        "magnitude": record.magnitude,
        "over": record.over_at,
    }


def _parsed(line: bytes) -> tuple[_Key, _Record | None]:
    """(site, finding id) and what was said of it, None for an id that was opened again; raises for anything else."""
    raw = json.loads(line)
    site, identity = raw["site"], raw["id"]
    if not (isinstance(site, str) and isinstance(identity, str)):
        raise TypeError("names are texts")
    if raw.get("open") is True:
        return (site, identity), None
    magnitude = raw.get("magnitude")
    said = Acknowledgement(clean(str(raw["who"]), WHO_LIMIT), clean(str(raw["why"]), WHY_LIMIT), moment(raw["at"]))
    severity, over = Severity(raw["severity"]), raw.get("over")
    return (site, identity), _Record(said, severity, maybe(number, magnitude), maybe(moment, over))
