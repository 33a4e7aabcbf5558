"""The files of a lab's directory: keys, known hosts, SSH configuration, site settings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.contract import GpudeckError

USER = "ops"
"""The login that the lab's SSH configuration names; the nodes take any."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a simulated node listens."""

    name: str
    port: int
    host_key: str
    """OpenSSH public key line, without a comment."""


@dataclass(frozen=True, slots=True)
class LabFiles:
    out: Path

    @property
    def site(self) -> Path:
        return self.out / "site.toml"

    @property
    def ssh_config(self) -> Path:
        return self.out / "ssh_config"

    @property
    def key(self) -> Path:
        return self.out / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.out / "known_hosts"

    @property
    def kubeconfig(self) -> Path:
        return self.out / "kubeconfig"

    @property
    def socket(self) -> Path:
        return self.out / "ctl.sock"

    @property
    def lock(self) -> Path:
        return self.out / "lab.lock"


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """What the disk refuses to a lab in `out` is a GpudeckError."""
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        raise GpudeckError(f"no lab can be made in {out}: {said}", "name another directory with --out") from error


def make_directory(out: Path) -> None:
    """Makes the lab's directory, readable by its owner only; one that exists keeps its mode. Raises GpudeckError."""
    with writing(out):
        if not out.is_dir():
            out.mkdir(mode=0o700, parents=True)


def write_files(
    files: LabFiles,
    private_key: bytes,
    addresses: Sequence[Address],
    platform: str | None = None,
    kubeconfig: str | None = None,
    monitoring_url: str | None = None,
) -> None:
    """Writes everything a client needs to reach the nodes. All files are readable by their owner only.

    Raises GpudeckError.
    """
    names = [address.name for address in addresses]
    with writing(files.out):
        _write(files.key, private_key)
        _write(files.known_hosts, "".join(f"[127.0.0.1]:{a.port} {a.host_key}\n" for a in addresses).encode())
        _write(files.ssh_config, "\n".join(_host(files, address) for address in addresses).encode())
        if kubeconfig is not None:
            _write(files.kubeconfig, kubeconfig.encode())
        _write(files.site, _site(names, platform, kubeconfig is not None, monitoring_url).encode())


def _write(path: Path, content: bytes) -> None:
    # A new file moved into place: a reader sees the old one or the new one, and the mode is right from the start.
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)


def _host(files: LabFiles, address: Address) -> str:
    options = (
        ("HostName", "127.0.0.1"),
        ("Port", str(address.port)),
        ("User", USER),
        ("IdentityFile", _quoted(files.key)),
        ("IdentitiesOnly", "yes"),
        ("UserKnownHostsFile", _quoted(files.known_hosts)),
        ("StrictHostKeyChecking", "yes"),
    )
    return f"Host {address.name}\n" + "".join(f"    {name} {value}\n" for name, value in options)


def _quoted(path: Path) -> str:
    return f'"{path.absolute()}"'


def _site(nodes: Sequence[str], platform: str | None, kubeconfig: bool, monitoring_url: str | None) -> str:
    names = "".join(f'    "{name}",\n' for name in nodes)
    files = LabFiles(Path())
    lines = [f'ssh_config = "{files.ssh_config.name}"', "demo = true"]
    if platform is not None:
        lines.append(f'platform = "{platform}"')
    if kubeconfig:
        lines.append(f'kubeconfig = "{files.kubeconfig.name}"')
    if monitoring_url is not None:
        lines.append(f'monitoring_url = "{monitoring_url}"  # the route names a host that no resolver knows')
    return (
        "# Written by `gpudeck lab`: a simulated site on this machine.\n"
        f"[site.lab]\nnodes = [\n{names}]\n" + "\n".join(lines) + "\n"
    )
