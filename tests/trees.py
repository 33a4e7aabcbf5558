"""Machines as directories: the parts of /proc, /sys and /run that the probe reads, built by a test."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path


class Machine:
    """A root directory; paths are those of the machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/class").mkdir(parents=True)
        self._mounts: list[str] = []

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def file(self, path: str, text: str | bytes = "") -> None:
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_bytes(text.encode() if isinstance(text, str) else text)

    def link(self, path: str, target: str) -> None:
        """A symbolic link inside the tree, relative as those of /sys are."""
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).symlink_to(os.path.relpath(self.at(target), self.at(path).parent))

    def socket(self, path: str) -> None:
        """A socket that nobody listens on; its path may be longer than a socket address can be."""
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as made:
            made.bind(f"{short}/s")
            Path(f"{short}/s").rename(self.at(path))

    def mount(
        self, number: str, mount: str, kind: str, source: str, *, root: str = "/", options: str = "rw", over: str = "rw"
    ) -> None:
        """A line of mountinfo, and the directory."""
        self._mounts.append(
            f"{len(self._mounts) + 20} 1 {number} {root} {mount} {options} shared:1 - {kind} {source} {over}"
        )
        self.file("/proc/self/mountinfo", "\n".join(self._mounts) + "\n")
        plain = mount.replace("\\040", " ")
        if not self.at(plain).exists():
            self.at(plain).mkdir(parents=True)

    def block(self, number: str, path: str, *, partition: bool = False) -> None:
        """A block device at a path below /sys/devices."""
        self.at(f"/sys/devices/{path}").mkdir(parents=True, exist_ok=True)
        if partition:
            self.file(f"/sys/devices/{path}/partition", "1\n")
        self.link(f"/sys/dev/block/{number}", f"/sys/devices/{path}")

    def pci(self, *path: str, numa: int = 0) -> None:
        """A PCI device by its bridges from the root down to itself."""
        self.file("/sys/devices/" + "/".join(path) + "/numa_node", f"{numa}\n")
        self.link(f"/sys/bus/pci/devices/{path[-1]}", "/sys/devices/" + "/".join(path))

    def numa(self, nodes: int) -> None:
        for node in range(nodes):
            self.file(f"/sys/devices/system/node/node{node}/cpulist", "")

    def rdma(self, name: str, bus_id: str | None, port: int = 1, **files: str) -> None:
        """A port of an RDMA device; `files` are those of the port: state, phys_state, rate, link_layer."""
        base = f"/sys/class/infiniband/{name}"
        self.at(f"{base}/ports/{port}").mkdir(parents=True, exist_ok=True)
        for each, text in files.items():
            self.file(f"{base}/ports/{port}/{each}", text + "\n")
        if bus_id is not None and not self.at(f"{base}/device").exists():
            self.link(f"{base}/device", f"/sys/bus/pci/devices/{bus_id}")
