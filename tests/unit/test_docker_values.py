"""What the engine says, as values: containers, GPU requests, the checks of a node, the log stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.docker.checks import Facts, stack_node
from backends.docker.containers import gpu_requests, moment, workload
from backends.docker.multiplex import Demultiplexer
from backends.domain import Gpu, Host, Link, Node, NodeReading, NodeState, Problem, Service
from backends.domain.stack import OperandPhase, StackHealth
from backends.domain.workload import GpuRequest, Owner

NVIDIA = {"Runtimes": {"nvidia": {}, "runc": {}}, "ServerVersion": "27.5.1"}


@pytest.mark.parametrize(
    ("host", "environment", "wanted"),
    [
        ({"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}, [], (GpuRequest("device-request"),)),
        ({"DeviceRequests": [{"Count": 2, "Capabilities": [["gpu"]]}]}, [], (GpuRequest("device-request", 2),)),
        (
            {"DeviceRequests": [{"DeviceIDs": ["GPU-1"], "Capabilities": [["gpu", "utility"]]}]},
            ["NVIDIA_VISIBLE_DEVICES=GPU-1"],
            (GpuRequest("device-request", 1, ("GPU-1",)),),
        ),
        (
            {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]},
            [],
            (GpuRequest("cdi", None, ("nvidia.com/gpu=all",)),),
        ),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["vendor.com/nic=0"]}]}, [], ()),
        ({"DeviceRequests": [{"Count": 1, "Capabilities": [["tpu"]]}]}, [], ()),
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=all"], (GpuRequest("environment"),)),
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=0,3"], (GpuRequest("environment", 2, ("0", "3")),)),
        ({"Runtime": "nvidia"}, ["NVIDIA_VISIBLE_DEVICES=void"], ()),
        ({"Runtime": "runc"}, ["NVIDIA_VISIBLE_DEVICES=all"], ()),
        ({}, [], ()),
    ],
)
def test_how_a_container_asks_for_gpus(
    host: dict[str, Any], environment: list[str], wanted: tuple[GpuRequest, ...]
) -> None:
    assert tuple(gpu_requests({"HostConfig": host, "Config": {"Env": environment}})) == wanted


def test_a_container_that_was_killed_for_memory_failed() -> None:
    state = {"Status": "exited", "ExitCode": 137, "OOMKilled": True, "StartedAt": "2026-01-02T03:04:05.123456789Z"}
    labels = {"com.docker.compose.project": "p", "com.docker.compose.service": "s", "owner": "a.chen"}
    found = workload({"Id": "a" * 64, "Name": "/n", "State": state, "Config": {"Labels": labels}}, "dgx01")
    assert (found.phase, found.reason, found.user, found.owner) == (
        "Failed",
        "OOMKilled",
        "a.chen",
        Owner("compose", "s"),
    )
    assert found.containers[0].id == "a" * 64
    assert found.started_at == pytest.approx(1767323045.123456)


KEYS = ["Id", "Name", "State", "Config", "HostConfig", "Labels", "Env", "Status", "DeviceRequests", "x"]
JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(JSON)
def test_whatever_an_engine_says_is_no_crash(said: Any) -> None:
    document = said if isinstance(said, dict) else {"HostConfig": said, "Config": said, "State": said}
    assert workload(document, "n").platform == "docker"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "", None, "yesterday", 7])
def test_what_is_no_moment(text: Any) -> None:
    assert moment(text) is None


# The checks


def facts(info: dict[str, Any] | None = None, problem: Problem | None = None, **host: str) -> Facts:
    services = tuple(Service(name.replace("_", "-"), state) for name, state in host.items())
    switched = (Link(0, True, remote_kind="switch"),)
    node = Node(name="dgx01", driver="580.65.06", gpus=(Gpu(links=switched),), host=Host(services=services))
    return Facts(NodeReading("dgx01", NodeState.LIVE, node, 1.0, problem), info, version="27.5.1", problem="refused")


def phases(given_facts: Facts) -> dict[str, OperandPhase]:
    return {state.operand: state.phase for state in stack_node(given_facts).operands}


def test_a_well_node() -> None:
    node = stack_node(facts(NVIDIA, nvidia_fabricmanager="active", nvidia_persistenced="active"))
    assert node.blocker is None
    assert node.health is StackHealth.READY
    assert node.driver_version == "580.65.06"


def test_a_dead_engine_is_the_blocker_and_the_toolkit_waits_for_it() -> None:
    node = stack_node(facts(None, nvidia_fabricmanager="active"))
    assert node.blocker is not None
    assert (node.blocker.state.operand, node.health) == ("engine", StackHealth.BLOCKED)
    toolkit = node.get("toolkit")
    assert toolkit is not None
    assert (toolkit.phase, toolkit.waits_for) == (OperandPhase.WAITING, "engine")


def test_fabric_manager_matters_only_where_there_are_switches() -> None:
    failed = facts(NVIDIA, nvidia_fabricmanager="failed")
    assert phases(failed)["fabric-manager"] is OperandPhase.FAILING
    reading = NodeReading("l40s", NodeState.LIVE, Node(name="l40s", driver="1", gpus=(Gpu(links=None),)), 1.0, None)
    assert phases(Facts(reading, NVIDIA))["fabric-manager"] is OperandPhase.OFF


def test_no_runtime_and_no_cdi_is_said_with_what_to_do() -> None:
    node = stack_node(facts({"Runtimes": {"runc": {}}}, nvidia_fabricmanager="active"))
    assert node.blocker is not None
    assert "nvidia-ctk" in (node.blocker.state.message or "")
    by_cdi = {"Runtimes": {"runc": {}}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}
    assert phases(facts(by_cdi))["toolkit"] is OperandPhase.READY


def test_what_is_not_known_is_unknown_and_never_well() -> None:
    blank = Facts(NodeReading("n", NodeState.CONNECTING, None, None, None), NVIDIA)
    assert phases(blank)["driver"] is OperandPhase.UNKNOWN
    assert stack_node(blank).health is StackHealth.UNKNOWN


def test_a_driver_that_does_not_load_blocks() -> None:
    problem = Problem("no-driver", "NVML does not start", "modprobe nvidia", 1.0)
    reading = NodeReading("n", NodeState.DOWN, None, None, problem)
    node = stack_node(Facts(reading, NVIDIA))
    assert node.blocker is not None
    assert node.blocker.state.operand == "driver"


# The log stream


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.text(alphabet="abc \n", max_size=12)), max_size=12),
    st.integers(1, 7),
)
def test_frames_cut_anywhere_give_the_same_lines(frames: list[tuple[int, str]], size: int) -> None:
    raw = b"".join(frame(stream, text.encode()) for stream, text in frames)
    whole, pieces = Demultiplexer(terminal=False), Demultiplexer(terminal=False)
    expected = [*whole.feed(raw), *whole.rest()]
    lines: list[bytes] = []
    for start in range(0, len(raw), size):
        lines += pieces.feed(raw[start : start + size])
    assert [*lines, *pieces.rest()] == expected


def test_a_terminal_has_no_frames_and_a_broken_frame_is_refused() -> None:
    assert Demultiplexer(terminal=True).feed(b"one\r\ntwo\r\n") == [b"one", b"two"]
    with pytest.raises(ValueError, match="not a frame"):
        Demultiplexer(terminal=False).feed(b"plain text that is no frame at all")
