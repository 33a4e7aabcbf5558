"""Files of the state directory: for their owner only, never through a link, synced before they count."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from backends.contract import JournalFailed

_PLAIN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""No link is followed, and a FIFO put in the way does not hang the open."""


def private_directory(path: Path) -> Path:
    """Makes `path` with 0700 where it is missing; raises JournalFailed."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise failed("made", path, error) from None
    return path


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a plain file, created with 0600 where `flags` ask for it; raises OSError."""
    descriptor = os.open(path, flags | _PLAIN, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return descriptor


def write_all(descriptor: int, payload: bytes) -> None:
    """Writes all of `payload`; raises OSError, after which a part of it may be there."""
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_directory(path: Path) -> None:
    """Makes the names in a directory last; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a plain file; raises OSError, with EFBIG past `limit` bytes."""
    descriptor = open_private(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as opened:
        content = opened.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def failed(doing: str, path: Path, error: OSError) -> JournalFailed:
    """Why a file could not be `doing` (a participle), with what to do."""
    hints = {
        errno.ENOSPC: "the disk is full: free some space there, then try again",
        errno.EDQUOT: "the quota is used up: free some space there, then try again",
        errno.EFBIG: "the file has reached the largest size allowed here (ulimit -f)",
        errno.EROFS: "the file system is mounted read-only",
        errno.ELOOP: "it is a symbolic link; gpudeck follows none there",
        errno.EACCES: "gpudeck must be allowed to read and write there, or set XDG_STATE_HOME",
        errno.ENOTDIR: "a part of the path is a file: set XDG_STATE_HOME to a directory that can be written",
        errno.EEXIST: "there is a file of that name: move it away, or set XDG_STATE_HOME",
    }
    hint = hints.get(error.errno or 0, "set XDG_STATE_HOME to a directory that can be written")
    return JournalFailed(f"{path} cannot be {doing}: {error.strerror or error}", hint)
