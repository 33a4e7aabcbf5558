"""A node transport that says what a test tells it to say."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from pathlib import Path
from typing import Any

from backends.contract import GpudeckError
from backends.domain import NodeSpec, SiteSpec
from backends.nodes.transport import Channel, Completed, Transport


class ScriptedChannel:
    """Lines are put by the test; `end` is the end of the remote command."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent = b""
        self.closed = False
        self.status: int | None = 0
        self.stderr = ""

    def say(self, *messages: dict[str, Any] | bytes) -> ScriptedChannel:
        for message in messages:
            self._lines.put_nowait(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        return self

    def end(self, status: int | None = 0, stderr: str = "") -> ScriptedChannel:
        self.status, self.stderr = status, stderr
        self._lines.put_nowait(b"")
        return self

    async def send(self, payload: bytes) -> None:
        self.sent += payload

    async def readline(self, limit: int) -> bytes:
        return (await self._lines.get())[:limit]

    async def stderr_tail(self) -> str:
        return self.stderr

    async def wait(self) -> int | None:
        return self.status

    async def close(self) -> None:
        self.closed = True


class ScriptedTransport:
    """Each `open` takes the next item of `channels`, each `run` the next of `runs`; an exception is raised.

    With nothing left, `open` hands out a channel that stays silent.
    """

    def __init__(self) -> None:
        self.channels: deque[ScriptedChannel | GpudeckError] = deque()
        self.runs: deque[Completed | GpudeckError] = deque()
        self.opened = 0
        self.closed = False

    async def open(self, command: str) -> Channel:
        self.opened += 1
        item = self.channels.popleft() if self.channels else ScriptedChannel()
        if isinstance(item, GpudeckError):
            raise item
        return item

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        item = self.runs.popleft()
        if isinstance(item, GpudeckError):
            raise item
        return item

    async def socket(self, path: str) -> Path:
        raise GpudeckError(f"{path} is not there", "")

    async def close(self) -> None:
        self.closed = True


class ScriptedTransports:
    """The transports of a site, by node name."""

    def __init__(self, spec: SiteSpec) -> None:
        self.of = {node.name: ScriptedTransport() for node in spec.nodes}

    def transport(self, node: NodeSpec) -> Transport:
        return self.of[node.name]

    async def close(self) -> None:
        return
