"""One change at a time on a site, over every console that shares the state directory.

The lock is held on a file per site (flock), so that the kernel frees it when its owner dies, and the file says who
holds it: process, host, change, step, and a heartbeat. On a directory shared by several hosts the lock may not reach
over the network; there a heartbeat younger than `STALE_SECONDS` counts as a live owner, as long as the hosts' clocks
agree to that much.

What this cannot see: a console with another directory (another user, another XDG_STATE_HOME, without the group's
`changes_directory`), and people who change things by other tools. A lock on the cluster would be a write that needs
rights of its own. There only what each step looks at before it acts holds: the uid of the pod, the layout of the GPU
and who is on it, the step that a driver upgrade is at.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backends.changes.files import directory_of, failed, open_file, open_private
from backends.contract import ChangeRefused, JournalFailed
from backends.domain import clean

BEAT_SECONDS = 5.0
STEP_SECONDS = 1.0
"""So soon at the latest the lock tells of another step."""
STALE_SECONDS = 30.0
_RECORD_LIMIT = 8_192
_TRIES = 5
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Owner:
    """Who changes a site, as the lock file says."""

    pid: int
    host: str
    who: str
    change: str
    title: str
    step: str
    since: float
    beat: float
    """When it last said so, seconds since the epoch by its own clock."""

    def told(self, now: float) -> str:
        """`alice@head01 (pid 4242) since 3 min: MIG layout of dgx07 gpu3, step 2 of 3`."""
        minutes = max(0, int(now - self.since)) // 60
        since = f"{minutes} min" if minutes else f"{max(0, int(now - self.since))} s"
        return f"{self.who} (pid {self.pid}) since {since}: {self.title}, {self.step}"


@dataclass(frozen=True, slots=True)
class Held:
    """What a look at the lock tells."""

    owner: Owner | None
    """None: nobody, or one whose record cannot be read."""
    alive: bool
    """False with an owner: a console that died in the middle of a change."""


def lock_path(directory: Path, site: str) -> Path:
    """A file per site; the digest keeps names apart that would be written alike."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", site)[:48].lstrip(".") or "site"
    return directory / f"{plain}-{hashlib.sha256(site.encode()).hexdigest()[:8]}.lock"


class SiteLock:
    """Held by this process until `release` or its death. Every method blocks on the disk: call them in a thread."""

    def __init__(self, path: Path, descriptor: int, owner: Owner) -> None:
        self.path = path
        self.owner = owner
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path, owner: Owner, now: float, *, shared: bool = False) -> SiteLock:
        """Takes the lock; raises ChangeRefused when another console holds it, JournalFailed when none can be had.

        `shared`: its directory is a group's.
        """
        directory_of(path.parent, shared=shared)
        try:
            descriptor = open_file(path, os.O_RDWR | os.O_CREAT, shared=shared)
        except OSError as error:
            raise failed("opened", path, error) from None
        try:
            _take(descriptor, path, now)
            held = _read(descriptor)
            if held is not None and held.host != owner.host and now - held.beat < STALE_SECONDS:
                raise _refused(held, now)
            lock = cls(path, descriptor, owner)
            lock.beat(owner.step, now)
        except BaseException:
            os.close(descriptor)
            raise
        return lock

    def beat(self, step: str, now: float) -> None:
        """Says that the owner lives and where it is; raises JournalFailed."""
        if self._descriptor is None:
            return
        self.owner = replace(self.owner, step=step, beat=now)
        record = json.dumps(asdict(self.owner), ensure_ascii=True).encode("ascii")[:_RECORD_LIMIT] + b"\n"
        try:
            # In place: a new file under this name would not be the one that is locked.
            os.pwrite(self._descriptor, record, 0)
            os.ftruncate(self._descriptor, len(record))
        except OSError as error:
            raise failed("written", self.path, error) from None

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)


def look(path: Path, now: float, host: str) -> Held:
    """Who holds the lock, without taking it; a file that cannot be opened is held by nobody."""
    try:
        descriptor = open_private(path, os.O_RDWR)
    except OSError:
        return Held(None, alive=False)
    try:
        owner = _read(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return Held(owner, alive=True)
        beats = owner is not None and owner.host != host and now - owner.beat < STALE_SECONDS
        return Held(owner, alive=beats)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, now: float) -> None:
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise JournalFailed(
                    f"{path} cannot be locked: {error.strerror}",
                    "the file system of the state directory has no locks: set XDG_STATE_HOME to a local one",
                ) from None
        else:
            return
        if attempt < _TRIES - 1:
            time.sleep(_PAUSE_SECONDS)  # another console may only be looking
    raise _refused(_read(descriptor), now)


def _refused(owner: Owner | None, now: float) -> ChangeRefused:
    said = "another console" if owner is None else owner.told(now)
    return ChangeRefused(f"this site is being changed by {said}", "wait until it has ended: gpudeck changes")


def _read(descriptor: int) -> Owner | None:
    try:
        document = json.loads(os.pread(descriptor, _RECORD_LIMIT + 1, 0))
        return _owner(document)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None  # empty, or read while it was written


def _owner(document: Mapping[str, Any]) -> Owner:
    return Owner(
        pid=int(document["pid"]),
        since=float(document["since"]),
        beat=float(document["beat"]),
        **{key: clean(str(document[key])) for key in ("host", "who", "change", "title", "step")},
    )
