"""What asyncssh and the operating system say, in words for a person at 3 a.m."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.contract import (
    AuthRefused,
    ConnectTimeout,
    GpudeckError,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
    Unreachable,
)
from backends.domain import NodeSpec, SshSpec, clean
from backends.nodes.ssh_config import Resolved
from backends.nodes.ssh_known_hosts import KnownHost


@dataclass(slots=True)
class Handshake:
    """How far a connection came: what was read for it, and what the server showed."""

    resolved: Resolved | None = None
    known: KnownHost | None = None
    skipped: tuple[str, ...] = ()
    """Keys that were not offered, with the reason."""
    offered: str | None = None
    """Algorithm and fingerprint of a host key that is not on file."""
    other_authority: str | None = None
    """Fingerprint of the authority of a host certificate that is not on file."""

    def note(self, key: Any) -> None:
        self.offered = f"{key.get_algorithm()} {key.get_fingerprint()}"


def explain(error: BaseException, node: NodeSpec, spec: SshSpec, met: Handshake | None) -> GpudeckError:
    """The `GpudeckError` for what went wrong while connecting to `node` or opening a channel there."""
    told = _explained(error, node, spec, met or Handshake())
    notes = met.resolved.notes if met is not None and met.resolved is not None else ()
    if notes:
        told.hint = "; ".join(filter(None, (told.hint, *notes[:2])))
    return told


def by_hand(node: NodeSpec, spec: SshSpec, options: str = "") -> str:
    """The ssh command that connects as gpudeck does."""
    file = "" if spec.config_file is None else f"-F {shlex.quote(str(spec.config_file))}"
    return " ".join(filter(None, ("ssh", options, file, shlex.quote(node.ssh_destination))))


def _explained(error: BaseException, node: NodeSpec, spec: SshSpec, met: Handshake) -> GpudeckError:
    import asyncssh

    where = node.name if node.destination == node.name else f"{node.name} ({node.destination})"
    said = clean(str(error), 200)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _host_key(where, said, node, spec, met)
    if isinstance(error, asyncssh.PermissionDenied):
        passed_over = f"; passed over: {'; '.join(met.skipped[:4])}" if met.skipped else ""
        return AuthRefused(
            clean(f"{where} accepted none of the offered keys{passed_over}", 600),
            f"try: {by_hand(node, spec, '-o BatchMode=yes')} true; add the key to ssh-agent or name it in the SSH"
            " configuration",
        )
    if isinstance(error, ValueError):
        return Unreachable(
            f"the SSH configuration cannot be used for {where}: {said}",
            f"look at what OpenSSH makes of it: {by_hand(node, spec, '-G')}",
        )
    proxy = None if met.resolved is None else met.resolved.word("proxycommand")
    if proxy is not None and isinstance(error, asyncssh.ConnectionLost):
        return Unreachable(
            f"the ProxyCommand of {where} ended before a connection was there: {clean(proxy, 200)}",
            f"it is run by your shell; what it says: {by_hand(node, spec, '-v')}",
        )
    if isinstance(error, asyncssh.ChannelOpenError) and met.resolved is not None:
        return Unreachable(
            f"the jump host does not get through to {where}: {said}",
            f"is the node up, and may the jump host forward (AllowTcpForwarding)? try: {by_hand(node, spec, '-v')}",
        )
    if isinstance(error, asyncssh.ChannelOpenError):
        return Unreachable(
            f"{where} opens no further session: {said}",
            "its sshd's MaxSessions may be too small; gpudeck needs one session per node, 8 at most",
        )
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Unreachable(f"{where} and this machine share no algorithm: {said}", f"try: {by_hand(node, spec, '-v')}")
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
    return Unreachable(
        f"{where} cannot be reached: {said or type(error).__name__}", f"try: {by_hand(node, spec, '-v')}"
    )


def _host_key(where: str, said: str, node: NodeSpec, spec: SshSpec, met: Handshake) -> GpudeckError:
    known = met.known or KnownHost("")
    place = shlex.quote(known.place)
    if "revoked" in said:
        revoked = ", ".join(key.get_fingerprint() for key in known.revoked[:3])
        return HostKeyRevoked(
            f"{where} shows a REVOKED key: {revoked} is marked @revoked in {_files(known.revoked_in)}",
            "do not connect: whoever holds that key may be in between. Ask who revoked it; the node needs a new one",
        )
    if met.offered is None:
        return HostKeyUnknown(
            f"the host certificate of {where} does not hold: {said}",
            f"its authority is trusted, so have it sign the host key anew for the name {place}",
        )
    if known.keys:
        on_file = ", ".join(key.get_fingerprint() for key in known.keys[:3])
        remove = " and ".join(f"ssh-keygen -R {place} -f {shlex.quote(str(file))}" for file in known.keys_in[:2])
        files = _files(known.keys_in)
        return HostKeyChanged(
            f"the host key of {where} has changed: it offers {met.offered}, on file is {on_file} ({files})",
            f"a reinstalled node or an attack: find out which. Then: {remove}",
        )
    unread = f"; cannot be read: {'; '.join(known.unread[:2])}" if known.unread else ""
    strict = met.resolved is not None and met.resolved.word("stricthostkeychecking") in ("yes", "true")
    then = f"then: {by_hand(node, spec, '-o StrictHostKeyChecking=ask' if strict else '')}"
    if known.keeps is None:
        then = f"give UserKnownHostsFile a file in the SSH configuration, which keeps none, {then}"
    authority = f", nor is the authority of its certificate ({met.other_authority})" if met.other_authority else ""
    return HostKeyUnknown(
        clean(f"the host key of {where} is unknown: {met.offered} is not on file{authority}{unread}", 400),
        f"compare it with the node's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub), {then}",
    )


def _files(files: Sequence[Path]) -> str:
    return ", ".join(clean(str(file), 120) for file in files[:2])
