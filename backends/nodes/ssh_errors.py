"""What asyncssh and the operating system say, in words for a person at 3 a.m."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from backends.contract import AuthRefused, ConnectTimeout, GpudeckError, HostKeyChanged, HostKeyUnknown, Unreachable
from backends.domain import NodeSpec, SshSpec, clean


class OfferedKey:
    """The host key a server offered that known_hosts does not hold."""

    def __init__(self) -> None:
        self.fingerprint: str | None = None
        self.algorithm = ""
        self.host = ""
        self.port = 22
        self.known_hosts: Any = None
        self._address = ""

    def note(self, host: str, port: int, key: Any) -> None:
        self.host, self.port = host, port
        self.fingerprint = key.get_fingerprint()
        self.algorithm = key.get_algorithm()

    @property
    def place(self) -> str:
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def on_file(self) -> list[str]:
        """Fingerprints known_hosts holds for this host under other keys."""
        import asyncssh

        with contextlib.suppress(OSError, ValueError):
            port = None if self.port == 22 else self.port
            host_keys = asyncssh.match_known_hosts(self.known_hosts or _default_known_hosts(), self.host, "", port)[0]
            return [key.get_fingerprint() for key in host_keys]
        return []

    @property
    def files(self) -> str:
        if isinstance(self.known_hosts, list | tuple) and self.known_hosts:
            return clean(", ".join(str(name) for name in self.known_hosts[:2]))
        return "~/.ssh/known_hosts"


def _default_known_hosts() -> Any:
    from pathlib import Path

    path = Path("~/.ssh/known_hosts").expanduser()
    return str(path) if path.is_file() else b""


def explain(error: BaseException, node: NodeSpec, spec: SshSpec, offered: OfferedKey | None) -> GpudeckError:
    """The `GpudeckError` for what went wrong while connecting to `node` or opening a channel there."""
    import asyncssh

    where = node.name if node.destination == node.name else f"{node.name} ({node.destination})"
    said = clean(str(error), 200)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _host_key(where, said, node, offered)
    if isinstance(error, asyncssh.PermissionDenied):
        return AuthRefused(
            f"{where} accepted none of the offered keys",
            f"try: ssh -o BatchMode=yes {node.destination} true; add the key to ssh-agent or name it in the SSH config",
        )
    if isinstance(error, asyncssh.KeyImportError):
        return AuthRefused(f"a private key for {where} cannot be used: {said}", "load it into ssh-agent: ssh-add FILE")
    if isinstance(error, asyncssh.ConfigParseError | ValueError):
        name = spec.config_file or "~/.ssh/config"
        return Unreachable(f"the SSH configuration cannot be used for {where}: {said}", f"look at {name}")
    if isinstance(error, asyncssh.ChannelOpenError):
        return Unreachable(
            f"{where} opens no further session: {said}",
            "its sshd's MaxSessions may be too small; gpudeck needs one session per node, 8 at most",
        )
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Unreachable(f"{where} and this machine share no algorithm: {said}", f"try: ssh -v {node.destination}")
    if isinstance(error, TimeoutError):
        return ConnectTimeout(
            f"{where} did not answer within {spec.connect_timeout_seconds:.0f} s",
            "is the node up, is port 22 open from here, is a jump host missing in the SSH config?",
        )
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(f"{where} refused the connection", "is sshd running there, and is the port right?")
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"the name of {where} cannot be resolved", "check the name, or add a Host entry to the SSH config"
        )
    return Unreachable(f"{where} cannot be reached: {said or type(error).__name__}", f"try: ssh -v {node.destination}")


def _host_key(where: str, said: str, node: NodeSpec, offered: OfferedKey | None) -> GpudeckError:
    if offered is None or offered.fingerprint is None:
        # The key of a jump host, or a revoked one: asyncssh tells its name only.
        return HostKeyUnknown(
            f"a host key on the way to {where} is not trusted: {said}", f"try: ssh {node.destination}"
        )
    known = offered.on_file()
    key = f"{offered.algorithm} {offered.fingerprint}"
    if known:
        return HostKeyChanged(
            f"the host key of {where} has changed: it offers {key}, on file is {', '.join(known[:3])}",
            f"a reinstalled node or an attack: find out which. Then: ssh-keygen -R '{offered.place}' ({offered.files})",
        )
    return HostKeyUnknown(
        f"the host key of {where} is unknown: {key}",
        f"compare it with the node's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub), then: ssh {node.destination}",
    )
