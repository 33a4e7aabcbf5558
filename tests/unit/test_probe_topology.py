"""How near two devices are: by their paths in /sys, by NVML, and read again only when there are other devices."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from backends.domain import Node
from backends.nodes import wire
from backends.nodes.probe import Probe
from backends.nodes.probe_facts import Facts
from backends.nodes.probe_kernel import KernelLog
from backends.nodes.probe_places import pci_level
from tests.trees import Machine

ROOT, PORT, SWITCH = "pci0000:15", "0000:15:01.0", "0000:16:00.0"
GPU = (ROOT, PORT, SWITCH, "0000:17:00.0", "0000:1b:00.0")
nv: Any = pynvml


@pytest.mark.parametrize(
    ("other", "numa", "nodes", "level"),
    [
        ((ROOT, PORT, SWITCH, "0000:17:01.0", "0000:18:00.0"), 0, 2, "PIX"),
        ((ROOT, PORT, SWITCH, "0000:17:00.0", "0000:1b:00.1"), 0, 2, "PIX"),
        ((ROOT, PORT, SWITCH, "0000:17:02.0", "0000:19:00.0", "0000:1a:00.0", "0000:1c:00.0"), 0, 2, "PXB"),
        ((ROOT, PORT, "0000:16:00.1", "0000:20:00.0", "0000:21:00.0"), 0, 2, "PXB"),
        ((ROOT, "0000:15:02.0", "0000:30:00.0"), 0, 2, "PHB"),
        (("pci0000:37", "0000:37:01.0", "0000:38:00.0"), 0, 2, "NODE"),
        (("pci0000:97", "0000:97:01.0", "0000:98:00.0"), 1, 2, "SYS"),
        # A machine that names no NUMA nodes has one; one that has several and does not name this one tells nothing.
        (("pci0000:97", "0000:97:01.0", "0000:98:00.0"), None, 1, "NODE"),
        (("pci0000:97", "0000:97:01.0", "0000:98:00.0"), None, 2, None),
        ((), 0, 2, None),
    ],
)
def test_the_level_of_two_places(other: tuple[str, ...], numa: int | None, nodes: int, level: str | None) -> None:
    first, second = (GPU, 0), (other, numa)
    assert pci_level(first, second, nodes) == level  # type: ignore[no-untyped-call]
    assert pci_level(second, first, nodes) == level  # type: ignore[no-untyped-call]


def test_places_come_from_the_links_of_sys(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "root")
    machine.pci(*GPU, numa=1)
    machine.pci("pci10000:e0", "10000:e0:06.0", "10000:e1:00.0", numa=-1)
    machine.numa(2)
    facts: Any = Facts(str(machine.root))  # type: ignore[no-untyped-call]
    assert facts.place("00000000:1B:00.0") == (GPU, 1)
    assert facts.place("00010000:E1:00.0") == (("pci10000:e0", "10000:e0:06.0", "10000:e1:00.0"), None)
    for nowhere in ("00000000:99:00.0", "", None, "../../etc", "zz:1B:00.0"):
        assert facts.place(nowhere) == ((), None)
    assert facts.numa_count() == 2


class Nvml:
    """As many GPUs as `buses`; `ancestors` by index, an error code otherwise."""

    NVMLError = nv.NVMLError

    def __init__(self, *buses: str) -> None:
        self.buses = list(buses)
        self.ancestors: dict[frozenset[int], int] = {}
        self.lost: set[int] = set()
        self.asked = 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        return

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name
        return len(self.buses)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index in self.lost:
            raise nv.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    def nvmlDeviceGetPciInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(busId=self.buses[handle], pciDeviceId=0x233010DE)

    def nvmlDeviceGetTopologyCommonAncestor(self, handle: int, other: int) -> int:  # noqa: N802
        self.asked += 1
        found = self.ancestors.get(frozenset((handle, other)))
        if found is None:
            raise nv.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return found

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def unknown(*_arguments: object) -> None:
            raise nv.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

        return unknown


class Here:
    """The probe's host on a machine of a test; the time stands still until it is moved. `wall` is its clock."""

    def __init__(self, machine: Machine) -> None:
        self.kernel: Any = KernelLog(str(machine.root))  # type: ignore[no-untyped-call]
        self.slow: Any = Facts(str(machine.root))  # type: ignore[no-untyped-call]
        self.time = 100.0
        self.wall = 1_700_000_000.0

    def now(self) -> float:
        return self.wall + self.time

    def monotonic(self) -> float:
        return self.time

    def identity(self) -> dict[str, Any]:
        return {"privileged": False}

    def facts(self, _patience: float = 0.0) -> None:
        return None

    def load(self) -> dict[str, Any]:
        return {}

    def driver_gpus(self) -> list[str]:
        return []

    def booted(self) -> None:
        return None

    def cpu_seconds(self) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.slow, name)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "root")
    made.numa(2)
    made.pci(*GPU, numa=0)
    made.pci(ROOT, PORT, SWITCH, "0000:17:01.0", "0000:18:00.0", numa=0)
    made.pci("pci0000:97", "0000:97:01.0", "0000:98:00.0", numa=1)
    made.rdma("mlx5_0", "0000:18:00.0")
    return made


BUSES = ("00000000:1B:00.0", "00000000:98:00.0")


def probing(machine: Machine, nvml: Nvml) -> tuple[Any, Here, list[Node]]:
    """A probe at work, and the nodes the console has made of what it said."""
    host = Here(machine)
    nodes: list[Node] = []

    def emit(message: dict[str, Any]) -> None:
        if message["t"] == "state":
            nodes[:] = [wire.state(message, "n", 0.0)]
        elif message["t"] == "delta":
            nodes[:] = [wire.apply_delta(nodes[0], message)]

    probe: Any = Probe(nvml, host, emit, {"protocol": 1, "slow_seconds": 10.0})  # type: ignore[no-untyped-call]
    assert probe.start()
    return probe, host, nodes


def test_nvml_tells_of_gpus_and_sys_of_the_rest(machine: Machine) -> None:
    nvml = Nvml(*BUSES)
    nvml.ancestors[frozenset((0, 1))] = pynvml.NVML_TOPOLOGY_HOSTBRIDGE
    _, _, (node,) = probing(machine, nvml)
    assert node.topology is not None
    assert (node.topology.gpus, node.topology.nics) == (BUSES, ("mlx5_0",))
    assert node.topology.levels == (("X", "PHB", "PIX"), ("PHB", "X", "SYS"), ("PIX", "SYS", "X"))
    assert [gpu.numa_node for gpu in node.gpus] == [0, 1]


def test_where_nvml_says_nothing_sys_does(machine: Machine) -> None:
    _, _, (node,) = probing(machine, Nvml(*BUSES))
    assert node.topology is not None
    assert node.topology.levels[0] == ("X", "SYS", "PIX")


def test_what_neither_tells_is_none(tmp_path: Path) -> None:
    _, _, (node,) = probing(Machine(tmp_path / "bare"), Nvml(*BUSES))
    assert node.topology is not None
    assert node.topology.levels == (("X", None), (None, "X"))
    assert [gpu.numa_node for gpu in node.gpus] == [None, None]


@pytest.mark.parametrize(
    ("value", "level"), [(0, "PIX"), (10, "PIX"), (20, "PXB"), (30, "PHB"), (40, "NODE"), (50, "SYS")]
)
def test_every_level_of_nvml_has_its_word(machine: Machine, value: int, level: str) -> None:
    nvml = Nvml(*BUSES)
    nvml.ancestors[frozenset((0, 1))] = value
    _, _, (node,) = probing(machine, nvml)
    assert node.topology is not None
    assert node.topology.levels[0][1] == level


def test_it_is_read_again_only_when_there_are_other_devices(machine: Machine) -> None:
    nvml = Nvml(*BUSES)
    nvml.ancestors[frozenset((0, 1))] = 50
    probe, host, nodes = probing(machine, nvml)
    asked = nvml.asked
    for _ in range(5):
        host.time += 20
        probe.beat()
    assert nvml.asked == asked
    machine.rdma("mlx5_1", "0000:98:00.0")
    host.time += 20
    probe.beat()
    assert nodes[0].topology is not None
    assert nodes[0].topology.nics == ("mlx5_0", "mlx5_1")
    assert nodes[0].topology.levels[3] == ("SYS", "PIX", "SYS", "X")


def test_a_gpu_that_is_lost_keeps_its_place(machine: Machine) -> None:
    nvml = Nvml(*BUSES)
    nvml.ancestors[frozenset((0, 1))] = 50
    probe, host, nodes = probing(machine, nvml)
    before = nodes[0].topology
    nvml.lost.add(1)
    host.time += 20
    probe.beat()
    assert nodes[0].topology == before
