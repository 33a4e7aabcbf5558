"""A console on a thousand nodes: what a lab's probes said is recorded once, and told again by every node.

Everything of the console is the real thing but SSH, which `connect` measures: lines are parsed, merged, kept, judged
and drawn. A lab of a thousand nodes would need the machine for itself: every node of it runs the whole probe.

    python -m tests.bench.recorded RECORDING NODES      # runs the console in this terminal
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from pathlib import Path

from backends.contract import GpudeckError
from backends.domain import NodeSpec, SiteSpec
from backends.nodes import bootstrap, wire
from backends.nodes.transport import Channel, Completed, Transport
from backends.site import NodeTransports, Site

SECONDS = 30.0
PROTOTYPES = 20
_AT = re.compile(rb'"at":[0-9.]+')

Lines = list[tuple[float, bytes]]
"""(seconds since the first line, line)"""


def record(site_file: Path, out: Path) -> None:
    """Writes what the probe of every node of `site_file` says within `SECONDS`."""
    from tui.config import load

    spec = load(site_file).sites[0]
    told = asyncio.run(_record(spec))
    out.write_text(json.dumps([[(at, line.decode()) for at, line in lines] for lines in told]))


async def _record(spec: SiteSpec) -> list[Lines]:
    ways = NodeTransports(spec)
    try:
        return await asyncio.gather(*(_record_node(ways.transport(node)) for node in spec.nodes))
    finally:
        await ways.close()


async def _record_node(way: Transport) -> Lines:
    channel = await way.open(bootstrap.BOOT_COMMAND)
    lines: Lines = []
    try:
        options = {"protocol": bootstrap.PROTOCOL, "fast_seconds": 1.0, "slow_seconds": 10.0, "once": False}
        await channel.send(bootstrap.payload(options))
        began = time.monotonic()
        while (at := time.monotonic() - began) < SECONDS:
            lines.append((at, await channel.readline(wire.LINE_LIMIT)))
    finally:
        await channel.close()
    first = lines[0][0]
    return [(at - first, line) for at, line in lines]


class Recorded:
    """A node that says again and again what was recorded: everything once, then the changes.

    `turn` (0 to 1): at which of the changes it begins. Nodes that are connected one after the other are apart in their
    slow beats; those of the recording began at once.
    """

    def __init__(self, lines: Lines, delay: float, turn: float) -> None:
        first = next(index for index, (_, line) in enumerate(lines) if b'"t":"delta"' in line)
        begun = [0.0, *(at for at, _ in lines)]
        waits = [(min(1.0, at - before), line) for (at, line), before in zip(lines, begun, strict=False)]
        start = first + int(turn * (len(waits) - first))
        self._waits = itertools.chain(waits[:first], itertools.cycle(waits[start:] + waits[first:start]))
        self._due = time.monotonic() + delay

    async def send(self, payload: bytes) -> None:
        del payload

    async def readline(self, limit: int) -> bytes:
        del limit
        wait, line = next(self._waits)
        self._due += wait
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        return _AT.sub(b'"at":%.3f' % time.time(), line, count=1)

    async def stderr_tail(self) -> str:
        return ""

    async def wait(self) -> int | None:
        return None

    async def close(self) -> None:
        return


class RecordedNode:
    """The way to one."""

    def __init__(self, lines: Lines, delay: float, turn: float) -> None:
        self._lines, self._delay, self._turn = lines, delay, turn

    async def open(self, command: str) -> Channel:
        del command
        return Recorded(self._lines, self._delay, self._turn)

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        del timeout, limit
        raise GpudeckError(f"a recording runs nothing: {command}")

    async def socket(self, path: str) -> Path:
        raise GpudeckError(f"a recording has no socket {path}")

    async def close(self) -> None:
        return


class RecordedNodes:
    """Their lines come spread over the second, as a site's do."""

    def __init__(self, told: list[Lines], spec: SiteSpec) -> None:
        count = len(spec.nodes)
        # 0.618...: neighbours, which are told alike, are far apart.
        self._ways = {
            node.name: RecordedNode(told[index % len(told)], index / count, index * 0.618034 % 1)
            for index, node in enumerate(spec.nodes)
        }

    def transport(self, node: NodeSpec) -> Transport:
        return self._ways[node.name]

    async def close(self) -> None:
        return


def run(recording: Path, nodes: int) -> None:
    """The console on `nodes` recorded nodes."""
    from tui.commands import console

    console.prepare()
    from tui.app import Console
    from tui.config import Settings

    told = [[(at, line.encode()) for at, line in lines] for lines in json.loads(recording.read_text())]
    spec = SiteSpec("recorded", tuple(NodeSpec(f"dgx{index:04}") for index in range(nodes)))

    def site(each: SiteSpec) -> Site:
        return Site(each, transport_factory=lambda whole: RecordedNodes(told, whole))

    Console(sites=(spec,), settings=Settings(), site_factory=site).run()


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
