"""The on-node probe: on every Python there is, and piece by piece on scripted NVML."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.nodes import bootstrap, probe, probe_nvml, probe_processes, probe_values, wire
from tests.fake_nvml import FakeDriver

VERSIONS = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13"]


def interpreter(version: str) -> str | None:
    """A python of `version` from PATH or pyenv that really runs."""
    root = Path(sys.base_prefix).parent
    candidates = [shutil.which(f"python{version}"), *sorted(root.glob(f"{version}.*/bin/python3"))]
    for candidate in candidates:
        if candidate is None:
            continue
        done = subprocess.run([str(candidate), "-c", "import sys, zlib; print('%d.%d' % sys.version_info[:2])"],
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.stdout.strip() == version:
            return str(candidate)
    return None


class Running:
    """The probe in a process, fed like over SSH."""

    def __init__(self, python: str, env: dict[str, str], before: str = "", **options: Any) -> None:
        """`before`: statements that run ahead of the probe."""
        boot = (
            f"{before}\nimport sys,zlib;b=sys.stdin.buffer;"
            "exec(compile(zlib.decompress(b.read(int(b.readline()))),'probe','exec'),{'__name__':'__gpudeck_probe__'})"
        )
        self.process = subprocess.Popen(
            [python, "-u", "-c", boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(bootstrap.payload({"protocol": bootstrap.PROTOCOL, "fast_seconds": 0.1, **options}))
        self.process.stdin.flush()

    def message(self, kind: str | None = None, seconds: float = 20.0) -> dict[str, Any]:
        """The next message, or the next one of a kind."""
        message: dict[str, Any] = json.loads(self.line(kind, seconds))
        return message

    def line(self, kind: str | None = None, seconds: float = 20.0) -> bytes:
        """It, as it came."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not select.select([self.process.stdout], [], [], 0.5)[0]:
                continue
            line = self.process.stdout.readline()
            if not line:
                assert self.process.stderr is not None
                raise AssertionError(self.process.stderr.read().decode())
            if kind in (None, json.loads(line)["t"]):
                return line
        raise AssertionError(f"no {kind} within {seconds} s")

    def end_input(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=10)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    return FakeDriver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def running(driver: FakeDriver) -> Iterator[Any]:
    made: list[Running] = []

    def start(python: str = sys.executable, **options: Any) -> Running:
        made.append(Running(python, dict(driver.env), **options))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.mark.real("gcc")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_probe_runs_on_every_python(running: Any, version: str, request: pytest.FixtureRequest) -> None:
    python = interpreter(version)
    if python is None:
        request.node.own_markers.clear()  # an interpreter that is not here is no missing server
        pytest.skip(f"no python{version} here")
    process = running(python)
    hello = process.message("hello")
    assert hello["python"].startswith(version)
    state = process.message("state")
    assert [gpu["power"]["draw_watts"] for gpu in state["gpus"]] == [250.0, 250.0]
    assert state["node"]["topology"]["levels"][0][:2] == ["X", "SYS"]
    assert state["node"]["host"]["unread"] == []
    assert process.message("delta")["at"] >= state["at"]
    assert process.end_input() == 0


@pytest.mark.real("gcc")
def test_it_ends_with_its_input_even_while_a_call_hangs(running: Any, driver: FakeDriver) -> None:
    process = running()
    process.message("state")
    driver.set("hang.nvmlDeviceGetPowerUsage", 1)
    try:
        stall = process.message("stall")
        assert stall["call"] == "nvmlDeviceGetPowerUsage"
        assert process.end_input() == 0
    finally:
        driver.unset("hang.nvmlDeviceGetPowerUsage")


@pytest.mark.real("gcc")
def test_an_unchanged_node_sends_bare_heartbeats(running: Any) -> None:
    process = running(slow_seconds=600)
    process.message("state")
    quiet = [process.message("delta") for _ in range(10)]
    assert all(set(delta) == {"t", "at"} for delta in quiet)


SET_BACK = """
import time
wall, began = time.time, time.monotonic()
time.time = lambda: wall() - (0 if time.monotonic() < began + 1 else 3600)
"""
"""The node's clock is set back by an hour, a second after the probe started."""


@pytest.mark.real("gcc")
def test_a_clock_that_is_set_back_does_not_silence_the_probe(running: Any) -> None:
    process = running(before=SET_BACK, slow_seconds=0.1)
    first = process.message("state")["at"]
    while (delta := process.message("delta"))["at"] > first:
        continue
    assert first - 3600 < delta["at"] < first
    costs = [cost for _ in range(30) if (cost := process.message("delta").get("node", {}).get("probe"))]
    assert costs, "slow beats go on"
    assert min(value for cost in costs for value in cost.values()) >= 0


@pytest.mark.real("gcc")
def test_a_call_that_hangs_is_noticed_whatever_the_clock(running: Any, driver: FakeDriver) -> None:
    process = running(before=SET_BACK)
    process.message("state")
    driver.set("hang.nvmlDeviceGetPowerUsage", 1)
    try:
        assert 3 < process.message("stall", seconds=15)["seconds"] < 3600
    finally:
        driver.unset("hang.nvmlDeviceGetPowerUsage")


@pytest.mark.real("gcc")
def test_another_protocol_is_fatal(running: Any) -> None:
    message = running(protocol=99).message()
    assert (message["t"], message["code"]) == ("fatal", "version-mismatch")


@pytest.mark.real("gcc")
def test_a_changed_number_of_gpus_is_a_new_state(running: Any, driver: FakeDriver) -> None:
    process = running(slow_seconds=0.2)
    assert len(process.message("state")["gpus"]) == 2
    driver.set("gpus", 3)
    try:
        assert len(process.message("state")["gpus"]) == 3
    finally:
        driver.unset("gpus")


CROWD = 64
"""Processes on a GPU."""


@pytest.fixture
def crowd(driver: FakeDriver) -> Iterator[Callable[[bytes], None]]:
    """Fills eight GPUs with processes that are called what it is told."""
    processes: list[subprocess.Popen[bytes]] = []

    def fill(name: bytes) -> None:
        processes.extend(subprocess.Popen([name, b"60"], executable="/bin/sleep") for _ in range(CROWD))
        for number, process in enumerate(processes):
            driver.set(f"pid.{number}", process.pid)
        driver.set("gpus", 8)
        driver.set("processes", CROWD)

    yield fill
    for key in ("gpus", "processes", *(f"pid.{number}" for number in range(CROWD))):
        driver.unset(key)
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.real("gcc")
@pytest.mark.parametrize("version", ["3.6", "3.11"])
@pytest.mark.parametrize(
    "name",
    [b"\xff" * 600, b"\x01" * 600, b"\xed\xa0\x80" * 200, "訓".encode() * 200],
    ids=["no UTF-8", "control", "surrogates", "CJK"],
)
def test_names_of_processes_cannot_make_a_line_too_long(
    driver: FakeDriver, crowd: Callable[[bytes], None], name: bytes, version: str, request: pytest.FixtureRequest
) -> None:
    python = interpreter(version)
    if python is None:
        request.node.own_markers.clear()
        pytest.skip(f"no python{version} here")
    crowd(name)
    process = Running(python, {**driver.env, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    try:
        line = process.line("state")
        node = wire.state(json.loads(line), "n", 0.0)
    finally:
        process.close()
    assert len(line) < wire.LINE_LIMIT / 2
    assert len(node.gpus) == 8
    for gpu in node.gpus:
        assert gpu.processes is not None
        assert (len(gpu.processes), gpu.processes_omitted) == (CROWD, 0)
        assert all(each.command is not None for each in gpu.processes)


def test_no_driver_is_fatal_with_a_hint() -> None:
    process = Running(sys.executable, {"LD_LIBRARY_PATH": "/nonexistent"})
    try:
        assert process.message()["t"] == "hello"
        message = process.message()
        assert (message["t"], message["code"]) == ("fatal", "nvml-missing")
        assert "driver" in message["hint"]
    finally:
        process.close()


@pytest.mark.parametrize(
    ("words", "cpus"), [([0b1011], "0-1,3"), ([0, 1], "64"), ([0xFF, 0xFF], "0-7,64-71"), ([0], None)]
)
def test_affinity_masks(words: list[int], cpus: str | None) -> None:
    assert probe_nvml.cpu_list(words) == cpus  # type: ignore[no-untyped-call]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.lists(st.integers(0, 3), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=10,
)
samples = st.dictionaries(st.sampled_from("abcdef"), values, max_size=5)


def merged(old: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """What the console does with a delta."""
    result = dict(old)
    for key, value in changed.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            result[key] = merged(old[key], value)
        else:
            result[key] = value
    return result


def without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: inner for key, each in value.items() if (inner := without_nulls(each)) is not None}


@given(samples, samples)
def test_a_delta_applied_to_the_old_sample_is_the_new_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    changed = probe.diff(old, new)  # type: ignore[no-untyped-call]
    assert without_nulls(merged(old, changed)) == without_nulls(new)


@given(samples)
def test_nothing_changed_is_an_empty_delta(sample: dict[str, Any]) -> None:
    assert probe.diff(sample, json.loads(json.dumps(sample))) == {}  # type: ignore[no-untyped-call]


class OldBoard:
    """NVML of a board before Ampere, as far as its retired pages go."""

    NVMLError = pynvml.NVMLError

    def __init__(self, pages: dict[int, list[int]], pending: int | None) -> None:
        self.pages, self.pending = pages, pending

    def nvmlDeviceGetRetiredPages(self, _handle: object, cause: int) -> list[int]:  # noqa: N802 - NVML's name
        if cause not in self.pages:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)  # type: ignore[no-untyped-call]
        return self.pages[cause]

    def nvmlDeviceGetRetiredPagesPendingStatus(self, _handle: object) -> int:  # noqa: N802
        if self.pending is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)  # type: ignore[no-untyped-call]
        return self.pending


@pytest.mark.parametrize(
    ("board", "expected"),
    [
        (OldBoard({0: [0x10, 0x20], 1: [0x30]}, 1), {"single_bit": 2, "double_bit": 1, "pending": True}),
        (OldBoard({0: [], 1: []}, 0), {"single_bit": 0, "double_bit": 0, "pending": False}),
        (OldBoard({1: [0x30]}, None), {"double_bit": 1}),
        (OldBoard({}, None), {}),
    ],
)
def test_retired_pages_are_counted_each_on_its_own(board: OldBoard, expected: dict[str, Any]) -> None:
    reader: Any = probe.GpuReader(board, None, 0, object(), 0)  # type: ignore[no-untyped-call]
    assert probe_values.read_retired_pages(reader) == expected  # type: ignore[no-untyped-call]


class Beating:
    """A probe that counts its beats; each takes `takes` seconds of a clock that moves only by them and by sleeping."""

    fast_seconds = 1.0

    def __init__(self, *takes: float) -> None:
        self.takes = list(takes)
        self.time = 500.0
        self.at: list[float] = []

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        if not self.takes:
            raise StopIteration
        self.time += seconds

    def beat(self) -> None:
        self.at.append(self.time)
        self.time += self.takes.pop(0)


@pytest.mark.parametrize(
    ("takes", "at"),
    [
        ((0.1, 0.1, 0.1, 0.1), [501.0, 502.0, 503.0, 504.0]),
        ((0.1, 3.4, 0.1, 0.1), [501.0, 502.0, 505.4, 506.4]),
    ],
)
def test_beats_come_at_their_pace_and_do_not_catch_up(takes: tuple[float, ...], at: list[float]) -> None:
    beating = Beating(*takes)
    with pytest.raises(StopIteration):
        probe.keep_beating(beating, beating.monotonic, beating.sleep)  # type: ignore[no-untyped-call]
    assert beating.at == pytest.approx(at)


class OneProcess:
    """NVML of a GPU that one process uses."""

    NVMLError = pynvml.NVMLError

    def nvmlDeviceGetComputeRunningProcesses(self, _handle: object) -> list[Any]:  # noqa: N802 - NVML's name
        return [SimpleNamespace(pid=4242, usedGpuMemory=1 << 30, gpuInstanceId=0xFFFFFFFF, computeInstanceId=5)]


def test_a_command_line_that_cannot_be_read_is_named_and_costs_no_other_value() -> None:
    told: dict[str, Any] = {"command": "python", "held": True}
    host = SimpleNamespace(process=lambda _pid: dict(told))
    reader: Any = probe.GpuReader(OneProcess(), host, 0, object(), 0)  # type: ignore[no-untyped-call]
    (process,) = probe_processes.read_processes(reader)  # type: ignore[no-untyped-call]
    assert process == {"pid": 4242, "kind": "compute", "memory_bytes": 1 << 30, "ci": 5, "command": "python"}
    assert reader.unread == {"command lines": "not readable of processes 4242"}
    told["held"] = False
    probe_processes.read_processes(reader)  # type: ignore[no-untyped-call]
    assert reader.unread == {}
