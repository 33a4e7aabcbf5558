"""Engines that answer with something else, beside one that is well; and how many streams an engine has to serve."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from backends.contract import Gone, GpudeckError, NotAllowed, SiteContext, Unreachable
from backends.docker import DockerBackend
from backends.docker.engine import Engine
from backends.docker.listing import CONTAINERS_LIMIT
from backends.domain import DockerSpec, Fleet, Node, NodeReading, NodeSpec, NodeState, Problem, SiteSpec
from backends.domain.stack import OperandPhase
from backends.feed import ManualClock, SystemClock
from backends.nodes.local import LocalTransport
from backends.ownership import Ownership

pytest.importorskip("aiodocker")
WAIT = 20.0
JSON = "application/json"
SPOILED: dict[str, tuple[str, bytes]] = {
    "cut": (JSON, b'{"a": '),
    "html": ("text/html; charset=utf-8", b"<html>502 Bad Gateway</html>"),
    "null": (JSON, b"null"),
    "number": (JSON, b"7"),
    "broken": (JSON, b'{"a": '),
    "list-of-null": (JSON, b"[null]"),
    "nothing": ("", b""),
    "deep": (JSON, b"[" * 100_000),
    "no-utf-8": (JSON, b'"\xff\xfe"'),
}
"""What is answered: the content type, and the body. `cut` promises a longer one and closes."""


class RawEngine:
    """Answers by the last parts of a path; `spoil` names the one that is answered with something else."""

    def __init__(self, containers: int = 1) -> None:
        self.listed = [{"Id": f"{each:064x}", "State": "running"} for each in range(containers)]
        self.asked: Counter[str] = Counter()
        self.spoiled: dict[str, str] = {}
        """Part of a path -> key of `SPOILED`."""
        self.inspected: dict[str, Any] = {}
        """More of every inspect document."""
        self.port = 0
        self._open: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode().partition("?")[0]
            path = path.removeprefix("/v1.51")
            self.asked["inspect" if path.count("/") == 3 else path] += 1
            await self._answer(path, writer)
        writer.close()
        self._open.discard(task)

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        key = next((key for part, key in self.spoiled.items() if path.endswith(part)), None)
        if path == "/events" and key is None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
            await asyncio.Event().wait()
        kind, body = (JSON, json.dumps(self._document(path)).encode()) if key is None else SPOILED[key]
        length = len(body) + (100 if key == "cut" else 0)
        told = f"Content-Type: {kind}\r\n" if kind else ""
        writer.write(f"HTTP/1.1 200 OK\r\n{told}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    def _document(self, path: str) -> Any:
        match path:
            case "/version":
                return {"Version": "28.5.1", "ApiVersion": "1.51"}
            case "/info":
                return {"ServerVersion": "28.5.1", "Runtimes": {"nvidia": {}}}
            case "/containers/json":
                return self.listed
        identity = path.split("/")[2]
        return {"Id": identity, "Name": "/job", "State": {"Status": "running"}, "Config": {}, **self.inspected}

    async def close(self) -> None:
        for task in self._open:
            task.cancel()


@contextlib.asynccontextmanager
async def site_of(*engines: RawEngine) -> AsyncIterator[DockerBackend]:
    """A site whose nodes are called by the ports of their engines."""
    async with contextlib.AsyncExitStack() as servers:
        for engine in engines:
            server = await asyncio.start_server(engine.serve, "127.0.0.1", 0, limit=1 << 16)
            engine.port = server.sockets[0].getsockname()[1]
            servers.callback(server.close)
            servers.push_async_callback(engine.close)
        nodes = tuple(NodeSpec(str(engine.port)) for engine in engines)
        site = SiteSpec("test", nodes=nodes, platform="docker", docker=DockerSpec(url="tcp://127.0.0.1:{node}"))
        access: Any = LocalTransport()
        fleet = Fleet(tuple(NodeReading(node.name, NodeState.LIVE, Node(node.name), 0.0, None) for node in nodes))
        backend = DockerBackend.open(SiteContext(site, SystemClock(), lambda _node: access, lambda: fleet))
        try:
            async with asyncio.timeout(WAIT):
                yield backend
        finally:
            await backend.close()


@pytest.mark.parametrize("key", sorted(SPOILED))
@pytest.mark.parametrize("path", ["/version", "/info"])
async def test_an_engine_that_answers_something_else_costs_the_others_nothing(path: str, key: str) -> None:
    good, bad = RawEngine(), RawEngine()
    bad.spoiled[path] = key
    async with site_of(bad, good) as backend:
        stack = await anext(backend.stack())
        well, ill = stack.get(str(good.port)), stack.get(str(bad.port))
        assert well is not None
        assert well.runtime == "docker 28.5.1"
        assert ill is not None
        engine = ill.get("engine")
        assert engine is not None
        assert engine.phase is OperandPhase.FAILING
        assert f"engine of {bad.port}" in (engine.message or "")
        found = await anext(backend.workloads())
        assert {item.node for item in found.items} >= {str(good.port)}


async def test_a_node_that_is_lost_while_its_engine_is_asked_is_no_failed_engine() -> None:
    live = NodeReading("dgx01", NodeState.LIVE, Node("dgx01"), 1.0, None)
    lost = replace(live, state=NodeState.STALE, problem=Problem("unreachable", "dgx01: Connection reset", "", 2.0))
    looks = iter([live])
    site = SiteSpec("test", nodes=(NodeSpec("dgx01"),), platform="docker", docker=DockerSpec(url="tcp://127.0.0.1:1"))
    access: Any = LocalTransport()
    context = SiteContext(site, ManualClock(0.0), lambda _node: access, lambda: Fleet((next(looks, lost),)))
    backend = DockerBackend.open(context)
    backend._silent.add("dgx01")  # asked once
    (node,) = (await anext(backend.stack())).nodes
    assert {state.phase for state in node.operands} == {OperandPhase.UNKNOWN}
    assert "Connection reset" in node.notes[0]
    await backend.close()


@pytest.mark.parametrize("key", sorted(SPOILED))
@pytest.mark.parametrize("path", ["/containers/json", f"/{0:064x}/json", "/events"])
async def test_a_list_that_cannot_be_read_costs_the_other_nodes_nothing(path: str, key: str) -> None:
    good, bad = RawEngine(), RawEngine()
    bad.spoiled[path] = key
    async with site_of(bad, good) as backend:
        found = await anext(backend.workloads())
        assert str(good.port) in {item.node for item in found.items}
        if path == "/containers/json" and key != "nothing":  # aiodocker takes no body for an empty list
            (unread,) = found.unread
            assert unread.node == str(bad.port)
            assert "/containers/json" in unread.why
            ownership = Ownership(found)
            assert (ownership.complete_on(str(good.port)), ownership.complete_on(str(bad.port))) == (True, False)


@pytest.mark.parametrize("entry", [{"Capabilities": [5]}, {"DeviceIDs": 5}, {"Capabilities": 5}, 5])
async def test_one_odd_device_request_is_no_end_of_the_reading(entry: Any) -> None:
    engine = RawEngine()
    engine.inspected = {"HostConfig": {"DeviceRequests": [entry]}}
    async with site_of(engine) as backend:
        (item,) = (await anext(backend.workloads())).items
        assert item.gpus == ()


async def test_what_is_wrong_names_the_node_and_the_question() -> None:
    engine = RawEngine()
    engine.spoiled["/info"] = "html"
    async with site_of(engine):
        asked = Engine("dgx01", lambda: asyncio.sleep(0, f"tcp://127.0.0.1:{engine.port}"))
        with pytest.raises(GpudeckError, match="engine of dgx01 gave an answer to /info that cannot be read") as caught:
            await asked.info()
        assert caught.value.hint
        engine.spoiled["/info"] = "cut"
        with pytest.raises(Unreachable, match="engine of dgx01 cannot be asked for /info"):
            await asked.info()
        await asked.close()


async def test_what_an_engine_refuses_is_told_in_its_own_words() -> None:
    async def refuse(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"message": "No such container: absent"}, status=404)  # with a charset

    server = web.Server(refuse)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    asked = Engine("dgx01", lambda: asyncio.sleep(0, f"tcp://127.0.0.1:{port}"))
    try:
        with pytest.raises(GpudeckError) as caught:
            await asked.info()
        assert caught.value.message == "the container engine of dgx01: No such container: absent"
    finally:
        await asked.close()
        listening.close()
        await server.shutdown()


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (501, "configured logging driver does not support reading", GpudeckError),
        (404, "No such container: job", Gone),
        (403, "authorization denied by plugin", NotAllowed),
        (500, "", GpudeckError),
    ],
)
async def test_a_log_that_an_engine_refuses_is_told_in_its_own_words(status: int, said: str, kind: type) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.endswith("/logs"):
            return web.json_response({"message": said}, status=status)
        return web.json_response({"Id": "0" * 64, "Config": {}, "ApiVersion": "1.51"})

    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    asked = Engine("dgx01", lambda: asyncio.sleep(0, f"tcp://127.0.0.1:{port}"))
    try:
        with pytest.raises(GpudeckError) as caught:
            await anext(asked.log("job", {}))
        assert type(caught.value) is kind
        assert caught.value.message.startswith("the container engine of dgx01")
        assert caught.value.message.endswith(f": {said or f'status {status}'}")
    finally:
        await asked.close()
        listening.close()
        await server.shutdown()


async def test_two_readers_share_one_stream_of_events_and_one_reading(recwarn: pytest.WarningsRecorder) -> None:
    engine = RawEngine(containers=3)
    async with site_of(engine) as backend:
        first, second = backend.workloads(), backend.workloads()
        told = await anext(first)
        assert (await anext(second)).items == told.items
        assert (engine.asked["/events"], engine.asked["/containers/json"], engine.asked["inspect"]) == (1, 1, 3)
        await first.aclose()
        await second.aclose()
        assert len((await anext(backend.workloads())).items) == 3, "after the last reader left it begins anew"
        assert engine.asked["/containers/json"] == 2
    assert not [each for each in recwarn if issubclass(each.category, RuntimeWarning)]


async def test_containers_that_run_and_are_left_out_make_nobody_a_stranger() -> None:
    engine = RawEngine(containers=CONTAINERS_LIMIT + 3)
    async with site_of(engine) as backend:
        found = await anext(backend.workloads())
        assert len(found.items) == CONTAINERS_LIMIT
        assert not Ownership(found).complete_on(str(engine.port))
        for each in engine.listed[:-10]:
            each["State"] = "exited"
    async with site_of(engine) as backend:
        found = await anext(backend.workloads())
        assert Ownership(found).complete_on(str(engine.port)), "what has ended has no process"
        assert [each.running for each in found.unread] == [False]
