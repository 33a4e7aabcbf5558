"""Where the API server is and who asks: kubeconfig files, exec plug-ins, tokens, the service account of a pod.

The SDK reads most of it. Exec plug-ins are run here, because in a console nothing may read the terminal or wait for
ever, and keys that a kubeconfig holds inline are written to a private directory for as long as the TLS context needs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from backends.contract import AuthRefused, ConfigError, Unreachable
from backends.domain import KubernetesSpec, clean
from backends.feed import end
from backends.kubernetes.fields import entries, table

EXEC_SECONDS = 60.0
EXEC_OUTPUT_BYTES = 1 << 20
"""A credential is a few KiB."""
KILL_SECONDS = 5.0
COMPLAINT_BYTES = 4096
CHUNK_BYTES = 65_536
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_INLINE = (("client-certificate", "client-certificate-data"), ("client-key", "client-key-data"))


@dataclass(frozen=True, slots=True)
class Credentials:
    """Loaded once; loaded anew when the server refuses them or `expires_at` comes near."""

    configuration: Any = field(repr=False)
    """kubernetes.aio.client.Configuration"""
    host: str
    expires_at: float | None = None
    """Seconds since the epoch; None when the source does not say."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Impersonation, where the kubeconfig asks for it."""
    namespace: str | None = None
    """The context's own."""
    connection: bytes = field(default=b"", repr=False)
    """Digest of what a TLS connection is made of: equal for credentials that differ in their token only."""
    ca: str = field(default="", repr=False)
    """PEM of the kubeconfig's certificate authority; empty: the system's."""


def kubeconfig_paths(spec: KubernetesSpec) -> tuple[Path, ...]:
    """The kubeconfig files that are there, in the order in which they win."""
    if spec.kubeconfig is not None:
        return (spec.kubeconfig,)
    named = os.environ.get("KUBECONFIG")
    paths = named.split(":") if named else ["~/.kube/config"]
    return tuple(path for text in paths if text and (path := Path(text).expanduser()).is_file())


def written(spec: KubernetesSpec) -> tuple[tuple[str, int, int, int], ...]:
    """Tells a kubeconfig from one that was written since: path, inode, size and time of each file."""
    found = []
    for path in kubeconfig_paths(spec):
        with contextlib.suppress(OSError):
            status = path.stat()
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


async def load(spec: KubernetesSpec, private: Path) -> Credentials:
    """The credentials of `spec`; key files go into the directory `private`.

    Raises ConfigError for a kubeconfig that cannot be right, AuthRefused for an exec plug-in that fails.
    """
    paths = kubeconfig_paths(spec)
    if not paths:
        if "KUBERNETES_SERVICE_HOST" in os.environ and spec.context is None:
            return await asyncio.to_thread(_in_cluster)
        raise ConfigError(
            "there is no kubeconfig: neither $KUBECONFIG nor ~/.kube/config",
            "set kubeconfig in the site's configuration, or log in to the cluster",
        )
    merged = await asyncio.to_thread(merge, paths)
    context, cluster, user = choose(merged, spec.context)
    expires_at = None
    if isinstance(user.get("exec"), dict):
        status = await run_exec(user["exec"], cluster)
        expires_at = _expiry(status.get("expirationTimestamp"))
        user = _user_of(status, user)
    return await _configure(context, cluster, user, private, expires_at)


def merge(paths: tuple[Path, ...]) -> dict[str, Any]:
    """The kubeconfigs as one: the first that names a thing wins. Relative paths become absolute.

    Raises ConfigError naming the file.
    """
    import yaml

    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}, "current-context": None}
    for path in paths:
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", "is it the right kubeconfig?") from None
        except (yaml.YAMLError, UnicodeDecodeError):
            # The parser's message quotes the file, and the file holds secrets.
            raise ConfigError(f"{path} is no YAML", "is it the right kubeconfig?") from None
        if not isinstance(document, dict):
            raise ConfigError(f"{path} is no kubeconfig", "")
        merged["current-context"] = merged["current-context"] or document.get("current-context")
        for kind, inner in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            for entry in entries(document, kind):
                if isinstance(entry.get("name"), str):
                    merged[kind].setdefault(entry["name"], _absolute(table(entry, inner), path))
    return merged


def choose(merged: dict[str, Any], wanted: str | None) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Context, cluster and user of the context `wanted`, or of the current one. Raises ConfigError."""
    name = wanted or merged["current-context"]
    if not name:
        raise ConfigError("the kubeconfig has no current context", "set context in the site's configuration")
    context = merged["contexts"].get(name)
    if context is None:
        known = ", ".join(clean(known, 64) for known in sorted(merged["contexts"])) or "none"
        raise ConfigError(f"the kubeconfig has no context {clean(str(name), 64)!r}", f"there is: {known}")
    cluster = merged["clusters"].get(context.get("cluster"))
    if cluster is None or not cluster.get("server"):
        raise ConfigError(f"the context {clean(str(name), 64)!r} names no cluster with a server", "")
    return context, cluster, merged["users"].get(context.get("user")) or {}


async def run_exec(plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> dict[str, Any]:
    """The `status` of an ExecCredential (client.authentication.k8s.io). Raises AuthRefused with the plug-in's words."""
    command = str(plugin.get("command") or "")
    name = clean(Path(command).name, 64)
    if plugin.get("interactiveMode") == "Always":
        raise AuthRefused(f"the login plug-in {name} needs a terminal of its own", "log in to the cluster first")
    information: dict[str, Any] = {
        "apiVersion": plugin.get("apiVersion"),
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    if plugin.get("provideClusterInfo"):
        keys = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
        information["spec"]["cluster"] = {key: cluster[key] for key in keys if key in cluster}
    environment = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(information)}
    for entry in plugin.get("env") or ():
        environment[str(entry.get("name"))] = str(entry.get("value"))
    arguments = [str(argument) for argument in plugin.get("args") or ()]
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        hint = clean(str(plugin.get("installHint") or "install it, or log in another way"), 200)
        raise AuthRefused(f"the login plug-in {name} cannot be started: {error.strerror}", hint) from None
    try:
        async with asyncio.timeout(EXEC_SECONDS):
            stdout, stderr = await _outputs(process)
            await process.wait()
    except _TooMuch:
        said = f"the login plug-in {name} wrote more than {EXEC_OUTPUT_BYTES >> 10} KiB: that is no credential"
        raise AuthRefused(said, "") from None
    except TimeoutError:
        raise AuthRefused(f"the login plug-in {name} took more than {EXEC_SECONDS:.0f} s", "") from None
    finally:
        if process.returncode is None:
            await _kill(process)
    if process.returncode != 0:
        said = clean(stderr.decode("utf-8", "replace").strip(), 200)
        raise AuthRefused(
            f"the login plug-in {name} failed: {said or process.returncode}", "log in to the cluster again"
        )
    return _exec_status(stdout, name)


class _TooMuch(Exception):
    pass


async def _outputs(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """All of stdout, and the end of stderr. Raises _TooMuch."""
    assert process.stdout is not None
    assert process.stderr is not None
    complaint = asyncio.create_task(_end_of(process.stderr), name="a login plug-in's stderr")
    try:
        stdout = b""
        while chunk := await process.stdout.read(CHUNK_BYTES):
            stdout += chunk
            if len(stdout) > EXEC_OUTPUT_BYTES:
                raise _TooMuch
        return stdout, await complaint
    finally:
        await end([complaint])


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Ends it with what it has started, and waits for that; a pipe that is full hides its end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            await asyncio.gather(*(_end_of(stream) for stream in streams))
            await process.wait()


async def _end_of(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(CHUNK_BYTES):
        kept = (kept + chunk)[-COMPLAINT_BYTES:]
    return kept


def _exec_status(stdout: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(stdout)
        status = document["status"]
    except (ValueError, KeyError, TypeError):
        raise AuthRefused(f"the login plug-in {name} gave no credential", "") from None
    if not isinstance(status, dict) or not (status.get("token") or status.get("clientCertificateData")):
        raise AuthRefused(f"the login plug-in {name} gave neither a token nor a certificate", "")
    return status


def _user_of(status: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    """The kubeconfig's user with what the plug-in gave instead of the plug-in."""
    kept = {key: value for key, value in user.items() if key != "exec"}
    if status.get("token"):
        kept["token"] = status["token"]
    if status.get("clientCertificateData"):
        for (_, target), source in zip(_INLINE, ("clientCertificateData", "clientKeyData"), strict=True):
            kept[target] = base64.b64encode(str(status.get(source) or "").encode()).decode()
    return kept


async def _configure(
    context: dict[str, Any], cluster: dict[str, Any], user: dict[str, Any], private: Path, expires_at: float | None
) -> Credentials:
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    read: Any = config.load_kube_config_from_dict
    await asyncio.to_thread(_inline_to_files, cluster, user, private)
    names = {"context": {"cluster": "c", "user": "u"}, "name": "x"}
    document = {
        "current-context": "x",
        "contexts": [names],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    configuration = Configuration()
    try:
        await read(document, client_configuration=configuration, temp_file_path=str(private))
    except (config.ConfigException, OSError, ValueError) as error:
        raise ConfigError(f"the kubeconfig cannot be used: {clean(str(error), 160)}", "") from None
    # Go's clients do not ask for the extensions that Python 3.13 wants of a CA by default.
    configuration.disable_strict_ssl_verification = True
    return Credentials(
        configuration=configuration,
        host=clean(str(configuration.host)),
        expires_at=expires_at,
        headers=tuple(_impersonation(user)),
        namespace=context.get("namespace"),
        connection=await asyncio.to_thread(_connection, configuration),
        ca=await asyncio.to_thread(_authority, configuration),
    )


def _in_cluster() -> Credentials:
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    read: Any = config.load_incluster_config
    configuration = Configuration()
    try:
        read(client_configuration=configuration)
    except config.ConfigException as error:
        raise Unreachable(f"the pod's service account cannot be used: {clean(str(error), 160)}", "") from None
    configuration.disable_strict_ssl_verification = True
    namespace = SERVICE_ACCOUNT / "namespace"
    return Credentials(
        configuration=configuration,
        host=clean(str(configuration.host)),
        namespace=namespace.read_text().strip() if namespace.is_file() else None,
        connection=_connection(configuration),
        ca=_authority(configuration),
    )


def _connection(configuration: Any) -> bytes:
    digest = hashlib.sha256()
    for value in (configuration.host, configuration.verify_ssl, configuration.tls_server_name, configuration.proxy):
        digest.update(repr(value).encode() + b"\0")
    for name in (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file):
        digest.update((Path(name).read_bytes() if name else b"") + b"\0")
    return digest.digest()


def _authority(configuration: Any) -> str:
    path = configuration.ssl_ca_cert
    return Path(path).read_text(encoding="ascii", errors="replace") if path else ""


def _inline_to_files(cluster: dict[str, Any], user: dict[str, Any], private: Path) -> None:
    """Replaces certificates and keys that are written inline by files in `private`."""
    for values, pairs in ((cluster, (("certificate-authority", "certificate-authority-data"),)), (user, _INLINE)):
        for name, inline in pairs:
            content = values.pop(inline, None)
            if not content:
                continue
            path = private / name
            try:
                decoded = base64.b64decode(content)
            except (binascii.Error, TypeError, ValueError):
                raise ConfigError(f"the kubeconfig's {inline} is no base64", "") from None
            path.touch(mode=0o600)
            path.write_bytes(decoded)
            values[name] = str(path)


def _absolute(values: Mapping[str, Any], kubeconfig: Path) -> dict[str, Any]:
    """A copy whose paths, relative to the kubeconfig's directory as kubectl has it, are absolute."""
    copy = dict(values)
    for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
        if isinstance(copy.get(key), str):
            copy[key] = str((kubeconfig.parent / copy[key]).absolute())
    plugin = copy.get("exec")
    if isinstance(plugin, dict) and "/" in str(plugin.get("command")):
        copy["exec"] = {**plugin, "command": str((kubeconfig.parent / plugin["command"]).absolute())}
    return copy


def _impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    return headers


def _expiry(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
