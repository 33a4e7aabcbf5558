"""What the known-hosts files hold for one destination (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

A file that is missing and a line that cannot be used trust nobody, and stop nobody either. A key that is marked revoked
stays so under whatever name of the host it is listed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.nodes.ssh_config import DEFAULT_PORT, SYSTEM_DIRECTORY, Resolved

USER_FILES = (Path("~/.ssh/known_hosts"), Path("~/.ssh/known_hosts2"))
SYSTEM_FILES = ("ssh_known_hosts", "ssh_known_hosts2")
_KEY_TYPES = ("ssh-", "ecdsa-", "sk-")


@dataclass(frozen=True, slots=True)
class KnownHost:
    """The keys on file for a destination, as asyncssh's keys."""

    place: str
    """The name the host has in the files: host, [host]:port, or its HostKeyAlias."""
    keys: tuple[Any, ...] = ()
    authorities: tuple[Any, ...] = ()
    """Of host certificates: @cert-authority."""
    revoked: tuple[Any, ...] = ()
    keys_in: tuple[Path, ...] = ()
    """The files of `keys`."""
    revoked_in: tuple[Path, ...] = ()
    keeps: Path | None = None
    """Where ssh would write a new key; None where the configuration wants none kept."""
    unread: tuple[str, ...] = ()
    """Files that are there and cannot be read, with the reason."""


def known_host(sdk: Any, resolved: Resolved, system: Path = SYSTEM_DIRECTORY) -> KnownHost:
    """Reads the files: not for the event loop."""
    named = resolved.paths("userknownhostsfile")
    own = [file.expanduser() for file in USER_FILES] if named is None else named
    shared = resolved.paths("globalknownhostsfile")
    files = [*own, *([system / name for name in SYSTEM_FILES] if shared is None else shared)]
    alias = resolved.word("hostkeyalias")
    host = (alias or resolved.host).lower()
    place = host if alias or resolved.port == DEFAULT_PORT else f"[{host}]:{resolved.port}"
    unread: list[str] = []
    read: list[tuple[Path, Any]] = []
    for file in files:
        try:
            status = file.stat()
            read.append((file, _read(sdk, file, (status.st_mtime_ns, status.st_size, status.st_ino))))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unread.append(f"{file}: {error.strerror}")
    names = [place] if place == host else [place, host]
    found = [_matching(read, name) for name in names]
    # A key under [host]:port is the one that counts; without any, as with OpenSSH, one under the plain name holds too.
    trusted = next((each for each in found if each[""] or each["cert-authority"]), found[-1])
    revoked = [one for each in found for one in each["revoked"]]
    return KnownHost(
        place,
        _keys(trusted[""]),
        _keys(trusted["cert-authority"]),
        _keys(revoked),
        keys_in=_places(trusted[""]),
        revoked_in=_places(revoked),
        keeps=next((file for file in own if str(file) != "/dev/null"), None),
        unread=tuple(unread),
    )


_Entry = tuple[Any, Path]
"""A key, and the file it is in."""


def _matching(read: Iterable[tuple[Path, Any]], name: str) -> dict[str, list[_Entry]]:
    """Marker (empty for a plain key) -> the entries for `name`."""
    found: dict[str, list[_Entry]] = {"": [], "cert-authority": [], "revoked": []}
    for file, entries in read:
        # The name goes in whole, with its port: asyncssh's own way from one to the other forgets revoked keys.
        for marker, keys in zip(found, entries.match(name, "", None)[:3], strict=True):
            found[marker] += [(key, file) for key in keys]
    return found


def _keys(entries: Iterable[_Entry]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(key for key, _ in entries))


def _places(entries: Iterable[_Entry]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(file for _, file in entries))


@functools.lru_cache(maxsize=16)
def _read(sdk: Any, file: Path, stamp: tuple[int, ...]) -> Any:
    """Read once for all nodes, and again once the file has changed."""
    entries = sdk.SSHKnownHosts()
    for line in file.read_bytes().decode("utf-8", "replace").split("\n"):
        entry = usable_line(line)
        if entry is not None:
            try:
                entries.load(entry)
            except ValueError:
                # A hash that is none, a marker nobody knows: it names no host.
                continue
    return entries


def usable_line(line: str) -> str | None:
    """The entry with its names in lower case, as OpenSSH compares them; None for what is no entry of a plain key."""
    parts = line.split()
    marker = [parts.pop(0)] if parts and parts[0].startswith("@") else []
    if len(parts) < 3 or parts[0].startswith("#"):
        return None
    names, kind, key = parts[:3]
    if not kind.startswith(_KEY_TYPES) or "-cert-" in kind:
        return None
    return " ".join((*marker, names if names.startswith("|") else names.lower(), kind, key))
