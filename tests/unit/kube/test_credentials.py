"""Kubeconfigs, exec plug-ins, the service account of a pod; and that no secret is ever told."""

from __future__ import annotations

import base64
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from backends.contract import AuthRefused, ConfigError, GpudeckError
from backends.domain import KubernetesSpec
from backends.kubernetes import credentials
from backends.kubernetes.api import load_sdk
from tests.kube.server import make_certificates

SECRET = "s3cr3t-t0ken"


@pytest.fixture(autouse=True)
async def sdk() -> None:
    await load_sdk()


@pytest.fixture
def private(tmp_path: Path) -> Path:
    made = tmp_path / "private"
    made.mkdir()
    return made


def kubeconfig(
    path: Path, cluster: dict[str, Any] | None = None, *, user: dict[str, Any] | None = None, name: str = "prod"
) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": name,
                "clusters": [{"name": f"{name}-c", "cluster": {"server": "https://10.0.0.1:6443", **(cluster or {})}}],
                "users": [{"name": f"{name}-u", "user": user or {"token": SECRET}}],
                "contexts": [
                    {"name": name, "context": {"cluster": f"{name}-c", "user": f"{name}-u", "namespace": "team-a"}}
                ],
            }
        )
    )
    return path


async def loaded(path: Path, private: Path, context: str | None = None) -> credentials.Credentials:
    return await credentials.load(KubernetesSpec(kubeconfig=path, context=context), private)


async def bearer(found: credentials.Credentials) -> str | None:
    settings = await found.configuration.auth_settings()
    return settings["BearerToken"]["value"] if settings else None


def plugin(tmp_path: Path, body: str, **more: Any) -> dict[str, Any]:
    """A user whose exec plug-in is the Python program `body`."""
    script = tmp_path / "login.py"
    script.write_text("import json, os, sys\n" + body)
    arguments = {"command": sys.executable, "args": [str(script)], "apiVersion": "client.authentication.k8s.io/v1"}
    return {"exec": {**arguments, **more}}


def answer(**status: Any) -> str:
    document = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"print(json.dumps({document!r}))"


async def test_a_token_and_the_context_s_namespace(tmp_path: Path, private: Path) -> None:
    found = await loaded(kubeconfig(tmp_path / "config"), private)
    assert (found.host, found.namespace, found.expires_at) == ("https://10.0.0.1:6443", "team-a", None)
    assert await bearer(found) == f"Bearer {SECRET}"


async def test_nothing_that_is_printed_holds_a_secret(tmp_path: Path, private: Path) -> None:
    found = await loaded(kubeconfig(tmp_path / "config", user={"token": SECRET, "as": "root"}), private)
    assert SECRET not in repr(found)
    (tmp_path / "broken").write_text(f"users: [{{user: {{token: {SECRET}\n")
    with pytest.raises(ConfigError) as caught:
        await loaded(tmp_path / "broken", private)
    assert SECRET not in caught.value.message + caught.value.hint


async def test_relative_paths_are_those_of_the_kubeconfig(tmp_path: Path, private: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ca.crt").write_text("x")
    (tmp_path / "sub" / "token").write_text(SECRET)
    path = kubeconfig(tmp_path / "sub" / "config", {"certificate-authority": "ca.crt"}, user={"tokenFile": "token"})
    found = await loaded(path, private)
    assert found.configuration.ssl_ca_cert == str(tmp_path / "sub" / "ca.crt")
    assert await bearer(found) == f"Bearer {SECRET}"


async def test_inline_keys_lie_in_private_files_only(tmp_path: Path, private: Path) -> None:
    inline = base64.b64encode(b"a key").decode()
    user = {"client-certificate-data": inline, "client-key-data": inline}
    found = await loaded(kubeconfig(tmp_path / "config", user=user), private)
    key = Path(found.configuration.key_file)
    assert key.parent == private
    assert key.read_bytes() == b"a key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_of_several_kubeconfigs_the_first_that_names_a_thing_wins(
    tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kubeconfig(tmp_path / "a", {"server": "https://one:6443"}, name="one")
    second = kubeconfig(tmp_path / "b", {"server": "https://two:6443"}, name="two")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{second}")
    assert (await credentials.load(KubernetesSpec(), private)).host == "https://one:6443"
    assert (await credentials.load(KubernetesSpec(context="two"), private)).host == "https://two:6443"


async def test_an_unknown_context_lists_the_known(tmp_path: Path, private: Path) -> None:
    with pytest.raises(ConfigError, match="no context 'staging'") as caught:
        await loaded(kubeconfig(tmp_path / "config"), private, context="staging")
    assert caught.value.hint == "there is: prod"


async def test_without_a_kubeconfig_that_is_said(private: Path) -> None:
    with pytest.raises(ConfigError, match="no kubeconfig"):
        await credentials.load(KubernetesSpec(), private)


@pytest.mark.parametrize("text", ["", "[]", "clusters: 5", "contexts: [{name: x}]\ncurrent-context: x\n"])
async def test_what_is_no_kubeconfig_is_an_error_in_words(tmp_path: Path, private: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigError):
        await loaded(tmp_path / "config", private)


async def test_a_login_plug_in_gives_a_token_and_when_it_expires(tmp_path: Path, private: Path) -> None:
    user = plugin(tmp_path, answer(token=SECRET, expirationTimestamp="2030-01-01T00:00:00Z"))
    found = await loaded(kubeconfig(tmp_path / "config", user=user), private)
    assert await bearer(found) == f"Bearer {SECRET}"
    assert found.expires_at == 1_893_456_000.0


async def test_a_login_plug_in_hears_of_the_cluster_and_cannot_read_the_terminal(tmp_path: Path, private: Path) -> None:
    said = tmp_path / "said"
    heard = "os.environ['KUBERNETES_EXEC_INFO'] + os.environ['REGION'] + sys.stdin.read()"
    body = f"open({str(said)!r}, 'w').write({heard})\n"
    user = plugin(tmp_path, body + answer(token="x"), provideClusterInfo=True, env=[{"name": "REGION", "value": "eu"}])
    await loaded(kubeconfig(tmp_path / "config", user=user), private)
    text = said.read_text()
    assert '"interactive": false' in text
    assert '"server": "https://10.0.0.1:6443"' in text
    assert text.endswith("eu")


async def test_a_login_plug_in_may_give_a_certificate(tmp_path: Path, private: Path) -> None:
    user = plugin(tmp_path, answer(clientCertificateData="a certificate", clientKeyData="a key"))
    found = await loaded(kubeconfig(tmp_path / "config", user=user), private)
    assert Path(found.configuration.cert_file).read_text() == "a certificate"
    assert Path(found.configuration.key_file).read_text() == "a key"


@pytest.mark.parametrize(
    ("body", "more", "words"),
    [
        ("sys.exit('\\x1b[31mtoken has expired')", {}, "token has expired"),
        ("print('hello')", {}, "no credential"),
        (answer(), {}, "neither a token nor a certificate"),
        ("", {"interactiveMode": "Always"}, "needs a terminal"),
        ("", {"command": "no-such-login-plug-in", "installHint": "apt install it"}, "cannot be started"),
    ],
)
async def test_a_login_plug_in_that_fails_says_so_in_one_line(
    tmp_path: Path, private: Path, body: str, more: dict[str, Any], words: str
) -> None:
    path = kubeconfig(tmp_path / "config", user=plugin(tmp_path, body, **more))
    with pytest.raises(AuthRefused) as caught:
        await loaded(path, private)
    assert words in caught.value.message
    assert "\x1b" not in caught.value.message


async def test_a_login_plug_in_that_hangs_is_ended(
    tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "EXEC_SECONDS", 0.3)
    pid = tmp_path / "pid"
    body = f"import threading\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nthreading.Event().wait()"
    with pytest.raises(AuthRefused, match="took more than"):
        await loaded(kubeconfig(tmp_path / "config", user=plugin(tmp_path, body)), private)
    if pid.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


async def test_a_login_plug_in_that_writes_without_end_is_ended(
    tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "EXEC_OUTPUT_BYTES", 1 << 16)
    pid = tmp_path / "pid"
    body = f"open({str(pid)!r}, 'w').write(str(os.getpid()))\nwhile True: sys.stdout.write('x' * 65536)"
    with pytest.raises(AuthRefused, match="wrote more than 64 KiB"):
        await loaded(kubeconfig(tmp_path / "config", user=plugin(tmp_path, body)), private)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_what_a_login_plug_in_has_started_ends_with_it(
    tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "EXEC_SECONDS", 2.0)
    pid = tmp_path / "pid"
    wait = "import threading; threading.Event().wait()"
    body = (
        f"import subprocess\nchild = subprocess.Popen([sys.executable, '-c', {wait!r}])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\nchild.wait()"
    )
    with pytest.raises(AuthRefused, match="took more than"):
        await loaded(kubeconfig(tmp_path / "config", user=plugin(tmp_path, body)), private)
    if pid.exists():
        assert not Path(f"/proc/{pid.read_text()}/exe").exists()


async def test_of_a_login_plug_in_that_complains_at_length_the_end_is_told(tmp_path: Path, private: Path) -> None:
    body = "sys.stderr.write('x\\n' * 3_000_000 + 'the session is over')\nsys.exit(1)"
    with pytest.raises(AuthRefused, match="failed") as caught:
        await loaded(kubeconfig(tmp_path / "config", user=plugin(tmp_path, body)), private)
    assert len(caught.value.message) < 300


async def test_impersonation_is_passed_on(tmp_path: Path, private: Path) -> None:
    user = {"token": SECRET, "as": "jane", "as-groups": ["dev", "ops"]}
    found = await loaded(kubeconfig(tmp_path / "config", user=user), private)
    assert found.headers == (("Impersonate-User", "jane"), ("Impersonate-Group", "dev"), ("Impersonate-Group", "ops"))


async def test_in_a_pod_the_service_account_is_used(
    tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(GpudeckError, match="service account"):
        await credentials.load(KubernetesSpec(), private)
    from kubernetes.aio.config import incluster_config

    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "ca.crt").write_text("x")
    (tmp_path / "namespace").write_text("ops\n")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", tmp_path)
    found = await credentials.load(KubernetesSpec(), private)
    assert (found.host, found.namespace) == ("https://10.96.0.1:443", "ops")
    assert (await bearer(found) or "").lower() == f"bearer {SECRET}"


async def test_a_new_token_alone_is_no_new_connection(tmp_path: Path, private: Path) -> None:
    first = await loaded(kubeconfig(tmp_path / "config"), private)
    second = await loaded(kubeconfig(tmp_path / "config", user={"token": "another"}), private)
    third = await loaded(kubeconfig(tmp_path / "config", {"insecure-skip-tls-verify": True}), private)
    assert first.connection == second.connection
    assert first.connection != third.connection


async def test_the_certificate_authority_is_kept_for_other_doors_of_the_cluster(tmp_path: Path, private: Path) -> None:
    make_certificates(tmp_path)
    pem = (tmp_path / "ca.crt").read_text()
    inline = {"certificate-authority-data": base64.b64encode(pem.encode()).decode()}
    assert (await loaded(kubeconfig(tmp_path / "config", inline), private)).ca == pem
    assert (await loaded(kubeconfig(tmp_path / "config"), private)).ca == ""
