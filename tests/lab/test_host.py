"""What stands around the simulated boards."""

from __future__ import annotations

import re

import pytest

from backends.feed import ManualClock
from backends.lab.dynamics import Meter
from backends.lab.equipment import EQUIPMENT, ancestor, cpu_mask
from backends.lab.hardware import SimNode, fleet
from backends.lab.host import SERVICES, SimHost
from backends.lab.jobs import container_of
from backends.nodes import probe_facts
from backends.nodes.probe_places import COMMON_ANCESTORS, pci_level
from tests.simulated import NOW, simulated


def node(name: str) -> SimNode:
    return next(node for node in fleet(12, 7) if node.name == name)


def host_of(machine: SimNode, clock: ManualClock | None = None) -> SimHost:
    return SimHost(machine, Meter(machine), clock or ManualClock(NOW))


def test_every_machine_has_its_equipment() -> None:
    for machine in fleet(12, 7):
        equipment = EQUIPMENT[machine.machine.prefix]
        buses = [slot.bus_id for slot in equipment.gpus]
        assert buses == [gpu.pci_bus_id[4:].lower() for gpu in machine.gpus]
        masks = [cpu_mask(cpus) for cpus in equipment.numa_cpus]
        assert sum(masks) == (1 << machine.machine.cpu_count) - 1, "every CPU is in one NUMA node"


def test_no_two_devices_of_a_machine_share_a_slot_or_a_bridge_by_accident() -> None:
    for equipment in EQUIPMENT.values():
        slots = [*equipment.gpus, *(nic.slot for nic in equipment.nics)]
        assert len({slot.bus_id for slot in slots}) == len(slots)
        parents: dict[str, tuple[str, ...]] = {}
        for slot in slots:
            for depth, name in enumerate(slot.path):
                assert parents.setdefault(name, slot.path[:depth]) == slot.path[:depth], name


def test_the_simulated_driver_and_sys_agree_on_how_near_gpus_are() -> None:
    for equipment in EQUIPMENT.values():
        nodes = len(equipment.numa_cpus)
        for first in equipment.gpus:
            for second in equipment.gpus:
                if first is not second:
                    level = pci_level((first.path, first.numa), (second.path, second.numa), nodes)  # type: ignore[no-untyped-call]
                    assert COMMON_ANCESTORS[ancestor(first, second)] == level


def test_it_tells_of_the_services_and_fields_the_probe_tells_of() -> None:
    assert tuple(name for name, _, _ in probe_facts.SERVICES) == SERVICES
    here = probe_facts.Facts().latest(10)  # type: ignore[no-untyped-call]
    assert here is not None
    assert set(host_of(node("dgx-h100-01")).facts()) == set(here)


def test_a_dgx_is_whole() -> None:
    host = simulated("dgx-h100-01").host
    assert [(disk.mount, disk.kind) for disk in host.disks or ()] == [("/", "raid"), ("/raid", "raid")]
    assert all(20 < (disk.free_percent or 0) < 90 for disk in host.disks or ())
    assert [port.device for port in host.rdma or ()] == [f"mlx5_{number}" for number in range(9)]
    assert {port.state for port in host.rdma or ()} == {"active"}
    assert {service.name for service in host.services or () if service.state == "active"} == {
        "nvidia-fabricmanager", "nvidia-persistenced", "nvidia-dcgm", "nvsm",
    }  # fmt: skip
    assert [runtime.name for runtime in host.runtimes or ()] == ["docker", "containerd"]
    assert (host.kernel_modules, host.peermem, host.dma_buf) == ("open", True, True)


def test_a_guest_has_little() -> None:
    host = simulated("vm-01").host
    assert (host.rdma, len(host.disks or ()), host.dma_buf) == ((), 1, False)
    assert {service.name: service.state for service in host.services or ()}["nvidia-gridd"] == "active"


@pytest.mark.parametrize(
    ("name", "modules", "peermem", "dma_buf"),
    [
        ("dgx-a100-01", "proprietary", True, False),
        ("hgx-h200-01", "open", False, True),
        ("l40s-01", "open", False, True),
    ],
)
def test_the_two_ways_of_gpudirect(name: str, modules: str, peermem: bool, dma_buf: bool) -> None:
    host = simulated(name).host
    assert (host.kernel_modules, host.peermem, host.dma_buf) == (modules, peermem, dma_buf)


def test_faults_of_the_host_show() -> None:
    def prepare(machine: SimNode) -> None:
        machine.host_faults.services_down = frozenset({"nvidia-fabricmanager", "nvidia-gridd"})
        machine.host_faults.ports_down = frozenset({"mlx5_3"})
        machine.host_faults.scratch_used_percent = 98.0

    host = simulated("dgx-h100-01", prepare).host
    states = {service.name: service.state for service in host.services or ()}
    assert (states["nvidia-fabricmanager"], states["nvidia-gridd"]) == ("failed", "missing")
    down = [port for port in host.rdma or () if port.state != "active"]
    assert [(port.device, port.state, port.physical_state) for port in down] == [("mlx5_3", "down", "polling")]
    root, scratch = host.disks or ()
    assert scratch.free_percent is not None
    assert scratch.free_percent == pytest.approx(2.0, abs=0.01)
    assert root.free_percent is not None
    assert root.free_percent > 20


async def test_facts_are_read_once_a_minute_and_when_a_fault_comes() -> None:
    machine, clock = node("dgx-h100-01"), ManualClock(NOW - NOW % 60)
    host = host_of(machine, clock)
    first = host.facts()
    await clock.advance(30)
    assert host.facts() is first
    machine.host_faults.ports_down = frozenset({"mlx5_0"})
    assert host.facts() is not first
    second = host.facts()
    await clock.advance(60)
    assert host.facts() is not second


def test_what_serves_models_runs_in_a_container_the_same_every_time() -> None:
    seen = set()
    for machine in fleet(12, 7):
        meter = Meter(machine)
        for gpu in machine.gpus:
            for process in meter.read(gpu, NOW).processes:
                found = container_of(machine, gpu.index, process)
                assert found == container_of(machine, gpu.index, process)
                assert found is None or re.fullmatch("[0-9a-f]{64}", found)
                if "tritonserver" in process.command:
                    assert found is not None
                seen.add(found is None)
    assert seen == {True, False}


def test_the_processes_of_a_hostile_lab_are_told_too() -> None:
    node = simulated("dgx-h100-01", hostile=True)
    processes = [process for gpu in node.gpus for process in gpu.processes or ()]
    assert processes
    for text in (*(process.command or "" for process in processes), *(disk.mount for disk in node.host.disks or ())):
        assert text.isprintable()
