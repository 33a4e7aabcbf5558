"""`make gpu-check`: what counts as a difference, and its way out on a machine without a GPU."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.domain import Clocks, Gpu, GpuProcess, Memory, Mig, MigInstance, Node, Power
from backends.nodes import smi
from tests import gpu_check
from tests.fake_nvml import FakeDriver
from tests.gpu_check import DIFFERS, OK, ONLY_ONE, Row, compare, compare_nodes
from tests.simulated import simulated

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
GPU = Gpu(
    uuid="GPU-1",
    pci_bus_id="00000000:9B:00.0",
    memory=Memory(total_bytes=81559 * MIB + 300_000),
    power=Power(draw_watts=250.0, limit_watts=700.0),
    clocks=Clocks(event_reasons=("gpu_idle", "sw_power_cap")),
    processes=(GpuProcess(pid=1),),
)


def row(field: str, other: Gpu, gpu: Gpu = GPU) -> Row:
    (found,) = [each for each in compare(gpu, other) if each.field == field]
    return found


def test_the_same_gpu_has_no_difference() -> None:
    rows = compare(GPU, GPU)
    assert {each.verdict for each in rows} == {OK}
    assert not any(each.failed for each in rows)


def test_another_uuid_differs_and_fails() -> None:
    found = row("uuid", dataclasses.replace(GPU, uuid="GPU-2"))
    assert (found.probe, found.smi, found.verdict, found.failed) == ("GPU-1", "GPU-2", DIFFERS, True)


@pytest.mark.parametrize(("draw", "verdict"), [(253.0, OK), (247.0, OK), (275.0, DIFFERS)])
def test_power_is_held_to_a_tolerance_and_never_fails(draw: float, verdict: str) -> None:
    found = row("power.draw_watts", dataclasses.replace(GPU, power=Power(draw_watts=draw)))
    assert (found.verdict, found.failed) == (verdict, False)
    assert "10 W" in found.note


@pytest.mark.parametrize(("limit", "failed"), [(700.004, False), (699.0, True)])
def test_a_limit_may_be_rounded_and_no_more(limit: float, failed: bool) -> None:
    assert row("power.limit_watts", dataclasses.replace(GPU, power=Power(limit_watts=limit))).failed is failed


def test_memory_is_compared_in_the_mebibytes_nvidia_smi_prints() -> None:
    same, less = Memory(total_bytes=81559 * MIB), Memory(total_bytes=81557 * MIB)
    assert row("memory.total_bytes", dataclasses.replace(GPU, memory=same)).verdict == OK
    assert row("memory.total_bytes", dataclasses.replace(GPU, memory=less)).failed


def test_a_value_of_one_side_is_told_and_is_no_failure() -> None:
    without = dataclasses.replace(GPU, uuid=None)
    for found in (row("uuid", without), row("uuid", GPU, without)):
        assert (found.verdict, found.failed) == (ONLY_ONE, False)


def test_what_neither_measured_is_left_out() -> None:
    assert "serial" not in {each.field for each in compare(GPU, GPU)}


def test_two_spellings_of_one_value_are_the_same() -> None:
    other = dataclasses.replace(
        GPU, pci_bus_id="0000:9b:00.0", clocks=Clocks(event_reasons=("sw_power_cap", "gpu_idle"))
    )
    assert row("pci_bus_id", other).verdict == OK
    assert row("clocks.event_reasons", other).verdict == OK


def test_mig_devices_are_told_apart_by_their_ids() -> None:
    cut = dataclasses.replace(GPU, mig=Mig(True, True, 7, (MigInstance(gi=1, ci=0), MigInstance(gi=2, ci=0))))
    turned = dataclasses.replace(GPU, mig=dataclasses.replace(cut.mig, instances=cut.mig.instances[::-1]))
    fewer = dataclasses.replace(GPU, mig=dataclasses.replace(cut.mig, instances=cut.mig.instances[:1]))
    assert row("mig.instances", turned, cut).verdict == OK
    assert row("mig.instances", fewer, cut).failed


def test_a_gpu_that_only_one_of_them_lists_fails() -> None:
    (_, node), (heading, rows) = compare_nodes(Node(driver="580.1", gpus=(GPU,)), Node(driver="580.2"))
    assert [(each.field, each.failed) for each in node] == [("driver", True)]
    assert "0000:9b:00" in heading
    assert [(each.probe, each.smi, each.failed) for each in rows] == [(True, False, True)]


def test_every_field_of_nvidia_smi_is_compared() -> None:
    """A field added to the fallback is a field to be checked on real hardware."""
    compared = {field.name for field in gpu_check.GPU_FIELDS}
    assert {name for name, _, _ in smi._FIELDS} - compared == set()


SYNTHETIC = (ROOT / "tests" / "data" / "topology" / "topo-m-8xH100-9nic.SYNTHETIC.txt").read_text()


def test_the_topology_is_compared_device_by_device() -> None:
    node = simulated("dgx-h100-01")
    rows = gpu_check.compare_topology(node, SYNTHETIC)
    assert {each.field for each in rows} >= {"NICs", "GPU0", "NIC8", "GPU7 CPU affinity", "GPU7 NUMA affinity"}
    assert {each.verdict for each in rows} == {OK}
    other = gpu_check.compare_topology(node, SYNTHETIC.replace("GPU3\tNV18", "GPU3\tNV17"))
    assert [each.field for each in other if each.failed] == ["GPU3"]


def test_without_a_matrix_of_nvidia_smi_nothing_is_compared() -> None:
    rows = gpu_check.compare_topology(simulated("l40s-01"), "No devices found")
    assert [(each.verdict, each.failed) for each in rows] == [(ONLY_ONE, False)]


def run(path: str, arguments: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "tests.gpu_check", *arguments],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **(env or {})},
    )  # fmt: skip


@pytest.mark.skipif(gpu_check.DRIVER.exists(), reason="this machine has an NVIDIA driver")
def test_without_a_driver_it_says_so_and_succeeds(tmp_path: Path) -> None:
    done = run(str(tmp_path))
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "skipped: no NVIDIA driver here", "")


def fake_smi(directory: Path, uuid: str) -> None:
    """An nvidia-smi that tells of the fake driver's first GPU."""
    directory.mkdir()
    xml = (
        "<nvidia_smi_log><driver_version>580.95.05</driver_version>"
        f'<gpu id="00000000:10:00.0"><uuid>{uuid}</uuid></gpu></nvidia_smi_log>'
    )
    script = directory / "nvidia-smi"
    topology = "\tGPU0\tCPU Affinity\tNUMA Affinity\nGPU0\t X \t0-3,8-11\t\n"
    script.write_text(f"#!/bin/sh\n[ $1 = topo ] && printf '{topology}' && exit\ncat <<'END'\n{xml}\nEND\n")
    script.chmod(0o700)


@pytest.mark.real("gcc")
@pytest.mark.parametrize(("first", "status"), [("GPU-00000000", 0), ("GPU-0BAD0000", 1)])
def test_the_real_probe_is_compared_and_its_cost_measured(tmp_path: Path, first: str, status: int) -> None:
    driver = FakeDriver(tmp_path / "driver")
    driver.set("gpus", 1)
    fake_smi(tmp_path / "bin", f"{first}-0000-0000-0000-000000000000")
    done = run(str(tmp_path / "bin"), ("--beats", "1"), driver.env)
    assert done.returncode == status, done.stdout + done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()}
    assert ("differs" in lines["uuid"]) is bool(status)
    assert "ok" in lines["driver"].split()
    assert "only one" in lines["power.draw_watts"]
    assert "ms of CPU per sample" in lines["probe:"]
    assert "topology" in lines
    assert "ok" in lines["GPU0"].split()
