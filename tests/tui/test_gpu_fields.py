"""What a fleet's rows may be asked for: a field is what was measured, and nothing where nothing was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.domain import (
    Clocks,
    Ecc,
    EccCounts,
    Event,
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
    RemappedRows,
    Temperature,
    Utilization,
)
from screens.change_fields import CHANGE_FIELDS
from screens.event_fields import EVENT_FIELDS
from screens.filter_tables import TABLES
from screens.finding_fields import FINDING_FIELDS
from screens.gpu_fields import GPU_FIELDS
from screens.gpu_items import gpu_item, gpu_text, xids_of
from screens.help_filter import HELP_WIDTH, LEFT_WIDTH, filter_help
from screens.process_fields import PROCESS_FIELDS
from screens.rows import FleetView, RowCache, fleet_rows, identity, row_key
from screens.stack_fields import STACK_FIELDS
from tests.tui.fleets import GIB, NOW, fleet, h100, reading, refused
from tests.workloads import container_id, owned, pod
from tui.widgets.filter import Filter, Subject, parse
from tui.widgets.filter.fields import Field, FieldTable

EVERY_FIELD = [field for table in TABLES for field in table.fields]

FULL = Gpu(
    index=3,
    name="NVIDIA H100 80GB HBM3",
    uuid="GPU-8f3a",
    serial="1650",
    pci_bus_id="00000000:9B:00.0",
    vbios="96.00.89",
    memory=Memory(total_bytes=80 * GIB, used_bytes=60 * GIB),
    utilization=Utilization(gpu_percent=93),
    power=Power(draw_watts=658.4, limit_watts=700.0),
    temperature=Temperature(gpu_celsius=71, memory_celsius=88),
    clocks=Clocks(sm_mhz=1980, event_reasons=("sw_power_cap", "hw_thermal_slowdown")),
    ecc=Ecc(True, True, EccCounts(5, 2)),
    remapped_rows=RemappedRows(3, 1, pending=True),
    pcie=Pcie(4, 8, 5, 16, 0),
    links=tuple(Link(n, n != 2, crc_flit_errors=n) for n in range(4)),
    mig=Mig(True, True, 7, (MigInstance(1, 0, "MIG-1", "3g.40gb"), MigInstance(2, 0, "MIG-2", "1g.10gb"))),
    processes=(
        GpuProcess(1, "compute", "alice", "python train.py", container_id=container_id("llama-70b-0")),
        GpuProcess(2, "compute", "bob", None),
    ),
)
OWNERSHIP = owned(pod("llama-70b-0", user="carla"))
NODE = Node(name="dgx-07", driver="580.65.06", cuda="13.0", kernel="6.8.0-49-generic", transport="nvml", gpus=(FULL,))


def matches(text: str, gpu: Gpu | None = FULL, node: Node | None = NODE, words: frozenset[str] = frozenset()) -> bool:
    xids = xids_of(
        (Event(1.0, "dgx-07", "xid", "fell", 3, "GPU-8f3a", code=79), Event(2.0, "dgx-07", "xid", "x", code=1))
    )
    item = gpu_item("dgx-07", node, gpu, words, xids, OWNERSHIP if gpu is FULL else None)
    return parse(text, GPU_FIELDS).matches(Subject(gpu_text(item), words, item))


@pytest.mark.parametrize(
    ("text", "otherwise"),
    [
        ("node=dgx-07", "node=dgx-08"),
        ("gpu=3", "gpu=2"),
        ("model~h100", "model~h200"),
        ("state=ecc", "state=ok"),
        ("util>=93%", "util>93"),
        ("mem=60g", "mem>60"),
        ("mempct=75", "mempct>75"),
        ("memtotal=80g", "memtotal<80"),
        ("power>658", "power>=659"),
        ("limit=700", "limit<700"),
        ("temp=71", "temp>71"),
        ("memtemp>=88c", "memtemp<88"),
        ("clock=1.98ghz", "clock<1980"),
        ("reason~thermal", "reason~brake"),
        ("reason=sw_power_cap", "reason!=sw_power_cap"),
        ("ecc=2", "ecc=0"),
        ("eccfixed=5", "eccfixed=2"),
        ("remap=4", "remap=3"),
        ("remappending=yes", "remappending=no"),
        ("xid=79", "xid=1"),
        ("links=3", "links=4"),
        ("linksdown=1", "linksdown=0"),
        ("linkerrors=6", "linkerrors>6"),
        ("pcie=8", "pcie=16"),
        ("pciegen=4", "pciegen=5"),
        ("procs=2", "procs=0"),
        ("user=bob", "user=carol"),
        ("workload=team-search/llama-70b-0", "workload=llama-70b"),
        ("owner=llama-70b", "owner=Job"),
        ("namespace=team-search", "project=team-speech"),
        (f"container={container_id('llama-70b-0')}", "container~0000000"),
        ("command~train", "command~serve"),
        ("mig=2", "mig=0"),
        ("profile=3g.40gb", "profile=7g.80gb"),
        ("driver=580", "driver<580"),
        ("cuda>=13", "cuda>13"),
        ("kernel>=6.8", "kernel>=6.9"),
        ("vbios=96.00.89", "vbios!=96.00.89"),
        ("transport=nvml", "transport=nvidia-smi"),
        ("uuid~8f3a", "uuid~0000"),
        ("serial=1650", "serial=1651"),
        ("bus~9b:00", "bus~1b:00"),
    ],
)
def test_a_field_is_what_the_gpu_says(text: str, otherwise: str) -> None:
    assert matches(text)
    assert not matches(otherwise)


def test_every_field_of_a_gpu_has_a_case_above() -> None:
    (marker,) = test_a_field_is_what_the_gpu_says.pytestmark  # type: ignore[attr-defined]
    asked = {field for texts in marker.args[1] for text in texts for field in parse(text, GPU_FIELDS).fields}
    assert asked == {field.name for field in GPU_FIELDS.fields}


UNMEASURED = [field for field in GPU_FIELDS.fields if field.name not in ("node", "gpu", "state", "xid", "profile")]


@pytest.mark.parametrize("field", UNMEASURED, ids=lambda field: field.name)
def test_a_gpu_that_tells_nothing_has_nothing_measured(field: Field) -> None:
    assert matches(f"{field.name}=na", Gpu(), Node(name="n"))
    assert not matches(f"{field.name}!=na", Gpu(), Node(name="n"))


def test_a_node_that_was_never_read_has_its_name_and_state() -> None:
    assert matches("node~dgx state=down", None, None, frozenset({"down"}))
    for field in (*UNMEASURED, GPU_FIELDS.find("gpu")):
        assert field is not None
        assert matches(f"{field.name}=na", None, None)


def test_the_user_of_a_pod_counts_beside_the_one_of_its_process() -> None:
    assert matches("user=carla user=alice pod~llama")
    assert matches("llama-70b carla")


def test_no_process_is_something_else_than_no_knowledge() -> None:
    idle = replace(FULL, processes=())
    assert matches("procs=0 user!=alice user!=na", idle)
    hidden = replace(FULL, processes=(GpuProcess(1, "compute"),))
    assert matches("procs=1 user=na", hidden)
    assert matches("links=0", replace(FULL, links=()))
    assert matches("links=na", replace(FULL, links=(Link(0),)))
    assert matches("mig=0", replace(FULL, mig=Mig(False)))


# The tables


@pytest.mark.parametrize("table", TABLES, ids=["gpus", "findings", "events", "processes", "changes", "stack"])
def test_every_field_word_and_saved_filter_is_in_the_help(table: FieldTable) -> None:
    lines = filter_help(table, {"warm": "temp>80"}).plain.splitlines()
    for field in table.fields:
        (line,) = [line for line in lines if line.startswith(f"  {field.example} ")]
        assert field.help in line
        for told in (*field.aliases, field.unit.symbol):
            assert told in line
        for choice in field.choices:
            assert any(choice in line.split() for line in lines)
    for word, meaning in table.words.items():
        assert any(line.split(maxsplit=1) == [word, meaning] for line in lines)
    assert any("@warm" in line and "temp>80" in line for line in lines)
    assert max(map(len, lines)) <= LEFT_WIDTH + HELP_WIDTH + 3


@pytest.mark.parametrize("field", EVERY_FIELD, ids=lambda field: field.name)
def test_every_field_is_documented(field: Field) -> None:
    table = next(each for each in TABLES if field in each.fields)
    assert field.help
    assert not field.help.endswith(".")
    assert field.example.startswith(field.name)
    assert parse(field.example, table).fields == {field.name}


def test_the_tables_are_those_of_the_screens() -> None:
    assert TABLES == (GPU_FIELDS, FINDING_FIELDS, EVENT_FIELDS, PROCESS_FIELDS, CHANGE_FIELDS, STACK_FIELDS)


# On the fleet's rows


def shown(text: str, value: Fleet | None = None, **view: object) -> list[str]:
    """`node` or `node gpu-key` of what the filter leaves."""
    seen = FleetView(match=parse(text, GPU_FIELDS), **view)  # type: ignore[arg-type]
    rows = fleet_rows(value or fleet(), None, NOW, seen)
    return [" ".join(part for part in identity(row.key) if part) for row in rows]


def test_a_filter_narrows_the_fleet_by_value() -> None:
    assert shown("util>=90 | temp>40 & node~dgx02") == ["dgx01", "dgx01 GPU-dgx01-0", "dgx02", "dgx02 GPU-dgx02-1"]
    assert shown("mig>2") == ["a100", "a100 GPU-mig0", "a100 GPU-mig1"]
    assert shown("dgx8 | (stale & user=alice)") == ["dgx07", "dgx07 GPU-dgx07-0", "dgx08"]
    assert shown("node=dgx01 & util=na") == ["dgx01", "dgx01 GPU-lost"]
    assert shown("state=connecting") == ["dgx09"]


def test_the_xids_of_the_event_log_can_be_asked_for() -> None:
    heard = xids_of([Event(NOW, "dgx01", "xid", "x", 2, "GPU-lost", code=79)])
    assert shown("xid=79", xids=heard) == ["dgx01", "dgx01 GPU-lost"]
    assert shown("xid=79") == []


def test_a_node_whose_driver_is_another_is_asked_again() -> None:
    cache, gpu = RowCache(), h100(0)
    view = FleetView(match=parse("driver>=580", GPU_FIELDS))
    old = Fleet((NodeReading("n", NodeState.LIVE, Node(name="n", driver="570.1", gpus=(gpu,)), NOW, None),))
    new = Fleet((NodeReading("n", NodeState.LIVE, Node(name="n", driver="580.1", gpus=(gpu,)), NOW, None),))
    assert [row.key for row in fleet_rows(old, None, NOW, view, cache)] == []
    assert [row.key for row in fleet_rows(new, None, NOW, view, cache)] == ["n", row_key("n", gpu)]


def test_a_fleet_that_did_not_change_is_not_asked_again() -> None:
    asked: list[Subject] = []

    def test(subject: Subject) -> bool:
        asked.append(subject)
        return True

    many = Fleet(tuple(reading(f"n{n}", *(h100(i, node=f"n{n}") for i in range(8))) for n in range(128)))
    cache, view = RowCache(), FleetView(match=Filter(parse("temp>0", GPU_FIELDS).expression, test))
    fleet_rows(many, None, NOW, view, cache)
    assert len(asked) == 1024
    beat = Fleet(tuple(replace(each, at=NOW + 1) for each in many.nodes))
    fleet_rows(beat, None, NOW + 1, view, cache)
    assert len(asked) == 1024, "a heartbeat changes nothing"
    gpus = (h100(0, 17, "n5"), *(many.nodes[5].node.gpus[1:] if many.nodes[5].node else ()))
    fleet_rows(Fleet((*many.nodes[:5], reading("n5", *gpus), *many.nodes[6:])), None, NOW + 1, view, cache)
    assert len(asked) == 1025, "one GPU did"
    stale = refused("n6", *(many.nodes[6].node.gpus if many.nodes[6].node else ()))
    fleet_rows(Fleet((*many.nodes[:6], stale, *many.nodes[7:])), None, NOW + 1, view, cache)
    assert len(asked) == 1034, "a node's GPUs are stale with it, and the one of before is as it was"


def test_mig_profiles_and_users_are_found_by_words() -> None:
    assert shown("7x1g") == []
    assert shown("3g.20gb") == ["a100", "a100 GPU-mig0"]
