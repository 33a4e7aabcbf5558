"""`nvidia-smi -q -x`, every DTD version there is a real sample of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import GpudeckError, NoDriver, ProbeFailed
from backends.domain import Node, RetiredPages
from backends.nodes import smi

SAMPLES = Path(__file__).parents[1] / "data" / "nvidia_smi"
MIB = 1 << 20


def read(name: str) -> Node:
    return smi.parse((SAMPLES / f"{name}.xml").read_bytes(), name="n", at=0.0)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.xml")), ids=lambda path: path.stem)
def test_every_sample_gives_gpus_with_memory_and_temperature(path: Path) -> None:
    node = smi.parse(path.read_bytes(), name="n", at=0.0)
    assert node.transport == "nvidia-smi"
    assert node.driver is not None or path.stem == "gtx-1070-ti"
    for gpu in node.gpus:
        assert gpu.name
        assert gpu.uuid is not None
        assert gpu.uuid.startswith("GPU-")
        assert gpu.pci_bus_id
        assert gpu.memory.total_bytes
        assert gpu.temperature.gpu_celsius


def test_an_a100_with_mig() -> None:
    node = read("a100-sxm4-v12")
    assert (node.driver, node.cuda) == ("535.54.03", "12.2")
    gpu = node.gpus[0]
    assert gpu.name == "NVIDIA A100-SXM4-80GB"
    assert (gpu.mig.enabled, gpu.mig.pending) == (True, True)
    assert [(each.gi, each.ci, each.multiprocessors) for each in gpu.mig.instances] == [
        (3, 0, 14),
        (4, 0, 14),
        (5, 0, 14),
        (6, 0, 14),
    ]
    assert gpu.mig.instances[0].memory.total_bytes == 19968 * MIB
    assert gpu.mig.instances[0].profile is None
    assert (gpu.pcie.generation, gpu.pcie.width, gpu.pcie.max_width) == (4, 16, 16)
    assert (gpu.power.draw_watts, gpu.power.limit_watts) == (67.03, 500.0)
    assert (gpu.temperature.gpu_celsius, gpu.temperature.memory_celsius) == (27, 44)
    assert (gpu.temperature.slowdown_celsius, gpu.temperature.shutdown_celsius) == (89, 92)
    assert gpu.utilization.gpu_percent is None
    assert gpu.remapped_rows.pending is None
    assert gpu.vgpu.mode == "none"


def test_row_remaps_and_ecc_of_an_a10g() -> None:
    gpu = read("a10g").gpus[0]
    assert (gpu.remapped_rows.corrected, gpu.remapped_rows.pending, gpu.remapped_rows.failed) == (0, False, False)
    assert (gpu.ecc.volatile.corrected, gpu.ecc.aggregate.uncorrected) == (0, 0)


def test_old_power_layout_and_throttle_reasons_of_a_t4() -> None:
    gpu = read("tesla-t4").gpus[0]
    assert (gpu.power.draw_watts, gpu.power.limit_watts, gpu.power.min_limit_watts) == (26.78, 70.0, 60.0)
    assert gpu.clocks.event_reasons == ()
    assert gpu.retired_pages == RetiredPages(0, 0, pending=False)
    assert read("a10g").gpus[0].retired_pages == RetiredPages()
    assert gpu.mig.enabled is None


def test_tlimit_of_a_new_board_is_headroom_not_celsius() -> None:
    gpu = read("rtx-4000-sff-ada-v13").gpus[0]
    assert gpu.temperature.margin_celsius == 49
    assert (gpu.temperature.shutdown_tlimit_celsius, gpu.temperature.slowdown_tlimit_celsius) == (-7, -2)
    assert gpu.temperature.shutdown_celsius is None
    assert gpu.ecc.volatile.corrected is None
    assert gpu.recovery_action == "none"


def test_processes() -> None:
    node = read("rtx-3080-v12")
    processes = node.gpus[0].processes
    assert processes is not None
    assert all(process.pid and process.command for process in processes)


def test_a_lost_gpu_is_lost() -> None:
    xml = (
        (SAMPLES / "tesla-t4.xml").read_text().replace("<gpu_temp>40 C</gpu_temp>", "<gpu_temp>GPU is lost</gpu_temp>")
    )
    gpu = smi.parse(xml, name="n", at=0.0).gpus[0]
    assert gpu.lost
    assert gpu.temperature.gpu_celsius is None
    assert gpu.memory.total_bytes is not None


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no devices were found",
        "<html></html>",
        "<nvidia_smi_log><gpu>",
        '<!DOCTYPE x [<!ENTITY a "b">]><nvidia_smi_log>&a;</nvidia_smi_log>',
        "<!DOCTYPE nvidia_smi_log SYSTEM 'x' [ ]><nvidia_smi_log/>",
    ],
)
def test_what_is_no_reading_is_refused(xml: str) -> None:
    with pytest.raises(ProbeFailed):
        smi.parse(xml, name="n", at=0.0)


def test_no_gpu_at_all_is_no_driver() -> None:
    with pytest.raises(NoDriver):
        smi.parse("<nvidia_smi_log><driver_version>1</driver_version></nvidia_smi_log>", name="n", at=0.0)


@given(st.text(alphabet="<>/gpu_temp NACW0123456789.-[]&;", max_size=200))
def test_any_text_parses_or_is_refused(inside: str) -> None:
    try:
        node = smi.parse(f"<nvidia_smi_log><gpu id='x'>{inside}</gpu></nvidia_smi_log>", name="n", at=0.0)
    except GpudeckError:
        return
    assert len(node.gpus) >= 1
