"""A real dockerd on a unix socket of its own, started and ended by pid; needs root."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.sshd import descendants

IMAGE = "gpudeck-test:latest"
HOOK = "#!/bin/sh\nexit 0\n"
"""A stand-in for nvidia-container-runtime-hook: with it on PATH the engine takes `--gpus`; no device is touched."""


class Dockerd:
    """No bridge and no iptables: nothing of the machine's network changes."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("dockerd") is None or os.geteuid() != 0:
            pytest.skip("a real dockerd and root are needed: make testbed")
        self.directory = directory
        self.socket = directory / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Dockerd:
        tools = self.directory / "bin"
        tools.mkdir(exist_ok=True)
        for name in ("nvidia-container-runtime-hook",):
            (tools / name).write_text(HOOK)
            (tools / name).chmod(0o755)
        with (self.directory / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--host=unix://{self.socket}",
                    f"--data-root={self.directory / 'data'}",
                    f"--exec-root={self.directory / 'exec'}",
                    f"--pidfile={self.directory / 'docker.pid'}",
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--add-runtime=nvidia=/usr/sbin/runc",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin"},
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if self.socket.exists() and self.run("version", "--format", "{{.Server.Version}}", check=False):
                self.run("import", "-", IMAGE, stdin=rootfs())
                return self
            time.sleep(0.05)
        said = (self.directory / "dockerd.log").read_text()[-2000:]
        self.stop()
        raise RuntimeError(said)

    def run(self, *arguments: str, check: bool = True, stdin: bytes | None = None) -> str:
        """The docker command on this engine; its output."""
        done = subprocess.run(
            ["docker", "--host", f"unix://{self.socket}", *arguments], input=stdin, capture_output=True, check=False
        )
        if check and done.returncode != 0:
            raise RuntimeError(done.stderr.decode())
        return done.stdout.decode().strip() if done.returncode == 0 else ""

    def container(self, name: str, *options: str, command: str = "sleep 600") -> str:
        """Starts a container; its id."""
        return self.run("run", "-d", "--network=none", f"--name={name}", *options, IMAGE, "/bin/sh", "-c", command)

    def inspect(self, name: str) -> dict[str, object]:
        (document,) = json.loads(self.run("inspect", name))
        assert isinstance(document, dict)
        return document

    def stop(self) -> None:
        """Ends the engine and what it started, by pid."""
        process, self._process = self._process, None
        if process is None:
            return
        for name in self.run("ps", "-q", check=False).split():
            self.run("kill", name, check=False)
        below = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        for pid in (*below, process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(timeout=10)


def rootfs() -> bytes:
    """A tar of a root with nothing but busybox, to be imported as an image: no registry is asked."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "sleep", "echo", "cat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()
