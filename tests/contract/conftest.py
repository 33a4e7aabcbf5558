"""The real servers for the backends that speak to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dockerd import Dockerd
from tests.kube.fixtures import kube_server

__all__ = ["kube_server"]


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    server = Dockerd(tmp_path_factory.mktemp("dockerd")).start()
    try:
        yield server
    finally:
        server.stop()
