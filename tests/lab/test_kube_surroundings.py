"""What the environment of the console says of the way to an API server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.contract import Unreachable
from backends.domain import KubernetesSpec
from backends.feed import SystemClock
from backends.kubernetes.api import Api
from backends.kubernetes.proxies import proxy_for
from tests.contract.lab_server import KINDS, LabKube


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    async with LabKube(tmp_path, KINDS["kubernetes"]).serving() as server:
        yield server.kubeconfig()


async def test_a_login_of_netrc_for_any_machine_is_not_sent_beside_the_token(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    api = Api(KubernetesSpec(kubeconfig=kubeconfig), SystemClock())
    assert (await api.get("/version"))["gitVersion"]
    await api.close()


async def test_the_proxy_of_the_environment_is_asked_but_for_what_it_leaves_out(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1") as proxy:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        through = Api(KubernetesSpec(kubeconfig=kubeconfig), SystemClock())
        with pytest.raises(Unreachable):
            await through.get("/version")
        await through.close()
        assert re.match(r"(CONNECT|GET) ", asked[0])
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        beside = Api(KubernetesSpec(kubeconfig=kubeconfig), SystemClock())
        assert (await beside.get("/version"))["gitVersion"]
        await beside.close()


def test_what_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", ".example.com,10.0.0.1")
    urls = ("https://api.lab:6443", "https://api.example.com:6443", "https://10.0.0.1", "ftp://x", "nonsense")
    assert [proxy_for(url) for url in urls] == ["http://proxy:3128", None, None, None, None]
