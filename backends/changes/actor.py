"""Who makes a change: the login, and where it comes from."""

from __future__ import annotations

import os
import platform
import pwd
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backends.domain import clean

_NO_LOGIN_UID = 0xFFFFFFFF
"""What the kernel says of a process that no login started."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A person as the machine knows them. None: it could not be told."""

    login: str
    uid: int
    host: str
    login_user: str | None = None
    """Who logged in before any su or sudo, by the kernel's audit (/proc/self/loginuid): the user cannot change it."""
    sudo_user: str | None = None
    """SUDO_USER of the environment: what sudo said, and the user may have altered."""
    tty: str | None = None
    ssh_from: str | None = None
    """The client's address, from SSH_CONNECTION."""

    @property
    def label(self) -> str:
        """`alice@head01`, `root (alice)@head01`."""
        person = self.login_user or self.sudo_user
        name = self.login if person in (None, self.login) else f"{self.login} ({person})"
        return f"{name}@{self.host}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> Actor:
        """Whoever a journal names; tolerant, because it is only shown."""
        given = document if isinstance(document, Mapping) else {}
        uid = given.get("uid")
        return cls(
            login=clean(str(given.get("login", "unknown")), 64),
            uid=uid if isinstance(uid, int) else -1,
            host=clean(str(given.get("host", "unknown")), 128),
            **{key: _text(given.get(key)) for key in ("login_user", "sudo_user", "tty", "ssh_from")},
        )


def current(environ: Mapping[str, str] | None = None) -> Actor:
    """The one who runs this process."""
    given = os.environ if environ is None else environ
    uid = os.getuid()
    return Actor(
        login=_name(uid),
        uid=uid,
        host=clean(platform.node() or "unknown", 128),
        login_user=_login_user(),
        sudo_user=_text(given.get("SUDO_USER")),
        tty=_tty(),
        ssh_from=_text((given.get("SSH_CONNECTION") or "").partition(" ")[0]),
    )


def _name(uid: int) -> str:
    try:
        return clean(pwd.getpwuid(uid).pw_name, 64)
    except KeyError:
        return f"uid {uid}"


def _login_user() -> str | None:
    try:
        uid = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _NO_LOGIN_UID else _name(uid)


def _tty() -> str | None:
    for descriptor in (0, 1, 2):
        try:
            return clean(os.ttyname(descriptor), 64)
        except OSError:
            continue
    return None


def _text(value: object) -> str | None:
    return clean(value, 128) if isinstance(value, str) and value else None
