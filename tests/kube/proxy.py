"""A loopback proxy before a real API server that fails as it is told: 401, 429, 500, 410, cut, silent, half lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.kube import loopback
from tests.kube.server import KubeApiserver

HOP_BY_HOP = {"transfer-encoding", "content-length", "connection", "content-encoding", "host"}


@dataclass
class Fault:
    """What happens to the next `times` requests whose path ends with `path`; watches and others are told apart."""

    path: str
    watch: bool = False
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after_events: int | None = None
    """Of a watch: this many events go through, then `then` happens."""
    then: str = "cut"
    """cut (the connection), end (a good end), gone (an ERROR event with 410), half (of a line), silence."""
    hold: asyncio.Event | None = None
    """The answer waits for it."""
    hits: int = 0


class FaultProxy:
    def __init__(self, server: KubeApiserver) -> None:
        self._server = server
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and query of every request, in order."""
        self.port = 0
        self._session: aiohttp.ClientSession | None = None
        self._heard = asyncio.Event()
        self._live: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def add(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def count(self, path: str, *, watch: bool) -> int:
        return sum(each.endswith(path) and ("watch" in query) == watch for _, each, query in self.requests)

    async def until(self, holds: Callable[[], bool], seconds: float = 20.0) -> None:
        """Until `holds()`, looked at after every request."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._heard.clear()
                await self._heard.wait()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FaultProxy]:
        upstream = ssl.create_default_context(cafile=str(self._server.ca))
        application = web.Application(client_max_size=1 << 24)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=upstream, limit=0)) as self._session,
            loopback.serving(application, self._server.directory) as self.port,
        ):
            try:
                yield self
            finally:
                for task in list(self._live):
                    task.cancel()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._live.add(task)
        try:
            return await self._answer(request)
        finally:
            self._live.discard(task)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        fault = self._fault(request.path, "watch" in query)
        self.requests.append((request.method, request.path, query))
        self._heard.set()
        if fault is not None and fault.hold is not None:
            await fault.hold.wait()
        if fault is not None and fault.status is not None:
            body = {"kind": "Status", "code": fault.status, "message": f"made to fail with {fault.status}"}
            return web.json_response(body, status=fault.status, headers=fault.headers)
        return await self._forward(request, fault)

    async def _forward(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        assert self._session is not None
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        upstream = await self._session.request(
            request.method,
            self._server.url + request.raw_path,
            headers=headers,
            data=await request.read() or None,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        try:
            return await self._pass_on(request, upstream, fault)
        finally:
            transport = upstream.connection.transport if upstream.connection is not None else None
            upstream.close()
            if transport is not None:
                transport.abort()

    async def _pass_on(
        self, request: web.Request, upstream: aiohttp.ClientResponse, fault: Fault | None
    ) -> web.StreamResponse:
        kept = {key: value for key, value in upstream.headers.items() if key.lower() not in HOP_BY_HOP}
        response = web.StreamResponse(status=upstream.status, headers=kept)
        await response.prepare(request)
        left = fault.after_events if fault is not None else None
        if left == 0:
            return await self._break(request, response, fault)
        async for line in upstream.content:
            await response.write(line)
            if left is not None:
                left -= 1
                if left <= 0:
                    return await self._break(request, response, fault)
        await response.write_eof()
        return response

    async def _break(
        self, request: web.Request, response: web.StreamResponse, fault: Fault | None
    ) -> web.StreamResponse:
        assert fault is not None
        match fault.then:
            case "gone":
                status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
                await response.write_eof()
            case "half":
                await response.write(b'{"type":"MODIFIED","object":{"metadata":{"ui')
                await response.write_eof()
            case "end":
                await response.write_eof()
            case "silence":
                await asyncio.Event().wait()
            case _:
                assert request.transport is not None
                request.transport.abort()
        return response

    def _fault(self, path: str, watch: bool) -> Fault | None:
        for fault in self.faults:
            if fault.hits < fault.times and path.endswith(fault.path) and fault.watch == watch:
                fault.hits += 1
                return fault
        return None
