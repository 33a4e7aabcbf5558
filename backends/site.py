"""One site: its nodes' streams, and the topics the screens watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from backends.domain import Event, Fleet, Node, NodeReading, NodeSpec, NodeState, SiteSpec, Stack, Triage
from backends.feed import Clock, Derived, History, Reading, SystemClock, Topic
from backends.nodes.stream import NodeStream
from backends.nodes.transport import Transport

EVENTS_KEPT = 100
"""Of each node; as many of its connection."""
CONNECTION_KINDS = frozenset({"connected", "disconnected"})
SAME_EVENT_SECONDS = 5.0
"""NVML and the kernel log both tell of an XID; within this time it is one event."""


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
    `history` the last minutes of each GPU's utilisation (key `node/gpu-key`), power (`.../power`, watts) and
    temperature (`.../temperature`, degrees Celsius).
    """

    def __init__(
        self,
        spec: SiteSpec,
        *,
        clock: Clock | None = None,
        transport_factory: Callable[[SiteSpec], TransportFactory] | None = None,
    ) -> None:
        self.spec = spec
        self.clock = clock or SystemClock()
        self.history = History()
        self._recent: dict[tuple[str, bool], deque[Event]] = {}
        """By node, and whether it is about the connection: a node that says much pushes out no other node's."""
        self._events = Derived("events", self._collect_events, clock=self.clock)
        self.events: Topic[tuple[Event, ...]] = self._events.topic
        self.triage: Topic[Triage] = Topic("triage")
        """What is wrong, and what was checked."""
        self.stack: Topic[Stack] = Topic("stack")
        self._transports = (transport_factory or NodeTransports)(spec)
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

    async def start(self) -> None:
        """Starts to read every node; returns at once."""
        for stream in self._streams:
            stream.start()

    async def close(self) -> None:
        """Ends every stream and connection; bounded in time."""
        self._fleet.close()
        self._events.close()
        for unwatch in self._unwatches:
            unwatch()
        closing = [asyncio.create_task(stream.close()) for stream in self._streams]
        if closing:
            _, late = await asyncio.wait(closing, timeout=5.0)
            for task in late:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await self._transports.close()

    async def read_once(self, timeout: float) -> Fleet:
        """Starts, and waits until every node gave a value or an error, at most `timeout` seconds.

        A node that told neither in time is still `connecting` in the result.
        """
        answered = asyncio.Event()

        def look(_reading: object) -> None:
            if all(stream.topic.reading.value or stream.topic.reading.error for stream in self._streams):
                answered.set()

        unwatches = [stream.topic.watch(look) for stream in self._streams]
        look(None)
        try:
            await self.start()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await answered.wait()
        finally:
            for unwatch in unwatches:
                unwatch()
        self._events.publish_now()
        return self._collect_fleet()

    def _stream(self, node: NodeSpec) -> NodeStream:
        return NodeStream(
            node,
            self._transports.transport(node),
            fast_seconds=self.spec.fast_seconds,
            slow_seconds=self.spec.slow_seconds,
            on_event=self._add_event,
            clock=self.clock,
        )

    def _add_event(self, event: Event) -> None:
        kept = self._recent.setdefault((event.node, event.kind in CONNECTION_KINDS), deque(maxlen=EVENTS_KEPT))
        if not any(_same(known, event) for known in kept):
            kept.append(event)
            self._events.changed()

    def _collect_events(self) -> tuple[Event, ...]:
        return tuple(sorted((event for kept in self._recent.values() for event in kept), key=lambda each: each.at))

    def _record(self, name: str, reading: Reading[Node]) -> None:
        if reading.error is not None or reading.value is None or reading.at is None or reading.value.stall is not None:
            return
        for gpu in reading.value.gpus:
            if gpu.lost:
                continue
            key = f"{name}/{gpu.key}"
            self.history.push(key, reading.at, gpu.utilization.gpu_percent)
            self.history.push(f"{key}/power", reading.at, gpu.power.draw_watts)
            self.history.push(f"{key}/temperature", reading.at, gpu.temperature.gpu_celsius)

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


def _state_of(reading: Reading[Node]) -> NodeState:
    if reading.error is not None:
        return NodeState.DOWN if reading.value is None else NodeState.STALE
    return NodeState.CONNECTING if reading.value is None else NodeState.LIVE


def _same(known: Event, event: Event) -> bool:
    """One XID told twice: by NVML and by the kernel log, or again by a restarted probe that re-reads the log."""
    if (known.node, known.kind, known.code) != (event.node, event.kind, event.code) or event.kind != "xid":
        return False
    if known.gpu_uuid != event.gpu_uuid and known.pci_bus_id != event.pci_bus_id:
        return False
    return abs(known.at - event.at) < SAME_EVENT_SECONDS
