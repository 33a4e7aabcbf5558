"""Real domain values for the tests of the screens."""

from __future__ import annotations

from dataclasses import replace

from backends.domain import (
    Clocks,
    Ecc,
    EccCounts,
    Fleet,
    Gpu,
    GpuProcess,
    Link,
    Memory,
    Mig,
    MigInstance,
    Node,
    NodeReading,
    NodeState,
    Pcie,
    Power,
    Problem,
    RemappedRows,
    Stall,
    Temperature,
    Utilization,
)

NOW = 1_700_000_000.0
GIB = 1024**3
HOSTILE = (
    "[@click=app.quit]press[/]",
    "\x1b[31mred\x1b]0;t\x07",
    "\u202eevil",
    "名前名前名前名前名前名前名前",
    "e\u0301" * 2000,
    "y" * 10_000,
)


def h100(index: int = 0, busy: int | None = 93, node: str = "dgx01") -> Gpu:
    return Gpu(
        index=index,
        name="NVIDIA H100 80GB HBM3",
        uuid=f"GPU-{node}-{index}",
        serial=f"165{index}",
        memory=Memory(total_bytes=80 * GIB, used_bytes=(index * 9 + 3) * GIB, free_bytes=GIB),
        utilization=Utilization(gpu_percent=busy, memory_percent=busy),
        power=Power(draw_watts=100.0 + 6 * (busy or 0), limit_watts=700.0),
        temperature=Temperature(gpu_celsius=40 + index, slowdown_celsius=92, gpu_max_celsius=87),
        clocks=Clocks(sm_mhz=1980, max_sm_mhz=1980, event_reasons=("sw_power_cap",) if busy else ("gpu_idle",)),
        ecc=Ecc(True, True, EccCounts(0, 0), EccCounts(3, 0)),
        remapped_rows=RemappedRows(0, 0, pending=False, failed=False),
        pcie=Pcie(5, 16, 5, 16, 0),
        links=tuple(Link(n, True, 4, 26562, "switch", "0000:07:00.0", 0, 0, 0, 0) for n in range(18)),
        mig=Mig(enabled=False, pending=False, max_instances=7),
        processes=(GpuProcess(4242, "compute", "alice", "python train.py", 60 * GIB),) if busy else (),
    )


def mig_gpu(index: int, *profiles: str) -> Gpu:
    instances = tuple(
        MigInstance(n, 0, f"MIG-{n}", profile, (n, 1), Memory(10 * GIB, GIB), 16) for n, profile in enumerate(profiles)
    )
    return Gpu(index=index, name="NVIDIA A100-SXM4-40GB", uuid=f"GPU-mig{index}", mig=Mig(True, True, 7, instances))


def reading(name: str, *gpus: Gpu, at: float = NOW) -> NodeReading:
    node = Node(name=name, hostname=name, transport="nvml", driver="580.65.06", cuda="13.0", gpus=gpus)
    return NodeReading(name, NodeState.LIVE, node, at, None)


def refused(name: str, *gpus: Gpu, at: float = NOW - 240) -> NodeReading:
    problem = Problem("unreachable", "connection refused by 192.0.2.7", "is sshd running there?", NOW - 200)
    if not gpus:
        return NodeReading(name, NodeState.DOWN, None, None, problem)
    return NodeReading(name, NodeState.STALE, Node(name=name, gpus=gpus), at, problem)


def hanging(*gpus: Gpu) -> NodeReading:
    """A node that answers, where a call of NVML has not come back for four minutes."""
    each = reading("dgx01", *gpus, at=NOW - 240)
    assert each.node is not None
    return replace(each, node=replace(each.node, stall=Stall(3, "nvmlDeviceGetPowerUsage", 240.0)))


def fleet() -> Fleet:
    lost = Gpu(index=2, name="NVIDIA H100 80GB HBM3", uuid="GPU-lost", lost=True, lost_reason="NVML: GPU is lost")
    return Fleet(
        (
            reading("dgx01", *(h100(n, 90 - n) for n in range(2)), lost),
            reading("dgx02", *(h100(n, 0, "dgx02") for n in range(2))),
            reading("a100", mig_gpu(0, "3g.20gb", "2g.10gb", "1g.5gb"), mig_gpu(1, *["1g.5gb"] * 7)),
            refused("dgx07", h100(0, 50, "dgx07")),
            refused("dgx08"),
            NodeReading("dgx09", NodeState.CONNECTING, None, None, None),
        )
    )
