"""The journals of a state directory, read again and again: only what was written since; no unfinished one is missed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backends.changes.files import failed
from backends.changes.journal import SUFFIX, read
from backends.changes.record import ChangeRecord
from backends.contract import GpudeckError

LISTED = 200
"""As many journals are listed, newest first; and every older one that was not brought to an end, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A journal that cannot be read, by name, and why."""

    path: Path
    why: str


_Sign = tuple[int, int, int]
_Kept = ChangeRecord | Unreadable | None
"""None: an old one that was brought to an end."""


class Journals:
    """Of one directory. Reading blocks on the disk: call it in a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[Path, tuple[_Sign, _Kept]] = {}

    def __call__(self) -> tuple[list[ChangeRecord], list[Unreadable]]:
        """Newest first. Raises JournalFailed for a directory that is there and cannot be listed.

        No change and none seen are not the same.
        """
        known: dict[Path, tuple[_Sign, _Kept]] = {}
        for number, path in enumerate(self._paths()):
            try:
                status = path.lstat()
            except OSError:
                continue  # it has gone since
            sign = (status.st_ino, status.st_size, status.st_mtime_ns)
            was = self._known.get(path)
            if was is not None and was[0] == sign and (was[1] is not None or number >= LISTED):
                kept = was[1]
            else:
                kept = _read(path)
            ended = isinstance(kept, ChangeRecord) and kept.ended
            known[path] = (sign, None if ended and number >= LISTED else kept)
        self._known = known
        listed = [kept for _, kept in known.values()]
        return (
            [each for each in listed if isinstance(each, ChangeRecord)],
            [each for each in listed if isinstance(each, Unreadable)],
        )

    def _paths(self) -> list[Path]:
        try:
            # Not `glob`, which takes a directory that may not be read for an empty one.
            paths = [path for path in self._directory.iterdir() if path.name.endswith(SUFFIX)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise failed("read", self._directory, error) from None
        return sorted(paths, key=lambda path: path.name, reverse=True)


def _read(path: Path) -> ChangeRecord | Unreadable:
    try:
        return read(path)
    except GpudeckError as error:
        return Unreadable(path, error.message)


def read_all(directory: Path, site: str | None = None) -> tuple[list[ChangeRecord], list[Unreadable]]:
    """The journals of a site (None: of every site), as `Journals` lists them, and the ones that cannot be read."""
    records, unreadable = Journals(directory)()
    return [each for each in records if site is None or each.site == site], unreadable
