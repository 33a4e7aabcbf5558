"""The lab at the size of a site: every node read at once, and fleets of which some or none moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from backends.domain import Fleet, NodeSpec, NodeState, SiteSpec, SshSpec
from backends.lab.hardware import SimNode
from backends.lab.server import Lab, LabSpec
from backends.site import Site
from tests.lab.client import probing

PROBE = (Path(__file__).parents[2] / "backends" / "nodes" / "probe.py").read_bytes()
NODES = 128
LIVE_SECONDS = 240.0
WATCHED_SECONDS = 2.5
"""The lab's figures go by the second: whatever moves has moved twice."""


async def eventually(check: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.05)


@pytest.fixture
async def big(tmp_path: Path) -> AsyncIterator[Lab]:
    async with Lab(LabSpec(tmp_path / "lab", nodes=NODES)) as lab:
        yield lab


async def test_every_node_of_a_large_site_comes_up_and_none_is_left_behind(big: Lab) -> None:
    before = asyncio.all_tasks()
    nodes = tuple(NodeSpec(node.name) for node in big.nodes)
    site = Site(SiteSpec("big", nodes=nodes, ssh=SshSpec(config_file=big.files.ssh_config)))
    expected = {node.name: [gpu.uuid for gpu in node.gpus] for node in big.nodes}

    def fleet() -> Fleet:
        return site.fleet.reading.value or Fleet()

    try:
        await site.start()
        await eventually(lambda: fleet().live_count == NODES, LIVE_SECONDS)
        # A stream here and a probe in the lab for each node.
        assert len(asyncio.all_tasks() - before) >= 2 * NODES
        seen = {each.name: [gpu.uuid for gpu in each.node.gpus] for each in fleet().nodes if each.node is not None}
        assert seen == expected
        assert {each.state for each in fleet().nodes} == {NodeState.LIVE}
    finally:
        await site.close()
    # The probes of the lab run in this process: a probe left behind is a task left behind.
    await eventually(lambda: not asyncio.all_tasks() - before, 10)


async def changed_gpus(lab: Lab, node: SimNode) -> set[int]:
    """Positions of the GPUs of which any field changed, fast or slow, within `WATCHED_SECONDS` of the node's clock."""
    changed: set[int] = set()
    async with probing(lab, node.name, PROBE, fast_seconds=0.25, slow_seconds=0.5) as stream:
        first = await stream.until(lambda message: message["t"] == "state")
        while True:
            message = await stream.until(lambda message: message["t"] == "delta")
            changed.update(map(int, message.get("gpus", {})))
            if message["at"] - first["at"] > WATCHED_SECONDS:
                return changed


@pytest.mark.parametrize("percent", [0, 50, 100])
async def test_the_share_of_nodes_that_moves(tmp_path: Path, percent: int) -> None:
    async with Lab(LabSpec(tmp_path / "lab", nodes=8, changing_percent=percent)) as lab:
        moving = {node.name for node in lab.nodes[: len(lab.nodes) * percent // 100]}
        # An idle guest with a vGPU has neither power nor temperature: nothing of it moves.
        asked = [node for node in lab.nodes if node.name not in moving or not node.machine.board.virtual]
        found = await asyncio.gather(*(changed_gpus(lab, node) for node in asked))
    assert {node.name: changed for node, changed in zip(asked, found, strict=True)} == {
        node.name: set(range(len(node.gpus))) if node.name in moving else set() for node in asked
    }
