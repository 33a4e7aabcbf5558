"""The real API server and the real sshd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.domain import NodeSpec, SshSpec
from backends.nodes.ssh import SshPool, SshTransport
from tests.kube.fixtures import kube, kube_server
from tests.sshd import Reach, Sshd

__all__ = ["kube", "kube_server"]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "sshd").start()
    yield server
    server.stop()


@pytest.fixture
async def reach(tmp_path: Path) -> AsyncIterator[Reach]:
    """Transports of pools of their own; the system's SSH configuration is an empty directory, `tmp_path / "etc"`."""
    pools: list[SshPool] = []

    def make(config: Path | None, node: NodeSpec | str = "node", timeout: float = 10.0, **more: Any) -> SshTransport:
        spec = SshSpec(config_file=config, connect_timeout_seconds=timeout, **more)
        pool = SshPool(spec, system=tmp_path / "etc")
        pools.append(pool)
        return pool.transport(NodeSpec(node) if isinstance(node, str) else node)

    yield make
    for pool in pools:
        await pool.close()
