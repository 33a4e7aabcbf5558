"""A real OpenSSH sshd on loopback, started and ended by pid."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from backends.nodes.ssh import SshTransport

Reach = Callable[..., SshTransport]
"""Fixture `reach`: (config file or None, node, timeout in seconds, more of `SshSpec`) -> a transport."""
SSHD = "/usr/sbin/sshd"
"""sshd re-executes itself and therefore wants an absolute path."""


class Sshd:
    """One server with keys of its own in `directory`; `env` is set in every session."""

    def __init__(
        self,
        directory: Path,
        *,
        env: Mapping[str, str] | None = None,
        max_sessions: int = 10,
        max_startups: str = "100",
        options: Sequence[str] = (),
    ) -> None:
        if not Path(SSHD).exists() or shutil.which("ssh-keygen") is None:
            pytest.skip("OpenSSH's sshd is not installed: make testbed")
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self.host_key = directory / "host_key"
        self.user_key = directory / "user_key"
        for key in (self.host_key, self.user_key):
            self.make_key(key)
        self._env = dict(env or {})
        self._max_sessions = max_sessions
        self._max_startups = max_startups
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @staticmethod
    def make_key(path: Path) -> None:
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)

    def start(self) -> Sshd:
        if os.geteuid() == 0:
            # Where Debian's package puts it at boot; sshd refuses to start without.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.directory / "sshd_config"
        # `internal-sftp` and PAM stay out: only what a command needs.
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.host_key}",
            f"PidFile {self.directory / 'sshd.pid'}",
            f"AuthorizedKeysFile {self.user_key}.pub",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "AllowTcpForwarding yes",
            f"MaxSessions {self._max_sessions}",
            f"MaxStartups {self._max_startups}",
            *self._options,
        ]
        if self._env:
            lines.append("SetEnv " + " ".join(f'{name}="{value}"' for name, value in self._env.items()))
        config.write_text("\n".join(lines) + "\n")
        with (self.directory / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            time.sleep(0.02)
        raise RuntimeError((self.directory / "sshd.log").read_text())

    def stop(self) -> None:
        """Ends the server and the sessions it forked, by pid."""
        process, self._process = self._process, None
        if process is None:
            return
        for pid in (*descendants(process.pid), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=10)

    def known_hosts_line(self, host_key: Path | None = None) -> str:
        kind, key = Path(f"{host_key or self.host_key}.pub").read_text().split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def write_config(self, path: Path, *aliases: str, known_hosts: str | None = None, extra: str = "") -> Path:
        """An OpenSSH client configuration for this server; `known_hosts` is the file's text, default the right key."""
        hosts = path.with_suffix(".known_hosts")
        hosts.write_text(self.known_hosts_line() if known_hosts is None else known_hosts)
        path.write_text(
            "".join(
                f"Host {alias}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {getpass.getuser()}\n"
                f"  IdentityFile {self.user_key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {hosts}\n"
                f"  GlobalKnownHostsFile /dev/null\n{extra}"
                for alias in aliases
            )
        )
        return path

    def fingerprint(self) -> str:
        return fingerprint(self.host_key)


def sign(authority: Path, key: Path, *options: str) -> None:
    """Makes KEY-cert.pub; `options` are those of ssh-keygen."""
    subprocess.run(["ssh-keygen", "-q", "-s", str(authority), "-I", "test", *options, f"{key}.pub"], check=True)


def fingerprint(key: Path) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True)
    return done.stdout.split()[1]


@contextlib.contextmanager
def agent(socket_path: Path, *keys: Path) -> Iterator[None]:
    """A real ssh-agent that holds `keys`."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not socket_path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket_path)}
        for key in keys:
            subprocess.run(["ssh-add", "-q", str(key)], env=env, check=True)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, deepest last; a process that ends meanwhile is left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
