"""What the engine says, as values: containers, GPU requests, the checks of a node, the log stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import AuthRefused, GpudeckError, NotAllowed, Unreachable
from backends.docker.about import About, about
from backends.docker.checks import Facts, stack, stack_node
from backends.docker.containers import gpu_requests, moment, workload
from backends.docker.listing import CONTAINERS_LIMIT, listing
from backends.docker.multiplex import Demultiplexer
from backends.docker.pods import pods_of
from backends.domain import Fabric, Gpu, Host, Link, Node, NodeReading, NodeState, Problem, Service, Stall, Vgpu, clean
from backends.domain.stack import OperandPhase, StackHealth
from backends.domain.workload import GpuRequest, Owner, Unread


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
        (
            {"Runtime": "oci", "Devices": [{"PathOnHost": f"/dev/nvidia{each}"} for each in ("1", "0", "ctl", "-uvm")]},
            [],
            (GpuRequest("device", 2, ("/dev/nvidia0", "/dev/nvidia1")),),
        ),
        ({"DeviceRequests": [{"DeviceIDs": 5, "Capabilities": [5]}, 5], "Devices": [5, {"PathOnHost": 5}]}, [], ()),
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


@pytest.mark.parametrize(
    ("status", "exit_code", "phase", "reason", "state"),
    [
        ("stopping", 0, "Running", "stopping", "stopping"),
        ("stopped", 3, "Failed", "Error (exit 3)", "terminated"),
        ("stopped", 0, "Succeeded", "Completed", "terminated"),
    ],
)
def test_podman_s_own_words_for_a_state(status: str, exit_code: int, phase: str, reason: str, state: str) -> None:
    found = workload({"State": {"Status": status, "ExitCode": exit_code}}, "dgx01")
    assert (found.phase, found.reason, found.containers[0].state) == (phase, reason, state)


def test_the_pod_of_a_container_is_nearer_than_its_service() -> None:
    assert workload({}, "dgx01", "llama").owners == (Owner("pod", "llama"),)
    composed = {"Config": {"Labels": {"com.docker.compose.service": "s"}}}
    assert workload(composed, "dgx01", "llama").owners == (Owner("pod", "llama"), Owner("compose", "s"))
    assert workload(composed, "dgx01").owner == Owner("compose", "s")


def test_the_pods_of_an_engine() -> None:
    told = [
        {"Name": "llama", "Containers": [{"Id": "a"}, {"Id": "b", "Status": "exited"}, {"Id": 7}, None]},
        {"Name": "\x1b[31mred", "Containers": [{"Id": "c"}]},
        {"Name": "empty", "Containers": None},
        {"Containers": [{"Id": "d"}]},
        7,
    ]
    assert pods_of(told) == {"a": "llama", "b": "llama", "c": clean("\x1b[31mred", 128)}


def test_who_built_the_image_is_not_who_runs_it() -> None:
    labels = {"maintainer": "NVIDIA CORPORATION <cudatools@nvidia.com>"}
    assert workload({"Config": {"Labels": labels}}, "n").user is None


KEYS = [
    *("Id", "Name", "Created", "State", "Config", "HostConfig", "RestartCount", "x"),
    *("Labels", "Env", "Image", "Status", "ExitCode", "OOMKilled", "StartedAt", "Error"),
    *("DeviceRequests", "DeviceIDs", "Capabilities", "Driver", "Count", "Runtime", "Devices", "PathOnHost"),
    *("Runtimes", "DiscoveredDevices", "CDISpecDirs", "ServerVersion", "Components", "ApiVersion", "ID"),
]
JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(JSON)
def test_whatever_an_engine_says_is_no_crash(said: Any) -> None:
    document = said if isinstance(said, dict) else {"HostConfig": said, "Config": said, "State": said}
    assert workload(document, "n").platform == "docker"
    assert about(document, document).name == "docker"
    assert pods_of(said) == pods_of([said]) == {}
    for key in ("DeviceRequests", "Devices"):
        for entries in (said, [said]):
            assert workload({"HostConfig": {key: entries}}, "n").platform == "docker"


@given(JSON, JSON)
def test_whatever_is_said_of_a_device_request_is_no_crash(ids: Any, capabilities: Any) -> None:
    for driver in ("", "cdi", "nvidia"):
        entry = {"Driver": driver, "DeviceIDs": ids, "Capabilities": capabilities, "Count": ids}
        assert isinstance(gpu_requests({"HostConfig": {"DeviceRequests": [entry]}}), tuple)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "", None, "yesterday", 7])
def test_what_is_no_moment(text: Any) -> None:
    assert moment(text) is None


# What an engine is

PODMAN = {"Components": [{"Name": "Podman Engine", "Version": "5.2.0"}, {"Name": "Conmon"}], "ApiVersion": "1.41"}
RUNC: dict[str, Any] = {"Runtimes": {"runc": {}, "io.containerd.runc.v2": {}}}
GPU0 = {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}, {"Source": "cdi", "ID": "x.com/nic=0"}]}


@pytest.mark.parametrize(
    ("info", "version", "cdi"),
    [
        (RUNC | GPU0, {"ApiVersion": "1.51"}, ("nvidia.com/gpu=0",)),
        (RUNC | {"CDISpecDirs": ["/etc/cdi"]}, {"ApiVersion": "1.51"}, ()),
        (RUNC | {"CDISpecDirs": ["/etc/cdi"]}, {"ApiVersion": "1.47"}, None),
        (RUNC | {"CDISpecDirs": None}, {"ApiVersion": "1.47"}, ()),
        (RUNC, {"ApiVersion": "1.41"}, ()),
        (RUNC | {"CDISpecDirs": None}, PODMAN, None),
    ],
    ids=["listed", "none-listed", "not-told", "off", "before-25", "podman"],
)
def test_which_cdi_devices_an_engine_has(
    info: dict[str, Any], version: dict[str, Any], cdi: tuple[str, ...] | None
) -> None:
    assert about(info, version).cdi == cdi


# The checks

ENGINE = about({"Runtimes": {"nvidia": {}, "runc": {}}, "ServerVersion": "28.5.1"}, {"ApiVersion": "1.51"})
DEAD = Unreachable("refused", "")
SWITCH = (Link(0, True, remote_kind="switch"),)
DARK = (Link(0, False), Link(1, False))
A100 = "NVIDIA A100-SXM4-80GB"


def facts(
    answer: About | GpudeckError = ENGINE,
    problem: Problem | None = None,
    gpus: tuple[Gpu, ...] = (Gpu(links=SWITCH),),
    cdi: tuple[str, ...] | None = None,
    **services: str,
) -> Facts:
    host = Host(services=tuple(Service(name.replace("_", "-"), state) for name, state in services.items()), cdi=cdi)
    node = Node(name="dgx01", driver="580.65.06", gpus=gpus, host=host)
    return Facts(NodeReading("dgx01", NodeState.LIVE, node, 1.0, problem), answer)


def phases(given_facts: Facts) -> dict[str, OperandPhase]:
    return {state.operand: state.phase for state in stack_node(given_facts).operands}


def test_a_well_node() -> None:
    node = stack_node(facts(nvidia_fabricmanager="active", nvidia_persistenced="active"))
    assert node.blocker is None
    assert node.health is StackHealth.READY
    assert node.driver_version == "580.65.06"
    assert node.runtime == "docker 28.5.1"


def test_a_dead_engine_is_the_blocker_and_the_toolkit_waits_for_it() -> None:
    node = stack_node(facts(DEAD, nvidia_fabricmanager="active"))
    assert node.blocker is not None
    assert (node.blocker.state.operand, node.health) == ("engine", StackHealth.BLOCKED)
    toolkit = node.get("toolkit")
    assert toolkit is not None
    assert (toolkit.phase, toolkit.waits_for) == (OperandPhase.WAITING, "engine")


def test_engines_that_all_fail_are_a_platform_that_does_not_answer() -> None:
    assert not stack([facts(DEAD), facts(DEAD)]).answered
    assert stack([facts(DEAD), facts()]).answered
    assert stack([facts(NotAllowed("no", ""))]).answered
    assert stack([]).answered


@pytest.mark.parametrize(
    ("gpu", "service", "phase"),
    [
        (Gpu(links=SWITCH), "failed", OperandPhase.FAILING),
        (Gpu(name=A100, links=DARK), "failed", OperandPhase.FAILING),
        (Gpu(name=A100, links=DARK), "inactive", OperandPhase.MISSING),
        (Gpu(name=A100, links=DARK), "missing", OperandPhase.MISSING),
        (Gpu(name=A100, links=None), "failed", OperandPhase.FAILING),
        (Gpu(name=A100, links=None), "active", OperandPhase.READY),
        (Gpu(name=A100, links=None), "missing", OperandPhase.UNKNOWN),
        (Gpu(name="NVIDIA H100 80GB HBM3", fabric=Fabric("in_progress")), "failed", OperandPhase.FAILING),
        (Gpu(name="NVIDIA H100 80GB HBM3", fabric=Fabric("in_progress")), "active", OperandPhase.STARTING),
        (Gpu(name="NVIDIA H100 80GB HBM3", fabric=Fabric("completed")), "active", OperandPhase.READY),
        (Gpu(name="NVIDIA GB200", fabric=Fabric("completed")), "missing", OperandPhase.OFF),
        (Gpu(links=None), "missing", OperandPhase.UNKNOWN),
        (Gpu(name="NVIDIA L40S", links=None), "failed", OperandPhase.OFF),
        (Gpu(name="NVIDIA H100 PCIe", links=DARK, fabric=Fabric("not_supported")), "failed", OperandPhase.OFF),
        (Gpu(name="NVIDIA H200 NVL", links=None), "missing", OperandPhase.OFF),
        (Gpu(name=A100, links=None, vgpu=Vgpu(mode="passthrough")), "missing", OperandPhase.OFF),
    ],
)
def test_fabric_manager_is_judged_where_there_are_switches(gpu: Gpu, service: str, phase: OperandPhase) -> None:
    assert phases(facts(gpus=(gpu, gpu), nvidia_fabricmanager=service))["fabric-manager"] is phase


def test_a_fabric_manager_that_failed_is_what_blocks() -> None:
    node = stack_node(facts(gpus=(Gpu(name=A100, links=None),) * 8, nvidia_fabricmanager="failed"))
    assert node.blocker is not None
    assert (node.blocker.state.operand, node.health) == ("fabric-manager", StackHealth.BLOCKED)


def test_no_runtime_and_no_cdi_is_said_with_what_to_do() -> None:
    node = stack_node(facts(about(RUNC, {"ApiVersion": "1.51"}), nvidia_fabricmanager="active"))
    assert node.blocker is not None
    assert "nvidia-ctk runtime configure" in (node.blocker.state.message or "")
    assert phases(facts(about(RUNC | GPU0, {})))["toolkit"] is OperandPhase.READY


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (about(RUNC | {"CDISpecDirs": ["/etc/cdi"]}, {"ApiVersion": "1.47"}), "this version does not tell"),
        (about(RUNC | {"ServerVersion": "5.2.0"}, PODMAN), "nvidia-ctk cdi generate"),
    ],
)
def test_an_engine_that_does_not_tell_its_cdi_devices_is_not_held_to_have_none(answer: About, said: str) -> None:
    node = stack_node(facts(answer, nvidia_fabricmanager="active"))
    assert (node.blocker, node.health) == (None, StackHealth.UNKNOWN)
    toolkit = node.get("toolkit")
    assert toolkit is not None
    assert toolkit.phase is OperandPhase.UNKNOWN
    assert said in (toolkit.message or "")


def test_the_specifications_on_the_node_tell_what_the_engine_does_not() -> None:
    podman = about(RUNC, PODMAN)
    found = phases(facts(podman, cdi=("nvidia.com/gpu", "vendor.com/nic")))
    assert (found["toolkit"], found["cdi"]) == (OperandPhase.READY, OperandPhase.READY)
    elsewhere = phases(facts(podman, cdi=("vendor.com/nic",)))
    assert (elsewhere["toolkit"], elsewhere["cdi"]) == (OperandPhase.UNKNOWN, OperandPhase.UNKNOWN)
    off = about(RUNC, {"ApiVersion": "1.51"})
    assert phases(facts(off, cdi=("nvidia.com/gpu",)))["toolkit"] is OperandPhase.MISSING, "this engine does tell"


def test_podman_is_called_podman() -> None:
    assert stack_node(facts(about({"ServerVersion": "5.2.0"}, PODMAN))).runtime == "podman 5.2.0"


def test_what_is_not_known_is_unknown_and_never_well() -> None:
    blank = Facts(NodeReading("n", NodeState.CONNECTING, None, None, None), ENGINE)
    assert phases(blank)["driver"] is OperandPhase.UNKNOWN
    assert stack_node(blank).health is StackHealth.UNKNOWN


def test_a_driver_that_does_not_load_blocks() -> None:
    problem = Problem("no-driver", "NVML does not start", "modprobe nvidia", 1.0)
    reading = NodeReading("n", NodeState.DOWN, None, None, problem)
    node = stack_node(Facts(reading, ENGINE))
    assert node.blocker is not None
    assert node.blocker.state.operand == "driver"


CUT = Problem("unreachable", "dgx01: Connection refused", "is it up?", 90.0)
FAILING = OperandPhase.FAILING
NO_ENGINE = Unreachable("the container engine of dgx01 cannot be asked for /info", "is docker up?")


@pytest.mark.parametrize("answer", [NO_ENGINE, AuthRefused("dgx01: Permission denied", "")])
def test_a_node_that_is_gone_fails_nothing_and_is_well_in_nothing(answer: GpudeckError) -> None:
    well = facts(nvidia_fabricmanager="active", nvidia_persistenced="active", cdi=("nvidia.com/gpu",)).reading
    node = stack_node(Facts(replace(well, state=NodeState.STALE, problem=CUT), answer))
    assert {state.phase for state in node.operands} == {OperandPhase.UNKNOWN}
    assert {state.reason for state in node.operands} == {"unreachable"}
    for state in node.operands:
        assert (state.message or "").startswith("dgx01: Connection refused; last read 19")
    assert (node.health, node.blocker) == (StackHealth.UNKNOWN, None)
    assert node.notes == (f"not known now: {node.operands[0].message}",)
    assert node.driver_version == "580.65.06", "the last value stays"


def test_a_node_that_never_answered_says_so_without_a_time() -> None:
    asked = Facts(NodeReading("n", NodeState.CONNECTING, None, None, None), NO_ENGINE)
    assert stack_node(asked).notes == ("not known now: the node has not answered yet",)
    assert set(phases(asked).values()) == {OperandPhase.UNKNOWN}


def test_an_engine_that_still_answers_is_told_beside_a_node_that_does_not() -> None:
    known = phases(Facts(replace(facts().reading, state=NodeState.STALE, problem=CUT), ENGINE))
    assert (known["engine"], known["toolkit"]) == (OperandPhase.READY, OperandPhase.READY)
    assert (known["driver"], known["fabric-manager"]) == (OperandPhase.UNKNOWN, OperandPhase.UNKNOWN)


@pytest.mark.parametrize("code", ["no-driver", "driver-hangs", "no-python"])
def test_an_engine_that_is_silent_on_a_node_that_is_reached_fails(code: str) -> None:
    problem = Problem(code, "told by the node", "", 1.0)
    assert phases(Facts(NodeReading("n", NodeState.DOWN, None, None, problem), NO_ENGINE))["engine"] is FAILING
    assert phases(facts(NO_ENGINE))["engine"] is FAILING


def test_values_from_before_a_hanging_call_are_not_judged() -> None:
    reading = facts(nvidia_fabricmanager="active").reading
    assert reading.node is not None
    stalled = replace(reading, node=replace(reading.node, stall=Stall(3, "nvmlDeviceGetPowerUsage")))
    node = stack_node(Facts(stalled, ENGINE))
    driver = node.get("driver")
    assert driver is not None
    assert (driver.phase, driver.reason) == (OperandPhase.UNKNOWN, "driver-hangs")
    assert "NVML hangs in nvmlDeviceGetPowerUsage of GPU 3; last read" in (driver.message or "")
    assert node.health is StackHealth.UNKNOWN


# Which containers are read


def test_what_runs_is_read_before_what_has_ended() -> None:
    states = [*((str(each), "exited") for each in range(600)), ("a", "running"), ("b", "paused"), ("c", None)]
    found = listing(states)
    assert found.ids[:4] == ("a", "b", "c", "0")
    assert len(found.ids) == CONTAINERS_LIMIT
    (left,) = found.left_out("dgx01")
    assert left == Unread("dgx01", "91 containers of dgx01 that are stopped are left out, 512 are read", running=False)


def test_what_runs_and_is_left_out_is_told() -> None:
    found = listing([(str(each), "running") for each in range(CONTAINERS_LIMIT + 7)])
    assert [(left.running, left.why) for left in found.left_out("n")] == [
        (True, "7 containers of n that run are left out, 512 are read")
    ]
    assert listing([("a", "running")]).left_out("n") == ()


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


def test_a_part_of_a_line_comes_without_the_time_before_it() -> None:
    first, later = b"2026-11-30T14:22:50Z ", b"2026-11-30T14:22:51.123456789+01:00 "
    parts = Demultiplexer(terminal=False)
    lines = parts.feed(frame(1, first + b" 10%") + frame(2, later + b"error\n") + frame(1, later + b" 50%"))
    assert lines == [later + b"error"]
    assert parts.feed(frame(1, later + b" 100%\n") + frame(1, later + b"done\n")) == [
        first + b" 10% 50% 100%",
        later + b"done",
    ]


def test_a_terminal_has_no_frames_and_a_broken_frame_is_refused() -> None:
    assert Demultiplexer(terminal=True).feed(b"one\r\ntwo\r\n") == [b"one", b"two"]
    with pytest.raises(ValueError, match="not a frame"):
        Demultiplexer(terminal=False).feed(b"plain text that is no frame at all")
