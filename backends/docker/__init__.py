"""The Docker platform: each node's engine, reached over the node's own SSH connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.docker.backend import DockerBackend

__all__ = ["DockerBackend"]


def __getattr__(name: str) -> Any:
    if name == "DockerBackend":
        from backends.docker.backend import DockerBackend

        return DockerBackend
    raise AttributeError(name)
