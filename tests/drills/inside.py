"""A whole site in this process, on a clock the test owns: the lab's machines, the real probe, the real streams.

Only SSH is left out: a channel of the transport is the lab's own session, fed through memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

from backends.contract import AuthRefused, Unreachable
from backends.domain import Finding, NodeSpec, NodeState, SiteSpec, Triage
from backends.feed import ManualClock
from backends.lab.hardware import EPOCH, SimNode, fleet
from backends.lab.scenarios import scenario
from backends.lab.session import Node, handle
from backends.lab.stage import Stage
from backends.nodes.transport import Channel, Completed, Transport
from backends.site import Site
from tui.cli import ANSWER_SECONDS, WATCH_SECONDS

START = EPOCH + 5_000_000.0
"""All simulated machines have been up for weeks then."""


class _Process:
    """What the lab's session wants of asyncssh's SSHServerProcess, and the client's end of it."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.stdin = asyncio.StreamReader()
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.said = b""
        self.complaints = b""
        self.status: int | None = None
        self.stdout = self
        self.stderr = _Complaints(self)
        self._rest = b""

    def write(self, payload: bytes) -> None:
        self.said += payload if not self.command.startswith("sh") else b""
        *lines, self._rest = (self._rest + payload).split(b"\n")
        for line in lines:
            self.lines.put_nowait(line + b"\n")

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def exit(self, status: int) -> None:
        self.status = status
        self.close()

    def exit_with_signal(self, _name: str) -> None:
        self.close()

    def close(self) -> None:
        if self._rest:
            self.lines.put_nowait(self._rest)
            self._rest = b""
        self.lines.put_nowait(b"")


class _Complaints:
    def __init__(self, process: _Process) -> None:
        self._process = process

    def write(self, payload: bytes) -> None:
        self._process.complaints += payload


class _Channel:
    def __init__(self, node: Node, command: str, running: set[_Channel]) -> None:
        self.process = _Process(command)
        self._running = running
        running.add(self)
        self._task = asyncio.create_task(handle(node, cast(Any, self.process)))

    async def send(self, payload: bytes) -> None:
        self.process.stdin.feed_data(payload)

    async def readline(self, limit: int) -> bytes:
        return (await self.process.lines.get())[:limit]

    async def stderr_tail(self) -> str:
        return self.process.complaints.decode()

    async def wait(self) -> int | None:
        await asyncio.wait({self._task})
        return self.process.status

    async def close(self) -> None:
        self._running.discard(self)
        self.process.stdin.feed_eof()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def cut(self) -> None:
        """The connection is gone, and with it what ran over it."""
        self._task.cancel()
        self.process.close()


class _Transport:
    def __init__(self, hardware: SimNode, clock: ManualClock, phase: float) -> None:
        self.hardware = hardware
        self.node = Node(hardware, clock, phase)
        self.channels: set[_Channel] = set()

    async def open(self, command: str) -> Channel:
        self._knock()
        return _Channel(self.node, command, self.channels)

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        self._knock()
        process = _Process(command)
        await handle(self.node, cast(Any, process))
        return Completed(process.said[:limit], process.complaints.decode(), process.status)

    async def socket(self, path: str) -> Path:
        raise Unreachable(f"{path} of {self.hardware.name} is not there", "")

    async def close(self) -> None:
        for channel in tuple(self.channels):
            await channel.close()

    def _knock(self) -> None:
        if not self.hardware.reachable:
            raise Unreachable(f"{self.hardware.name} refused the connection", "is sshd running there?")
        if not self.hardware.accepts_key:
            raise AuthRefused(f"{self.hardware.name} accepted none of the offered keys", "add the key to ssh-agent")


class InsideSite:
    """Switch scenarios on and off, let time pass, look at the triage."""

    def __init__(
        self,
        *scenarios: str,
        nodes: int = 12,
        seed: int = 7,
        fast_seconds: float = 1.0,
        slow_seconds: float = 10.0,
        platform: str | None = None,
        state_dir: Path | None = None,
    ) -> None:
        self.clock = ManualClock(START)
        self.machines = fleet(nodes, seed)
        self._stages: dict[str, Stage] = {}
        self._transports = {
            machine.name: _Transport(machine, self.clock, (index + 1) / nodes)
            for index, machine in enumerate(self.machines)
        }
        self._boots = {machine.name: machine.boots for machine in self.machines}
        for name in scenarios:
            self.on(name)
        spec = SiteSpec(
            "inside",
            nodes=tuple(NodeSpec(machine.name) for machine in self.machines),
            platform=platform,
            fast_seconds=fast_seconds,
            slow_seconds=slow_seconds,
        )
        self.site = Site(spec, clock=self.clock, transport_factory=lambda _spec: self, state_dir=state_dir)

    def transport(self, node: NodeSpec) -> Transport:
        return self._transports[node.name]

    async def close(self) -> None:
        """As a TransportFactory: nothing is shared."""

    async def __aenter__(self) -> Self:
        await self.site.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.site.close()

    def on(self, name: str) -> None:
        stage = Stage(self.machines, self.clock.now())
        scenario(name).play(stage)
        self._stages[name] = stage
        self._drop()

    def off(self, name: str) -> None:
        self._stages.pop(name).undo(self.clock.now())
        self._drop()

    def cut(self, node: str) -> None:
        """The connection to `node` breaks; the node itself is well."""
        for channel in tuple(self._transports[node].channels):
            channel.cut()

    def _drop(self) -> None:
        """As the lab's listeners do: a node that is gone, that refuses or that reboots cuts its connections."""
        for transport in self._transports.values():
            machine = transport.hardware
            if not (machine.reachable and machine.accepts_key) or machine.boots != self._boots[machine.name]:
                self._boots[machine.name] = machine.boots
                for channel in tuple(transport.channels):
                    channel.cut()

    async def passes(self, seconds: float) -> Triage:
        """Lets `seconds` go by in steps of a second; the triage at their end."""
        while seconds > 0:
            await self.clock.advance(min(1.0, seconds))
            seconds -= 1.0
        return self.triage

    async def checked(self) -> Triage:
        """The triage as `gpudeck check` tells it: its look begins when every node has told something."""
        for _ in range(int(ANSWER_SECONDS)):
            fleet = self.site.fleet.reading.value
            if fleet is not None and all(each.state is not NodeState.CONNECTING for each in fleet.nodes):
                break
            await self.clock.advance(1.0)
        return await self.passes(WATCH_SECONDS)

    async def until(self, holds: Callable[[Triage], bool], within: float) -> Triage:
        """The first triage of which `holds`; after `within` seconds the last one, whatever it is."""
        for _ in range(int(within)):
            await self.clock.advance(1.0)
            if holds(self.triage):
                break
        return self.triage

    @property
    def triage(self) -> Triage:
        triage = self.site.triage.reading.value
        assert triage is not None
        return triage

    @property
    def top(self) -> Finding:
        return self.triage.findings[0]
