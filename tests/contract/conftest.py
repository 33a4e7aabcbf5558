"""The real servers for the backends that speak to them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dockerd import Dockerd
from tests.kube.fixtures import kube_server
from tests.podman import Podman

__all__ = ["kube_server"]


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    server = Dockerd(tmp_path_factory.mktemp("dockerd")).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    server = Podman(tmp_path_factory.mktemp("podman")).start()
    try:
        yield server
    finally:
        server.stop()
