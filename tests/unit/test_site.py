"""A site: the fleet topic, the events, the histories, and one reading of everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.contract import Unreachable
from backends.domain import NodeSpec, NodeState, SiteSpec
from backends.feed import ManualClock
from backends.site import ANSWER_SECONDS, Site
from tests.scripted import ScriptedChannel, ScriptedTransports
from tests.unit.test_stream import HELLO, STATE, XID

SPEC = SiteSpec("lab", nodes=(NodeSpec("a"), NodeSpec("b"), NodeSpec("c")))


class Wired:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.transports = ScriptedTransports(SPEC)
        self.site = Site(SPEC, clock=self.clock, transport_factory=lambda spec: self.transports)

    def script(self, node: str, *items: ScriptedChannel | Unreachable) -> None:
        self.transports.of[node].channels.extend(items)


@pytest.fixture
async def wired() -> AsyncIterator[Wired]:
    made = Wired()
    yield made
    await made.site.close()


def channel(*more: dict[str, Any]) -> ScriptedChannel:
    return ScriptedChannel().say(HELLO, STATE, *more)


async def test_every_node_is_in_the_fleet_from_the_start_in_order(wired: Wired) -> None:
    fleet = wired.site.fleet.reading.value
    assert fleet is not None
    assert [(node.name, node.state) for node in fleet.nodes] == [(name, NodeState.CONNECTING) for name in "abc"]


async def test_one_dead_node_costs_the_others_nothing(wired: Wired) -> None:
    wired.script("a", channel())
    wired.script("b", Unreachable("no route to b", "check the cable"))
    wired.script("c", channel().end())
    await wired.site.start()
    await wired.clock.advance(0.5)
    fleet = wired.site.fleet.reading.value
    assert fleet is not None
    assert [node.state for node in fleet.nodes] == [NodeState.LIVE, NodeState.DOWN, NodeState.STALE]
    assert fleet.live_count == 1
    down = fleet.get("b")
    assert down is not None
    assert down.problem is not None
    assert down.problem.hint == "check the cable"
    stale = fleet.get("c")
    assert stale is not None
    assert stale.node is not None
    assert stale.age(wired.clock.now()) == pytest.approx(0.5)


async def test_a_burst_of_nodes_is_one_fleet(wired: Wired) -> None:
    heard = 0

    def count(_reading: object) -> None:
        nonlocal heard
        heard += 1

    wired.site.fleet.watch(count)
    for name in "abc":
        wired.script(name, channel())
    await wired.site.start()
    await wired.clock.advance(0.5)
    assert heard == 1


async def test_an_unchanged_node_is_the_same_object(wired: Wired) -> None:
    first = channel()
    wired.script("a", first)
    await wired.site.start()
    await wired.clock.advance(0.5)
    before = wired.site.fleet.reading.value
    assert before is not None
    first.say({"t": "delta"})
    await wired.clock.advance(1)
    after = wired.site.fleet.reading.value
    assert after is not None
    assert after.nodes[0].node is before.nodes[0].node
    assert after.nodes[1] is before.nodes[1]


async def test_an_xid_told_by_nvml_and_by_the_kernel_is_one_event(wired: Wired) -> None:
    wired.script("a", channel(XID, {**XID, "source": "nvml", "at": XID["at"] + 2}, {**XID, "code": 45}))  # type: ignore[operator]
    await wired.site.start()
    await wired.clock.advance(0.5)
    events = wired.site.events.reading.value
    assert events is not None
    assert sorted(event.code for event in events if event.code) == [45, 79]


async def test_histories_follow_the_readings(wired: Wired) -> None:
    first = channel()
    wired.script("a", first)
    await wired.site.start()
    await wired.clock.advance(0.5)
    assert wired.site.history.series("a/GPU-0", wired.clock.now())[-1] == 10.0
    assert wired.site.history.series("a/GPU-0/power", wired.clock.now()) == ()


async def test_read_once_returns_when_all_have_answered(wired: Wired) -> None:
    wired.script("a", channel())
    wired.script("b", Unreachable("no", ""))
    wired.script("c", channel())
    fleet = await wired.site.read_once(timeout=5)
    assert [node.state for node in fleet.nodes] == [NodeState.LIVE, NodeState.DOWN, NodeState.LIVE]


async def test_read_once_does_not_wait_for_ever(wired: Wired) -> None:
    wired.script("a", channel())
    fleet = await wired.site.read_once(timeout=0.05)
    assert [node.state for node in fleet.nodes] == [NodeState.LIVE, NodeState.CONNECTING, NodeState.CONNECTING]


async def test_the_first_stack_of_the_engines_waits_for_the_nodes_alone() -> None:
    spec = replace(SPEC, platform="docker")
    transports = ScriptedTransports(spec)
    for name in "abc":
        transports.of[name].channels.append(channel())
    site = Site(spec, clock=ManualClock(), transport_factory=lambda _spec: transports)
    try:
        stack = await site.platform.read_stack(ANSWER_SECONDS - 5)
        assert [node.driver_version for node in stack.nodes] == [STATE["node"]["driver"]] * 3
        assert site.stack.reading.value is None, "the topic is a stream of its own: nobody wanted it"
        assert site.workloads.reading.value is None
    finally:
        await site.close()


async def test_a_site_without_nodes_is_an_empty_fleet() -> None:
    spec = SiteSpec("empty")
    site = Site(spec, transport_factory=ScriptedTransports)
    assert (await site.read_once(timeout=1)).nodes == ()
    await site.close()


async def test_the_triage_follows_the_fleet_from_the_start(wired: Wired) -> None:
    before = wired.site.triage.reading
    assert before.value is None
    wired.script("a", channel())
    wired.script("b", *(Unreachable("no route to b", "check the cable") for _ in range(9)))
    wired.script("c", channel())
    await wired.site.start()
    await wired.clock.advance(8)
    triage = wired.site.triage.reading.value
    assert triage is not None
    assert [finding.id for finding in triage.findings] == ["node-unreachable:b"]
    assert (triage.nodes_seen, triage.nodes_total) == (2, 3)


async def test_one_reading_has_its_triage_without_waiting(wired: Wired) -> None:
    wired.script("a", channel())
    wired.script("b", Unreachable("no", ""))
    wired.script("c", channel())
    await wired.site.read_once(timeout=5)
    triage = wired.site.triage.reading.value
    assert triage is not None
    assert [finding.rule for finding in triage.findings] == ["node-unreachable"]


async def test_a_finding_is_acknowledged_and_opened_again(wired: Wired) -> None:
    wired.script("a", channel())
    wired.script("b", *(Unreachable("no", "") for _ in range(9)))
    wired.script("c", channel())
    await wired.site.start()
    await wired.clock.advance(8)
    assert wired.site.acknowledge("node-unreachable:b", "alice", "being moved")
    triage = wired.site.triage.reading.value
    assert triage is not None
    assert triage.worst is None
    assert triage.findings[0].acknowledged is not None
    assert wired.site.unacknowledge("node-unreachable:b")
    assert not wired.site.unacknowledge("node-unreachable:b")
    assert not wired.site.acknowledge("no-such-finding", "alice", "")
    await wired.clock.advance(3)
    triage = wired.site.triage.reading.value
    assert triage is not None
    assert triage.worst is not None


async def test_a_site_keeps_nothing_unless_it_is_told_where(wired: Wired, nobodys_machine: Path) -> None:
    wired.script("b", *(Unreachable("no", "") for _ in range(9)))
    await wired.site.start()
    await wired.clock.advance(8)
    assert wired.site.acknowledge("node-unreachable:b", "alice", "")
    assert list(nobodys_machine.rglob("*")) == []


LOST = {"t": "event", "at": STATE["at"], "kind": "gpu_lost", "gpu_index": 0, "text": "lost", "source": "nvml"}


def kinds(site: Site) -> list[str]:
    return [event.kind for event in site.events.reading.value or ()]


async def test_what_happens_to_a_node_is_an_event(wired: Wired) -> None:
    gone = channel({"t": "delta", "gpus": {"0": {"lost": True, "lost_reason": "lost"}}}, LOST)
    wired.script("a", gone.end(), channel())
    wired.script("b", Unreachable("no route to b", "check the cable"), channel())
    await wired.site.start()
    await wired.clock.advance(0.5)
    assert sorted(kinds(wired.site)) == ["connected", "disconnected", "down", "gpu_lost"]
    await wired.clock.advance(5)
    assert sorted(kinds(wired.site)) == [
        "connected",
        "connected",
        "connected",
        "disconnected",
        "down",
        "gpu_back",
        "gpu_lost",
    ]


async def test_every_event_has_a_key_of_its_own(wired: Wired) -> None:
    storm = [{**XID, "code": code, "at": STATE["at"] + code * 10} for code in range(20)]
    wired.script("a", channel(*storm, *storm, LOST))
    await wired.site.start()
    await wired.clock.advance(0.5)
    events = wired.site.events.reading.value or ()
    assert len(events) == 22
    assert len({event.key for event in events}) == len(events)


async def test_a_storm_of_xids_pushes_out_neither_the_loss_nor_another_xid(wired: Wired) -> None:
    other = {**XID, "code": 119, "pci_bus_id": "0000:99:00"}
    storm = ({**XID, "code": 31, "text": f"pid={number}", "at": STATE["at"] + number * 10} for number in range(300))
    wired.script("b", channel(XID))
    wired.script("a", channel(LOST, other, *storm))
    await wired.site.start()
    await wired.clock.advance(0.5)
    events = wired.site.events.reading.value or ()
    assert [event.node for event in events if event.code == 79] == ["b"]
    assert [event.node for event in events if event.code == 119] == ["a"]
    assert sum(event.count for event in events if event.code == 31) == 300
    assert "gpu_lost" in kinds(wired.site)


async def test_an_xid_of_long_ago_does_not_recover_because_of_a_storm(wired: Wired) -> None:
    first = channel({**XID, "code": 119})
    wired.script("a", first)
    await wired.site.start()
    await wired.clock.advance(4)
    other = {**XID, "code": 31, "pci_bus_id": "0000:1c:00"}
    first.say(*({**other, "text": f"pid={number}", "at": STATE["at"] + number} for number in range(250)))
    await wired.clock.advance(60)
    triage = wired.site.triage.reading.value
    assert triage is not None
    assert "xid-119" in {finding.rule for finding in triage.findings}
    assert triage.recovered == ()


async def test_a_triage_that_fails_is_told_beside_the_last_one_and_tried_again(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.triage.engine import Triager

    first = channel()
    wired.script("a", first)
    await wired.site.start()
    await wired.clock.advance(3)
    works = Triager.steps

    def fails(*_arguments: object, **_options: object) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr(Triager, "steps", fails)
    await wired.clock.advance(6)
    reading = wired.site.triage.reading
    assert reading.value is not None
    assert reading.error is not None
    assert "no such thing" in reading.error.message
    monkeypatch.setattr(Triager, "steps", works)
    await wired.clock.advance(6)
    assert wired.site.triage.reading.error is None


async def test_what_time_alone_changes_is_judged_though_the_state_directory_fails(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.triage.watch import TriageWatch

    async def fails(_watch: TriageWatch) -> None:
        raise ValueError("no such thing")

    wired.script("a", channel())
    await wired.site.start()
    await wired.clock.advance(3)
    exchange = TriageWatch._exchange_inventory
    monkeypatch.setattr(TriageWatch, "_exchange_inventory", fails)
    await wired.clock.advance(6)
    first = wired.site.triage.reading
    await wired.clock.advance(12)
    reading = wired.site.triage.reading
    assert (first.error and first.error.code, reading.error and reading.error.code) == ("internal", "internal")
    assert first.at is not None
    assert reading.at is not None
    assert reading.at > first.at, "the timed triage goes on"
    monkeypatch.setattr(TriageWatch, "_exchange_inventory", exchange)
    await wired.clock.advance(12)
    assert wired.site.triage.reading.error is None
    monkeypatch.setattr(TriageWatch, "_exchange_inventory", fails)
    await wired.site.close()


async def test_a_platform_that_cannot_be_watched_ends_no_triage(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.triage.watch import TriageWatch

    def fails(_watch: TriageWatch) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr(TriageWatch, "watch_platform", fails)
    wired.script("a", channel())
    await wired.site.start()
    await wired.clock.advance(3)
    reading = wired.site.triage.reading
    assert reading.error is not None
    await wired.clock.advance(12)
    assert wired.site.triage.reading.at != reading.at
    await wired.site.close()
