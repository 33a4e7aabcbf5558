"""A real etcd and kube-apiserver on loopback: own CA, RBAC, users with tokens. Started and ended by pid.

`make testbed` builds the server. There are no controllers and no kubelet: every object keeps the status it was given.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Read when the tests are collected: later the home directory is a test's own.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
TESTBED = Path(os.environ.get("GPUDECK_TESTBED") or _CACHE / "gpudeck-testbed")
USERS = {
    "admin": "system:masters",
    "viewer": "",
    "tenant": "",
    "operator": "",
    "nobody": "",
    "writer": "",
}
"""User -> group; the token is the user's name with a suffix."""
READY_SECONDS = 60.0


class KubeApiserver:
    """One server with its data in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.binary = TESTBED / "kube-apiserver"
        etcd = shutil.which("etcd")
        if etcd is None or not os.access(self.binary, os.X_OK):
            pytest.skip("etcd and kube-apiserver are not there: make testbed")
        self.etcd = etcd
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self._etcd_port, self._peer_port = (_free_port() for _ in range(3))
        self.ca = directory / "ca.crt"
        self._processes: list[subprocess.Popen[bytes]] = []
        make_certificates(directory)
        lines = [f'{token(user)},{user},{user},"{group}"' for user, group in USERS.items()]
        (directory / "tokens.csv").write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> KubeApiserver:
        self._spawn(
            "etcd",
            self.etcd,
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{self._peer_port}",
            "--unsafe-no-fsync",
            "--logger=zap",
            "--log-level=error",
        )
        self._start_apiserver()
        return self

    def restart_apiserver(self) -> None:
        """Its watch cache starts empty: resource versions from before are too old then."""
        _end(self._processes.pop())
        self._start_apiserver()

    def stop(self) -> None:
        while self._processes:
            _end(self._processes.pop())

    def kubeconfig(self, user: str = "admin", *, server: str | None = None, ca: Path | None = None) -> Path:
        """A kubeconfig file with the user's token; `server` is another address, for a proxy."""
        path = self.directory / f"kubeconfig-{user}-{(server or self.url).rpartition(':')[2]}"
        cluster: dict[str, Any] = {"server": server or self.url, "certificate-authority": str(ca or self.ca)}
        write_kubeconfig(path, cluster, {"token": token(user)})
        return path

    def _start_apiserver(self) -> None:
        here = self.directory
        self._spawn(
            "apiserver",
            str(self.binary),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={here}",
            f"--tls-cert-file={here / 'server.crt'}",
            f"--tls-private-key-file={here / 'server.key'}",
            f"--client-ca-file={self.ca}",
            f"--token-auth-file={here / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={self.url}",
            f"--service-account-signing-key-file={here / 'server.key'}",
            f"--service-account-key-file={here / 'server.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--allow-privileged=true",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        )
        self._wait_ready()

    def _spawn(self, name: str, *command: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
                )
            )

    def _wait_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {token('admin')}"})
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, urllib.error.URLError), opener.open(request, timeout=2) as answer:
                if answer.status == 200:
                    return
            if self._processes[-1].poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError((self.directory / "apiserver.log").read_text()[-4000:])


def token(user: str) -> str:
    return f"{user}-token"


def write_kubeconfig(path: Path, cluster: dict[str, Any], user: dict[str, Any], **context: Any) -> None:
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", **context}}],
            }
        )
    )


def make_certificates(directory: Path) -> None:
    """A CA, a server certificate for loopback, and a client certificate of an administrator."""
    authority = ec.generate_private_key(ec.SECP256R1())
    name = _name("gpudeck test CA")
    certificate = _builder(name, name, authority.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    signed = certificate.sign(authority, hashes.SHA256())
    (directory / "ca.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    for stem, subject in (("server", _name("127.0.0.1")), ("client", _name("root", organisation="system:masters"))):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, name, key.public_key()).add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]),
            critical=False,
        )
        leaf = builder.sign(authority, hashes.SHA256())
        (directory / f"{stem}.crt").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        (directory / f"{stem}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )


def _name(common: str, organisation: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
