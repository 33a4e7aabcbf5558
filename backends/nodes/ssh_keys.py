"""The keys for one destination, in the order OpenSSH offers them: those it names that an agent holds, the other ones of
the agent, then those on file (ssh_config(5): IdentityFile, CertificateFile, IdentitiesOnly, IdentityAgent).

A file that is missing, locked or no key is passed over, as OpenSSH does, and remembered: it is told where nothing else
was accepted.
"""

from __future__ import annotations

import asyncio
import copy
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.domain import clean
from backends.nodes.ssh_config import Resolved

DEFAULT_FILES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
"""In ~/.ssh (ssh_config(5), IdentityFile)."""


@dataclass(slots=True)
class Keys:
    """asyncssh's key pairs, and the agent that signs for some of them."""

    pairs: list[Any] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """File and reason of each that was passed over."""
    agent: Any = None

    def close(self) -> None:
        if self.agent is not None:
            self.agent.close()


@dataclass(frozen=True, slots=True)
class Identity:
    """What lies at one IdentityFile."""

    public_data: bytes | None
    private: Any
    """An asyncssh key, or None: it is locked, or elsewhere (in an agent)."""
    certificate: Any
    problem: str
    """Why there is no private key; empty where there is, or where nobody asked for this file."""


async def keys_for(sdk: Any, resolved: Resolved, timeout_seconds: float) -> Keys:
    keys = Keys()
    path, held, problem = agent_path(resolved), [], ""
    if path is not None:
        try:
            async with asyncio.timeout(timeout_seconds):
                keys.agent = await sdk.connect_agent(path)
                held = await keys.agent.get_keys()
        except (TimeoutError, OSError, ValueError, sdk.Error) as error:
            problem = f"the agent at {path}: {_reason(error)}"
    try:
        await asyncio.to_thread(_collect, sdk, resolved, keys, held)
    except BaseException:
        keys.close()
        raise
    if problem:
        keys.skipped.append(problem)
    return keys


def agent_path(resolved: Resolved) -> str | None:
    """The agent's socket; None where there is none, or the configuration wants none."""
    written = resolved.values.get("identityagent", ["SSH_AUTH_SOCK"])[0]
    if written.lower() == "none":
        return None
    if written == "SSH_AUTH_SOCK" or (written.startswith("$") and not written.startswith("${")):
        return os.environ.get(written.removeprefix("$")) or None
    return str(Path(resolved.expanded("identityagent") or "").expanduser())


def _collect(sdk: Any, resolved: Resolved, keys: Keys, held: list[Any]) -> None:
    """Reads the files: not for the event loop."""
    named = resolved.paths("identityfile")
    files = [Path("~/.ssh", name).expanduser() for name in DEFAULT_FILES] if named is None else named
    identities = [_identity(sdk, file, asked=named is not None) for file in files]
    certificates = [each.certificate for each in identities if each.certificate is not None]
    for file in resolved.paths("certificatefile") or []:
        try:
            certificates.append(sdk.read_certificate(file))
        except (OSError, ValueError) as error:
            keys.skipped.append(f"{file}: {_reason(error)}")
    by_data = {pair.public_data: pair for pair in held}
    local: list[Any] = []
    for file, identity in zip(files, identities, strict=True):
        pair = by_data.pop(identity.public_data, None)
        own = [each for each in certificates if each.key.public_data == identity.public_data]
        if pair is not None:
            keys.pairs += _pairs(sdk, pair, own)
        elif identity.private is not None:
            local += _pairs(sdk, identity.private, own)
        elif identity.problem:
            keys.skipped.append(f"{file}: {identity.problem}")
    if not resolved.yes("identitiesonly", default=False):
        for pair in by_data.values():
            own = [each for each in certificates if each.key.public_data == pair.public_data]
            keys.pairs += _pairs(sdk, pair, own)
    keys.pairs += local
    provider = resolved.expanded("pkcs11provider")
    if provider is not None:
        try:
            keys.pairs += sdk.load_pkcs11_keys(provider)
        except (OSError, ValueError, RuntimeError) as error:
            keys.skipped.append(f"{provider}: {_reason(error)}")


def _pairs(sdk: Any, key: Any, certificates: list[Any]) -> list[Any]:
    """The key under each of its certificates, then the plain key."""
    found: list[Any] = []
    for certificate in certificates:
        found += sdk.load_keypairs([copy.copy(key)], certlist=[certificate])[:1]
    return [*found, *sdk.load_keypairs([copy.copy(key)])]


def _identity(sdk: Any, file: Path, *, asked: bool) -> Identity:
    private, problem = None, ""
    try:
        private = sdk.read_private_key(file)
    except FileNotFoundError as error:
        problem = _reason(error) if asked else ""
    except (OSError, ValueError) as error:
        locked = str(error).startswith("Passphrase")
        problem = "locked by a passphrase and not in the agent" if locked else _reason(error)
    public_data = _public_data(sdk, file) if private is None else private.public_data
    try:
        certificate = sdk.read_certificate(f"{file}-cert.pub")
    except (OSError, ValueError):
        certificate = None
    return Identity(public_data, private, certificate, problem)


def _public_data(sdk: Any, file: Path) -> bytes | None:
    """The public half of a key whose private half is not to be had here; that of a locked FILE is open to read."""
    for place in (f"{file}.pub", file):
        try:
            found: bytes = sdk.read_public_key(place).public_data
        except (OSError, ValueError):
            continue
        return found
    return None


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer"
    return clean((isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__, 80).lower()
