"""The simulated hardware: what it is, how it moves, and what its NVML cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ctypes import byref
from typing import Any
from xml.etree import ElementTree

import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import GpudeckError
from backends.feed import ManualClock
from backends.lab.boards import MIB
from backends.lab.dynamics import IDLE_BIT, Meter, sample, segment, window_seconds
from backends.lab.hardware import SimGpu, SimNode, fleet
from backends.lab.host import SimHost
from backends.lab.nvml import FUNCTIONS, SimNvml
from backends.lab.scenarios import SCENARIOS
from backends.lab.smi_xml import render
from backends.lab.stage import Stage
from backends.nodes.smi_document import root_of

nv: Any = pynvml
"""Its exception classes are made at run time, out of sight of the type checker."""
NOW = 1_790_000_000.0
FLEET = fleet(12, 7)

ON_MACHINES = [entry for entry in SCENARIOS.values() if entry.platform is None]


def node(name: str) -> SimNode:
    return next(node for node in fleet(12, 7) if node.name == name)


def nvml_of(machine: SimNode, clock: ManualClock | None = None) -> Any:
    return SimNvml(machine, Meter(machine), clock or ManualClock(NOW))


def test_the_fleet_is_a_mix_with_most_dgx_h100_and_unique_names() -> None:
    kinds = Counter(machine.machine.prefix for machine in FLEET)
    assert kinds == {"dgx-h100": 6, "dgx-a100": 2, "hgx-h200": 2, "l40s": 1, "vm": 1}
    uuids = [gpu.uuid for machine in fleet(128, 7) for gpu in machine.gpus]
    assert len(set(uuids)) == len(uuids)
    assert [machine.name for machine in fleet(12, 7)] == [machine.name for machine in FLEET]


def test_mig_instances_do_not_overlap() -> None:
    cut = [gpu for machine in fleet(64, 3) for gpu in machine.gpus if gpu.mig]
    assert cut
    for gpu in cut:
        units = [unit for mig in gpu.mig for unit in range(mig.start, mig.start + mig.profile.size)]
        assert len(set(units)) == len(units)
        assert max(units) < 8
        assert sum(mig.profile.slices for mig in gpu.mig) <= 7
        assert len({mig.gi for mig in gpu.mig}) == len(gpu.mig)


@settings(deadline=None, max_examples=60)
@given(at=st.floats(1.7e9, 1.9e9), hot=st.booleans())
def test_every_sample_is_consistent(at: float, hot: bool) -> None:
    for machine in FLEET:
        for gpu in machine.gpus:
            gpu.faults.hot_since = at - 60 if hot else None
            now = sample(machine, gpu, at)
            board = gpu.board
            assert 0 <= now.utilization_percent <= 100
            assert 0 <= now.memory_percent <= 100
            assert now.used_bytes <= (board.memory_mib - board.reserved_mib) * MIB
            assert now.used_bytes >= sum(process.memory_bytes for process in now.processes)
            assert 0 < now.watts <= board.limit_watts
            assert board.idle_mhz <= now.mhz <= board.max_mhz
            assert 15 <= now.celsius < board.shutdown_celsius
            assert bool(now.reasons & IDLE_BIT) == (now.utilization_percent == 0)
            assert bool(now.reasons & IDLE_BIT) != bool(now.processes), "whoever draws power is there"
            assert all(process.started_at <= at for process in now.processes)
            if hot:
                assert now.reasons & 0x40
                assert now.mhz < board.max_mhz / 2
            gpu.faults.hot_since = None


def _jobs() -> Iterator[tuple[SimNode, SimGpu, float]]:
    for machine in FLEET:
        for gpu in machine.gpus:
            for window in range(2_000_000, 2_000_040):
                before, now = segment(machine, gpu, window - 1), segment(machine, gpu, window)
                if before.kind == "idle" and now.kind == "training":
                    yield machine, gpu, now.starts_at


def test_the_temperature_follows_the_load_with_a_lag() -> None:
    jobs = list(_jobs())[:20]
    assert jobs
    for machine, gpu, starts_at in jobs:
        curve = [sample(machine, gpu, starts_at + second).celsius for second in range(-1, 200, 5)]
        assert curve == sorted(curve)
        assert curve[-1] - curve[0] > 25
        # The power is there at once and the heat is not.
        assert sample(machine, gpu, starts_at + 2).watts > gpu.board.limit_watts * 0.8
        assert curve[1] - curve[0] < (curve[-1] - curve[0]) / 3


def test_jobs_come_and_go() -> None:
    machine = FLEET[-1]
    seconds = [NOW + step * window_seconds(machine) / 2 for step in range(200)]
    busy = [bool(sample(machine, machine.gpus[0], at).processes) for at in seconds]
    assert 20 < sum(busy) < 180


def test_the_same_time_gives_the_same_sample_and_the_meter_agrees() -> None:
    machine = FLEET[2]
    for gpu in machine.gpus:
        assert sample(machine, gpu, NOW) == sample(fleet(12, 7)[2], gpu, NOW) == Meter(machine).read(gpu, NOW + 0.7)


def _support(machine: SimNode, gpu: int = 0) -> dict[str, bool]:
    """Which device functions without further arguments are supported on a GPU."""
    nvml = nvml_of(machine)
    handle = nvml.nvmlDeviceGetHandleByIndex(gpu)
    supported = {}
    for name in FUNCTIONS:
        if not name.startswith("nvmlDeviceGet") or "HandleBy" in name:
            continue
        try:
            getattr(nvml, name)(handle)
        except nv.NVMLError_NotSupported:
            supported[name[len("nvmlDeviceGet") :]] = False
        except (nv.NVMLError, TypeError):
            continue
        else:
            supported[name[len("nvmlDeviceGet") :]] = True
    return supported


def test_a_bare_board_supports_its_sensors() -> None:
    h100 = _support(node("dgx-h100-01"))
    assert all(h100[name] for name in ("UtilizationRates", "PowerUsage", "RemappedRows", "MigMode", "Serial"))


def test_a_vgpu_guest_has_few_sensors() -> None:
    guest = _support(node("vm-01"))
    missing = ("PowerUsage", "Serial", "RemappedRows", "EccMode", "MigMode", "ComputeRunningProcesses")
    assert not any(guest[name] for name in missing)
    assert guest["UtilizationRates"]
    nvml = nvml_of(node("vm-01"))
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    assert nvml.nvmlDeviceGetVirtualizationMode(handle) == pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU
    assert nvml.nvmlDeviceGetGridLicensableFeatures(handle).gridLicensableFeatures[0].featureEnabled


def test_a_pcie_board_has_neither_nvlink_nor_mig() -> None:
    nvml = nvml_of(node("l40s-01"))
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(nv.NVMLError_NotSupported):
        nvml.nvmlDeviceGetNvLinkState(handle, 0)
    with pytest.raises(nv.NVMLError_NotSupported):
        nvml.nvmlDeviceGetMigMode(handle)
    assert nvml.nvmlDeviceGetFieldValues(handle, [82])[0].nvmlReturn == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_limits_are_absolute_on_the_a100_and_relative_on_the_h100() -> None:
    old, new = nvml_of(node("dgx-a100-01")), nvml_of(node("dgx-h100-01"))
    a100, h100 = old.nvmlDeviceGetHandleByIndex(0), new.nvmlDeviceGetHandleByIndex(0)
    assert old.nvmlDeviceGetTemperatureThreshold(a100, 0) == 92
    with pytest.raises(nv.NVMLError_NotSupported):
        old.nvmlDeviceGetMarginTemperature(a100)
    with pytest.raises(nv.NVMLError_NotSupported):
        new.nvmlDeviceGetTemperatureThreshold(h100, 0)
    margin = new.nvmlDeviceGetMarginTemperature(h100)
    assert margin == 87 - new.nvmlDeviceGetTemperature(h100, pynvml.NVML_TEMPERATURE_GPU)
    assert [value.value.siVal for value in new.nvmlDeviceGetFieldValues(h100, [193, 194])] == [-8, -2]


def test_mig_devices_are_listed_and_hide_what_mig_hides() -> None:
    nvml = nvml_of(node("dgx-a100-01"))
    cut = nvml.nvmlDeviceGetHandleByIndex(1)
    assert nvml.nvmlDeviceGetMigMode(cut) == [1, 1]
    mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(cut, 0)
    assert " MIG " in nvml.nvmlDeviceGetName(mig)
    gi = nvml.nvmlDeviceGetGpuInstanceId(mig)
    info = nvml.nvmlGpuInstanceGetInfo(nvml.nvmlDeviceGetGpuInstanceById(cut, gi))
    assert (info.id, info.placement.start) == (gi, 0)
    with pytest.raises(nv.NVMLError_NotFound):
        nvml.nvmlDeviceGetMigDeviceHandleByIndex(cut, 7)
    with pytest.raises(nv.NVMLError_NotSupported):
        nvml.nvmlDeviceGetUtilizationRates(cut)
    with pytest.raises(nv.NVMLError_NotSupported):
        nvml.nvmlDeviceGetNvLinkState(cut, 0)


def test_version_one_counts_reserved_memory_as_used() -> None:
    nvml = nvml_of(node("dgx-h100-01"))
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    first, second = (
        nvml.nvmlDeviceGetMemoryInfo(handle),
        nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2),
    )
    assert first.used == second.used + second.reserved
    assert second.used + second.reserved + second.free == second.total


def test_the_fabric_is_completed_on_hopper_only() -> None:
    nvml = nvml_of(node("hgx-h200-01"))
    info = nv.c_nvmlGpuFabricInfo_v2_t()
    nvml.nvmlDeviceGetGpuFabricInfoV(nvml.nvmlDeviceGetHandleByIndex(0), byref(info))
    assert (info.state, info.status) == (3, 0)
    old = nvml_of(node("dgx-a100-01"))
    with pytest.raises(nv.NVMLError_NotSupported):
        old.nvmlDeviceGetGpuFabricInfoV(old.nvmlDeviceGetHandleByIndex(0), byref(info))


def test_constants_come_from_pynvml_and_unknown_functions_never_reach_it() -> None:
    nvml = nvml_of(node("dgx-h100-01"))
    assert nvml.NVML_ERROR_GPU_IS_LOST == 15
    assert issubclass(nvml.NVMLError_GpuIsLost, nv.NVMLError)
    with pytest.raises(nv.NVMLError_FunctionNotFound):
        nvml.nvmlDeviceSetPersistenceMode(nvml.nvmlDeviceGetHandleByIndex(0), 1)
    with pytest.raises(AttributeError):
        _ = nvml.nvmlNoSuchThing


def test_a_lost_gpu_fails_every_call_and_the_kernel_log_tells() -> None:
    machines, clock = fleet(12, 7), ManualClock(NOW)
    hit = next(machine for machine in machines if machine.name == "dgx-h100-01")
    nvml, host = nvml_of(hit, clock), SimHost(hit, Meter(hit), clock)
    held = nvml.nvmlDeviceGetHandleByIndex(3)
    events = nvml.nvmlEventSetCreate()
    nvml.nvmlDeviceRegisterEvents(held, 8, events)
    stage = Stage(machines, NOW)
    SCENARIOS["gpu-lost"].play(stage)
    for call in (nvml.nvmlDeviceGetUUID, nvml.nvmlDeviceGetPowerUsage):
        with pytest.raises(nv.NVMLError_GpuIsLost):
            call(held)
    with pytest.raises(nv.NVMLError_GpuIsLost):
        nvml.nvmlDeviceGetHandleByIndex(3)
    with pytest.raises(nv.NVMLError_Timeout):
        nvml.nvmlEventSetWait(events, 1000)
    told: list[dict[str, Any]] = []
    host.kernel.start(told.append)
    assert [(each["kind"], each["code"], each["text"]) for each in told] == [("xid", 79, "GPU has fallen off the bus.")]
    host.kernel.step()
    assert len(told) == 1
    assert hit.gpus[3].pci_bus_id in host.driver_gpus()
    stage.undo()
    assert nvml.nvmlDeviceGetUUID(held) == hit.gpus[3].uuid
    assert hit.log == []


def test_xids_of_a_living_gpu_are_nvml_events_once() -> None:
    machines = fleet(12, 7)
    hit = next(machine for machine in machines if machine.name == "dgx-h100-02")
    nvml = nvml_of(hit, clock := ManualClock(NOW))
    events = nvml.nvmlEventSetCreate()
    handle = nvml.nvmlDeviceGetHandleByIndex(2)
    nvml.nvmlDeviceRegisterEvents(handle, 8, events)
    SCENARIOS["ecc"].play(Stage(machines, clock.now() - 1))
    assert [nvml.nvmlEventSetWait(events, 0).eventData for _ in range(3)] == [48, 94, 154]
    with pytest.raises(nv.NVMLError_Timeout):
        nvml.nvmlEventSetWait(events, 0)


async def test_a_row_remap_is_pending_first_and_failed_later() -> None:
    machines, clock = fleet(12, 7), ManualClock(NOW)
    hit = next(machine for machine in machines if machine.name == "dgx-h100-03")
    nvml = nvml_of(hit, clock)
    handle = nvml.nvmlDeviceGetHandleByIndex(5)
    SCENARIOS["row-remap"].play(Stage(machines, clock.now()))
    assert nvml.nvmlDeviceGetRemappedRows(handle) == (0, 1, 1, 0)
    await clock.advance(31)
    assert nvml.nvmlDeviceGetRemappedRows(handle) == (0, 1, 1, 1)


def test_each_scenario_hits_one_node_and_gpus_of_its_own_in_a_fleet_of_twelve() -> None:
    hit: Counter[tuple[str, int]] = Counter()
    for entry in ON_MACHINES:
        machines = fleet(12, 7)
        nodes, gpus = [repr(machine) for machine in machines], [[repr(gpu) for gpu in m.gpus] for m in machines]
        entry.play(Stage(machines, NOW))
        changed = [m for m, old in zip(machines, nodes, strict=True) if repr(m) != old]
        assert len(changed) == (entry.name != "quiet")
        # What is said of a whole node leaves room for what happens to one of its GPUs.
        if entry.name not in ("persistence-off", "slow-clock"):
            hit.update(
                (machine.name, gpu.index)
                for machine, before in zip(machines, gpus, strict=True)
                for gpu, old in zip(machine.gpus, before, strict=True)
                if repr(gpu) != old
            )
    assert hit
    assert max(hit.values()) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_scenario_finds_a_machine_in_a_small_fleet(count: int) -> None:
    machines = fleet(count, 7)
    refused: dict[str, str] = {}
    for entry in ON_MACHINES:
        stage = Stage(machines, NOW)
        try:
            entry.play(stage)
        except GpudeckError as error:
            refused[entry.name] = error.hint
        stage.undo()
    assert set(refused) <= {"vgpu-unlicensed", "driver-drift", "rdma-down"}
    assert all(hint.startswith("give the lab --nodes ") for hint in refused.values())
    assert all(machine.reachable and not machine.log for machine in machines)


def test_a_node_with_xids_reboots_when_the_scenario_ends() -> None:
    machines = fleet(12, 7)
    hit = next(machine for machine in machines if machine.name == "dgx-h100-01")
    stage = Stage(machines, NOW)
    SCENARIOS["gpu-lost"].play(stage)
    stage.undo(NOW + 60)
    assert (hit.boot_at, hit.boots) == (NOW + 60, 1)
    assert [machine.boots for machine in machines if machine is not hit] == [0] * 11


@pytest.mark.parametrize("hostile", [False, True])
def test_the_xml_shows_the_same_hardware_and_is_well_formed_but_for_hostile_names(hostile: bool) -> None:
    for machine in fleet(12, 7, hostile=hostile):
        meter = Meter(machine)
        xml = render(machine, meter, NOW)
        document = root_of(xml.encode()) if hostile else ElementTree.fromstring(xml)
        gpus = document.findall("gpu")
        assert [gpu.findtext("uuid") for gpu in gpus] == [gpu.uuid for gpu in machine.gpus]
        used = meter.read(machine.gpus[0], NOW).used_bytes // MIB
        assert gpus[0].findtext("fb_memory_usage/used") == f"{used} MiB"


def test_the_xml_of_a_hostile_fleet_is_as_broken_as_nvidia_smi_prints_it() -> None:
    documents = [
        render(machine, Meter(machine), NOW + 900 * step) for machine in fleet(3, 7, hostile=True) for step in range(40)
    ]
    assert any("\x1b]0;owned" in document for document in documents)
    for document in documents:
        assert root_of(document.encode()).findall("gpu")


def test_a_hostile_fleet_has_hostile_text_everywhere() -> None:
    machines = fleet(3, 7, hostile=True)
    assert "\x1b" in machines[0].gpus[0].name
    assert len(machines[0].gpus[0].name) > 10_000
    commands = {
        process.command
        for machine in machines
        for gpu in machine.gpus
        for step in range(40)
        for process in sample(machine, gpu, NOW + 900 * step).processes
    }
    assert any("@click" in command for command in commands)
    assert any(len(command) == 10_000 for command in commands)
