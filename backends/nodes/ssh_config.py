"""An OpenSSH client configuration as OpenSSH reads it: what holds for one destination (ssh_config(5), readconf.c).

asyncssh reads such files too, but takes a whole site down for values that OpenSSH accepts. So it is given the values,
never the files. What gpudeck has settings of its own for (`ConnectTimeout`, `ServerAliveInterval`) or no use for
(forwardings, `SendEnv`, `ControlMaster`) is not read at all and cannot be wrong.
"""

from __future__ import annotations

import getpass
import glob
import hashlib
import ipaddress
import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.domain import clean
from backends.nodes.ssh_config_text import SshConfigError, expand, lines_of, matches

SYSTEM_DIRECTORY = Path("/etc/ssh")
DEFAULT_PORT = 22
EXEC_SECONDS = 10.0
_INCLUDE_DEPTH = 16

_ONCE = frozenset((
    "addressfamily", "bindaddress", "canonicalizefallbacklocal", "canonicalizehostname", "canonicalizemaxdots",
    "casignaturealgorithms", "ciphers", "compression", "gssapiauthentication", "gssapikeyexchange",
    "hostkeyalgorithms", "hostkeyalias", "hostname", "identitiesonly", "identityagent", "kexalgorithms", "macs",
    "pkcs11provider", "port", "preferredauthentications", "proxycommand", "proxyjump", "pubkeyauthentication",
    "stricthostkeychecking", "tag", "tcpkeepalive", "user",
))  # fmt: skip
"""Keywords whose first value holds."""
_LISTS = frozenset((
    "canonicaldomains", "canonicalizepermittedcnames", "globalknownhostsfile", "setenv", "userknownhostsfile",
))  # fmt: skip
"""Keywords of several words; the first line holds."""
_EACH = frozenset(("certificatefile", "identityfile"))
"""Keywords of which every line holds."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the configuration says about one destination."""

    destination: str
    host: str
    port: int
    user: str
    values: Mapping[str, list[str]]
    """Keyword in lower case -> its words."""
    notes: tuple[str, ...] = ()
    """What was left out, and why: a sentence each."""

    def word(self, keyword: str) -> str | None:
        """The value as it is written; None where there is none, or where it is `none`."""
        words = self.values.get(keyword)
        return None if not words or words[0].lower() == "none" else words[0]

    def yes(self, keyword: str, default: bool) -> bool:
        word = self.word(keyword)
        return default if word is None else word.lower() not in ("no", "false")

    def expanded(self, keyword: str) -> str | None:
        word = self.word(keyword)
        return None if word is None else expand(word, self.tokens())

    def paths(self, keyword: str) -> list[Path] | None:
        """The files a keyword names, tokens and ~ expanded, without `none`; None where it is not given."""
        words = self.values.get(keyword)
        if words is None:
            return None
        tokens = self.tokens()
        return [Path(expand(word, tokens)).expanduser() for word in words if word.lower() != "none"]

    def tokens(self) -> dict[str, str]:
        return _tokens(self.destination, self.host, self.port, self.user, self.values)


def resolve(
    destination: str,
    *,
    user: str | None = None,
    port: int | None = None,
    config_file: Path | None = None,
    system: Path = SYSTEM_DIRECTORY,
) -> Resolved:
    """What holds for `destination`; `user` and `port` are those of the command line and win.

    With a `config_file` neither ~/.ssh/config nor the system's is read, as with `ssh -F`. Runs what `Match exec` asks
    for and resolves names for `CanonicalizeHostname`: not for the event loop. Raises SshConfigError.
    """
    reading = _Reading(destination, user, port)
    files = _files(config_file, system)
    reading.read(files)
    canonical = _canonical_host(reading)
    if canonical is not None or reading.wants_final:
        if canonical is not None:
            reading.values["hostname"] = [canonical]
        reading.again(canonical=canonical is not None)
        reading.read(files)
    return reading.resolved()


def _files(config_file: Path | None, system: Path) -> list[tuple[Path, Path, bool]]:
    """File, the directory its relative includes lie in, and whether it has to be there."""
    own = Path("~/.ssh").expanduser()
    if config_file is not None:
        return [(config_file, own, True)]
    return [(own / "config", own, False), (system / "ssh_config", system, False)]


class _Reading:
    """The state of reading: what is known so far decides which `Match` blocks hold."""

    def __init__(self, destination: str, user: str | None, port: int | None) -> None:
        self.destination = destination
        self.values: dict[str, list[str]] = {}
        if user is not None:
            self.values["user"] = [user]
        if port is not None:
            self.values["port"] = [str(port)]
        self.wants_final = False
        self._matched = destination
        """What Host patterns are held against: the destination, in the second pass the name it came to."""
        self._final = self._canonical = False
        self._notes: dict[str, None] = {}

    def again(self, *, canonical: bool) -> None:
        self._final, self._canonical = True, canonical
        self._matched = self.resolved().host

    def resolved(self) -> Resolved:
        written = self.values.get("hostname", [self.destination])[0]
        host = written if self._canonical else expand(written, {"%": "%", "h": self.destination})
        port = self.values.get("port", [str(DEFAULT_PORT)])[0]
        if not port.isdecimal() or not 0 < int(port) < 65_536:
            raise SshConfigError(f"{clean(port, 20)} is no port")
        user = self.values.get("user", [getpass.getuser()])[0]
        return Resolved(self.destination, host, int(port), user, self.values, tuple(self._notes))

    def read(self, files: Iterable[tuple[Path, Path, bool]]) -> None:
        for path, base, required in files:
            self._file(path, base, 0, required=required)

    def _file(self, path: Path, base: Path, depth: int, *, required: bool = False) -> None:
        try:
            lines = lines_of(path)
        except OSError as error:
            if required:
                raise SshConfigError(f"{path} cannot be read: {error.strerror}") from None
            return
        active = True
        for number, keyword, words, rest in lines:
            where = f"{path} line {number}"
            if keyword == "host":
                active = matches(self._matched, words)
            elif keyword == "match":
                active = self._match(words, where)
            elif not active:
                continue
            elif keyword == "include" and depth < _INCLUDE_DEPTH:
                for pattern in words:
                    # Path.glob would take hidden files as well.
                    for name in sorted(glob.glob(str(base / Path(pattern).expanduser()))):  # noqa: PTH207
                        self._file(Path(name), base, depth + 1)
            else:
                self._keep(keyword, words, rest, where)

    def _keep(self, keyword: str, words: list[str], rest: str, where: str) -> None:
        if keyword not in _ONCE | _LISTS | _EACH:
            return
        if not words:
            raise SshConfigError(f"{where}: {keyword} has no value")
        if keyword in _EACH:
            kept = self.values.setdefault(keyword, [])
            if words[0] not in kept:
                kept.append(words[0])
            return
        rival = {"proxyjump": "proxycommand", "proxycommand": "proxyjump"}.get(keyword)
        if rival in self.values:
            return
        whole = words if keyword in _LISTS else [rest if keyword == "proxycommand" else words[0]]
        self.values.setdefault(keyword, whole)

    def _match(self, words: list[str], where: str) -> bool:
        holds = True
        waiting = iter(words)
        for written in waiting:
            criterion, _, value = written.partition("=")
            wanted = not criterion.startswith("!")
            criterion = criterion.removeprefix("!").lower()
            if criterion in ("all", "canonical", "final"):
                self.wants_final |= criterion == "final"
                met = {"all": True, "canonical": self._canonical, "final": self._final}[criterion]
            else:
                value = value or next(waiting, "")
                if not value:
                    raise SshConfigError(f"{where}: Match {clean(criterion, 32)} has no value")
                # A command is run only where everything before it held.
                met = holds and self._meets(criterion, value, where) == wanted
                wanted = True
            holds = holds and met == wanted
        return holds

    def _meets(self, criterion: str, value: str, where: str) -> bool | None:
        """None: gpudeck cannot tell, and the block does not hold."""
        now = self.resolved()
        subjects = {
            "host": now.host if "hostname" in self.values else self._matched,
            "originalhost": self.destination,
            "user": now.user,
            "localuser": getpass.getuser(),
            "tagged": self.values.get("tag", [""])[0],
            "sessiontype": "exec",
        }
        if criterion in subjects:
            return matches(subjects[criterion], value.split(","))
        if criterion == "exec":
            return self._exec(expand(value, now.tokens()), where)
        self._notes[f"{where}: gpudeck knows no Match {clean(criterion, 32)}, so that block is left out"] = None
        return None

    def _exec(self, command: str, where: str) -> bool | None:
        try:
            done = subprocess.run(  # noqa: S603
                [_shell(), "-c", command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=EXEC_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            self._notes[f"{where}: its command did not end, so that block is left out"] = None
            return None
        return done.returncode == 0


def _tokens(destination: str, host: str, port: int, user: str, values: Mapping[str, list[str]]) -> dict[str, str]:
    here = socket.gethostname()
    jump = values.get("proxyjump", [""])[0]
    return {
        "%": "%",
        "C": hashlib.sha1(
            f"{here}{host}{port}{user}{jump}".encode(errors="replace"), usedforsecurity=False
        ).hexdigest(),
        "d": str(Path.home()),
        "h": host,
        "i": str(os.getuid()),
        "j": jump,
        "k": values.get("hostkeyalias", [destination])[0],
        "L": here.partition(".")[0],
        "l": here,
        "n": destination,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
    }


def proxy_command(resolved: Resolved) -> list[str] | None:
    """Run by the user's shell, as OpenSSH does.

    asyncssh takes its stderr for packets and the end of that for the end of the connection: it stays open, and silent.
    """
    command = resolved.expanded("proxycommand")
    return None if command is None else [_shell(), "-c", f"exec 9>&2 2>/dev/null; exec {command}"]


def _shell() -> str:
    return os.environ.get("SHELL") or "/bin/sh"


def _canonical_host(reading: _Reading) -> str | None:
    """The full name of a host (`CanonicalizeHostname`), None where it stays as it is."""
    now = reading.resolved()
    wanted = (now.word("canonicalizehostname") or "no").lower()
    proxied = now.word("proxyjump") is not None or now.word("proxycommand") is not None
    if wanted in ("no", "false") or (proxied and wanted != "always") or _is_address(now.host):
        return None
    domains = [domain for domain in now.values.get("canonicaldomains", []) if domain.lower() != "none"]
    if now.host.count(".") > int(now.word("canonicalizemaxdots") or 1):
        return None
    for domain in domains:
        full = f"{now.host}.{domain}"
        try:
            alias = socket.getaddrinfo(full, now.port, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)[0][3]
        except OSError:
            continue
        rules = [rule.partition(":") for rule in now.values.get("canonicalizepermittedcnames", [])]
        permitted = any(matches(full, one.split(",")) and matches(alias, other.split(",")) for one, _, other in rules)
        return (alias if alias and permitted else full).lower()
    if domains and not now.yes("canonicalizefallbacklocal", default=True):
        raise SshConfigError(f"{now.host} is found in none of CanonicalDomains")
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
