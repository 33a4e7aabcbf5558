"""Files of the state directory: for their owner only, never through a link, synced before they count.

The changes of a site may be shared by a group, in a directory that is for this group only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
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


def shared_directory(path: Path) -> Path:
    """`path`, which must be there, be its group's and nobody else's, and give its group to new files.

    Raises JournalFailed.
    """
    made = f"as root: install -d -m 2770 -g GROUP {shlex.quote(str(path))}"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise JournalFailed(f"{path} cannot be used: {error.strerror or error}", made) from None
    if not stat.S_ISDIR(mode) or mode & 0o007 or mode & 0o2070 != 0o2070:
        said = f"{path} is no directory of one group alone: its mode is {stat.S_IMODE(mode):04o}, not 2770"
        raise JournalFailed(said, made)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise JournalFailed(f"{path} may not be written by this login", "only members of its group share the changes")
    return path


def directory_of(path: Path, *, shared: bool) -> Path:
    """One that may be written to; raises JournalFailed."""
    return shared_directory(path) if shared else private_directory(path)


def open_file(path: Path, flags: int, *, shared: bool) -> int:
    """As `open_private`; `shared` with a group, a new file is there at once with 0660, whatever the umask says."""
    if not shared or not flags & os.O_CREAT:
        return open_private(path, flags)
    if not flags & os.O_EXCL:
        # Not with O_CREAT: the kernel may refuse that for a file of somebody else (fs.protected_regular).
        with contextlib.suppress(FileNotFoundError):
            return open_private(path, flags & ~os.O_CREAT)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = open_private(new, flags | os.O_EXCL)
    try:
        os.fchmod(descriptor, 0o660)
        os.link(new, path)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, FileExistsError) and not flags & os.O_EXCL:
            return open_private(path, flags & ~os.O_CREAT)
        raise
    finally:
        new.unlink()
    return descriptor


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
