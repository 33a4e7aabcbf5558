"""What the engine says of a container's use of its machine, as values: cgroup v1 and v2, Podman, one that stopped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.docker.stats import usage_of
from backends.domain import ContainerUsage

BEFORE, AT = "2026-11-30T12:00:00.5Z", "2026-11-30T12:00:01.5Z"
GIB = 1 << 30


def cpu(own: int, every: int | None, **more: Any) -> dict[str, Any]:
    system = {} if every is None else {"system_cpu_usage": every}
    return {"cpu_usage": {"total_usage": own}, **system, "online_cpus": 8, **more}


def told(**more: Any) -> dict[str, Any]:
    """By a dockerd on cgroup v2: two and a half of eight CPUs were used."""
    return {
        "read": AT,
        "preread": BEFORE,
        "cpu_stats": cpu(12_500_000_000, 88_000_000_000),
        "precpu_stats": cpu(10_000_000_000, 80_000_000_000),
        "memory_stats": {"usage": 5 * GIB, "limit": 64 * GIB, "stats": {"inactive_file": 2 * GIB, "file": 3 * GIB}},
        "pids_stats": {"current": 42, "limit": (1 << 64) - 1},
        "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "read", "value": 100},
                {"major": 8, "minor": 16, "op": "read", "value": 11},
                {"major": 8, "minor": 0, "op": "write", "value": 7},
            ]
        },
        **more,
    }


def test_a_container_on_cgroup_v2() -> None:
    assert usage_of(told()) == ContainerUsage(
        at=1_796_040_001.5,
        cpu_percent=250.0,
        cpus=8,
        memory_bytes=3 * GIB,
        memory_limit_bytes=64 * GIB,
        pids=42,
        received_bytes=11,
        sent_bytes=22,
        read_bytes=111,
        written_bytes=7,
    )


def test_a_container_on_cgroup_v1() -> None:
    per_cpu = {"total_usage": 3_000_000_000, "percpu_usage": [1, 2, 3, 4]}
    found = usage_of(
        told(
            cpu_stats={"cpu_usage": per_cpu, "system_cpu_usage": 14_000_000_000},
            precpu_stats={"cpu_usage": {"total_usage": 2_000_000_000}, "system_cpu_usage": 10_000_000_000},
            memory_stats={"usage": 1000, "limit": 5000, "stats": {"total_inactive_file": 300, "inactive_file": 200}},
            blkio_stats={
                "io_service_bytes_recursive": [
                    {"op": "Read", "value": 10},
                    {"op": "Write", "value": 5},
                    {"op": "Sync", "value": 1},
                    {"op": "Total", "value": 15},
                ]
            },
        )
    )
    assert (found.cpus, found.cpu_percent) == (4, 100.0)
    assert (found.memory_bytes, found.memory_limit_bytes, found.memory_with_cache) == (700, 5000, False)
    assert (found.read_bytes, found.written_bytes) == (10, 5)


def test_the_first_value_of_a_stream_has_no_share_of_the_cpu() -> None:
    assert usage_of(told(preread="0001-01-01T00:00:00Z", precpu_stats=cpu(0, None))).cpu_percent is None


@pytest.mark.parametrize(
    "before",
    [cpu(99_000_000_000, 80_000_000_000), cpu(10_000_000_000, 88_000_000_000), cpu(1, None), {}, None],
    ids=["began anew", "no time has passed", "untold", "empty", "none"],
)
def test_a_share_that_cannot_be_counted_is_none(before: Any) -> None:
    found = usage_of(told(precpu_stats=before))
    assert found.cpu_percent is None
    assert found.memory_bytes == 3 * GIB


def test_podman_tells_no_detail_of_memory_no_limit_of_pids_and_without_root_no_network() -> None:
    nothing = {"network": {"rx_bytes": 0, "tx_bytes": 0}}
    memory = {"usage": 900, "limit": 1000, "stats": None}
    found = usage_of(told(memory_stats=memory, networks=nothing, pids_stats={"current": 3, "limit": 0}))
    assert (found.memory_bytes, found.memory_with_cache) == (900, True)
    assert (found.pids, found.pids_limit) == (3, None)
    assert (found.received_bytes, found.sent_bytes) == (None, None)
    early = usage_of(told(preread="2026-11-30T12:00:01.499Z"))
    assert early.cpu_percent is None, "its first value is held against one of a moment before"


def test_in_the_host_s_network_and_without_a_block_device_nothing_is_told() -> None:
    raw = told(blkio_stats={"io_service_bytes_recursive": None})
    del raw["networks"]
    found = usage_of(raw)
    assert (found.received_bytes, found.sent_bytes, found.read_bytes, found.written_bytes) == (None, None, None, None)
    assert usage_of(told(blkio_stats={"io_service_bytes_recursive": []})).read_bytes == 0


def test_a_container_that_does_not_run_uses_nothing_that_is_known() -> None:
    assert usage_of(told(read="0001-01-01T00:00:00Z", memory_stats={}, pids_stats={})) == ContainerUsage()


def test_a_limit_of_pids_is_told() -> None:
    assert usage_of(told(pids_stats={"current": 3, "limit": 512})).pids_limit == 512


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(told())), JSON_VALUES))
def test_whatever_an_engine_says_is_no_error(odd: dict[str, Any]) -> None:
    usage_of(told(**odd))
    for key, value in odd.items():
        usage_of(told(**{key: dict.fromkeys(("stats", "usage", "cpu_usage", "eth0", "op", "current"), value)}))
