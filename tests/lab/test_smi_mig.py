"""nvidia-smi of a simulated node as it changes things: its words, its statuses, and what the hardware is afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.feed import ManualClock
from backends.lab import smi_mig
from backends.lab.dynamics import Meter, sample, window_seconds
from backends.lab.hardware import SimGpu, SimNode, fleet
from backends.lab.host import SimHost
from backends.lab.nvml import SimNvml
from backends.lab.server import Lab, LabSpec
from backends.lab.session import Node
from backends.lab.smi_mig import answer
from backends.lab.systemd import systemctl
from backends.nodes.smi import parse
from tests.changes.labs import busy_time, idle_time
from tests.lab.client import connected

A100, H100 = "dgx-a100-01", "dgx-h100-01"


def node(name: str, gpu: int, *, busy: bool = False) -> tuple[Node, SimGpu]:
    """A node at a time when its GPU is idle or busy."""
    hardware: SimNode = next(each for each in fleet(12, 7) if each.name == name)
    when = (busy_time if busy else idle_time)(hardware, gpu)
    return Node(hardware, ManualClock(when), 0.5), hardware.gpus[gpu]


def said(at: Node, line: str) -> tuple[int, str]:
    found = answer(at, line)
    assert found is not None
    return found


def test_mig_is_switched_on_cut_up_and_taken_apart_in_the_words_of_the_real_tool() -> None:
    at, gpu = node(H100, 0)
    assert said(at, "nvidia-smi -i 0 -mig 1") == (0, f"Enabled MIG Mode for GPU {gpu.pci_bus_id}\nAll done.\n")
    status, text = said(at, "nvidia-smi mig -i 0 -cgi 9,1g.10gb:2 -C")
    assert status == 0
    assert text == (
        "Successfully created GPU instance ID  1 on GPU  0 using profile MIG 3g.40gb (ID  9)\n"
        "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  1 using profile MIG 3g.40gb (ID  2)\n"
        "Successfully created GPU instance ID  7 on GPU  0 using profile MIG 1g.10gb (ID 19)\n"
        "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  7 using profile MIG 1g.10gb (ID  0)\n"
    )
    for table, row in (
        ("-lgi", "|   0  MIG 3g.40gb          9        1          4:4     |"),
        ("-lci", "|   0      1       MIG 3g.40gb          2         0          0:3     |"),
    ):
        lines = said(at, f"nvidia-smi mig -i 0 {table}")[1].splitlines()
        assert row in lines
        assert {len(line) for line in lines} == {len(row)}
    status, text = said(at, "nvidia-smi mig -i 0 -dgi -gi 7")
    assert (status, text.splitlines()) == (
        19,
        [
            "Unable to destroy GPU instance ID  7 from GPU  0: In use by another client",
            "Failed to destroy GPU instances: In use by another client",
        ],
    )
    assert said(at, "nvidia-smi mig -i 0 -dci -gi 7")[0] == 0
    assert said(at, "nvidia-smi mig -i 0 -dgi -gi 7")[0] == 0
    assert [mig.profile.name for mig in gpu.mig] == ["3g.40gb"]
    assert said(at, f"nvidia-smi -i {gpu.uuid} -mig 0")[0] == 0
    assert (gpu.mig_on, gpu.mig) == (False, ())


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("nvidia-smi mig -i 0 -lgi", 6, "No MIG-enabled devices found."),
        ("nvidia-smi mig -i 0 -cgi 9 -C", 6, "No MIG-enabled devices found."),
        ("nvidia-smi mig -i 1 -cgi 7g.80gb -C", 23, "Failed to create GPU instances: Insufficient Resources"),
        ("nvidia-smi mig -i 1 -cgi 1g.5gb -C", 2, "Unable to find GPU instance profile 1g.5gb"),
        ("nvidia-smi mig -i 99 -lgi", 6, "No devices were found"),
        ("nvidia-smi mig -i 1", 2, "Invalid combination"),
        ("nvidia-smi -i 1 -mig 2", 2, "Invalid combination"),
        ("nvidia-smi -i 1 --query-gpu=nonsense --format=csv", 2, 'Field "nonsense" is not a valid field to query.'),
    ],
)
def test_what_cannot_be_done_is_refused(line: str, status: int, words: str) -> None:
    at, _ = node(A100, 1)
    found = said(at, line)
    assert found[0] == status
    assert words in found[1]


def test_the_order_matters_as_in_the_user_guide() -> None:
    for wish, status in (("19,19,14,9", 23), ("9,19,14,19", 0)):
        at, _ = node(H100, 0)
        assert said(at, "nvidia-smi -i 0 -mig 1")[0] == 0
        assert said(at, f"nvidia-smi mig -i 0 -cgi {wish} -C")[0] == status


def test_work_keeps_its_instance_and_leaves_the_mode_pending() -> None:
    at, gpu = node(A100, 1, busy=True)
    status, text = said(at, "nvidia-smi mig -i 1 -dci")
    assert status == 19
    assert text.endswith("Failed to destroy compute instances: In use by another client\n")
    assert said(at, "nvidia-smi -i 1 -mig 0")[1].startswith("Warning: MIG mode is in pending disable state for GPU ")
    assert (gpu.mig_on, gpu.mig_wanted) == (True, False)
    query = "nvidia-smi -i 1 --query-gpu=mig.mode.current,mig.mode.pending --format=csv,noheader"
    assert said(at, query) == (0, "Enabled, Disabled\n")
    assert said(at, "nvidia-smi -i 1 --query-compute-apps=pid,name --format=csv,noheader")[1].count("\n") == len(
        at.meter.read(gpu, at.clock.now()).processes
    )


def test_a_login_without_root_may_look_and_not_touch() -> None:
    hardware = next(each for each in fleet(12, 7) if each.machine.prefix == "l40s")
    at = Node(hardware, ManualClock(), 0.5)
    assert said(at, "nvidia-smi -i 0 -mig 1") == (4, "Insufficient Permissions\n")
    query = "nvidia-smi -i 0 --query-gpu=mig.mode.current,mig.mode.pending --format=csv,noheader"
    assert said(at, query) == (0, "[N/A], [N/A]\n")


def test_a_lost_gpu_answers_that_it_is_lost() -> None:
    at, gpu = node(A100, 1)
    gpu.faults.lost = True
    assert said(at, "nvidia-smi mig -i 1 -lgi")[0] == 15


def test_nvml_and_the_xml_show_the_new_layout_at_once() -> None:
    at, gpu = node(A100, 1)
    nvml = SimNvml(at.hardware, at.meter, at.clock)
    handle = nvml.nvmlDeviceGetHandleByIndex(1)
    before = nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0))
    for line in ("-dci", "-dgi", "-cgi 7g.80gb"):
        assert said(at, f"nvidia-smi mig -i 1 {line}")[0] == 0
    with pytest.raises(Exception, match="Not Found"):
        nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)  # a GPU instance alone is no MIG device
    assert said(at, "nvidia-smi mig -i 1 -cci")[0] == 0
    device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)
    assert nvml.nvmlDeviceGetName(device).endswith("MIG 7g.80gb")
    assert nvml.nvmlDeviceGetUUID(device) != before
    assert nvml.nvmlDeviceGetMigMode(handle) == [1, 1]
    assert gpu.mig_on


def test_work_comes_into_new_instances_with_the_next_window() -> None:
    at, gpu = node(A100, 1)
    for line in ("-dci", "-dgi", "-cgi 19,19,19,19,19,19,19 -C"):
        assert said(at, f"nvidia-smi mig -i 1 {line}")[0] == 0
    length = window_seconds(at.hardware)
    now = at.clock.now()
    rest = int(length - now % length)
    assert all(not sample(at.hardware, gpu, now + second).processes for second in range(0, rest, 20))
    later = [sample(at.hardware, gpu, now + rest + second).processes for second in range(0, 3 * length, 60)]
    assert any(later)


def test_the_meter_never_shows_the_layout_before() -> None:
    at, gpu = node(A100, 1, busy=True)
    meter = Meter(at.hardware)
    assert meter.read(gpu, at.clock.now()).processes
    gpu.mig = ()
    assert not meter.read(gpu, at.clock.now()).processes


def test_services_are_stopped_and_started_by_root() -> None:
    hardware = next(each for each in fleet(12, 7) if each.name == A100)
    assert systemctl(hardware, "systemctl is-active nvidia-dcgm nvsm") == (0, "active\nactive\n", "")
    assert systemctl(hardware, "systemctl stop nvidia-dcgm nvsm") == (0, "", "")
    assert systemctl(hardware, "systemctl is-active nvidia-dcgm nvsm") == (3, "inactive\ninactive\n", "")
    facts = SimHost(hardware, Meter(hardware), ManualClock()).facts()
    assert {"name": "nvsm", "state": "inactive"} in facts["services"]
    assert systemctl(hardware, "systemctl start nvsm") == (0, "", "")
    assert systemctl(hardware, "systemctl is-active nvidia-dcgm nvsm") == (0, "inactive\nactive\n", "")
    assert systemctl(hardware, "systemctl stop unheard-of")[0] == 5
    assert systemctl(hardware, "systemctl reboot")[0] == 1
    plain = next(each for each in fleet(12, 7) if each.machine.prefix == "l40s")
    assert systemctl(plain, "systemctl stop nvidia-dcgm")[2] == "Failed to stop nvidia-dcgm.service: Access denied\n"


async def test_it_is_there_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smi_mig, "CHANGE_SECONDS", 0.0)
    hardware = next(each for each in fleet(12, 7) if each.name == H100)
    clock = ManualClock(idle_time(hardware, 0))
    async with Lab(LabSpec(tmp_path / "lab", clock=clock)) as lab, connected(lab, H100) as connection:
        for line, status, output in (
            ("true", 0, ""),
            ("id -u", 0, "0\n"),
            ("nvidia-smi mig -i 0 -lgi", 6, "No MIG-enabled devices found.\n"),
        ):
            done = await connection.run(line)
            assert (done.exit_status, done.stdout) == (status, output)
        assert (await connection.run("nvidia-smi -i 0 -mig 1")).exit_status == 0
        xml = (await connection.run("nvidia-smi -q -x")).stdout
        assert isinstance(xml, str)
        gpus = parse(xml.encode(), name=H100, at=clock.now()).gpus
        assert [gpu.mig.enabled for gpu in gpus][:2] == [True, False]
