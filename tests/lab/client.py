"""The client's side of the lab's tests: plain asyncssh with the files that the lab wrote."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncssh

from backends.lab.dynamics import Meter
from backends.lab.hardware import SimNode
from backends.lab.jobs import jobs
from backends.lab.server import Lab
from backends.lab.session import PROBE
from tests.lab.standin import SOURCE


def busy_moment(nodes: Sequence[SimNode]) -> float:
    """A time at which something runs on every node; seconds since the epoch, the same in every run."""
    meters = {node.name: Meter(node) for node in nodes}
    return next(
        float(at)
        for at in range(1_763_000_000, 1_763_100_000, 30)
        if all(jobs(node, meters[node.name], at) for node in nodes)
    )


BOOT = "sh -c 'python3 -u -c \"import sys,zlib; exec(zlib.decompress(sys.stdin.buffer.read()))\"'"
WAIT = 20.0


@asynccontextmanager
async def connected(lab: Lab, node: str) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection by the lab's ssh_config alone, host key checked against its known_hosts."""
    async with asyncio.timeout(WAIT):
        connection = await asyncssh.connect(node, config=[str(lab.files.ssh_config)], agent_path=None)
    async with connection:
        yield connection


def sections(options: dict[str, Any], source: bytes = SOURCE) -> bytes:
    modules = json.dumps([[PROBE, source.decode()]]).encode()
    parts = (zlib.compress(b""), json.dumps(options).encode(), zlib.compress(b""), zlib.compress(modules))
    return b"".join(b"%d\n" % len(part) + part for part in parts)


class Stream:
    """The messages of one probe."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self.process = process

    async def line(self) -> bytes:
        async with asyncio.timeout(WAIT):
            return await self.process.stdout.readline()

    async def read(self) -> dict[str, Any]:
        line = await self.line()
        assert line.endswith(b"\n"), line[-80:]
        message: dict[str, Any] = json.loads(line)
        return message

    async def until(self, test: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(WAIT):
            while True:
                message = await self.read()
                if test(message):
                    return message


@asynccontextmanager
async def probing(lab: Lab, node: str, source: bytes = SOURCE, **options: Any) -> AsyncIterator[Stream]:
    """A probe at work on `node`; beats follow each other closely unless told otherwise."""
    settings = {"protocol": 1, "fast_seconds": 0.05, "slow_seconds": 0.05, "once": False, **options}
    async with connected(lab, node) as connection:
        process = await connection.create_process(BOOT, encoding=None)
        # A node that refuses to run it may have closed the channel already.
        with suppress(BrokenPipeError):
            process.stdin.write(sections(settings, source))
        yield Stream(process)
