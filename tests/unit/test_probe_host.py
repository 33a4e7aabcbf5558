"""Processes and load of a machine, read from a root directory that the test builds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from backends.nodes import probe_host
from backends.nodes.probe_facts import Facts
from backends.nodes.probe_host import Host, container_of
from tests.trees import Machine

ID, OTHER = "3f" * 32, "0a" * 32
STAT = "4242 (python) S " + " ".join(["0"] * 18) + " 12345 0 0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def host_of(machine: Machine) -> Any:
    return Host(Facts(str(machine.root)), str(machine.root))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["0::/"], None),
        ([], None),
        (["0::/user.slice/user-1000.slice/session-3.scope"], None),
        (["0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"], None),
        # Docker
        (["12:memory:/docker/" + ID, "0::/docker/" + ID], ID),
        (["0::/docker/" + ID], ID),
        (["0::/system.slice/docker-" + ID + ".scope"], ID),
        (["0::/../../docker-" + ID + ".scope"], ID),
        (["0::/docker/" + OTHER + "/docker/" + ID], ID),
        (["0::/system.slice/docker-" + ID + ".scope/init.scope"], ID),
        # Kubernetes: containerd, CRI-O, and the cgroupfs driver
        (
            [
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1b2c_3d.slice/cri-containerd-"
                + ID
                + ".scope"
            ],
            ID,
        ),
        (["0::/kubepods.slice/kubepods-pod1b2c.slice/crio-" + ID + ".scope"], ID),
        (["11:devices:/kubepods/besteffort/pod6c1f7d5a-9d53-4c6f-8a3e-111122223333/" + ID], ID),
        (["0::/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:" + ID], ID),
        (["0::/kubepods.slice/kubepods-pod1b2c.slice/crio-conmon-" + ID + ".scope"], None),
        # Podman
        (["0::/machine.slice/libpod-" + ID + ".scope/container"], ID),
        (["0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + ID + ".scope"], ID),
        (["0::/machine.slice/libpod-conmon-" + ID + ".scope"], None),
        # Not 64 hexadecimal digits
        (["0::/docker/" + ID[:-1]], None),
        (["0::/docker/" + ID + "0"], None),
        (["0::/docker/" + ID.upper()], None),
        (["0::/docker/buildkit/abcdefghijklmnopqrstuvwxy"], None),
        # Version 1 beside an empty version 2
        (["9:name=systemd:/", "8:pids:/kubepods/pod1/" + ID, "0::/"], ID),
    ],
)
def test_the_container_of_a_cgroup(lines: list[str], expected: str | None) -> None:
    assert container_of(lines) == expected  # type: ignore[no-untyped-call]


def test_a_process_with_all_that_can_be_told(machine: Machine) -> None:
    machine.file("/proc/stat", "cpu 1 2\nbtime 1700000000\n")
    machine.file("/proc/4242/stat", STAT)
    machine.file("/proc/4242/cmdline", b"python\0train.py\0--model\0llama\0")
    machine.file("/proc/4242/cgroup", f"0::/system.slice/docker-{ID}.scope\n")
    found = host_of(machine).process(4242)
    assert (found["command"], found["container_id"]) == ("python train.py --model llama", ID)
    assert found["started_at"] == 1_700_000_000 + 12345 / os.sysconf("SC_CLK_TCK")
    assert found["user"]


def test_outside_a_container_there_is_no_id_and_a_hidden_command_is_the_name(machine: Machine) -> None:
    machine.file("/proc/4242/stat", "4242 (a) b\n(c) S " + " ".join(["0"] * 18) + " 12345 0 0")
    found = host_of(machine).process(4242)
    assert found["command"] == "a) b\n(c"
    assert "container_id" not in found
    assert "started_at" not in found


def test_a_process_that_holds_its_readers_is_told_by_its_short_name(machine: Machine) -> None:
    machine.file("/proc/4242/stat", STAT)
    os.mkfifo(machine.at("/proc/4242/cmdline"))  # opening it holds the reader until somebody writes
    host = host_of(machine)
    for _ in range(3):
        found = host.process(4242)
        assert (found["command"], found["held"]) == ("python", True)
    assert len(host.commands.held) == 1
    with machine.at("/proc/4242/cmdline").open("wb") as opened:
        opened.write(b"python\0train.py\0")
    assert host.commands.held[4242].over.wait(20)
    found = host.process(4242)
    assert (found["command"], "held" in found) == ("python train.py", False)
    assert host.commands.held == {}


def test_readers_that_are_held_are_bounded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_host, "COMMAND_SECONDS", 0.01)
    host = host_of(machine)
    for pid in range(1, probe_host.HELD_MOST + 20):
        machine.file(f"/proc/{pid}/stat", STAT)
        os.mkfifo(machine.at(f"/proc/{pid}/cmdline"))
        assert host.process(pid)["held"]
    assert len(host.commands.held) == probe_host.HELD_MOST
    for pid in host.commands.held:
        with machine.at(f"/proc/{pid}/cmdline").open("wb"):
            pass


def test_a_clock_that_was_set_right_moves_the_boot(machine: Machine) -> None:
    machine.file("/proc/stat", "btime 1700000312\n")
    host = host_of(machine)
    machine.file("/proc/stat", "btime 1700000311\n")
    assert host.booted() == 1_700_000_312, "reading it costs a second's rounding"
    machine.file("/proc/stat", "btime 1700000000\n")
    assert host.booted() == 1_700_000_000


@pytest.mark.parametrize("stat", ["", "4242 (x", "4242 (x) S 1 2", STAT.replace("12345", "soon"), "\0" * 90])
def test_a_process_that_is_gone_or_unreadable_is_none(machine: Machine, stat: str) -> None:
    machine.file("/proc/4242/stat", stat)
    assert host_of(machine).process(4242) is None
    assert host_of(machine).process(1) is None


@pytest.mark.parametrize("said", ["", "MemTotal:", "MemTotal: much kB", "MemTotal: 1e400 kB", "MemTotal: nan kB"])
def test_memory_that_is_no_number_is_not_measured(machine: Machine, said: str) -> None:
    machine.file("/proc/meminfo", said)
    machine.file("/proc/loadavg", said)
    machine.file("/proc/stat", "btime soon")
    host = host_of(machine)
    assert "memory_total_bytes" not in host.identity()
    assert host.load() == {}
    assert host.boot_at is None


def test_load_and_memory(machine: Machine) -> None:
    machine.file("/proc/meminfo", "MemTotal:       2113561976 kB\nMemAvailable:   1900000000 kB\n")
    machine.file("/proc/loadavg", "12.50 3.00 1.00 4/2000 99\n")
    host = host_of(machine)
    assert host.identity()["memory_total_bytes"] == 2_113_561_976 * 1024
    assert host.load() == {"load_1m": 12.5, "memory_available_bytes": 1_900_000_000 * 1024}
