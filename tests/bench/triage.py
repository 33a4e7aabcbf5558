"""What a triage of a whole site costs: the rules over 128 nodes of 8 GPUs, once a second."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from backends.domain import (
    Clocks,
    Ecc,
    EccCounts,
    Fabric,
    Fleet,
    Gpu,
    GpuProcess,
    Link,
    Memory,
    Mig,
    Node,
    NodeGpuCapacity,
    NodeReading,
    NodeSpec,
    NodeState,
    OperandPhase,
    OperandState,
    Pcie,
    Power,
    ProbeCost,
    RemappedRows,
    ResourceCount,
    SiteSpec,
    Stack,
    StackHealth,
    StackNode,
    Temperature,
    Utilization,
    Vgpu,
    Workloads,
)
from backends.feed import SystemClock
from backends.ownership import Ownership
from backends.triage.engine import Triager
from backends.triage.state import PlatformState
from tests.workloads import container_id, pod
from tui.garbage import Garbage

NODES = 128
PODS = 5000
GPUS = 8
TICKS = 30
WARM_UP = 5
"""The first ticks meet every node for the first time."""
GIB = 1024**3
NOW = 1_760_000_000.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of CPU for one triage, median over the ticks."""

    all_changed: float
    worst: float
    """The longest of those."""
    tenth_changed: float
    none_changed: float
    longest_step: float
    """The longest time the event loop waits for the triage when everything changed."""
    with_platform: float = 0.0
    """As `all_changed`, on a cluster whose stack and workloads changed too."""
    with_platform_worst: float = 0.0
    with_platform_step: float = 0.0
    join: float = 0.0
    """One index of the workloads, and what is on each GPU."""


def _gpu(node: int, index: int) -> Gpu:
    return Gpu(
        index=index,
        name="NVIDIA H100 80GB HBM3",
        uuid=f"GPU-{node}-{index}",
        board_part_number="692-2G520-0200-000",
        pci_bus_id=f"00000000:{index:02X}:00.0",
        architecture="Hopper",
        vbios="96.00.A5.00.01",
        performance_state=0,
        persistence=True,
        compute_mode="default",
        recovery_action="none",
        memory=Memory(80 * GIB, 60 * GIB, 20 * GIB, GIB),
        utilization=Utilization(95, 60),
        power=Power(650.0, 700.0, 700.0, 200.0, 700.0),
        temperature=Temperature(66, 72, margin_celsius=21, shutdown_tlimit_celsius=-8),
        clocks=Clocks(1950, 1950, 2619, 1500, 1980, 1980, 2619, 1545, ("sw_power_cap",)),
        ecc=Ecc(True, True, EccCounts(0, 0), EccCounts(0, 0)),
        remapped_rows=RemappedRows(0, 0, pending=False, failed=False),
        pcie=Pcie(5, 16, 5, 16, 0),
        links=tuple(Link(n, True, 4, 26562, "switch", "0000:07:00.0", 0, 0, 0, 0) for n in range(18)),
        fabric=Fabric("completed", 0, "healthy", 0),
        mig=Mig(enabled=False, pending=False, max_instances=7),
        vgpu=Vgpu("none"),
        processes=(
            GpuProcess(
                4000 + index,
                "compute",
                "alice",
                "python train.py",
                60 * GIB,
                started_at=NOW - 900,
                container_id=container_id(f"n{node}-{index}"),
            ),
        ),
    )


def _moved(reading: NodeReading, now: float, dice: random.Random) -> NodeReading:
    """What a fast beat changes on each GPU."""
    assert reading.node is not None
    gpus = tuple(
        dataclasses.replace(
            gpu,
            utilization=Utilization(90 + dice.randrange(11), 60),
            power=dataclasses.replace(gpu.power, draw_watts=600.0 + dice.randrange(99)),
            temperature=dataclasses.replace(gpu.temperature, gpu_celsius=60 + dice.randrange(9)),
            clocks=dataclasses.replace(gpu.clocks, sm_mhz=1830 + 15 * dice.randrange(11)),
        )
        for gpu in reading.node.gpus
    )
    return dataclasses.replace(reading, node=dataclasses.replace(reading.node, gpus=gpus), at=now)


def _fleet() -> Fleet:
    readings = []
    for number in range(NODES):
        node = Node(
            name=f"n{number}",
            transport="nvml",
            driver="590.48.01",
            privileged=True,
            kernel_log="kmsg",
            boot_at=NOW - 9e5,
            clock_skew_seconds=0.0,
            gpus=tuple(_gpu(number, index) for index in range(GPUS)),
            probe=ProbeCost(0.4, 40.0),
        )
        readings.append(NodeReading(node.name, NodeState.LIVE, node, NOW, None))
    return Fleet(tuple(readings))


def _platform(tick: int) -> PlatformState:
    """A cluster of these nodes with `PODS` pods, other objects at each tick, as after a change of one of them."""
    mine = [
        pod(f"n{node}-{index}", node=f"n{node}", started_at=NOW - 9000)
        for node in range(NODES)
        for index in range(GPUS)
    ]
    others = [pod(f"other-{number}", node=f"n{number % NODES}", gpus=()) for number in range(PODS - len(mine))]
    workloads = Workloads((*mine, *others))
    nodes = tuple(
        StackNode(
            f"n{node}",
            StackHealth.READY,
            tuple(OperandState(key, OperandPhase.READY) for key in ("driver", "toolkit", "device-plugin", "validator")),
            capacity=NodeGpuCapacity((ResourceCount("nvidia.com/gpu", GPUS, GPUS, GPUS),)),
            labelled=True,
            ready=True,
        )
        for node in range(NODES)
    )
    return PlatformState(Stack("kubernetes", str(tick), nodes=nodes), Ownership(workloads), workloads)


def join() -> float:
    """Milliseconds of CPU for one index of the workloads and a look at every GPU."""
    workloads, fleet = _platform(0).workloads, _fleet()
    assert workloads is not None
    times = []
    for _ in range(10):
        began = time.process_time()
        ownership = Ownership(workloads)
        for reading in fleet.nodes:
            assert reading.node is not None
            ownership.on_gpus(reading.node.gpus)
        times.append(time.process_time() - began)
    return 1000 * statistics.median(times)


def _run(share: float, platforms: Sequence[PlatformState] = ()) -> tuple[float, float, float]:
    """(median and worst milliseconds of a triage, longest step) with `share` of the nodes changing each second."""
    dice = random.Random(7)
    fleet, triager = _fleet(), Triager(SiteSpec("bench", nodes=tuple(NodeSpec(f"n{n}") for n in range(NODES))))
    times, longest = [], 0.0
    for tick in range(TICKS + WARM_UP):
        now = NOW + tick
        fleet = Fleet(
            tuple(
                _moved(reading, now, dice) if dice.random() < share else dataclasses.replace(reading, at=now)
                for reading in fleet.nodes
            )
        )
        began = before = after = time.process_time()
        platform = platforms[tick % len(platforms)] if platforms else None
        for _ in triager.steps(fleet, (), now, platform=platform):
            after = time.process_time()
            if tick >= WARM_UP:
                longest = max(longest, after - before)
            before = after
        after = time.process_time()
        if tick >= WARM_UP:
            longest = max(longest, after - before)
            times.append(after - began)
    return 1000 * statistics.median(times), 1000 * max(times), 1000 * longest


def measure() -> Cost:
    """As in the console, where the collector does not start in the middle of a step."""
    garbage = Garbage(SystemClock())
    garbage.start()
    try:
        return _measured()
    finally:
        garbage.stop()


def _measured() -> Cost:
    full, worst, longest = _run(1.0)
    platform = _run(1.0, [_platform(tick) for tick in range(3)])
    return Cost(full, worst, _run(0.1)[0], _run(0.0)[0], longest, *platform, join())


if __name__ == "__main__":
    print(measure())
