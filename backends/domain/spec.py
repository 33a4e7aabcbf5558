"""What a site is made of, as plain values: the configuration file, the discovery and the tests all produce these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """How one node is reached.

    A node is named as the user's SSH configuration names it: host name, user, port, key and jump host come from there.
    """

    name: str
    address: str | None = None
    """SSH destination where it differs from `name`: an alias of ~/.ssh/config, or [user@]host[:port]."""
    local: bool = False
    """This machine, read through a subprocess instead of SSH."""

    @property
    def destination(self) -> str:
        return self.address or self.name


@dataclass(frozen=True, slots=True)
class SshSpec:
    """How the site's SSH connections are made."""

    config_file: Path | None = None
    """None: ~/.ssh/config."""
    connect_timeout_seconds: float = 10.0
    keepalive_seconds: float = 15.0
    parallel_connects: int = 32


@dataclass(frozen=True, slots=True)
class SiteSpec:
    name: str
    nodes: tuple[NodeSpec, ...] = ()
    platform: str | None = None
    """docker, kubernetes or openshift; None where none is configured."""
    ssh: SshSpec = SshSpec()
    fast_seconds: float = 1.0
    """Beat of utilisation, memory, power, temperature, clocks, processes."""
    slow_seconds: float = 10.0
    """Beat of ECC, remaps, links, fabric, MIG, PCIe."""
    demo: bool = False
    """Set by the lab's site.toml; the header says DEMO."""
