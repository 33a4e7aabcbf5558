"""The journal of one change: append-only, each line synced before what it announces is done."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.changes import files
from backends.changes.actor import Actor
from backends.changes.change import Change
from backends.changes.files import directory_of, failed, open_file, open_private, read_bounded, sync_directory
from backends.changes.places import Places, places_json
from backends.changes.record import VERSION, ChangeRecord, JournalCorrupt, begin, parse, replay
from backends.changes.step import step_json
from backends.contract import ChangeRefused, GpudeckError, JournalFailed
from backends.domain.redact import first_secret, redact

SUFFIX = ".journal"
FILE_LIMIT = 8 << 20


class Journal:
    """Writes one change's events. Every method blocks on the disk: call them in a thread.

    All of them raise JournalFailed when a line could not be made to last; then nothing it announces may be done.
    """

    def __init__(self, path: Path, descriptor: int, record: ChangeRecord, size: int, who: str) -> None:
        self.path = path
        self._who = who
        self.record = record
        self._descriptor = descriptor
        self._size = size
        self._broken = False

    @classmethod
    def create(
        cls,
        directory: Path,
        change: Change,
        actor: Actor,
        at: float,
        places: Places | None = None,
        *,
        shared: bool = False,
    ) -> Journal:
        """A new journal with its first line; raises ChangeRefused when a step would write a secret into it.

        `shared`: the directory is a group's.
        """
        event = _beginning(change, actor, at, places or {})
        path = directory_of(directory, shared=shared) / f"{change.id}{SUFFIX}"
        try:
            descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, shared=shared)
        except OSError as error:
            raise failed("made", path, error) from None
        journal = cls(path, descriptor, begin(event), 0, actor.label)
        try:
            journal._write(event)
            sync_directory(directory)
        except (OSError, JournalFailed) as error:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()  # no step has begun: there is nothing to tell
            raise (error if isinstance(error, JournalFailed) else failed("written", path, error)) from None
        return journal

    @classmethod
    def reopen(cls, directory: Path, change_id: str, who: str = "") -> Journal:
        """The journal of a change that goes on by the hand of `who`; a cut last line is taken off.

        Raises GpudeckError.
        """
        path = path_of(directory, change_id)
        record = read(path)
        try:
            descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise failed("opened", path, error) from None
        try:
            size = os.fstat(descriptor).st_size - record.torn_bytes
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise failed("written", path, error) from None
        return cls(path, descriptor, record, size, who)

    def write(self, name: str, at: float, **values: Any) -> ChangeRecord:
        """Appends one event and waits until it is on the disk; returns the record after it."""
        by = {"who": self._who} if self._who else {}
        event = {"n": self.record.events, "event": name, "at": at, **by, **values}
        for key in ("said", "why"):
            if key in event:
                event[key] = redact(str(event[key]))
        after = replay(self.record, event)
        self._write(event)
        self.record = after
        return after

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _write(self, event: Mapping[str, Any]) -> None:
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
        if self._broken:
            raise JournalFailed(f"{self.path} ends in half a line", "nothing more is done in this change; resume it")
        try:
            files.write_all(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError as error:
            # Half a line would hide every later one: back to the last whole one, or no more lines.
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                self._broken = True
            raise failed("written", self.path, error) from None
        self._size += len(line)


def _beginning(change: Change, actor: Actor, at: float, places: Places) -> dict[str, Any]:
    documents = [step_json(step) for step in change.steps]
    for number, document in enumerate(documents, 1):
        place = first_secret(document)
        if place is not None:
            raise ChangeRefused(
                f"step {number} of {change.title!r} holds what looks like a secret ({place})",
                "a journal is kept on disk: let the step read the secret where it runs",
            )
    told = []
    for step in change.steps:
        undo = step.undo()
        told.append(
            {
                "describe": redact(step.describe()),
                "verified_by": step.verified_by(),
                "undo": None if undo is None else redact(undo.describe()),
                "undo_note": step.undo_note,
                "final": step.final,
            }
        )
    return {
        "n": 0,
        "event": "begin",
        "v": VERSION,
        "at": at,
        "id": change.id,
        "site": change.site,
        "places": places_json(places),
        "title": redact(change.title),
        "reason": redact(change.reason),
        "who": actor.to_json(),
        "targets": [target.name for target in change.targets],
        "hits": [redact(line) for line in change.radius.lines],
        "typed": change.typed_name,
        "steps": documents,
        "told": told,
    }


def path_of(directory: Path, change_id: str) -> Path:
    """Where a change's journal is; raises GpudeckError for a name that is none."""
    if not change_id or change_id != Path(change_id).name or change_id.startswith("."):
        raise GpudeckError(f"{change_id!r} is no change", "the names are in: gpudeck changes")
    return directory / f"{change_id}{SUFFIX}"


def read(path: Path) -> ChangeRecord:
    """The record of a journal; raises GpudeckError that names the file."""
    try:
        record = parse(read_bounded(path, FILE_LIMIT))
    except FileNotFoundError:
        raise GpudeckError(f"no change is called {path.stem}", "the names are in: gpudeck changes") from None
    except OSError as error:
        raise failed("read", path, error) from None
    except JournalCorrupt as error:
        why = f"{path} cannot be read: {error.message}"
        raise JournalCorrupt(why, "look at it by hand; gpudeck leaves it alone") from None
    if record.id != path.stem:
        raise JournalCorrupt(f"{path} cannot be read: it is the journal of {record.id}", "has it been renamed?")
    return record
