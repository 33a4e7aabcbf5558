"""From the start of a site to every node live, against bare asyncssh with the same parallelism."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from backends.domain import NodeSpec, SiteSpec, SshSpec
from backends.site import Site

NODES = 32
ROUNDS = 5
WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Times:
    """Medians over the rounds."""

    bare: float
    """Seconds."""
    site: float
    bare_cpu: float
    """CPU seconds of this process: a lab that simulates every node at once is not in them."""
    site_cpu: float

    @property
    def ratio(self) -> float:
        return self.site / self.bare

    @property
    def cpu_ratio(self) -> float:
        return self.site_cpu / self.bare_cpu


def measure(lab: Path) -> Times:
    """Connects to every node of the lab in the directory `lab`; the two take turns, so that both see one machine.

    Raises TimeoutError when not every node comes up.
    """
    return asyncio.run(_measure(lab / "ssh_config"))


async def _measure(config: Path) -> Times:
    names = [line.split()[1] for line in config.read_text().splitlines() if line.startswith("Host ")]
    rounds = [(*await _timed(_bare, config, names), *await _timed(_site, config, names)) for _ in range(ROUNDS + 1)]
    # The first round pays for imports and first compilations, so it is left out.
    bare, bare_cpu, site, site_cpu = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return Times(bare, site, bare_cpu, site_cpu)


async def _timed(
    connect: Callable[[Path, Sequence[str]], AbstractAsyncContextManager[None]], config: Path, names: Sequence[str]
) -> tuple[float, float]:
    """Seconds, and CPU seconds of this process, until everything is connected; the closing is not in them."""
    began, cpu = time.perf_counter(), time.process_time()
    async with connect(config, names):
        return time.perf_counter() - began, time.process_time() - cpu


@asynccontextmanager
async def _bare(config: Path, names: Sequence[str]) -> AsyncIterator[None]:
    parallel = asyncio.Semaphore(SshSpec().parallel_connects)
    connections: list[asyncssh.SSHClientConnection] = []

    async def one(name: str) -> None:
        async with parallel:
            connection = await asyncssh.connect(name, config=[str(config)])
            connections.append(connection)
        await connection.run("true")

    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.gather(*map(one, names))
    yield
    for connection in connections:
        connection.close()
    await asyncio.gather(*(connection.wait_closed() for connection in connections))


@asynccontextmanager
async def _site(config: Path, names: Sequence[str]) -> AsyncIterator[None]:
    site = Site(SiteSpec("bench", nodes=tuple(map(NodeSpec, names)), ssh=SshSpec(config_file=config)))
    live = asyncio.Event()

    def look(_reading: object) -> None:
        fleet = site.fleet.reading.value
        if fleet is not None and fleet.live_count == len(names):
            live.set()

    site.fleet.watch(look)
    try:
        await site.start()
        async with asyncio.timeout(WAIT_SECONDS):
            await live.wait()
        yield
    finally:
        await site.close()
