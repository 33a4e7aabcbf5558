"""Domain values and views for the tests of the rules: sound ones, to which a test does one thing."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from backends.domain import (
    Clocks,
    Ecc,
    EccCounts,
    Event,
    Evidence,
    Fabric,
    Finding,
    Fleet,
    Gpu,
    GpuProcess,
    Link,
    Memory,
    Mig,
    Node,
    NodeReading,
    NodeSpec,
    NodeState,
    Pcie,
    Power,
    Problem,
    RemappedRows,
    Severity,
    SiteSpec,
    Subject,
    Temperature,
    Utilization,
    Vgpu,
)
from backends.nodes.probe_kernel import parse_line
from backends.triage.memory import NodeMemory
from backends.triage.rule import finding
from backends.triage.rules import RULES
from backends.triage.state import NodeView, Peer, PeerClass, SiteState, add_peers, is_current

NOW = 1_765_000_000.0
GIB = 1024**3
H100 = "NVIDIA H100 80GB HBM3"


def bus(index: int) -> str:
    return f"00000000:{index + 1:02X}:00.0"


def links(count: int = 18, down: Iterable[int] = (), remote: str | None = "switch", **more: Any) -> tuple[Link, ...]:
    """`count` links, those of `down` inactive."""
    gone = set(down)
    return tuple(
        Link(
            index=number,
            active=number not in gone,
            remote_kind=remote if number not in gone else None,
            remote_pci_bus_id=None if number in gone else "00000000:C4:00.0",
            crc_flit_errors=0,
            crc_data_errors=0,
            replay_errors=0,
            recovery_errors=0,
            **more,
        )
        for number in range(count)
    )


def gpu(index: int = 0, node: str = "n1", **changes: Any) -> Gpu:
    """A sound H100 at work below its power limit."""
    sound = Gpu(
        index=index,
        name=H100,
        uuid=f"GPU-{node}-{index}",
        board_part_number="692-2G520-0200-000",
        pci_bus_id=bus(index),
        architecture="Hopper",
        vbios="96.00.A5.00.01",
        performance_state=0,
        persistence=True,
        compute_mode="default",
        recovery_action="none",
        memory=Memory(80 * GIB, 60 * GIB, 19 * GIB, GIB),
        utilization=Utilization(97, 60),
        power=Power(500.0, 700.0, 700.0, 200.0, 700.0),
        temperature=Temperature(60, 66, margin_celsius=27, slowdown_tlimit_celsius=-2, shutdown_tlimit_celsius=-8),
        clocks=Clocks(1980, 1980, 2619, 1500, 1980, 1980, 2619, 1545, ()),
        ecc=Ecc(True, True, EccCounts(0, 0), EccCounts(0, 0)),
        remapped_rows=RemappedRows(0, 0, pending=False, failed=False),
        pcie=Pcie(5, 16, 5, 16, 0),
        links=links(),
        fabric=Fabric("completed", 0, "healthy", 0),
        mig=Mig(enabled=False, pending=False, max_instances=7),
        vgpu=Vgpu("none"),
        processes=(GpuProcess(4000 + index, "compute", "alice", "python train.py", 58 * GIB, started_at=NOW - 900),),
    )
    return dataclasses.replace(sound, **changes)


def idle(index: int = 0, node: str = "n1", **changes: Any) -> Gpu:
    quiet = {
        "clocks": Clocks(345, 345, 2619, 765, 1980, 1980, 2619, 1545, ("gpu_idle",)),
        "processes": (),
        "memory": Memory(80 * GIB, 4 << 20, 79 * GIB, GIB),
        "utilization": Utilization(0, 0),
    }
    return gpu(index, node, **{**quiet, **changes})


def blank(index: int = 0) -> Gpu:
    """A GPU of which nothing was measured."""
    return Gpu(index=index)


def sliced(index: int = 0, node: str = "n1", **changes: Any) -> Gpu:
    """A GPU cut into MIG instances: no utilisation, no links."""
    mig = Mig(enabled=True, pending=True, max_instances=7)
    return gpu(index, node, **{"mig": mig, "links": None, "utilization": Utilization(), **changes})


def guest(index: int = 0, node: str = "vm", **changes: Any) -> Gpu:
    """A vGPU as its guest sees it."""
    seen = Gpu(
        index=index,
        name="NVIDIA L40S-24C",
        uuid=f"GPU-{node}-{index}",
        pci_bus_id=bus(index),
        persistence=False,
        memory=Memory(24 * GIB, 2 * GIB, 22 * GIB),
        utilization=Utilization(40),
        pcie=Pcie(1, 1, 4, 16),
        vgpu=Vgpu("vgpu", licensed=True),
    )
    return dataclasses.replace(seen, **changes)


def node(*gpus: Gpu, name: str = "n1", **changes: Any) -> Node:
    sound = Node(
        name=name,
        hostname=name,
        transport="nvml",
        driver="590.48.01",
        privileged=True,
        boot_at=NOW - 9e5,
        clock_skew_seconds=0.0,
        kernel_log="kmsg",
        slow_read_at=NOW,
        gpus=gpus,
    )
    return dataclasses.replace(sound, **changes)


def live(value: Node, at: float = NOW) -> NodeReading:
    return NodeReading(value.name, NodeState.LIVE, value, at, None)


def failed(code: str, value: Node | None = None, *, name: str = "n1", at: float = NOW - 60) -> NodeReading:
    """A node with a problem since `at`: stale with a last value, down without one."""
    problem = Problem(code, f"{name}: {code}", "do something about it", at)
    state = NodeState.DOWN if value is None else NodeState.STALE
    return NodeReading(name, state, value, None if value is None else at - 1, problem)


def view(
    *gpus: Gpu,
    events: Sequence[Event] = (),
    reading: NodeReading | None = None,
    memory: NodeMemory | None = None,
    now: float = NOW,
    site: SiteSpec | None = None,
    **changes: Any,
) -> NodeView:
    """What a rule sees of a node with `gpus`; `changes` are those of the node."""
    if reading is None:
        reading = live(node(*gpus, **changes), now)
    site = site or SiteSpec("site")
    current = is_current(reading, now, site.fast_seconds)
    value = reading.node if current else None
    memory = memory or NodeMemory()
    if value is not None:
        memory.observe(value, now)
    answering = () if value is None else tuple(gpu for gpu in value.gpus if not gpu.lost)
    return NodeView(NodeSpec(reading.name), site, reading, value, answering, tuple(events), now, memory)


def state(*views: NodeView) -> SiteState:
    peers: defaultdict[PeerClass, list[Peer]] = defaultdict(list)
    for view in views:
        add_peers(peers, view)
    return SiteState(SiteSpec("site"), views, NOW, peers)


def xid(
    code: int,
    gpu_index: int | None = 0,
    at: float = NOW - 10,
    text: str = "said",
    node: str = "n1",
    *,
    gi: int | None = None,
    ci: int | None = None,
) -> Event:
    """As the kernel log tells it: `text` is what stands behind the code."""
    instance = ("" if gi is None else f" GPU-I:{gi:02}") + ("" if ci is None else f" GPU-CI:{ci:02}")
    line = f"NVRM: Xid (PCI:0000:1b:00{instance}): {code}, {text}"
    told: dict[str, Any] = parse_line(line, at)  # type: ignore[no-untyped-call]
    return Event(
        at=at,
        node=node,
        kind="xid",
        text=text,
        gpu_index=gpu_index,
        gpu_uuid=None if gpu_index is None else f"GPU-{node}-{gpu_index}",
        pci_bus_id=None if gpu_index is None else bus(gpu_index),
        code=code,
        source="kernel",
        gi=told.get("gi"),
        ci=told.get("ci"),
        pid=told.get("pid"),
        process=told.get("process"),
    )


def told(
    rule: str,
    node: str | None = "n1",
    gpu_index: int | None = None,
    *,
    severity: Severity = Severity.WARNING,
    since: float = NOW - 10,
    claim: str | None = None,
    kind: str | None = None,
    magnitude: float | None = None,
) -> Finding:
    """A finding as a rule would make it."""
    key = None if gpu_index is None else f"GPU-{node}-{gpu_index}"
    return finding(
        rule,
        severity,
        Subject(node, key, gpu_index),
        claim or f"{rule} is so",
        since,
        evidence=[Evidence(f"evidence of {rule}", since, "nvml")],
        magnitude=magnitude,
        kind=kind,
    )


def fleet(*readings: NodeReading) -> Fleet:
    return Fleet(readings)


def findings(value: NodeView | SiteState, *rules: str) -> list[Finding]:
    """What the rules of the registry find, or those named, before time and grouping."""
    found: list[Finding] = []
    for rule in RULES:
        if rules and rule.id not in rules:
            continue
        if isinstance(value, NodeView) and rule.judge is not None:
            found += rule.judge(value)
        elif isinstance(value, SiteState) and rule.judge_site is not None:
            found += filter(None, rule.judge_site(value))
    return found


def only(value: NodeView | SiteState, rule: str) -> Finding:
    """The one finding of `rule`, which must be the only finding of that rule."""
    (one,) = findings(value, rule)
    return one
