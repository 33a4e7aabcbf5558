"""The machine around the GPUs: what a workload needs besides them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted local file system: the scratch space of jobs."""

    mount: str = ""
    device: str | None = None
    kind: str | None = None
    """nvme, raid, disk: what the block device is; None where sysfs does not tell."""
    total_bytes: int | None = None
    free_bytes: int | None = None
    """For an unprivileged user (statvfs f_bavail)."""
    read_only: bool | None = None

    @property
    def free_percent(self) -> float | None:
        if self.free_bytes is None or not self.total_bytes:
            return None
        return 100.0 * self.free_bytes / self.total_bytes


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """One port of an RDMA device (/sys/class/infiniband/*/ports/*)."""

    device: str = ""
    """mlx5_0"""
    port: int = 1
    state: str | None = None
    """active, init, armed, down (ports/*/state without its number)."""
    physical_state: str | None = None
    """linkup, polling, disabled, ..."""
    rate_gbps: float | None = None
    link_layer: str | None = None
    """infiniband or ethernet."""
    netdev: str | None = None
    pci_bus_id: str | None = None
    numa_node: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A system service that GPU work depends on."""

    name: str = ""
    """nvidia-fabricmanager, nvidia-persistenced, ..."""
    state: str | None = None
    """active, inactive, failed, activating; missing when the unit is not installed; None when it cannot be told."""


@dataclass(frozen=True, slots=True)
class ContainerRuntime:
    name: str = ""
    """docker, containerd, crio, podman."""
    socket: str | None = None
    """The API socket that is there."""


@dataclass(frozen=True, slots=True)
class Host:
    """Read on the slow beat. An empty tuple means looked and found none; None means not looked or not permitted."""

    disks: tuple[Disk, ...] | None = None
    rdma: tuple[RdmaPort, ...] | None = None
    services: tuple[Service, ...] | None = None
    runtimes: tuple[ContainerRuntime, ...] | None = None
    cdi: tuple[str, ...] | None = None
    """Kinds of the CDI specifications in /etc/cdi and /run/cdi: nvidia.com/gpu."""
    kernel_modules: str | None = None
    """open or proprietary: the flavour of the loaded NVIDIA kernel module (/proc/driver/nvidia/version)."""
    peermem: bool | None = None
    """nvidia_peermem is loaded: the older way of GPUDirect RDMA."""
    dma_buf: bool | None = None
    """The newer way can work: open kernel module and kernel 5.12 or later."""
    unread: tuple[str, ...] = ()
    """What failed or does not answer, as "disk /raid: does not answer"."""
