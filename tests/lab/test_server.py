"""The lab over real SSH: files, probe streams, scenarios, control socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import asyncssh
import pytest

from backends.contract import GpudeckError
from backends.lab import control
from backends.lab.scenarios import SCENARIOS
from backends.lab.server import Lab, LabSpec, serve
from tests.lab.client import BOOT, WAIT, connected, probing, sections

PROBE = Path(__file__).parents[2] / "backends" / "nodes" / "probe.py"
H100 = "dgx-h100-01"


async def test_a_probe_sent_over_ssh_streams_the_simulated_hardware(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab")) as lab, probing(lab, H100) as stream:
        assert (await stream.read())["t"] == "hello"
        state = await stream.read()
        assert state["t"] == "state"
        assert state["node"]["hostname"] == H100
        assert [gpu["name"] for gpu in state["gpus"]] == ["NVIDIA H100 80GB HBM3"] * 8
        delta = await stream.read()
        assert delta["t"] == "delta"
        assert all(gpu["watts"] > 0 for gpu in delta["gpus"].values())


async def test_end_of_stdin_ends_the_probe(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", nodes=1)) as lab, probing(lab, H100) as stream:
        await stream.read()
        stream.process.stdin.write_eof()
        async with asyncio.timeout(WAIT):
            await stream.process.wait_closed()
        assert stream.process.exit_status == 0


async def test_once_ends_after_the_first_state(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", nodes=1)) as lab, probing(lab, H100, once=True) as stream:
        kinds = [(await stream.read())["t"] for _ in range(2)]
        assert kinds == ["hello", "state"]
        assert await stream.line() == b""


async def test_another_protocol_gives_the_probes_own_fatal(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", nodes=1)) as lab, probing(lab, H100, protocol=99) as stream:
        assert (await stream.read())["code"] == "version-mismatch"
        assert await stream.line() == b""


async def test_files_with_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", nodes=2)) as lab:
        modes = {path.name: path.stat().st_mode & 0o777 for path in lab.spec.out.iterdir()}
        assert modes["id_ed25519"] == 0o600
        assert modes["ctl.sock"] == 0o600
        assert lab.spec.out.stat().st_mode & 0o777 == 0o700
        assert "demo = true" in lab.site_file.read_text()
        assert not (set(modes.values()) - {0o600})


async def test_a_host_key_that_is_not_known_is_refused(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", nodes=1)) as lab:
        lab.files.known_hosts.write_text("")
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            async with connected(lab, H100):
                pass


async def test_unknown_commands_and_garbage_are_answered_like_a_shell(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", nodes=1)) as lab, connected(lab, H100) as connection:
        done = await connection.run("reboot now")
        assert (done.exit_status, done.stderr) == (127, "sh: 1: reboot: not found\n")
        done = await connection.run(BOOT, input=b"12x\n", encoding=None)
        assert done.exit_status == 1
        done = await connection.run(BOOT, input=b"9999999999\n", encoding=None)
        assert done.exit_status == 1
        broken = sections({"protocol": 1}, b"raise RuntimeError('broken')")
        done = await connection.run(BOOT, input=broken, encoding=None)
        assert (done.exit_status, done.stderr) == (1, b"RuntimeError: broken\n")


def _gpu(message: dict[str, Any], index: int) -> dict[str, Any]:
    gpus = message["gpus"]
    found: dict[str, Any] = gpus[str(index)] if isinstance(gpus, dict) else gpus[index]
    return found


BOARD_FAULTS: dict[str, tuple[str, int, Callable[[dict[str, Any]], bool], set[int]]] = {
    "gpu-lost": ("dgx-h100-01", 3, lambda gpu: gpu["lost"], {79, 45}),
    "ecc": ("dgx-h100-02", 2, lambda gpu: gpu["uncorrected"] == 2, {48, 94, 154}),
    "row-remap": ("dgx-h100-03", 5, lambda gpu: gpu["remapped"][2] == 1, {63}),
    "thermal": ("dgx-h100-04", 0, lambda gpu: gpu["reasons"] & 0x40 and gpu["celsius"] >= 87, set()),
    "pcie-narrow": ("dgx-h100-05", 6, lambda gpu: gpu["width"] == 4, set()),
    "nvlink-down": ("dgx-h100-06", 4, lambda gpu: gpu["links"].count(0) == 1, {74}),
}


@pytest.mark.parametrize("name", BOARD_FAULTS)
async def test_a_fault_of_a_board_shows_on_its_gpu_only_and_goes_away(tmp_path: Path, name: str) -> None:
    node, index, broken, codes = BOARD_FAULTS[name]

    def settled(wanted: bool) -> Callable[[dict[str, Any]], bool]:
        return lambda m: m["t"] == "delta" and bool(broken(_gpu(m, index))) is wanted

    async with Lab(LabSpec(tmp_path / "lab")) as lab, probing(lab, node) as stream:
        await stream.until(settled(wanted=False))
        await lab.activate(name)
        assert lab.scenarios_active == (name,)
        seen: set[int] = set()
        if codes:
            while not codes <= seen:
                message = await stream.until(lambda m: m["t"] == "event")
                seen.add(message["code"])
        delta = await stream.until(settled(wanted=True))
        assert not any(broken(_gpu(delta, other)) for other in range(8) if other != index)
        await lab.deactivate(name)
        if not codes:
            await stream.until(settled(wanted=False))
            return
        # The log of the kernel is empty again because the node has rebooted, which no connection survives.
        async with asyncio.timeout(WAIT):
            await stream.process.wait_closed()
        async with probing(lab, node) as after:
            await after.until(settled(wanted=False))


async def test_a_node_that_is_unreachable_refuses_connections_and_comes_back(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab")) as lab, probing(lab, "vm-01") as stream:
        await stream.read()
        await lab.activate("node-unreachable")
        async with asyncio.timeout(WAIT):
            await stream.process.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            async with connected(lab, "vm-01"):
                pass
        await lab.deactivate("node-unreachable")
        async with connected(lab, "vm-01"):
            pass


async def test_a_refused_key_is_an_authentication_error(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", scenarios=("ssh-auth",))) as lab:
        with pytest.raises(asyncssh.PermissionDenied):
            async with connected(lab, "l40s-01"):
                pass
        await lab.deactivate("ssh-auth")
        async with connected(lab, "l40s-01"):
            pass


async def test_a_cut_probe_ends_in_the_middle_of_a_line_every_time(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", scenarios=("probe-cut",))) as lab:
        for _ in range(2):
            async with probing(lab, "hgx-h200-02") as stream:
                assert [(await stream.read())["t"] for _ in range(2)] == ["hello", "state"]
                half = await stream.line()
                assert half
                assert not half.endswith(b"\n")
                assert await stream.line() == b""
        await lab.deactivate("probe-cut")
        async with probing(lab, "hgx-h200-02") as stream:
            await stream.until(lambda m: m["t"] == "delta")


async def test_a_node_without_python_says_so_and_answers_nvidia_smi(tmp_path: Path) -> None:
    async with Lab(LabSpec(tmp_path / "lab", scenarios=("no-python",))) as lab:
        async with probing(lab, "hgx-h200-01") as stream:
            assert (await stream.read())["code"] == "no-python"
            async with asyncio.timeout(WAIT):
                await stream.process.wait_closed()
            assert stream.process.exit_status == 127
        async with connected(lab, "hgx-h200-01") as connection:
            done = await connection.run("nvidia-smi -q -x", check=True)
        document = ElementTree.fromstring(str(done.stdout))
        assert [gpu.findtext("product_name") for gpu in document.iter("gpu")] == ["NVIDIA H200"] * 8


async def test_the_control_socket_switches_scenarios(tmp_path: Path) -> None:
    # A path too long for a unix socket address must work too.
    out = tmp_path / ("long-" * 20)
    async with Lab(LabSpec(out, nodes=2)) as lab:
        assert set((await control.command(out, "list"))["scenarios"]) == set(SCENARIOS)
        assert (await control.command(out, "on", "thermal"))["active"] == ["thermal"]
        assert lab.scenarios_active == ("thermal",)
        assert (await control.command(out, "off", "thermal"))["active"] == []
        with pytest.raises(GpudeckError, match="no scenario is called"):
            await control.command(out, "on", "nonsense")
        with pytest.raises(GpudeckError, match="does not know"):
            await control.command(out, "explode")
    with pytest.raises(GpudeckError, match="no lab runs"):
        await control.command(out, "list")


async def test_one_lab_per_directory_and_a_killed_labs_socket_is_replaced(tmp_path: Path) -> None:
    spec = LabSpec(tmp_path / "lab", nodes=1)
    async with Lab(spec):
        with pytest.raises(GpudeckError, match="another lab runs"):
            async with Lab(spec):
                pass
        # The refused one must leave the files of the first alone.
        await control.command(spec.out, "list")
    (spec.out / "ctl.sock").touch()
    async with Lab(spec):
        await control.command(spec.out, "list")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/gpudeck-lab", "locked"])
async def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "locked" / "lab.lock").mkdir(parents=True)
    with pytest.raises(GpudeckError, match="no lab can be made in") as told:
        async with Lab(LabSpec(tmp_path / place, nodes=1)):
            pass
    assert "--out" in told.value.hint


async def test_serve_runs_until_it_is_cancelled(tmp_path: Path) -> None:
    ready: asyncio.Future[Lab] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(LabSpec(tmp_path / "lab", nodes=1), ready.set_result))
    async with asyncio.timeout(WAIT):
        lab = await ready
        async with connected(lab, H100):
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not (tmp_path / "lab" / "ctl.sock").exists()


async def test_a_hundred_and_twenty_eight_nodes_start_quickly(tmp_path: Path) -> None:
    started = time.perf_counter()
    async with Lab(LabSpec(tmp_path / "lab", nodes=128)) as lab:
        assert time.perf_counter() - started < 10
        assert len({node.name for node in lab.nodes}) == 128
        async with connected(lab, lab.nodes[-1].name):
            pass


def test_an_unknown_scenario_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(GpudeckError) as caught:
        Lab(LabSpec(tmp_path, scenarios=("nonsense",)))
    assert "gpu-lost" in caught.value.hint


@pytest.mark.skipif(not PROBE.exists(), reason="the probe is not there yet")
async def test_the_real_probe_reads_the_lab(tmp_path: Path) -> None:
    source = PROBE.read_bytes()
    async with Lab(LabSpec(tmp_path / "lab", scenarios=("gpu-lost",))) as lab:
        async with probing(lab, "dgx-h100-01", source) as stream:
            event = await stream.until(lambda m: m["t"] == "event" and m.get("code") == 79)
            assert event["source"] == "kernel"
            state = await stream.until(lambda m: m["t"] == "state")
            assert [gpu["index"] for gpu in state["gpus"] if gpu.get("lost")] == [3]
            await stream.until(lambda m: m["t"] == "delta")
        async with probing(lab, "dgx-a100-01", source) as stream:
            state = await stream.until(lambda m: m["t"] == "state")
            cut = [gpu for gpu in state["gpus"] if (gpu.get("mig") or {}).get("enabled")]
            assert len(cut) == 2
            assert all(instance["placement"] for gpu in cut for instance in gpu["mig"]["instances"])
