"""A whole node: the real probe with the real pynvml on the fake driver, through a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.domain import Fleet, Gpu, NodeReading, NodeSpec, NodeState, SiteSpec, SshSpec
from backends.site import Site
from tests.fake_nvml import FakeDriver
from tests.sshd import Sshd, descendants

pytestmark = [pytest.mark.real("sshd"), pytest.mark.xdist_group("sshd")]


@dataclass
class RealNode:
    sshd: Sshd
    driver: FakeDriver
    site: Site

    @property
    def reading(self) -> NodeReading:
        fleet = self.site.fleet.reading.value or Fleet()
        return fleet.nodes[0]

    def gpu(self, index: int) -> Gpu:
        assert self.reading.node is not None
        return self.reading.node.gpus[index]

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Waits for the fleet to change until `condition` holds."""
        changed = asyncio.Event()
        unwatches = [topic.watch(lambda _reading: changed.set()) for topic in (self.site.fleet, self.site.events)]
        try:
            async with asyncio.timeout(seconds):
                while not self._holds(condition):
                    changed.clear()
                    await changed.wait()
        finally:
            for unwatch in unwatches:
                unwatch()

    def _holds(self, condition: Callable[[], bool]) -> bool:
        with contextlib.suppress(AssertionError, IndexError):
            return condition()
        return False


@pytest.fixture
def driver(tmp_path: Path) -> FakeDriver:
    made = FakeDriver(tmp_path / "driver")
    made.set("gpus", 4)
    return made


@pytest.fixture
async def node(tmp_path: Path, driver: FakeDriver) -> AsyncIterator[RealNode]:
    sshd = Sshd(tmp_path / "sshd", env=driver.env).start()
    config = sshd.write_config(tmp_path / "config", "node")
    spec = SiteSpec(
        "real", nodes=(NodeSpec("node"),), ssh=SshSpec(config_file=config), fast_seconds=0.2, slow_seconds=1.0
    )
    made = RealNode(sshd, driver, Site(spec))
    yield made
    await made.site.close()
    sshd.stop()


async def test_a_full_read(node: RealNode) -> None:
    node.driver.set("gpu.1.mig.0", 1)
    node.driver.set("gpu.1.mig.1", 1)
    node.driver.set("ancestor", 20)
    await node.site.read_once(30)
    assert node.site.fleet.reading.value is not None
    await node.until(lambda: node.reading.state is NodeState.LIVE)
    value = node.reading.node
    assert value is not None
    assert (value.transport, value.driver, value.cuda, len(value.gpus)) == ("nvml", "580.95.05", "13.0", 4)
    first, cut = value.gpus[0], value.gpus[1]
    assert first.uuid == "GPU-00000000-0000-0000-0000-000000000000"
    assert (first.power.draw_watts, first.power.limit_watts) == (250.0, 400.0)
    assert first.memory.used_bytes == 1 << 30
    assert first.clocks.event_reasons == ("sw_power_cap",)
    assert first.cpu_affinity == "0-3,8-11"
    assert value.topology is not None
    assert value.topology.levels[0][:4] == ("X", "PXB", "PXB", "PXB")
    assert value.host.services is not None
    assert value.host.unread == ()
    assert first.links is not None
    assert [link.active for link in first.links] == [True] * 4
    assert first.fabric.state is None
    assert first.processes is not None
    assert first.processes[0].command is not None
    if os.geteuid() == 0:
        assert [(each.profile, each.gi, each.placement) for each in cut.mig.instances] == [
            ("3g.40gb", 1, (0, 4)),
            ("3g.40gb", 3, (4, 4)),
        ]


async def test_changes_arrive_as_they_happen(node: RealNode) -> None:
    await node.site.start()
    await node.until(lambda: node.gpu(2).power.draw_watts == 250.0)
    node.driver.set("gpu.2.power_mw", 399500)
    await node.until(lambda: node.gpu(2).power.draw_watts == 399.5)
    assert node.gpu(1).power.draw_watts == 250.0
    node.driver.set("gpu.2.ecc.1.0", 3)
    await node.until(lambda: node.gpu(2).ecc.volatile.uncorrected == 3)


async def test_one_failing_call_costs_one_field(node: RealNode) -> None:
    await node.site.start()
    await node.until(lambda: node.gpu(0).power.draw_watts is not None)
    node.driver.set("gpu.0.error.nvmlDeviceGetPowerUsage", 999)
    await node.until(lambda: node.gpu(0).power.draw_watts is None)
    assert node.gpu(0).temperature.gpu_celsius == 55
    assert any("nvmlDeviceGetPowerUsage" in unread for unread in node.gpu(0).unread)
    assert node.gpu(1).power.draw_watts == 250.0
    node.driver.unset("gpu.0.error.nvmlDeviceGetPowerUsage")
    await node.until(lambda: node.gpu(0).power.draw_watts == 250.0 and not node.gpu(0).unread)


async def test_a_gpu_off_the_bus_is_lost_not_missing_and_costs_the_others_nothing(node: RealNode) -> None:
    await node.site.start()
    await node.until(lambda: node.gpu(3).uuid is not None)
    node.driver.set("gpu.3.lost", 1)
    await node.until(lambda: node.gpu(3).lost)
    assert node.gpu(3).uuid == "GPU-00000003-0000-0000-0000-000000000000"
    assert node.gpu(3).lost_reason == "NVML: GPU is lost"
    node.driver.set("gpu.0.power_mw", 111000)
    await node.until(lambda: node.gpu(0).power.draw_watts == 111.0)
    events = node.site.events.reading.value or ()
    assert [event.gpu_index for event in events if event.kind == "gpu_lost"] == [3]
    node.driver.unset("gpu.3.lost")
    await node.until(lambda: not node.gpu(3).lost)


async def test_a_gpu_lost_before_the_probe_started_is_lost(node: RealNode) -> None:
    node.driver.set("gpu.1.lost", 1)
    await node.site.start()
    await node.until(lambda: node.gpu(1).lost)
    assert node.gpu(2).temperature.gpu_celsius == 55


async def test_an_xid_of_the_event_set_is_told_with_its_gpu(node: RealNode) -> None:
    await node.site.start()
    await node.until(lambda: node.gpu(2).uuid is not None)
    node.driver.set("xid.2", 31)
    await node.until(lambda: any(event.kind == "xid" for event in node.site.events.reading.value or ()))
    (xid,) = [event for event in node.site.events.reading.value or () if event.kind == "xid"]
    assert (xid.code, xid.gpu_index, xid.source, xid.gpu_uuid) == (31, 2, "nvml", node.gpu(2).uuid)


async def test_a_hanging_call_is_named_and_the_last_values_stay(node: RealNode) -> None:
    await node.site.start()
    await node.until(lambda: node.gpu(0).temperature.gpu_celsius == 55)
    node.driver.set("gpu.1.hang.nvmlDeviceGetPowerUsage", 1)
    await node.until(lambda: node.reading.node is not None and node.reading.node.stall is not None)
    assert node.reading.node is not None
    stall = node.reading.node.stall
    assert stall is not None
    assert (stall.gpu_index, stall.call) == (1, "nvmlDeviceGetPowerUsage")
    assert node.gpu(0).temperature.gpu_celsius == 55
    node.driver.unset("gpu.1.hang.nvmlDeviceGetPowerUsage")
    await node.until(lambda: node.reading.node is not None and node.reading.node.stall is None)


async def test_sshd_killed_and_back(node: RealNode) -> None:
    await node.site.start()
    await node.until(lambda: node.reading.state is NodeState.LIVE)
    node.sshd.stop()
    await node.until(lambda: node.reading.state is NodeState.STALE)
    assert node.gpu(0).power.draw_watts == 250.0
    node.sshd.start()
    await node.until(lambda: node.reading.state is NodeState.LIVE, seconds=40)
    # The fleet and the events are told apart, in either order.
    await node.until(lambda: len(node.site.events.reading.value or ()) >= 3)
    kinds = [event.kind for event in node.site.events.reading.value or ()]
    assert kinds[:3] == ["connected", "disconnected", "connected"]


async def test_an_old_driver_lacks_symbols_and_costs_only_those(tmp_path: Path) -> None:
    old = FakeDriver(tmp_path / "old", without=("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons"))
    sshd = Sshd(tmp_path / "sshd", env=old.env).start()
    spec = SiteSpec(
        "old",
        nodes=(NodeSpec("node"),),
        ssh=SshSpec(config_file=sshd.write_config(tmp_path / "config", "node")),
    )
    site = Site(spec)
    try:
        fleet = await site.read_once(30)
        assert fleet.nodes[0].node is not None
        gpu = fleet.nodes[0].node.gpus[0]
        assert gpu.memory.used_bytes == 1 << 30
        assert gpu.memory.reserved_bytes is None
        assert gpu.clocks.event_reasons == ("sw_power_cap",)
    finally:
        await site.close()
        sshd.stop()


_CONSOLE = """
import asyncio, sys
from pathlib import Path
from backends.domain import NodeSpec, SiteSpec, SshSpec
from backends.site import Site

async def main():
    site = Site(SiteSpec("s", nodes=(NodeSpec("node"),), ssh=SshSpec(config_file=Path(sys.argv[1]))))
    fleet = await site.read_once(30)
    print(fleet.nodes[0].state, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("hanging", [False, True])
async def test_no_probe_is_left_when_the_console_is_killed(tmp_path: Path, driver: FakeDriver, hanging: bool) -> None:
    sshd = Sshd(tmp_path / "sshd", env=driver.env).start()
    try:
        config = sshd.write_config(tmp_path / "config", "node")
        console = subprocess.Popen([sys.executable, "-c", _CONSOLE, str(config)], stdout=subprocess.PIPE, text=True)
        assert console.stdout is not None
        assert await asyncio.to_thread(console.stdout.readline) == "live\n"
        assert sshd.pid is not None
        probes = [pid for pid in descendants(sshd.pid) if "sys,zlib" in _command(pid)]
        assert probes
        if hanging:
            driver.set("hang.nvmlDeviceGetPowerUsage", 1)
        os.kill(console.pid, signal.SIGKILL)
        console.wait()
        console.stdout.close()
        async with asyncio.timeout(15):
            while any("sys,zlib" in _command(pid) for pid in probes):
                await asyncio.sleep(0.05)
    finally:
        sshd.stop()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


async def test_the_snapshot_command_reads_the_node(tmp_path: Path, driver: FakeDriver) -> None:
    sshd = Sshd(tmp_path / "sshd", env=driver.env).start()
    driver.set("gpu.2.lost", 1)
    sshd.write_config(tmp_path / "ssh_config", "node")
    site = tmp_path / "site.toml"
    site.write_text('[site.real]\nnodes = ["node"]\nssh_config = "ssh_config"\n')
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            [str(Path(sys.executable).with_name("gpudeck")), "--config", str(site), "snapshot", "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        (read,) = document["nodes"]
        assert [gpu["lost"] for gpu in read["gpus"]] == [False, False, True, False]
        assert read["gpus"][0]["power_watts"] == 250.0
        assert read["driver"] == "580.95.05"
    finally:
        sshd.stop()
