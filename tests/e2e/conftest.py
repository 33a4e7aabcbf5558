"""The real API server."""

from tests.kube.fixtures import kube, kube_server

__all__ = ["kube", "kube_server"]
