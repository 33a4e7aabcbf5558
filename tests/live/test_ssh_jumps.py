"""Many nodes behind one jump host: real sshds, the jump host's with OpenSSH's own MaxStartups."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.contract import Unreachable
from backends.domain import NodeSpec, SshSpec
from backends.nodes.ssh import SshPool, SshTransport
from tests.sshd import Sshd, descendants

NODES = tuple(f"node{number:02}" for number in range(48))
STARTUPS = "10:30:100"
"""OpenSSH's default."""


class Behind:
    """A jump host and a server behind it that stands for all nodes."""

    def __init__(self, directory: Path) -> None:
        self.bastion = Sshd(directory / "bastion", max_startups=STARTUPS).start()
        self.server = Sshd(directory / "server").start()
        known = self.bastion.known_hosts_line() + self.server.known_hosts_line()
        outer = self.bastion.write_config(directory / "outer", "bastion", known_hosts=known)
        config = self.server.write_config(
            directory / "config", *NODES, known_hosts=known, extra="  ProxyJump bastion\n"
        )
        config.write_text(config.read_text() + outer.read_text())
        self.pool = SshPool(SshSpec(config_file=config, connect_timeout_seconds=20), system=directory)

    def transports(self) -> list[SshTransport]:
        return [self.pool.transport(NodeSpec(name)) for name in NODES]

    @property
    def logins(self) -> int:
        """How often somebody logged in at the jump host."""
        return (self.bastion.directory / "sshd.log").read_text().count("Accepted publickey")

    @property
    def sessions(self) -> int:
        """Processes that the jump host has for its connections."""
        assert self.bastion.pid is not None
        return len(list(descendants(self.bastion.pid)))


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    made = Behind(tmp_path)
    yield made
    made.bastion.stop()
    made.server.stop()


async def said(transport: SshTransport) -> bytes:
    return (await transport.run("echo in", timeout=30, limit=100)).stdout


async def none_left(behind: Behind) -> None:
    async with asyncio.timeout(10):
        while behind.sessions:
            await asyncio.sleep(0.02)


async def test_all_nodes_share_one_login_at_the_jump_host_and_the_last_one_ends_it(behind: Behind) -> None:
    first, *others = behind.transports()
    assert await asyncio.gather(*map(said, (first, *others))) == [b"in\n"] * len(NODES)
    assert behind.logins == 1
    await asyncio.gather(*(each.close() for each in others))
    assert await said(first) == b"in\n"
    assert behind.logins == 1
    await first.close()
    await none_left(behind)
    assert await said(others[0]) == b"in\n"
    assert behind.logins == 2
    await behind.pool.close()
    await none_left(behind)


async def test_a_jump_host_that_was_away_is_logged_in_at_once_more(behind: Behind) -> None:
    transports = behind.transports()[:8]
    await asyncio.gather(*map(said, transports))
    behind.bastion.stop()
    failed = await asyncio.gather(*map(said, transports), return_exceptions=True)
    lost = "the connection to node0[0-7] was lost"
    assert all(re.match(f"{lost}|bastion refused the connection", str(each)) for each in failed), failed
    behind.bastion.start()

    async def again(transport: SshTransport) -> bytes:
        async with asyncio.timeout(20):
            while True:
                try:
                    return await said(transport)
                except Unreachable:
                    await asyncio.sleep(0.05)

    assert await asyncio.gather(*map(again, transports)) == [b"in\n"] * 8
    assert behind.logins == 2
    await behind.pool.close()


async def test_a_jump_host_that_does_not_answer_is_asked_once_for_all(behind: Behind) -> None:
    behind.bastion.stop()
    failed = await asyncio.gather(*map(said, behind.transports()), return_exceptions=True)
    assert {str(each) for each in failed} == {"bastion refused the connection"}
    assert behind.logins == 0


async def test_a_node_that_the_jump_host_does_not_reach_is_told_so(behind: Behind) -> None:
    behind.server.stop()
    with pytest.raises(Unreachable, match="the jump host does not get through to node00: Connect"):
        await said(behind.transports()[0])
    await none_left(behind)


async def test_who_gives_up_takes_the_jump_host_from_nobody(behind: Behind) -> None:
    transports = behind.transports()[:6]
    asking = [asyncio.create_task(said(each)) for each in transports]
    async with asyncio.timeout(10):
        while not behind.sessions:
            await asyncio.sleep(0.001)
    for task in asking[:3]:
        task.cancel()
    assert await asyncio.gather(*asking[3:]) == [b"in\n"] * 3
    assert behind.logins == 1
    await behind.pool.close()
    await none_left(behind)
