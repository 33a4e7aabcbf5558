"""A stand-in for the one thing that an API server asks a kubelet for here: logs. The API server in between is real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.kube.loopback import serving
from tests.kube.server import KubeApiserver

Raw = dict[str, Any]


@dataclass
class ContainerLog:
    """What a container said; `running` keeps followers waiting for more."""

    lines: list[tuple[float, bytes]] = field(default_factory=list)
    previous: list[tuple[float, bytes]] = field(default_factory=list)
    running: bool = True
    started: bool = True
    more: asyncio.Event = field(default_factory=asyncio.Event)
    followers: int = 0

    def say(self, *lines: str | bytes, at: float = 1_764_060_000.0) -> None:
        for number, line in enumerate(lines):
            self.lines.append((at + number, line if isinstance(line, bytes) else line.encode()))
        self._wake()

    def end(self) -> None:
        self.running = False
        self._wake()

    def _wake(self) -> None:
        self.more.set()
        self.more = asyncio.Event()


class FakeKubelet:
    def __init__(self, server: KubeApiserver) -> None:
        self._server = server
        self.logs: dict[tuple[str, str], ContainerLog] = {}
        self.port = 0
        self.requests: list[Raw] = []
        self.heard = asyncio.Event()

    def log(self, pod: str, container: str) -> ContainerLog:
        return self.logs.setdefault((pod, container), ContainerLog())

    def on(self, node: Raw) -> Raw:
        """The node, with this as its kubelet."""
        node["status"]["addresses"] = [{"type": "InternalIP", "address": "127.0.0.1"}]
        node["status"]["daemonEndpoints"] = {"kubeletEndpoint": {"Port": self.port}}
        return node

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeKubelet]:
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._answer)
        async with serving(application, self._server.directory) as self.port:
            yield self

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.requests.append(query)
        self.heard.set()
        name = request.match_info["container"]
        log = self.log(request.match_info["pod"], name)
        if not log.started:
            return web.Response(status=400, text=f'container "{name}" is waiting to start: ContainerCreating')
        lines = log.previous if query.get("previous") == "true" else log.lines
        chosen = _chosen(lines, query)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        stamped = query.get("timestamps") == "true"
        await response.write(b"".join(_line(each, stamped) for each in chosen))
        if query.get("follow") == "true":
            await self._follow(log, response, stamped)
        await response.write_eof()
        return response

    async def _follow(self, log: ContainerLog, response: web.StreamResponse, stamped: bool) -> None:
        told = len(log.lines)
        log.followers += 1
        self.heard.set()
        while log.running:
            more = log.more
            if told == len(log.lines):
                await more.wait()
            fresh, told = log.lines[told:], len(log.lines)
            await response.write(b"".join(_line(each, stamped) for each in fresh))


def _chosen(lines: list[tuple[float, bytes]], query: Raw) -> list[tuple[float, bytes]]:
    if "sinceTime" in query:
        # The kubelet's own granularity: whole seconds.
        since = int(datetime.fromisoformat(query["sinceTime"][:19]).replace(tzinfo=UTC).timestamp())
        lines = [each for each in lines if each[0] >= since]
    if "tailLines" in query:
        lines = lines[-int(query["tailLines"]) :]
    return lines


def _line(line: tuple[float, bytes], stamped: bool) -> bytes:
    at, text = line
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()
    return (stamp + b" " if stamped else b"") + text + b"\n"
