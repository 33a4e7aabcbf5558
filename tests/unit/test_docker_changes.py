"""What a node's engine is asked when its containers send events: lists and inspects are counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.contract import SiteContext
from backends.docker import DockerBackend
from backends.docker.changes import CHANGED_LIMIT, Gathered, changed_container
from backends.domain import DockerSpec, Fleet, NodeSpec, SiteSpec
from backends.domain.workload import Workloads
from backends.feed import ManualClock
from backends.nodes.local import LocalTransport

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("aiodocker")
WAIT = 20.0
NODE = "dgx01"
SYSTEM_TIME = "2026-11-25T08:31:07.123456789Z"
CHECK = ("exec_create: /bin/healthy", "exec_start: /bin/healthy", "exec_die")


class CountingEngine:
    """An engine of an API too old to heed the filter of events: it sends all of them."""

    def __init__(self, containers: int) -> None:
        self.states = {f"{number:064x}": "running" for number in range(containers)}
        self.asked: Counter[str] = Counter()
        self.inspected: Counter[str] = Counter()
        self.wanted: dict[str, str] = {}
        """The query of the last stream of events."""
        self.address = ""
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent = asyncio.Event()

    def tell(self, action: str, identity: str) -> None:
        self._sent.clear()
        self._events.put_nowait({"Type": "container", "Action": action, "Actor": {"ID": identity}, "time": 1})

    async def told(self) -> None:
        """Once the client was sent everything, and had the time to read it: a question to the engine came after it."""
        await self._sent.wait()
        async with aiohttp.ClientSession() as session, session.get(f"{self.address}/_ping") as response:
            await response.read()

    async def serve(self, request: Any) -> Any:
        path = [part for part in request.path.split("/") if part and not part.startswith("v1")]
        if path == ["containers", "json"]:
            self.asked["list"] += 1
            return aiohttp.web.json_response([{"Id": each} for each in self.states])
        if path[0] == "containers":
            self.asked["inspect"] += 1
            return self._inspect(path[1])
        if path == ["events"]:
            return await self._stream(request)
        return aiohttp.web.json_response({"SystemTime": SYSTEM_TIME, "ApiVersion": "1.24", "Version": "1.12"})

    def _inspect(self, identity: str) -> Any:
        self.inspected[identity] += 1
        state = self.states.get(identity)
        if state is None:
            return aiohttp.web.json_response({"message": "No such container"}, status=404)
        document = {"Id": identity, "Name": f"/{int(identity, 16)}", "State": {"Status": state}, "Config": {}}
        return aiohttp.web.json_response(document)

    async def _stream(self, request: Any) -> Any:
        self.wanted = dict(request.query)
        response = aiohttp.web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(json.dumps(await self._events.get()).encode() + b"\n")
                if self._events.empty():
                    self._sent.set()
        return response


@contextlib.asynccontextmanager
async def followed(containers: int) -> AsyncIterator[tuple[CountingEngine, ManualClock, AsyncIterator[Workloads]]]:
    """An engine, the clock, and the containers as the backend tells them; the first reading is done."""
    from aiohttp import web

    engine, clock = CountingEngine(containers), ManualClock()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", engine.serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    engine.address = f"http://127.0.0.1:{port}"
    spec = DockerSpec(url=f"tcp://127.0.0.1:{port}")
    site = SiteSpec("test", nodes=(NodeSpec(NODE),), platform="docker", docker=spec)
    access: Any = LocalTransport()
    backend = DockerBackend.open(SiteContext(site, clock, lambda _node: access, Fleet))
    try:
        async with asyncio.timeout(WAIT), contextlib.aclosing(backend.workloads()) as values:
            assert len((await anext(values)).items) == containers
            yield engine, clock, values
    finally:
        await backend.close()
        await runner.cleanup()


async def next_reading(clock: ManualClock, values: AsyncIterator[Workloads]) -> Workloads:
    """The pause after the last reading ends, and the next is told."""
    while not clock.sleepers:
        await asyncio.sleep(0)
    await clock.advance(1.0)
    return await anext(values)


async def test_health_checks_cost_the_engine_no_list_and_no_inspect() -> None:
    async with followed(40) as (engine, clock, values):
        first = engine.asked.copy()
        assert (first["list"], first["inspect"]) == (1, 40)
        for number in range(100):
            for action in CHECK:
                engine.tell(action, f"{number % 40:064x}")
        await engine.told()
        await clock.advance(60.0)
        assert engine.asked == first
        engine.states["0" * 64] = "paused"
        engine.tell("pause", "0" * 64)
        paused = await next_reading(clock, values)
        assert {item.uid for item in paused.items if item.reason == "paused"} == {"0" * 64}
        assert (engine.asked["list"], engine.asked["inspect"]) == (2, 41)


async def test_a_burst_of_events_is_one_reading_of_the_containers_it_names() -> None:
    async with followed(40) as (engine, clock, values):
        for number in range(300):
            engine.tell("restart", f"{number % 3:064x}")
        await engine.told()
        named = {f"{each:064x}" for each in range(3)}
        while not all(engine.inspected[each] > 1 for each in named):
            await next_reading(clock, values)
        assert engine.asked["list"] <= 3
        assert engine.asked["inspect"] <= 40 + 6
        assert {each for each, times in engine.inspected.items() if times > 1} == named


async def test_a_new_container_is_inspected_and_one_that_went_is_dropped() -> None:
    async with followed(3) as (engine, clock, values):
        del engine.states[f"{0:064x}"]
        engine.tell("destroy", f"{0:064x}")
        engine.states[f"{7:064x}"] = "created"
        engine.tell("create", f"{7:064x}")
        found = await next_reading(clock, values)
        while [item.name for item in found.items] != ["1", "2", "7"]:
            found = await next_reading(clock, values)
        assert engine.inspected == {f"{each:064x}": 1 for each in (0, 1, 2, 7)}


async def test_the_engine_is_asked_for_changes_only_and_from_the_time_of_the_reading() -> None:
    async with followed(1) as (engine, clock, values):
        engine.tell("start", "0" * 64)
        await next_reading(clock, values)
        wanted = json.loads(engine.wanted["filters"])
        assert wanted["type"] == ["container"]
        assert {"start", "die", "destroy"} <= set(wanted["event"])
        assert not [each for each in wanted["event"] if each.startswith(("exec", "health"))]
        assert engine.wanted["since"] == "1795595467"


@pytest.mark.parametrize(
    "action",
    ["create", "start", "die", "oom", "pause", "unpause", "rename", "destroy", "died", "cleanup", "remove"],
)
def test_a_change_of_a_container_names_it(action: str) -> None:
    assert changed_container({"Type": "container", "Action": action, "Actor": {"ID": "a"}}) == "a"
    assert changed_container({"status": action, "id": "a"}) == "a"


@pytest.mark.parametrize(
    "event",
    [
        *({"Type": "container", "Action": action, "Actor": {"ID": "a"}} for action in CHECK),
        {"Type": "container", "Action": "health_status: healthy", "Actor": {"ID": "a"}},
        {"Type": "network", "Action": "create", "Actor": {"ID": "a"}},
        {"Type": "container", "Action": ["start"], "Actor": {"ID": "a"}},
        {"Type": "container", "Action": "start", "Actor": {"ID": 3}},
        {"Type": "container", "Action": "start", "Actor": "a"},
        {"error": "no"},
        "start",
        None,
    ],
)
def test_an_event_that_changes_nothing_we_show_names_none(event: Any) -> None:
    assert changed_container(event) is None


def test_more_changes_than_are_held_are_told_as_any_container() -> None:
    gathered = Gathered()
    for number in range(CHANGED_LIMIT * 4):
        gathered.add({"Type": "container", "Action": "start", "Actor": {"ID": str(number)}})
    assert gathered.news.is_set()
    assert gathered.take() is None
    assert not gathered.news.is_set()
    gathered.add({"Type": "container", "Action": "start", "Actor": {"ID": "a"}})
    assert gathered.take() == frozenset({"a"})
