"""The real API server for the backends that speak to one."""

from tests.kube.fixtures import kube, kube_server

__all__ = ["kube", "kube_server"]
