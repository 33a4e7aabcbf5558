"""Who has seen which finding, and why it may stay as it is.

One JSON object a line in `acknowledgements.jsonl` of the state directory (0600), the last line of an id counts. A line
is appended in one write, so that two consoles of one account do not undo each other. Lines that cannot be read are left
out and told once; a file that cannot be written costs the memory beyond this process, nothing else.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Look:
    """What the file held at one time."""

    signature: tuple[int, int, int] | None
    writes: int
    """How many lines the looker itself had written by then."""
    records: dict[tuple[str, str], _Record] | None = None
    """None where there is nothing new to take."""
    warning: str | None = None
    lines: int = 0


class Acknowledgements:
    """Of one site. Without a directory they last as long as the process."""

    file: Path | None
    """Where they are kept."""

    def __init__(self, site: str, directory: Path | None = None) -> None:
        self.site = site
        self.warning: str | None = None
        """What is wrong with the file, in words; None when it is well."""
        self.file = None if directory is None else directory / FILE_NAME
        self._records: dict[tuple[str, str], _Record] = {}
        self._signature: tuple[int, int, int] | None = None
        self._lines = 0
        self._writes = 0
        self.refresh()
        if self.file is not None and self._lines > LINES_BEFORE_REWRITE and self.warning is None:
            self._rewrite(self.file)

    def add(self, finding: Finding, who: str, why: str, at: float) -> Acknowledgement:
        """`finding` is acknowledged as grave as it is now; an empty `why` is allowed."""
        self.refresh()
        said = Acknowledgement(clean(who, WHO_LIMIT), clean(why, WHY_LIMIT), at)
        record = _Record(said, finding.severity, finding.magnitude)
        self._records[self.site, finding.id] = record
        self._append(_line(self.site, finding.id, record))
        return said

    def remove(self, identity: str) -> bool:
        """It is open again; False when it was not acknowledged."""
        self.refresh()
        if self._records.pop((self.site, identity), None) is None:
            return False
        self._append({"site": self.site, "id": identity, "open": True})
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
        record = self._records[self.site, identity] = replace(record, over_at=at)
        self._append(_line(self.site, identity, record))

    def refresh(self) -> bool:
        """Reads the file again if it is another than before; whether it was."""
        return self.take(self.look())

    def look(self) -> Look:
        """What the file holds now, if that is news. Changes nothing here: it may run in a thread beside the rest."""
        writes, known, signature = self._writes, self._signature, self._sign()
        if self.file is None or signature == known:
            return Look(known, writes)
        return Look(signature, writes, {}) if signature is None else _read(self.file, signature, writes)

    def take(self, look: Look) -> bool:
        """Makes `look` count; whether it held anything new. What was written here since it began is newer."""
        if look.records is None and look.warning is None:
            return False
        if look.writes != self._writes:
            # Not taken, so that the next look reads the file with both.
            self._signature = None
            return False
        self._signature = look.signature
        self.warning = look.warning
        if look.records is not None and look.signature is not None:
            self._records, self._lines = look.records, look.lines
        return True

    def _sign(self) -> tuple[int, int, int] | None:
        if self.file is None:
            return None
        try:
            status = self.file.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns)

    def _append(self, record: dict[str, Any]) -> None:
        if self.file is None:
            return
        self._writes += 1
        before, line = self._signature, json.dumps(record).encode("ascii") + b"\n"
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.warning = f"{self.file} cannot be written: {error.strerror or error}; this lasts until gpudeck ends"
        else:
            after = self._sign()
            grown = None if after is None else after[1] - (0 if before is None else before[1])
            # Somebody else wrote in between: the next look reads theirs.
            self._signature = after if grown == len(line) else None

    def _rewrite(self, file: Path) -> None:
        """The same without what is superseded; moved into place, so that a reader sees the old one or the new one."""
        lines = [json.dumps(_line(site, identity, record)) for (site, identity), record in self._records.items()]
        try:
            write_whole(file, "".join(f"{line}\n" for line in lines).encode("ascii"))
        except OSError as error:
            self.warning = f"{file} cannot be rewritten: {error.strerror or error}"
        else:
            self._signature = self._sign()


def _read(file: Path, signature: tuple[int, int, int], writes: int) -> Look:
    try:
        with file.open("rb") as opened:
            content = opened.read(SIZE_LIMIT + 1)
    except OSError as error:
        # Without a signature it is tried again: rights that are given back change none.
        return Look(None, writes, warning=f"{file} cannot be read: {error.strerror or error}")
    lines = content[:SIZE_LIMIT].splitlines()
    records: dict[tuple[str, str], _Record] = {}
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
    return Look(signature, writes, dict(list(records.items())[-KEPT:]), told, len(lines))


def _line(site: str, identity: str, record: _Record) -> dict[str, Any]:
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


def _parsed(line: bytes) -> tuple[tuple[str, str], _Record | None]:
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
