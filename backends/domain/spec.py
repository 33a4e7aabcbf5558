"""What a site is made of, as plain values: the configuration file, the discovery and the tests all produce these."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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

    @property
    def ssh_destination(self) -> str:
        """The destination as ssh takes it on its command line, where a port needs the form of a URL."""
        host, _, port = self.destination.rpartition(":")
        with_port = host and port.isdecimal() and (":" not in host or host.endswith("]"))
        return f"ssh://{self.destination}" if with_port and "://" not in host else self.destination


@dataclass(frozen=True, slots=True)
class SshSpec:
    """How the site's SSH connections are made."""

    config_file: Path | None = None
    """None: ~/.ssh/config, then the system's. A file that is named stands alone, as with `ssh -F`."""
    connect_timeout_seconds: float = 10.0
    keepalive_seconds: float = 15.0
    parallel_connects: int = 32


@dataclass(frozen=True, slots=True)
class KubernetesSpec:
    """How the site's Kubernetes or OpenShift API is reached, and where its GPU stack lies."""

    kubeconfig: Path | None = None
    """None: $KUBECONFIG, ~/.kube/config, or the service account of the pod that gpudeck runs in."""
    context: str | None = None
    """None: the kubeconfig's current one."""
    gpu_operator_namespace: str | None = None
    """None: the one that the ClusterPolicy tells."""
    namespaces: tuple[str, ...] = ()
    """Where workloads are looked for when the pods of the whole cluster may not be listed."""
    monitoring_url: str | None = None
    """OpenShift: where its Prometheus answers from here; None: at the route of thanos-querier."""


@dataclass(frozen=True, slots=True)
class DockerSpec:
    """How the nodes' container engines are reached."""

    socket: str = "/var/run/docker.sock"
    """On the node, forwarded over its SSH connection; Podman's is /run/podman/podman.sock."""
    url: str | None = None
    """An engine on TCP instead: tcp://{node}:2376, with TLS by the files below."""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class ChangeSpec:
    """What may be changed on a site."""

    limit: int | None = None
    """Most workloads, or GPUs, that one change may touch; None: no limit."""
    window_max_minutes: int = 60
    """Longest write window."""
    require_reason: bool = True
    """A write window is opened with a reason."""
    directory: Path | None = None
    """Where a group keeps journals, lock and audit log of the site together; None: each login in its own state."""


@dataclass(frozen=True, slots=True)
class SiteSpec:
    name: str
    nodes: tuple[NodeSpec, ...] = ()
    platform: str | None = None
    """The name of a backend: docker, kubernetes, openshift or a plug-in's; None where none is configured."""
    kubernetes: KubernetesSpec = KubernetesSpec()
    docker: DockerSpec = DockerSpec()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """[site.NAME.settings]: what a plug-in of another party wants to know; it checks them itself."""
    ssh: SshSpec = SshSpec()
    fast_seconds: float = 1.0
    """Beat of utilisation, memory, power, temperature, clocks, processes."""
    slow_seconds: float = 10.0
    """Beat of ECC, remaps, links, fabric, MIG, PCIe."""
    changes: ChangeSpec = ChangeSpec()
    demo: bool = False
    """Set by the lab's site.toml; the header says DEMO."""
    config_file: Path | None = None
    """What it was read from, where that must be named with --config; None: gpudeck finds it by itself."""
    named: bool = False
    """It must be named with --site: another one is the first of that configuration."""

    def command(self, *words: str) -> str:
        """A command line of gpudeck that is about this site wherever it is typed."""
        return command_line(*words, config_file=self.config_file, site=self.name if self.named else None)


def command_line(*words: str, config_file: Path | None, site: str | None = None) -> str:
    """`gpudeck stack drain --node dgx01 --config FILE --site NAME`; None: it need not be named."""
    config = () if config_file is None else ("--config", str(config_file))
    return shlex.join(("gpudeck", *words, *config, *(() if site is None else ("--site", site))))
