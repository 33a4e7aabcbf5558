"""A real Podman that serves its API on a unix socket of its own, started and ended by pid; needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dockerd import IMAGE, rootfs
from tests.sshd import descendants

RUN = "/run/gpudeck"
"""In the /run of the service; Podman takes 50 characters at most."""
CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "{logs}"
[engine]
events_logger = "{events}"
"""
"""Podman's own ulimits are above what a machine without CAP_SYS_RESOURCE may set."""
START = """\
set -e
for at in /run /var/lib/containers /dev/shm "$DIRECTORY/dev"; do mkdir -p "$at"; mount -t tmpfs tmpfs "$at"; done
cd "$DIRECTORY/dev"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty .
mkdir pts shm
mount --rbind /dev/pts pts
mount --rbind /dev/shm shm
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
mknod nvidia0 c 60 0
mknod nvidia1 c 60 1
mknod nvidiactl c 60 255
cd /
mount --rbind "$DIRECTORY/dev" /dev
mkdir /run/cdi
cp "$DIRECTORY/cdi.yaml" /run/cdi/nvidia.yaml
if [ -n "$JOURNAL" ]; then
  mkdir -p /run/systemd/journald.conf.d
  cp "$DIRECTORY/journald.conf" /run/systemd/journald.conf.d/
  "$JOURNAL" &
  until [ -S /run/systemd/journal/socket ]; do kill -0 $!; sleep 0.05; done
fi
exec "$@"
"""
"""/run, /dev, caches, CDI specification and journal are the service's alone: its mounts are in a namespace of its own.

The nodes of the GPUs have numbers kept for experiments, which no driver serves.
"""
CDI = """\
cdiVersion: "0.5.0"
kind: nvidia.com/gpu
devices:
- {name: "0", containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}}
- {name: "1", containerEdits: {deviceNodes: [{path: /dev/nvidia1}]}}
- {name: all, containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1}]}}
containerEdits: {deviceNodes: [{path: /dev/nvidiactl}]}
"""


JOURNALD = "/lib/systemd/systemd-journald"
JOURNALD_CONF = """\
[Journal]
Storage=volatile
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToWall=no
"""


class Podman:
    """Its storage is in `directory`, its containers have no network: nothing of the machine changes."""

    def __init__(self, directory: Path, *, journal: bool = False) -> None:
        """With a `journal` it keeps logs and events in a systemd-journald of its own, as on RHEL, else in files."""
        if shutil.which("podman") is None or shutil.which("runc") is None or os.geteuid() != 0:
            pytest.skip("a real podman, runc and root are needed: make testbed")
        if journal and not Path(JOURNALD).exists():
            pytest.skip("systemd-journald is needed: make testbed")
        self.directory = directory
        self.socket = directory / "podman.sock"
        self._conf = directory / "containers.conf"
        self._journal = journal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Podman:
        logs, events = ("journald", "journald") if self._journal else ("k8s-file", "file")
        self._conf.write_text(CONF.format(logs=logs, events=events))
        (self.directory / "journald.conf").write_text(JOURNALD_CONF)
        (self.directory / "cdi.yaml").write_text(CDI)
        service = [
            "podman",
            f"--root={self.directory / 'root'}",
            f"--runroot={RUN}",
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--runtime=/usr/sbin/runc",
            *("system", "service", "--time=0", f"unix://{self.socket}"),
        ]
        with (self.directory / "podman.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", START, "sh", *service],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment(),
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.socket.exists() and self.run("version", "--format={{.Server.Version}}", check=False):
                self.run("import", "-", IMAGE, stdin=rootfs())
                return self
            time.sleep(0.05)
        said = (self.directory / "podman.log").read_text()[-2000:]
        self.stop()
        raise RuntimeError(said)

    def run(self, *arguments: str, check: bool = True, stdin: bytes | None = None) -> str:
        """The podman command, put to this service; its output."""
        done = subprocess.run(
            self._command(*arguments), input=stdin, capture_output=True, check=False, env=self._environment()
        )
        if check and done.returncode != 0:
            raise RuntimeError(done.stderr.decode())
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that takes its time."""
        silent = subprocess.DEVNULL
        return subprocess.Popen(
            self._command(*arguments), stdin=silent, stdout=silent, stderr=silent, env=self._environment()
        )

    def _command(self, *arguments: str) -> list[str]:
        return ["podman", "--remote", f"--url=unix://{self.socket}", *arguments]

    def container(self, name: str, *options: str, command: str = "sleep 600") -> str:
        """Starts a container; its id."""
        network = () if any(option.startswith("--pod=") for option in options) else ("--network=none",)
        return self.run("run", "-d", *network, f"--name={name}", *options, IMAGE, "/bin/sh", "-c", command)

    def pod(self, name: str) -> None:
        """Makes a pod without a network; no image is fetched for its infra container."""
        infra = (f"--infra-image={IMAGE}", "--infra-command=/bin/sleep 600")
        self.run("pod", "create", f"--name={name}", "--network=none", *infra)

    def remove(self, *names: str) -> None:
        for name in names:
            self.run("rm", "-f", "-t0", name, check=False)

    def stop(self) -> None:
        """Ends the service and what it started, by pid; its mounts go with the last of them."""
        process, self._process = self._process, None
        if process is None:
            return
        for kind in ("container", "pod"):
            self.run(kind, "rm", "-fa", "-t0", check=False)
        below = [*descendants(process.pid), *self._left(process.pid)]
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        for pid in (*below, process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=10)

    def _left(self, service: int) -> Iterator[int]:
        """Containers that could not be removed, and their monitors: neither is below the service."""
        for name in ("conmon.pid", "pidfile"):
            for path in Path(f"/proc/{service}/root/{RUN}").glob(f"vfs-containers/*/userdata/{name}"):
                with contextlib.suppress(OSError, ValueError):
                    pid, identity = int(path.read_text()), path.parts[-3]
                    told = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/cgroup").read_text()
                    if identity in told:
                        yield pid

    def _environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if key != "CONTAINER_HOST"},
            "CONTAINERS_CONF": str(self._conf),
            "DIRECTORY": str(self.directory),
            "JOURNAL": JOURNALD if self._journal else "",
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        }
