"""What is there without a configuration: a driver, a cluster, a Docker socket, SSH hosts. Looks, touches nothing."""

from __future__ import annotations

import ctypes.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from backends.domain import NodeSpec, SiteSpec, clean
from backends.hosts import concrete_hosts

_CONTEXT = re.compile(r"^\s*current-context:\s*[\"']?([^\"'\s]+)")


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found; empty fields were looked for and not found."""

    driver: str | None = None
    """Version of the NVIDIA driver on this machine, or "present" when only its library is there."""
    kubeconfig: Path | None = None
    kube_context: str | None = None
    docker_socket: Path | None = None
    ssh_config: Path | None = None
    ssh_hosts: tuple[str, ...] = ()
    looked_at: tuple[str, ...] = ()
    """Where was looked, in words."""

    def site(self, hosts: tuple[str, ...] = ()) -> SiteSpec | None:
        """The site these offer: this machine when it has a driver, and the chosen SSH hosts; None without either."""
        local = (NodeSpec("local", local=True),) if self.driver is not None else ()
        nodes = (*local, *(NodeSpec(host) for host in hosts))
        return SiteSpec("local" if not hosts else "found", nodes=nodes) if nodes else None


def discover() -> Discovery:
    """Looks at this machine; a few file system look-ups, no network."""
    kubeconfig = Path((os.environ.get("KUBECONFIG") or "~/.kube/config").split(":")[0]).expanduser()
    docker = Path("/var/run/docker.sock")
    ssh = Path("~/.ssh/config").expanduser()
    return Discovery(
        driver=local_driver(),
        kubeconfig=kubeconfig if kubeconfig.is_file() else None,
        kube_context=_context(kubeconfig),
        docker_socket=docker if docker.is_socket() else None,
        ssh_config=ssh if ssh.is_file() else None,
        ssh_hosts=tuple(clean(host) for host in concrete_hosts(ssh)),
        looked_at=("the NVIDIA driver of this machine", str(kubeconfig), str(docker), str(ssh)),
    )


def local_driver() -> str | None:
    """The NVIDIA driver's version on this machine, "present" when it cannot be told, None without one."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return "present" if ctypes.util.find_library("nvidia-ml") else None
    return next((clean(word) for word in words if re.fullmatch(r"\d+\.\d+(\.\d+)?", word)), "present")


def suggest_toml(site: SiteSpec) -> str:
    """A configuration for `site`, to be written to the user's file."""
    nodes = "\n".join(f'    "{node.name}",' for node in site.nodes)
    return f"[site.{site.name}]\nnodes = [\n{nodes}\n]\n"


def _context(kubeconfig: Path) -> str | None:
    try:
        lines = kubeconfig.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = (match for line in lines if (match := _CONTEXT.match(line)))
    return next((clean(match[1]) for match in found), None)
