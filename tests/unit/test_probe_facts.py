"""The slow facts of a machine, read from a root directory that the test builds."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.domain import Host
from backends.nodes import bootstrap, probe_disks, probe_facts, wire
from backends.nodes.probe_facts import Facts
from tests.trees import Machine
from tests.unit.test_probe import VERSIONS, interpreter

ANSWER_SECONDS = 10.0
ACTIVE = {"port": 1, "state": "4: ACTIVE", "phys_state": "5: LinkUp", "rate": "400 Gb/sec (4X NDR)",
          "link_layer": "InfiniBand"}  # fmt: skip
SYSTEMD = "LoadState=loaded\nActiveState=active\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


def facts_of(machine: Machine, **options: Any) -> Host:
    """What the console gets: read by the probe, over the wire."""
    read = Facts(str(machine.root), **options).latest(ANSWER_SECONDS)  # type: ignore[no-untyped-call]
    assert read is not None
    return wire.decode(Host, json.loads(json.dumps(read)))


def test_an_empty_machine_has_none_of_it_and_nothing_is_invented(machine: Machine) -> None:
    host = facts_of(machine)
    assert (host.disks, host.rdma, host.runtimes, host.unread) == (None, (), (), ())
    assert (host.kernel_modules, host.peermem, host.dma_buf, host.cdi) == (None, None, None, ())
    assert host.services is not None
    assert {service.state for service in host.services} == {None}


# Disks


def test_a_dgx_has_its_system_disk_and_its_raid_of_nvme(machine: Machine) -> None:
    machine.block("259:2", "pci0000:00/0000:00:1d.0/nvme/nvme0/nvme0n1/nvme0n1p2", partition=True)
    machine.block("9:0", "virtual/block/md0")
    machine.mount("259:2", "/", "ext4", "/dev/nvme0n1p2")
    machine.mount("9:0", "/raid", "xfs", "/dev/md0", options="rw,relatime")
    disks = facts_of(machine).disks
    assert disks is not None
    assert [(each.mount, each.device, each.kind, each.read_only) for each in disks] == [
        ("/", "/dev/nvme0n1p2", "nvme", False),
        ("/raid", "/dev/md0", "raid", False),
    ]
    size = os.statvfs(machine.root)
    assert disks[1].total_bytes == size.f_blocks * size.f_frsize
    assert disks[1].free_bytes is not None
    assert 0 < disks[1].free_bytes <= size.f_blocks * size.f_frsize


@pytest.mark.parametrize(
    ("number", "kind", "source", "root", "mount"),
    [
        ("0:45", "nfs4", "filer:/home", "/", "/home"),
        ("0:46", "lustre", "10.0.0.1@o2ib:/scratch", "/", "/scratch"),
        ("0:47", "fuse.sshfs", "me@host:", "/", "/mnt"),
        ("0:48", "tmpfs", "tmpfs", "/", "/tmp"),
        ("0:49", "overlay", "overlay", "/", "/merged"),
        ("7:3", "squashfs", "/dev/loop3", "/", "/snap/core/1"),
        ("7:4", "ext4", "/dev/loop4", "/", "/image"),
        ("252:0", "ext4", "/dev/rbd0", "/", "/ceph"),
        ("259:9", "vfat", "/dev/nvme0n1p1", "/", "/boot/efi"),
        ("8:16", "ext4", "/dev/sdb", "/", "/var/lib/kubelet/pods/1/volumes/x"),
        ("0:50", "zfs", "tank/docker/layer", "/", "/var/lib/docker/zfs/graph/1"),
    ],
)
def test_what_is_no_disk_of_this_machine_is_left_out(
    machine: Machine, number: str, kind: str, source: str, root: str, mount: str
) -> None:
    machine.block(number, f"virtual/block/{Path(source).name}")
    machine.mount(number, mount, kind, source, root=root)
    assert facts_of(machine).disks == ()


def test_a_disk_mounted_at_the_directory_of_containers_counts(machine: Machine) -> None:
    machine.block("8:1", "pci0000:00/ata1/host0/block/sda/sda1", partition=True)
    machine.mount("8:1", "/var/lib/docker", "ext4", "/dev/sda1")
    (disk,) = facts_of(machine).disks or ()
    assert (disk.mount, disk.kind) == ("/var/lib/docker", "disk")


def test_a_file_system_is_told_once_whatever_binds_it_elsewhere(machine: Machine) -> None:
    machine.mount("8:1", "/data/deep/elsewhere", "ext4", "/dev/sda1", root="/elsewhere")
    machine.mount("8:1", "/data", "ext4", "/dev/sda1")
    machine.mount("8:1", "/d", "ext4", "/dev/sda1", root="/x")
    machine.mount("0:40", "/home", "btrfs", "/dev/sdb2", root="/@home")
    machine.mount("0:40", "/", "btrfs", "/dev/sdb2", root="/@")
    machine.mount("0:60", "/tank", "zfs", "tank")
    machine.mount("0:61", "/tank/a", "zfs", "tank/a")
    assert [disk.mount for disk in facts_of(machine).disks or ()] == ["/", "/data", "/tank"]


def test_a_file_that_a_container_mounts_is_no_disk(machine: Machine) -> None:
    machine.file("/etc/hosts")
    machine.mount("8:1", "/etc/hosts", "ext4", "/dev/sda1", root="/var/lib/docker/containers/1/hosts")
    assert facts_of(machine).disks == ()


def test_volumes_are_what_they_lie_on(machine: Machine) -> None:
    machine.block("259:1", "pci0000:00/nvme/nvme1/nvme1n1")
    machine.block("8:0", "pci0000:00/ata1/host0/block/sda")
    for number, below in (("253:0", ("nvme1n1",)), ("253:1", ("nvme1n1", "sda")), ("253:2", ("dm-0",))):
        name = "dm-" + number[-1]
        machine.block(number, f"virtual/block/{name}")
        for each in below:
            target = {"nvme1n1": "259:1", "sda": "8:0", "dm-0": "253:0"}[each]
            machine.link(f"/sys/devices/virtual/block/{name}/slaves/{each}", f"/sys/dev/block/{target}")
        machine.mount(number, f"/{name}", "xfs", f"/dev/mapper/{name}")
    assert [disk.kind for disk in facts_of(machine).disks or ()] == ["nvme", None, "nvme"]


def test_a_volume_that_lies_on_itself_ends(machine: Machine) -> None:
    machine.block("253:0", "virtual/block/dm-0")
    machine.link("/sys/devices/virtual/block/dm-0/slaves/dm-0", "/sys/devices/virtual/block/dm-0")
    machine.mount("253:0", "/loop", "xfs", "/dev/mapper/loop")
    assert [disk.kind for disk in facts_of(machine).disks or ()] == [None]


@pytest.mark.parametrize(
    ("path", "transport", "local"),
    [
        ("pci0000:00/nvme/nvme0/nvme0n1", {"device/transport": "pcie"}, True),
        ("virtual/nvme-fabrics/ctl/nvme0/nvme0n1", {}, False),
        ("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", {"device/nvme0/transport": "tcp"}, False),
        ("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", {"device/nvme0/transport": "pcie"}, True),
        ("platform/host3/session1/target3:0:0/3:0:0:1/block/sdx", {}, False),
    ],
)
def test_a_disk_behind_a_network_is_not_local(
    machine: Machine, path: str, transport: dict[str, str], local: bool
) -> None:
    machine.block("259:0", path)
    for name, words in transport.items():
        machine.file(f"/sys/devices/{path}/{name}", words)
    machine.mount("259:0", "/x", "ext4", f"/dev/{Path(path).name}")
    assert bool(facts_of(machine).disks) is local


def test_mount_points_with_blanks_and_read_only_ones(machine: Machine) -> None:
    machine.mount("8:1", "/my\\040data", "ext4", "/dev/sda1", over="ro,errors=remount-ro")
    (disk,) = facts_of(machine).disks or ()
    assert (disk.mount, disk.read_only) == ("/my data", True)


def test_a_disk_that_hangs_costs_no_other_and_comes_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_facts, "PATIENCE_SECONDS", 0.05)
    machine.mount("8:1", "/dead", "ext4", "/dev/sda1")
    machine.mount("8:17", "/well", "ext4", "/dev/sdb1")
    healed, called = threading.Event(), []

    def statvfs(path: str) -> os.statvfs_result:
        called.append(Path(path).name)
        if path.endswith("/dead"):
            healed.wait(ANSWER_SECONDS)
        return os.statvfs(path)

    facts: Any = Facts(str(machine.root), statvfs=statvfs)  # type: ignore[no-untyped-call]
    assert facts.latest() is None
    read = waited(lambda: facts.latest(0.02))
    assert [(each["mount"], "total_bytes" in each) for each in read["disks"]] == [("/dead", False), ("/well", True)]
    assert read["unread"] == ["disk /dead: does not answer"]
    # While it hangs, nothing else asks for it.
    facts.due = 0.0
    assert waited(lambda: fresh(facts, read))["unread"] == ["disk /dead: does not answer"]
    assert called.count("dead") == 1
    healed.set()
    assert all(hung.over.wait(ANSWER_SECONDS) for hung in facts.stuck.values())
    facts.due = 0.0
    last = facts.last
    again = waited(lambda: fresh(facts, last))
    assert again["unread"] == []
    assert "total_bytes" in again["disks"][0]


def fresh(facts: Any, before: object) -> Any:
    read = facts.latest(0.02)
    return None if read is before else read


def waited(read: Callable[[], Any]) -> Any:
    """What `read`, which waits a little each time, gives at last."""
    for _ in range(500):
        found = read()
        if found is not None:
            return found
    raise AssertionError("it never came")


def test_between_two_readings_nothing_is_read(machine: Machine) -> None:
    facts: Any = Facts(str(machine.root))  # type: ignore[no-untyped-call]
    first = facts.latest(ANSWER_SECONDS)
    assert first is not None
    assert facts.latest() is first
    assert facts.round is None


# RDMA


def test_rdma_ports_as_ibstat_tells_them(machine: Machine) -> None:
    machine.pci("pci0000:15", "0000:15:01.0", "0000:18:00.0", numa=0)
    machine.pci("pci0000:c0", "0000:c0:01.0", "0000:c1:00.0", numa=1)
    machine.rdma("mlx5_0", "0000:18:00.0", **ACTIVE)  # type: ignore[arg-type]
    machine.rdma("mlx5_10", "0000:c1:00.0", state="1: DOWN", phys_state="3: Disabled", rate="40 Gb/sec (4X QDR)",
                 link_layer="Ethernet")  # fmt: skip
    machine.rdma("mlx5_2", "0000:c1:00.0")
    for name, port in (("ens2f0np0", 0), ("ens2f0v1", 0)):
        machine.file(f"/sys/bus/pci/devices/0000:c1:00.0/net/{name}/dev_port", str(port))
    machine.file("/sys/bus/pci/devices/0000:c1:00.0/net/ens2f0v1/phys_port_name", "pf0vf1")
    ports = facts_of(machine).rdma
    assert ports is not None
    assert [(each.device, each.state, each.physical_state) for each in ports] == [
        ("mlx5_0", "active", "linkup"),
        ("mlx5_2", None, None),
        ("mlx5_10", "down", "disabled"),
    ]
    assert (ports[0].rate_gbps, ports[0].link_layer, ports[0].netdev) == (400.0, "infiniband", None)
    assert (ports[0].pci_bus_id, ports[0].numa_node) == ("0000:18:00.0", 0)
    assert (ports[2].link_layer, ports[2].netdev, ports[2].numa_node) == ("ethernet", "ens2f0np0", 1)
    assert (ports[1].rate_gbps, ports[1].link_layer) == (None, None)


def test_an_rdma_device_in_software_has_no_slot(machine: Machine) -> None:
    machine.rdma("rxe0", None, **ACTIVE)  # type: ignore[arg-type]
    (port,) = facts_of(machine).rdma or ()
    assert (port.device, port.pci_bus_id, port.numa_node) == ("rxe0", None, None)
    assert Facts(str(machine.root)).nics() == []  # type: ignore[no-untyped-call]


# Services, runtimes, modules


def systemd(machine: Machine, **states: str) -> Callable[[list[str]], str]:
    """Stands for systemctl; units without a state are not installed."""
    machine.at("/run/systemd/system").mkdir(parents=True)

    def run(words: list[str]) -> str:
        units = [word.removesuffix(".service") for word in words if word.endswith(".service")]
        blocks = []
        for unit in units:
            state = states.get(unit.replace("-", "_"))
            loaded = "not-found" if state is None else "loaded"
            blocks.append(f"LoadState={loaded}\nActiveState={state or 'inactive'}\n")
        return "\n".join(blocks)

    return run


def services(host: Host) -> dict[str, str | None]:
    assert host.services is not None
    return {service.name: service.state for service in host.services}


def test_services_by_systemd(machine: Machine) -> None:
    run = systemd(machine, nvidia_fabricmanager="failed", nvidia_persistenced="active", dcgm="activating")
    told = services(facts_of(machine, run=run))
    assert told["nvidia-fabricmanager"] == "failed"
    assert told["nvidia-persistenced"] == "active"
    assert told["nvidia-dcgm"] == "activating"
    assert told["nvsm"] == "missing"


def test_a_service_in_a_container_is_found_by_its_process(machine: Machine) -> None:
    machine.file("/proc/4321/comm", "nv-fabricmanage\n")
    machine.file("/proc/1/comm", "systemd\n")
    machine.file("/proc/self/comm", "nv-hostengine\n")
    told = services(facts_of(machine, run=systemd(machine)))
    assert (told["nvidia-fabricmanager"], told["nvidia-dcgm"]) == ("active", "missing")


def test_a_service_in_a_container_runs_though_the_unit_of_the_host_failed(machine: Machine) -> None:
    machine.file("/proc/4321/comm", "nv-fabricmanage\n")
    told = services(facts_of(machine, run=systemd(machine, nvidia_fabricmanager="failed", dcgm="failed")))
    assert (told["nvidia-fabricmanager"], told["nvidia-dcgm"]) == ("active", "failed")


def test_without_systemd_a_service_that_does_not_run_cannot_be_told(machine: Machine) -> None:
    machine.file("/proc/77/comm", "nvidia-persiste\n")
    told = services(facts_of(machine, run=lambda _words: pytest.fail("systemctl was called")))
    assert (told["nvidia-persistenced"], told["nvidia-fabricmanager"]) == ("active", None)


@pytest.mark.parametrize("said", [None, "", "nonsense", SYSTEMD * 50, "LoadState=loaded\nActiveState=\x1b[31m\n\n" * 8])
def test_a_systemctl_that_says_something_else_tells_nothing(machine: Machine, said: str | None) -> None:
    machine.at("/run/systemd/system").mkdir(parents=True)
    assert set(services(facts_of(machine, run=lambda _words: said)).values()) == {None}


def test_a_process_is_looked_for_again_only_where_it_was(machine: Machine) -> None:
    machine.file("/proc/4321/comm", "nv-fabricmanage\n")
    facts: Any = Facts(str(machine.root))  # type: ignore[no-untyped-call]
    wanted = {"nv-fabricmanage": "nvidia-fabricmanager", "nv-hostengine": "nvidia-dcgm"}
    assert facts.running(wanted) == {"nvidia-fabricmanager"}
    machine.file("/proc/5/comm", "nv-hostengine\n")
    assert facts.running(wanted) == {"nvidia-fabricmanager"}, "the next look through all processes is not due"
    facts.scan_due = 0.0
    assert facts.running(wanted) == {"nvidia-fabricmanager", "nvidia-dcgm"}
    machine.file("/proc/4321/comm", "bash\n")
    assert facts.running(wanted) == {"nvidia-dcgm"}


def test_runtimes_are_the_sockets_that_are_there(machine: Machine) -> None:
    machine.socket("/run/docker.sock")
    machine.socket("/run/k3s/containerd/containerd.sock")
    machine.file("/run/crio/crio.sock", "a file, no socket")
    assert [(each.name, each.socket) for each in facts_of(machine).runtimes or ()] == [
        ("docker", "/run/docker.sock"),
        ("containerd", "/run/k3s/containerd/containerd.sock"),
    ]


def test_cdi_is_the_kinds_of_the_specifications_wherever_in_the_file_they_stand(machine: Machine) -> None:
    devices = "devices:\n" + "- name: GPU-1\n  containerEdits: {}\n" * 2000
    machine.file("/etc/cdi/nvidia.yaml", f"cdiVersion: 0.5.0\n{devices}kind: nvidia.com/gpu\n")
    machine.file("/run/cdi/nic.json", '{"cdiVersion": "0.5.0", "kind":"vendor.com/nic", "devices": []}')
    machine.file("/etc/cdi/notes.txt", "kind: nvidia.com/none")
    machine.file("/etc/cdi/broken.json", '{"kind": 5')
    machine.file("/etc/cdi/inner.yaml", "kind: 'a.com/b'\nannotations:\n  kind: c.com/d\n")
    assert facts_of(machine).cdi == ("a.com/b", "nvidia.com/gpu", "vendor.com/nic")


OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)\nGCC version:"
)
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\nGCC version:"


@pytest.mark.parametrize(
    ("version", "kernel", "modules", "expected"),
    [
        (OPEN, "6.8.0-1028-nvidia", "nvidia_uvm 1 0 - Live\nnvidia_peermem 16384 0 - Live\n", ("open", True, True)),
        (OPEN, "5.12.0", "nvidia 1 0", ("open", False, True)),
        (OPEN, "5.11.22", "", ("open", False, False)),
        (CLOSED, "6.8.0", "nv_peer_mem 1 0", ("proprietary", True, False)),
        (OPEN, "not a kernel", "not_nvidia_peermem 1", ("open", False, None)),
        ("something else", "6.8.0", "", (None, False, None)),
    ],
)
def test_gpudirect(
    machine: Machine, version: str, kernel: str, modules: str, expected: tuple[str | None, bool | None, bool | None]
) -> None:
    machine.file("/proc/driver/nvidia/version", version)
    machine.file("/proc/sys/kernel/osrelease", kernel + "\n")
    machine.file("/proc/modules", modules)
    host = facts_of(machine)
    assert (host.kernel_modules, host.peermem, host.dma_buf) == expected


# On every Python

ON_NODE = """
import json, sys, types, zlib
for name, source in json.loads(zlib.decompress(sys.stdin.buffer.read()).decode("utf-8")):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
from backends.nodes.probe_facts import Facts
facts = Facts(sys.argv[1])
print(json.dumps([facts.latest(10), facts.place("00000000:1B:00.0"), facts.nics(), facts.numa_count()]))
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_reads_the_same(machine: Machine, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no python{version} here")
    machine.numa(2)
    machine.pci("pci0000:15", "0000:15:01.0", "0000:1b:00.0", numa=1)
    machine.rdma("mlx5_0", "0000:1b:00.0", **ACTIVE)  # type: ignore[arg-type]
    machine.block("259:1", "pci0000:00/nvme/nvme1/nvme1n1")
    machine.mount("259:1", "/scratch", "xfs", "/dev/nvme1n1")
    machine.socket("/run/docker.sock")
    machine.file("/proc/driver/nvidia/version", OPEN)
    machine.file("/proc/sys/kernel/osrelease", "6.8.0\n")
    machine.file("/proc/77/comm", "nvidia-persiste\n")
    done = subprocess.run(
        [python, "-c", ON_NODE, str(machine.root)],
        input=bootstrap._packed_modules(),
        stdout=subprocess.PIPE,
        check=True,
        cwd="/",
    )
    read, place, nics, nodes = json.loads(done.stdout)
    here = facts_of(machine)
    there = wire.decode(Host, read)
    assert there.disks is not None
    assert here.disks is not None
    assert [(disk.mount, disk.kind, disk.total_bytes) for disk in there.disks] == [
        (disk.mount, disk.kind, disk.total_bytes) for disk in here.disks
    ]
    assert dataclasses.replace(there, disks=None) == dataclasses.replace(here, disks=None)
    assert (place, nics, nodes) == (
        [["pci0000:15", "0000:15:01.0", "0000:1b:00.0"], 1],
        [["mlx5_0", "0000:1b:00.0"]],
        2,
    )


# What a broken or hostile machine may say


def test_one_failing_step_costs_only_itself(machine: Machine) -> None:
    machine.mount("8:1", "/bad", "ext4", "/dev/sda1")
    machine.mount("8:17", "/good", "ext4", "/dev/sdb1")

    def statvfs(path: str) -> os.statvfs_result:
        if path.endswith("/bad"):
            raise OSError(5, "Input/output error")
        return os.statvfs(path)

    host = facts_of(machine, statvfs=statvfs)
    assert host.disks is not None
    assert [disk.free_bytes is None for disk in host.disks] == [True, False]
    assert host.unread == ("disk /bad: OSError: [Errno 5] Input/output error",)


def test_very_many_mounts_and_devices_are_bounded(machine: Machine) -> None:
    for index in range(200):
        machine.mount(f"8:{index}", f"/m{index:03d}", "ext4", f"/dev/sd{index}")
        machine.rdma(f"mlx5_{index}", None, **ACTIVE)  # type: ignore[arg-type]
    host = facts_of(machine)
    assert len(host.disks or ()) == probe_disks.DISKS
    assert len(host.rdma or ()) == probe_facts.RDMA_DEVICES


HOSTILE = st.binary(max_size=200) | st.sampled_from(
    [
        b"\0" * 50,
        b"\xff\xfe\x1b[31m",
        b"9" * 5000,
        "²".encode(),
        b"4: \x1b]0;x\x07ACTIVE",
        b"1 1 8:1 / /\\777 rw - ext4 /dev/x rw",
    ]
)
FILES = (
    "/proc/self/mountinfo", "/proc/modules", "/proc/driver/nvidia/version", "/proc/sys/kernel/osrelease",
    "/sys/class/infiniband/mlx5_0/ports/1/state", "/sys/class/infiniband/mlx5_0/ports/1/rate",
    "/sys/class/infiniband/mlx5_0/ports/²/rate", "/sys/class/infiniband/a\x1b[31m/ports/1/rate", "/proc/12/comm",
    "/sys/devices/system/node/node0/cpulist", "/sys/bus/pci/devices/0000:01:00.0/numa_node",
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(contents=st.lists(HOSTILE, min_size=len(FILES), max_size=len(FILES)))
def test_whatever_the_files_say_the_facts_are_values_or_none(tmp_path_factory: Any, contents: list[bytes]) -> None:
    machine = Machine(tmp_path_factory.mktemp("hostile") / "root")
    for path, content in zip(FILES, contents, strict=True):
        machine.file(path, content)
    host = facts_of(machine)
    assert host.rdma is not None
    for text in (*host.unread, *(port.device for port in host.rdma), *(port.state or "" for port in host.rdma)):
        assert text.isprintable()
    facts: Any = Facts(str(machine.root))  # type: ignore[no-untyped-call]
    assert facts.place("00000000:01:00.0")[0] == ()


def test_a_link_out_of_the_tree_leads_nowhere(machine: Machine) -> None:
    machine.at("/sys/dev/block").mkdir(parents=True)
    machine.at("/sys/dev/block/8:1").symlink_to("/")
    machine.at("/sys/class/infiniband/mlx5_0").mkdir(parents=True)
    machine.at("/sys/class/infiniband/mlx5_0/device").symlink_to("device")
    machine.mount("8:1", "/x", "ext4", "/dev/sda1")
    host = facts_of(machine)
    assert [disk.kind for disk in host.disks or ()] == [None]
    assert host.rdma == ()
