"""One SSH connection, with the jump hosts before it: who is asked for, whose key is trusted, which keys are offered."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backends.contract import Unreachable
from backends.domain import NodeSpec, SshSpec
from backends.nodes.ssh_config import SYSTEM_DIRECTORY, Resolved, proxy_command, resolve
from backends.nodes.ssh_config_text import SshConfigError, matches
from backends.nodes.ssh_errors import Handshake, explain
from backends.nodes.ssh_jumps import Jumps, Lease
from backends.nodes.ssh_keys import keys_for
from backends.nodes.ssh_known_hosts import KnownHost, known_host

if TYPE_CHECKING:
    import asyncssh

JUMPS = 8
_DESTINATION = re.compile(
    r"(?:ssh://)?(?!-)(?:(?P<user>[^\s/]+)@)?(?!-)"
    r"(?P<host>\[[^\]]+\]|[^:/@\s]+|[0-9a-fA-F:]*:[0-9a-fA-F:]*)(?::(?P<port>\d+))?/?"
)
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_ALGORITHMS = {
    "kexalgorithms": "kex_algs",
    "ciphers": "encryption_algs",
    "macs": "mac_algs",
    "casignaturealgorithms": "signature_algs",
}
"""Keyword -> asyncssh's argument."""
HOST_KEYS = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip
"""Algorithms of plain host keys, in the order of ssh_config(5), HostKeyAlgorithms."""


class Dialler:
    """Makes the connections of one site; `system` is where the system's SSH configuration lies."""

    def __init__(self, spec: SshSpec, system: Path = SYSTEM_DIRECTORY) -> None:
        self._spec = spec
        self._system = system
        self._jumps = Jumps()

    async def dial(
        self,
        node: NodeSpec,
        hops: list[Lease],
        *,
        via: Lease | None = None,
        depth: int = 0,
    ) -> asyncssh.SSHClientConnection:
        """A connection to `node`; its jump hosts are dialled first, as strictly as itself, and appended to `hops`.

        asyncssh would dial them on its own, but without telling whose key was unknown. Behind a jump host of a list
        (`via`) the next one is reached through it, whatever its own ProxyJump says, as with OpenSSH.
        """
        sdk = await load()
        met = Handshake()
        try:
            resolved = met.resolved = await asyncio.to_thread(self._resolve, node.destination)
            jumps = [] if via is not None else (resolved.expanded("proxyjump") or "").split(",")
            if any(jumps) and depth >= JUMPS:
                raise Unreachable(f"{node.name} has more than {JUMPS} jump hosts in a row", "a ProxyJump loop?")
            for jump in map(str.strip, filter(None, jumps)):
                route = (*(via.route if via is not None else ()), (depth, jump))
                dial = functools.partial(self.dial, NodeSpec(jump), via=via, depth=depth + 1)
                via = await self._jumps.lease(route, dial)
                hops.append(via)
            known = met.known = await asyncio.to_thread(known_host, sdk, resolved, self._system)
            return await self._connect(sdk, resolved, known, met, None if via is None else via.connection)
        except (TimeoutError, OSError, ValueError, sdk.Error) as error:
            raise explain(error, node, self._spec, met) from None

    def _resolve(self, destination: str) -> Resolved:
        match = _DESTINATION.fullmatch(destination)
        if match is None:
            raise Unreachable(f"{destination!r} is no SSH destination", "write [user@]host[:port]")
        port = None if match["port"] is None else int(match["port"])
        host, config_file = match["host"].strip("[]"), self._spec.config_file
        return resolve(host, user=match["user"], port=port, config_file=config_file, system=self._system)

    async def _connect(
        self, sdk: Any, resolved: Resolved, known: KnownHost, met: Handshake, via: asyncssh.SSHClientConnection | None
    ) -> asyncssh.SSHClientConnection:
        """A host certificate is asked for where an authority is on file; where it is not of that one, the plain key."""
        for certificates in (True, False) if known.authorities else (False,):
            keys = await keys_for(sdk, resolved, self._spec.connect_timeout_seconds)
            met.skipped = tuple(keys.skipped)
            arguments = {
                **_arguments(self._spec, resolved),
                **await asyncio.to_thread(algorithms, sdk, resolved),
                "client_factory": _client(sdk, met, keys.pairs),
                "known_hosts": (known.keys, known.authorities, known.revoked),
                "server_host_key_algs": host_key_algorithms(sdk, resolved, known, certificates=certificates),
                "tunnel": via,
            }
            try:
                connection = await sdk.connect(**arguments)
            except sdk.HostKeyNotVerifiable:
                if not (certificates and met.other_authority):
                    raise
                continue
            finally:
                keys.close()
            break
        return cast("asyncssh.SSHClientConnection", connection)


async def load() -> Any:
    """asyncssh, imported off the event loop; its log goes nowhere, the errors say it all."""
    module = await asyncio.to_thread(importlib.import_module, "asyncssh")
    logger = logging.getLogger("asyncssh")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return module


def _client(sdk: Any, met: Handshake, pairs: list[Any]) -> type[Any]:
    waiting = [list(pairs)]

    class Client(sdk.SSHClient):  # type: ignore[misc]
        def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
            """Called for a key that is not on file: it is never accepted, only remembered."""
            met.note(key)
            return False

        def validate_host_ca_key(self, host: str, addr: str, port: int, key: Any) -> bool:
            met.other_authority = key.get_fingerprint()
            return False

        def public_key_auth_requested(self) -> Any:
            """All keys at once, once. Handed over here, asyncssh looks for no others, in no agent and no file."""
            return waiting.pop() if waiting else None

    return cast("type[Any]", Client)


def _arguments(spec: SshSpec, resolved: Resolved) -> dict[str, Any]:
    """Batch mode: a key or a certificate, never a question; nothing that a console has no use for."""
    bind = resolved.expanded("bindaddress")
    preferred = resolved.word("preferredauthentications")
    return {
        "config": None,
        "host": resolved.host,
        "port": resolved.port,
        "username": resolved.user,
        "host_key_alias": resolved.word("hostkeyalias"),
        "family": _FAMILIES.get((resolved.word("addressfamily") or "any").lower(), socket.AF_UNSPEC),
        "local_addr": None if bind is None else (bind, 0),
        "proxy_command": proxy_command(resolved),
        "tcp_keepalive": resolved.yes("tcpkeepalive", default=True),
        "connect_timeout": spec.connect_timeout_seconds,
        "login_timeout": spec.connect_timeout_seconds,
        "keepalive_interval": spec.keepalive_seconds,
        "keepalive_count_max": 2,
        "client_keys": None,
        "public_key_auth": resolved.yes("pubkeyauthentication", default=True),
        "password_auth": False,
        "kbdint_auth": False,
        "gss_auth": resolved.yes("gssapiauthentication", default=False),
        "gss_kex": resolved.yes("gssapikeyexchange", default=False),
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": (),
        "env": resolved.values.get("setenv"),
        "request_pty": False,
        **({} if preferred is None else {"preferred_auth": preferred}),
        **({"compression_algs": "zlib@openssh.com,zlib,none"} if resolved.yes("compression", default=False) else {}),
    }


def algorithms(sdk: Any, resolved: Resolved) -> dict[str, Any]:
    """The algorithms the configuration asks for, without those that asyncssh has not."""
    written = {keyword: resolved.word(keyword) for keyword in _ALGORITHMS}
    return {_ALGORITHMS[keyword]: _usable(sdk, keyword, text) for keyword, text in written.items() if text}


def _usable(sdk: Any, keyword: str, text: str) -> str:
    prefix = text[:1] if text[:1] in "+-^" else ""
    names = [name for name in text.removeprefix(prefix).split(",") if _is_known(sdk, _ALGORITHMS[keyword], name)]
    if not names and not prefix:
        raise SshConfigError(f"gpudeck has none of the {keyword} {text}")
    return prefix + ",".join(names) if names else "default"


@functools.lru_cache(maxsize=512)
def _is_known(sdk: Any, argument: str, name: str) -> bool:
    try:
        sdk.SSHClientConnectionOptions(
            config=None, client_keys=None, x509_trusted_certs=None, x509_trusted_cert_paths=(), **{argument: name}
        )
    except ValueError:
        return False
    return True


def host_key_algorithms(sdk: Any, resolved: Resolved, known: KnownHost, *, certificates: bool) -> Any:
    """What the server may prove itself with; () leaves it to asyncssh: certificates, and the kinds of keys on file.

    Without `certificates` these are the kinds on file, so that a server with several keys shows the one that is known.
    """
    written = resolved.word("hostkeyalgorithms") or ""
    prefix = written[:1] if written[:1] in "+-^" else ""
    names = [name for name in written.removeprefix(prefix).split(",") if name]
    if certificates:
        usable = [name for name in names if _is_known(sdk, "server_host_key_algs", name)]
        return prefix + ",".join(usable) if usable else ()
    if known.keys and (prefix or not names):
        return list(dict.fromkeys(name.decode() for key in known.keys for name in key.sig_algorithms))
    plain = [name for name in names if "-cert-" not in name]
    wanted: Iterable[str] = {
        "": plain or HOST_KEYS,
        "+": (*HOST_KEYS, *plain),
        "^": (*plain, *HOST_KEYS),
        "-": [name for name in HOST_KEYS if not matches(name, plain)],
    }[prefix]
    return [name for name in dict.fromkeys(wanted) if _is_known(sdk, "server_host_key_algs", name)]
