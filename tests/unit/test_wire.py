"""The probe's messages as domain values: typed, bounded, cleaned, merged field by field."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import NoPython, ProbeCut, VersionMismatch
from backends.domain import Disk, Gpu, Node, Topology
from backends.nodes import wire

GPU: dict[str, Any] = {
    "index": 0,
    "uuid": "GPU-1",
    "pci_bus_id": "00000000:1B:00.0",
    "memory": {"total_bytes": 80, "used_bytes": 20},
    "power": {"draw_watts": 300, "limit_watts": 700.0},
    "clocks": {"sm_mhz": 1980, "event_reasons": ["sw_power_cap"]},
    "links": [{"index": 0, "active": True}, {"index": 1, "active": False}],
    "mig": {"enabled": True, "instances": [{"gi": 1, "ci": 0, "placement": [0, 4], "profile": "3g.40gb"}]},
}
STATE: dict[str, Any] = {"t": "state", "at": 100.0, "node": {"driver": "580.95.05"}, "gpus": [GPU]}


def test_a_state_becomes_a_node() -> None:
    node = wire.state(STATE, "dgx01", 0.0)
    assert (node.name, node.driver, node.transport, node.cuda) == ("dgx01", "580.95.05", "nvml", None)
    (gpu,) = node.gpus
    assert gpu.power.draw_watts == 300.0
    assert gpu.mig.instances[0].placement == (0, 4)
    assert gpu.clocks.event_reasons == ("sw_power_cap",)
    assert gpu.links is not None
    assert [link.active for link in gpu.links] == [True, False]
    assert gpu.processes is None


def test_a_delta_replaces_what_it_names_and_nothing_else() -> None:
    node = wire.state(STATE, "dgx01", 0.0)
    after = wire.apply_delta(node, {"t": "delta", "gpus": {"0": {"power": {"draw_watts": 310.5}}}})
    (gpu,) = after.gpus
    assert gpu.power.draw_watts == 310.5
    assert gpu.power.limit_watts == 700.0
    assert gpu.memory is node.gpus[0].memory


def test_null_means_no_longer_measured() -> None:
    node = wire.state(STATE, "dgx01", 0.0)
    after = wire.apply_delta(node, {"gpus": {"0": {"power": {"draw_watts": None}, "links": None, "mig": None}}})
    assert after.gpus[0].power.draw_watts is None
    assert after.gpus[0].links is None
    assert after.gpus[0].mig.instances == ()


def test_a_list_may_hold_nothing_where_its_type_says_so() -> None:
    wired = {"gpus": ["0000:1b:00.0"], "nics": [], "levels": [["X", None], [None, "X"]]}
    assert wire.decode(Topology, wired).levels == (("X", None), (None, "X"))
    assert wire.decode(Topology, {**wired, "nics": [None]}).nics == ()


@pytest.mark.parametrize(
    "levels", ["X", [["X", 5]], [["X", ["X"]]], ["X", "X"], [None], {"0": "X"}, [["X"] * 9999] * 2, [[]] * 9999]
)
def test_a_hostile_topology_is_nothing_or_bounded(levels: Any) -> None:
    found = wire.decode(Topology, {"levels": levels}).levels
    assert len(found) <= wire.LIST_LIMIT
    assert all(len(row) <= wire.LIST_LIMIT for row in found)


def test_the_host_is_decoded_field_by_field() -> None:
    message = {
        **STATE,
        "node": {
            "host": {
                "disks": [{"mount": "/raid\x1b[31m", "total_bytes": "much", "free_bytes": 5, "read_only": 1}],
                "rdma": [],
                "services": [{"name": "nvsm"}, "nvsm"],
                "peermem": "yes",
                "unread": ["disk /x: does not answer"],
            }
        },
    }
    host = wire.state(message, "n", 0.0).host
    assert host.disks == (Disk("/raid", total_bytes=None, free_bytes=5),)
    assert (host.rdma, host.services, host.peermem, host.dma_buf) == ((), None, None, None)
    assert host.unread == ("disk /x: does not answer",)


def test_a_delta_of_the_host_replaces_what_it_names() -> None:
    node = wire.state({**STATE, "node": {"host": {"peermem": True, "rdma": []}}}, "n", 0.0)
    after = wire.apply_delta(node, {"node": {"host": {"peermem": None, "kernel_modules": "open"}}})
    assert (after.host.peermem, after.host.kernel_modules, after.host.rdma) == (None, "open", ())


def test_an_empty_delta_is_the_same_node() -> None:
    node = wire.state(STATE, "dgx01", 0.0)
    assert wire.apply_delta(node, {"t": "delta", "at": 101.0}) is node


def test_a_delta_ends_a_stall() -> None:
    node = dataclasses.replace(wire.state(STATE, "n", 0.0), stall=wire.stall({"call": "x", "seconds": 12}))
    assert node.stall is not None
    assert node.stall.seconds == 12.0
    assert wire.apply_delta(node, {"t": "delta"}).stall is None


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("serial", 5),
        ("minor_number", "0"),
        ("minor_number", True),
        ("minor_number", 1 << 70),
        ("memory", [1]),
        ("links", {"a": 1}),
        ("power", {"draw_watts": "300"}),
        ("power", {"draw_watts": float("nan")}),
        ("persistence", 1),
        ("no_such_field", 1),
    ],
)
def test_a_bad_field_costs_only_itself(field: str, bad: Any) -> None:
    gpu = wire.decode(Gpu, {**GPU, field: bad})
    assert gpu.uuid == "GPU-1"
    assert gpu.memory.total_bytes == (None if field == "memory" else 80)
    if field in ("serial", "minor_number", "persistence", "links"):
        assert getattr(gpu, field) is None
    if field == "power":
        assert gpu.power.draw_watts is None


def test_texts_are_cleaned_and_bounded() -> None:
    gpu = wire.decode(Gpu, {"name": "\x1b[31mH100\x1b[0m\u202e\n" + "x" * 10_000})
    assert gpu.name is not None
    assert gpu.name.startswith("H100 x")
    assert len(gpu.name) == 256


def test_lists_are_bounded() -> None:
    gpu = wire.decode(Gpu, {"links": [{"index": 0}] * 100_000})
    assert gpu.links is not None
    assert len(gpu.links) == wire.LIST_LIMIT


@pytest.mark.parametrize("line", [b"", b'{"t":"del', b"[1]", b'{"x":1}', b"\xff\xfe", b"[" * 100_000])
def test_half_a_line_is_a_cut_probe(line: bytes) -> None:
    with pytest.raises(ProbeCut):
        wire.parse_line(line)


@pytest.mark.parametrize("position", ["5", "-1", "x", "99999999999"])
def test_a_change_of_an_unlisted_gpu_starts_over(position: str) -> None:
    node = wire.state(STATE, "n", 0.0)
    with pytest.raises(ProbeCut):
        wire.apply_delta(node, {"gpus": {position: {"lost": True}}})


def test_fatal_messages_name_their_cause() -> None:
    assert isinstance(wire.fatal({"code": "no-python", "text": "no python3"}), NoPython)
    assert isinstance(wire.fatal({"code": "version-mismatch"}), VersionMismatch)
    assert wire.fatal({"code": ["odd"], "text": "a\x1b[2Jb"}).message == "ab"


def test_an_event_finds_its_gpu_by_slot_whatever_the_spelling() -> None:
    node = wire.state(STATE, "n", 0.0)
    message = {"at": 110.0, "kind": "xid", "pci_bus_id": "0000:1b:00", "code": 79, "text": "gone", "source": "kernel"}
    event = wire.event(message, node, "n", 10.0)
    assert event is not None
    assert (event.gpu_uuid, event.gpu_index, event.code, event.at) == ("GPU-1", 0, 79, 100.0)


@pytest.mark.parametrize("message", [{}, {"kind": "xid"}, {"kind": "bogus", "at": 1}, {"kind": "xid", "at": "now"}])
def test_an_event_that_makes_no_sense_is_dropped(message: dict[str, Any]) -> None:
    assert wire.event(message, None, "n", 0.0) is None


def test_an_event_tells_whom_and_where_it_hit() -> None:
    line = {"at": 110.0, "kind": "xid", "pci_bus_id": "0000:1b:00", "code": 13, "text": "x", "source": "kernel"}
    whom = {"gi": 5, "ci": 0, "pid": 41277, "process": "py\x1b[31mthon"}
    message = {**line, **whom, "count": 7, "first_at": 101.0}
    event = wire.event(message, None, "n", 10.0)
    assert event is not None
    assert (event.gi, event.ci, event.pid, event.process) == (5, 0, 41277, "python")
    assert (event.count, event.first_at, event.fatal, event.link) == (7, 91.0, None, None)


def test_an_sxid_is_of_a_switch() -> None:
    node = wire.state(STATE, "n", 0.0)
    message = {"at": 1.0, "kind": "sxid", "pci_bus_id": "0000:c1:00.0", "code": 20034, "fatal": True, "link": 30}
    event = wire.event(message, node, "n", 0.0)
    assert event is not None
    assert (event.kind, event.code, event.pci_bus_id, event.gpu_index) == ("sxid", 20034, "0000:c1:00.0", None)
    assert (event.fatal, event.link, event.device) == (True, 30, "0000:c1:00")


@pytest.mark.parametrize(
    "bad", [{"gi": -1}, {"pid": True}, {"link": 1 << 40}, {"count": 0}, {"count": "9"}, {"fatal": 1}, {"process": 7},
            {"first_at": "now"}],
)  # fmt: skip
def test_a_bad_field_of_an_event_costs_only_itself(bad: dict[str, Any]) -> None:
    event = wire.event({"at": 1.0, "kind": "xid", "code": 13, **bad}, None, "n", 0.0)
    assert event == wire.event({"at": 1.0, "kind": "xid", "code": 13}, None, "n", 0.0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
gpu_fields = st.sampled_from([field.name for field in dataclasses.fields(Gpu)])
nested_fields = st.sampled_from(
    ["total_bytes", "draw_watts", "event_reasons", "active", "instances", "placement", "gi"]
)


@given(st.dictionaries(gpu_fields, json_values | st.dictionaries(nested_fields, json_values, max_size=4), max_size=6))
def test_any_json_decodes_to_a_well_typed_gpu(message: dict[str, Any]) -> None:
    gpu = wire.decode(Gpu, message)
    assert isinstance(gpu.index, int)
    assert isinstance(gpu.lost, bool)
    assert gpu.links is None or all(isinstance(link.index, int) for link in gpu.links)
    assert gpu.power.draw_watts is None or isinstance(gpu.power.draw_watts, float)
    json.dumps(dataclasses.asdict(gpu), allow_nan=False)


@given(st.dictionaries(gpu_fields, json_values, max_size=4))
def test_merging_twice_is_merging_once(delta: dict[str, Any]) -> None:
    once = wire.merge(wire.decode(Gpu, GPU), delta)
    assert wire.merge(once, delta) == once


def test_a_node_ignores_gpus_smuggled_into_its_fields() -> None:
    node = wire.state({**STATE, "node": {"gpus": [GPU] * 9, "name": "other"}}, "dgx01", 0.0)
    assert node.name == "dgx01"
    assert len(node.gpus) == 1
    assert isinstance(node, Node)
