"""How a node is reached: a transport opens channels, a channel is one running command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Channel(Protocol):
    """A running remote command with its standard streams."""

    async def send(self, payload: bytes) -> None:
        """Writes to the command's stdin; raises `GpudeckError` when the peer is gone."""
        ...

    async def readline(self, limit: int) -> bytes:
        """The next line of stdout with its line end, b"" at EOF.

        A line of more than `limit` bytes raises `ProbeFailed`; the channel is of no more use then.
        """
        ...

    async def stderr_tail(self) -> str:
        """The last 2,000 characters of stderr so far, cleaned."""
        ...

    async def wait(self) -> int | None:
        """The exit status; None when the command was ended by a signal or the connection went away."""
        ...

    async def close(self) -> None:
        """Ends the command by EOF on its stdin, and after a bounded wait by closing the channel."""
        ...


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ran to its end."""

    stdout: bytes
    stderr: str
    """Cleaned, at most 2,000 characters."""
    status: int | None


class Transport(Protocol):
    """The way to one node."""

    async def open(self, command: str) -> Channel:
        """Starts `command` in the node's login shell; raises `Unreachable` and its kin."""
        ...

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        """Runs `command` to its end; `timeout` in seconds, `limit` in bytes of stdout, both raise `GpudeckError`."""
        ...

    async def socket(self, path: str) -> Path:
        """A unix socket on this machine that leads to the socket `path` of the node while the transport lives.

        Raises `Unreachable` and its kin, and `GpudeckError` when nothing listens at `path` or the way is forbidden.
        """
        ...

    async def close(self) -> None: ...
