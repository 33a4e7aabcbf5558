"""One site: its nodes' streams, and the topics the screens watch."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from backends.contract import GpudeckError
from backends.domain import Event, Fleet, Node, NodeReading, NodeSpec, NodeState, SiteSpec, Triage, UnfinishedChange
from backends.feed import Clock, Derived, Reading, SystemClock, Topic
from backends.feed.event_log import EventLog
from backends.feed.gpu_history import GpuHistory
from backends.nodes.stream import NodeStream
from backends.nodes.transitions import LostGpus, transitions
from backends.nodes.transport import Transport
from backends.platform import Platform
from backends.triage.acknowledgements import Acknowledgements
from backends.triage.inventory import Inventory
from backends.triage.watch import TriageWatch

ANSWER_SECONDS = 15.0
"""The longest that the platform waits for what the nodes themselves say."""


class TransportFactory(Protocol):
    """Opens transports to the nodes of one site; `close` ends what they share."""

    def transport(self, node: NodeSpec) -> Transport: ...

    async def close(self) -> None: ...


class NodeTransports:
    """SSH for the nodes, a subprocess for this machine."""

    def __init__(self, spec: SiteSpec) -> None:
        from backends.nodes.ssh import SshPool

        self._ssh = SshPool(spec.ssh)

    def transport(self, node: NodeSpec) -> Transport:
        if node.local:
            from backends.nodes.local import LocalTransport

            return LocalTransport()
        return self._ssh.transport(node)

    async def close(self) -> None:
        await self._ssh.close()


class Site:
    """Wires a `SiteSpec` to live topics.

    `fleet` holds every node with its last good value and latest error; `events` the newest events, oldest first;
    `history` the last hours of each GPU's series (`backends.domain.gpu_series`); `triage` what is wrong, and what was
    checked; `stack` and `workloads` are filled by the platform's backend while somebody watches them, as the triage
    does; `ownership` is the workloads again, to be looked up by process, GPU and node.
    """

    def __init__(
        self,
        spec: SiteSpec,
        *,
        clock: Clock | None = None,
        transport_factory: Callable[[SiteSpec], TransportFactory] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        """`state_dir` keeps what outlives the process: acknowledgements, and of no demo which GPUs there were. None
        keeps nothing."""
        self.spec = spec
        self.clock = clock or SystemClock()
        self.history = GpuHistory()
        self.listening_since = self.clock.now()
        """When this site began to keep events, seconds since the epoch."""
        self._log = EventLog()
        self._lost: dict[str, LostGpus] = {node.name: LostGpus() for node in spec.nodes}
        self._before: dict[str, Reading[Node]] = {}
        self._events = Derived("events", self._log.all, clock=self.clock)
        self.events: Topic[tuple[Event, ...]] = self._events.topic
        self._transports = (transport_factory or NodeTransports)(spec)
        self._ways = {node.name: self._transports.transport(node) for node in spec.nodes}
        """The one connection to each node, for its stream and for the platform's backend."""
        self.platform = Platform(
            spec,
            self.clock,
            lambda node: self._ways[node.name],
            self._collect_fleet,
            lambda: self.nodes_answered(ANSWER_SECONDS),
        )
        self.stack = self.platform.stack
        self.workloads = self.platform.workloads
        self.ownership = self.platform.ownership
        self._streams = tuple(self._stream(node) for node in spec.nodes)
        self._readings: dict[str, tuple[Reading[Node], NodeReading]] = {}
        self._unwatches = [
            stream.topic.watch(lambda reading, name=stream.spec.name: self._record(name, reading))  # type: ignore[misc]
            for stream in self._streams
        ]
        self._fleet = Derived(
            "fleet", self._collect_fleet, [stream.topic for stream in self._streams], clock=self.clock
        )
        self.fleet: Topic[Fleet] = self._fleet.topic
        self._fleet.publish_now()
        self._triage = TriageWatch(
            spec,
            self.fleet,
            self.events,
            clock=self.clock,
            acknowledgements=Acknowledgements(spec.name, state_dir),
            inventory=Inventory(spec.name, None if spec.demo else state_dir),
            platform=self.platform,
            unfinished=None if state_dir is None else partial(self._read_unfinished, state_dir, []),
        )
        self.triage: Topic[Triage] = self._triage.topic

    async def start(self) -> None:
        """Starts to read every node; returns at once."""
        for stream in self._streams:
            stream.start()
        self._triage.start()
        self.platform.start()

    async def close(self) -> None:
        """Ends every stream and connection; bounded in time."""
        await self._triage.close()
        self._fleet.close()
        self._events.close()
        for unwatch in self._unwatches:
            unwatch()
        closing = [asyncio.create_task(stream.close()) for stream in self._streams]
        closing.append(asyncio.create_task(self.platform.close()))
        if closing:
            _, late = await asyncio.wait(closing, timeout=5.0)
            for task in late:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await self._transports.close()

    async def read_once(self, timeout: float) -> Fleet:
        """Starts, waits as `answered` does, and publishes everything: `triage` then holds what that reading shows."""
        await self.answered(timeout)
        self._publish_now()
        await self._triage.now(at_once=True)
        return self._collect_fleet()

    async def observe(self, timeout: float, seconds: float) -> Triage:
        """The triage after all nodes have answered, as `answered` does, and `seconds` more: what lasts is told.

        After no second more there is nothing to see last: everything the one reading shows is told.
        """
        await self.answered(timeout)
        if seconds:
            self._publish_now()
            await self._triage.now()  # what lasts is counted from here, however busy this machine is
            await self.clock.sleep(seconds)
        self._publish_now()
        return await self._triage.now(at_once=not seconds)

    def acknowledge(self, finding_id: str, who: str, why: str) -> bool:
        """Somebody has seen it and says why it may stay; False when no finding has that id."""
        return self._triage.acknowledge(finding_id, who, why)

    def unacknowledge(self, finding_id: str) -> bool:
        """It is open again; False when it was not acknowledged."""
        return self._triage.unacknowledge(finding_id)

    async def answered(self, timeout: float) -> None:
        """Starts, and waits until every node and the platform gave a value or an error, at most `timeout` seconds.

        A node that told neither in time is still `connecting` then.
        """
        topics: list[Topic[Any]] = [stream.topic for stream in self._streams]
        topics += (self.stack, self.ownership) if self.platform.configured else ()
        self._triage.watch_platform()
        await self.start()
        await _told(topics, timeout)

    async def nodes_answered(self, timeout: float) -> None:
        """Has the nodes read, and waits until each of them gave a value or an error, at most `timeout` seconds.

        Nothing else is started or waited for: the platform's own streams wait for this.
        """
        for stream in self._streams:
            stream.start()
        await _told([stream.topic for stream in self._streams], timeout)

    def _publish_now(self) -> None:
        self._events.publish_now()
        self._fleet.publish_now()

    def transport(self, node: str) -> Transport:
        """The way to a node; raises GpudeckError for a name the site does not have."""
        way = self._ways.get(node)
        if way is None:
            raise GpudeckError(f"{self.spec.name} has no node {node!r}", "its nodes are in the configuration")
        return way

    def client(self, name: str) -> Any:
        """`platform`: the site's platform, which opens its backend; raises GpudeckError where the site has none."""
        if name == "platform" and self.platform.configured:
            return self.platform
        raise GpudeckError(f"{self.spec.name} has no {name}", "set platform in the site's configuration")

    async def _read_unfinished(self, state_dir: Path, made: list[Any]) -> tuple[UnfinishedChange, ...]:
        """The site's changes that nobody brought to an end; `made` keeps the reader, which knows what it has read.

        Its modules are loaded where something was ever changed, and not before.
        """
        if not made:
            made += await asyncio.to_thread(self._unfinished_reader, state_dir)
        found: tuple[UnfinishedChange, ...] = await made[0]() if made else ()
        return found

    def _unfinished_reader(self, state_dir: Path) -> list[Any]:
        with contextlib.suppress(OSError):  # the reader tells what is wrong with a directory that is odd
            shared = self.spec.changes.directory is not None
            if not shared and not any(path.name == "changes" for path in state_dir.iterdir()):
                return []
        from backends.changes.desk import changes_directory
        from backends.changes.unfinished import UnfinishedChanges

        directory = changes_directory(state_dir, self.spec)
        return [UnfinishedChanges(directory, self.spec, self, platform.node(), self._keep_event)]

    def _stream(self, node: NodeSpec) -> NodeStream:
        return NodeStream(
            node,
            self._ways[node.name],
            fast_seconds=self.spec.fast_seconds,
            slow_seconds=self.spec.slow_seconds,
            on_event=self._add_event,
            clock=self.clock,
        )

    def _add_event(self, event: Event) -> None:
        if self._lost[event.node].is_news(event):
            self._keep_event(event)

    def _keep_event(self, event: Event) -> None:
        if self._log.add(event):
            self._events.changed()

    def _record(self, name: str, reading: Reading[Node]) -> None:
        before = self._before.get(name, Reading())
        self._before[name] = reading
        for event in transitions(name, before, reading, self._lost[name], self.clock.now()):
            self._add_event(event)
        if reading.error is not None or reading.value is None or reading.at is None or reading.value.stall is not None:
            return
        self.history.record_node(name, reading.value, reading.at)

    def _collect_fleet(self) -> Fleet:
        return Fleet(nodes=tuple(self._node_reading(stream) for stream in self._streams))

    def _node_reading(self, stream: NodeStream) -> NodeReading:
        """The same object while nothing changed, so that a screen can tell by identity."""
        name, reading = stream.spec.name, stream.topic.reading
        known = self._readings.get(name)
        if known is not None and known[0] is reading:
            return known[1]
        fresh = NodeReading(name, _state_of(reading), reading.value, reading.at, reading.error)
        self._readings[name] = (reading, fresh)
        return fresh


async def _told(topics: Sequence[Topic[Any]], timeout: float) -> None:
    """Until each of the topics has a value or an error, at most `timeout` seconds."""
    told = asyncio.Event()

    def look(_reading: object) -> None:
        if all(topic.reading.value is not None or topic.reading.error for topic in topics):
            told.set()

    unwatches = [topic.watch(look) for topic in topics]
    look(None)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await told.wait()
    finally:
        for unwatch in unwatches:
            unwatch()


def _state_of(reading: Reading[Node]) -> NodeState:
    if reading.error is not None:
        return NodeState.DOWN if reading.value is None else NodeState.STALE
    return NodeState.CONNECTING if reading.value is None else NodeState.LIVE
