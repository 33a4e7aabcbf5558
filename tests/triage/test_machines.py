"""Machines that are not what they were, or not what others of their make are."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from backends.domain import Disk, Gpu, Host, Node, NodeSpec, Pcie, Power, Service, Severity, SiteSpec
from backends.triage.engine import Triager
from backends.triage.memory import NodeMemory
from backends.triage.state import NodeView
from tests.triage.makers import GIB, NOW, bus, findings, fleet, gpu, guest, links, live, node, only, state, view

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO
A100 = "NVIDIA A100-SXM4-80GB"


def machine(name: str, *gpus: Gpu, **changes: Any) -> Node:
    return node(*gpus, name=name, **{"cpu_count": 192, "memory_total_bytes": 2015 * GIB, **changes})


def boards(count: int, node: str, **changes: Any) -> tuple[Gpu, ...]:
    return tuple(gpu(index, node, **changes) for index in range(count))


def views(*nodes: Node) -> list[NodeView]:
    return [view(reading=live(each)) for each in nodes]


# --- GPUs that are missing -------------------------------------------------------------------------------------------


def test_a_node_that_shows_fewer_gpus_than_before_its_reboot_misses_one_without_any_peer() -> None:
    memory = NodeMemory()
    view(*boards(8, "n1"), memory=memory, now=NOW - 600)
    rebooted = view(*boards(7, "n1"), memory=memory, boot_at=NOW - 60)
    found = only(state(rebooted), "gpu-missing")
    assert (found.severity, found.claim, found.magnitude) == (CRITICAL, "shows 7 GPUs; it had 8", 1.0)
    assert [line.at for line in found.evidence if "with 8 GPUs" in line.text] == [NOW - 600]


def test_a_working_driver_without_a_gpu_is_told_and_no_driver_is_another_matter() -> None:
    found = only(state(view(name="n1")), "gpu-missing")
    assert found.claim == "shows no GPU, though its driver works"
    assert findings(state(view(name="n1", driver=None)), "gpu-missing") == []


def test_eight_full_machines_do_not_hide_the_one_that_shows_none() -> None:
    full = [machine(f"n{number}", *boards(8, f"n{number}")) for number in range(8)]
    found = only(state(*views(*full, machine("n8"))), "gpu-missing")
    assert (found.subject.node, found.severity) == ("n8", CRITICAL)


def test_half_a_baseboard_is_missing_where_machines_of_the_make_have_all_of_it() -> None:
    full = [machine(f"n{number}", *boards(8, f"n{number}")) for number in range(8)]
    found = only(state(*views(*full, machine("n8", *boards(4, "n8")))), "gpu-missing")
    assert (found.subject.node, found.severity, found.claim) == ("n8", CRITICAL, "shows 4 GPUs, its 8 peers 8")
    # Without its switches the half that is left tells of none.
    dark = boards(4, "n8", links=links(18, down=range(18), remote=None))
    assert only(state(*views(*full, machine("n8", *dark))), "gpu-missing").severity is WARNING


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu_count": 96},
        {"memory_total_bytes": 1007 * GIB},
        {"gpus": tuple(gpu(index, "n8", links=links(18, remote="gpu")) for index in range(4))},
        {"gpus": tuple(gpu(index, "n8", board_part_number="692-2G520-0400-000") for index in range(4))},
    ],
    ids=["fewer CPUs", "less memory", "linked without a switch", "another board"],
)
def test_a_machine_of_another_make_was_built_with_four(changes: dict[str, Any]) -> None:
    full = [machine(f"n{number}", *boards(8, f"n{number}")) for number in range(8)]
    other = dataclasses.replace(machine("n8", *boards(4, "n8")), **changes)
    assert findings(state(*views(*full, other)), "gpu-missing") == []


def test_machines_of_which_nothing_else_is_known_are_not_called_halved() -> None:
    bare = {"links": None, "board_part_number": None}
    nodes = [node(*boards(8, f"n{number}", **bare), name=f"n{number}") for number in range(8)]
    assert findings(state(*views(*nodes, node(*boards(4, "n8", **bare), name="n8"))), "gpu-missing") == []


def test_another_machine_under_an_old_name_is_judged_anew() -> None:
    memory = NodeMemory()
    view(*boards(8, "old"), memory=memory, now=NOW - 600)
    assert findings(state(view(*boards(4, "new"), memory=memory)), "gpu-missing") == []


def test_a_missing_gpu_stands_over_a_reboot_and_recovers_when_it_is_back() -> None:
    triager = Triager(SiteSpec("site", nodes=(NodeSpec("n1"),)))
    told: list[list[str]] = []
    for second in range(90):
        count = 8 if second < 10 or second >= 60 else 7
        told.append(
            [
                each.rule
                for each in triager.run(
                    fleet(live(node(*boards(count, "n1")), NOW + second)), (), NOW + second
                ).findings
            ]
        )
    assert told[9] == []
    assert told[30] == ["gpu-missing"]
    assert told[89] == []


# --- PCIe over the site ----------------------------------------------------------------------------------------------


def pcie(width: int, generation: int = 5) -> dict[str, Any]:
    return {"pcie": Pcie(generation, width, 5, 16, 0)}


def test_a_whole_machine_of_narrow_links_among_wide_ones_of_its_make() -> None:
    wide = [machine(f"n{number}", *boards(8, f"n{number}")) for number in range(8)]
    found = findings(state(*views(*wide, machine("n8", *boards(8, "n8", **pcie(8))))), "pcie-width")
    assert {(each.subject.node, each.severity) for each in found} == {("n8", WARNING)}
    assert len(found) == 8
    assert "x16 on 64 of 64 boards in other machines of its make" in [line.text for line in found[0].evidence]


def test_one_narrow_card_among_twenty_machines_of_one_card() -> None:
    wide = [machine(f"n{number}", gpu(0, f"n{number}")) for number in range(20)]
    found = only(state(*views(*wide, machine("n20", gpu(0, "n20", **pcie(4))))), "pcie-width")
    assert (found.subject.node, found.severity) == ("n20", WARNING)


def test_machines_of_one_make_that_are_all_narrow_were_built_so() -> None:
    narrow = [machine(f"n{number}", gpu(0, f"n{number}", **pcie(8))) for number in range(20)]
    assert findings(state(*views(*narrow)), "pcie-width") == []


def test_a_narrow_machine_of_another_make_is_not_held_against_the_wide_ones() -> None:
    wide = [machine(f"n{number}", *boards(8, f"n{number}")) for number in range(8)]
    workstation = machine("n8", *boards(4, "n8", **pcie(8)), cpu_count=32)
    assert findings(state(*views(*wide, workstation)), "pcie-width") == []


def test_a_slow_generation_of_a_whole_machine_counts_under_load_only() -> None:
    fast = [machine(f"n{number}", gpu(0, f"n{number}")) for number in range(5)]
    slow = machine("n5", gpu(0, "n5", **pcie(16, 1)))
    assert only(state(*views(*fast, slow)), "pcie-generation").severity is WARNING
    quiet = [
        machine(
            each.name,
            *(
                dataclasses.replace(one, clocks=dataclasses.replace(one.clocks, event_reasons=("gpu_idle",)))
                for one in each.gpus
            ),
        )
        for each in (*fast, slow)
    ]
    assert findings(state(*views(*quiet)), "pcie-generation") == []


# --- Fabric Manager --------------------------------------------------------------------------------------------------


def hgx(state: str, *, name: str = A100, count: int = 8, down: bool = True) -> NodeView:
    """An A100 baseboard: no fabric state, and without Fabric Manager no link tells where it ends."""
    dark = links(12, down=range(12) if down else (), remote=None if down else "switch")
    gpus = (
        gpu(index, name=name, architecture="Ampere", links=dark, fabric=dataclasses.replace(gpu().fabric, state=None))
        for index in range(count)
    )
    return view(*gpus, host=Host(services=(Service("nvidia-fabricmanager", state),)))


@pytest.mark.parametrize("service", ["failed", "inactive"])
@pytest.mark.parametrize("name", [A100, "NVIDIA H100 80GB HBM3"])
def test_a_baseboard_without_its_fabric_manager_lets_no_cuda_start(service: str, name: str) -> None:
    found = only(hgx(service, name=name), "fabric-manager")
    assert found.severity is CRITICAL
    assert any("802" in line.text for line in found.evidence)


def test_fabric_manager_that_died_under_links_that_are_up_is_a_warning() -> None:
    assert only(hgx("failed", down=False), "fabric-manager").severity is WARNING


@pytest.mark.parametrize(
    ("name", "service"), [("NVIDIA A100-PCIE-40GB", "failed"), (A100, "active"), (A100, "missing")]
)
def test_cards_without_bridges_and_a_service_that_runs_elsewhere_are_no_finding(name: str, service: str) -> None:
    assert findings(hgx(service, name=name), "fabric-manager") == []


# --- Disks, power, kernel logs ---------------------------------------------------------------------------------------


def disk(mount: str, *, read_only: bool) -> Host:
    return Host(disks=(Disk(mount, "/dev/md0", "raid", 7000 * GIB, 6000 * GIB, read_only),))


@pytest.mark.parametrize("mount", ["/scratch", "/raid", "/raid0/jobs", "/local", "/mnt", "/nvme1", "/local_scratch"])
def test_a_disk_for_work_that_cannot_be_written(mount: str) -> None:
    found = findings(view(gpu(), host=disk(mount, read_only=True)), "disk-read-only")
    assert [(each.severity, each.claim) for each in found] == (
        [] if mount == "/mnt" else [(WARNING, f"{mount} is read-only")]
    )


def test_a_disk_that_could_be_written_before_is_told_whatever_its_name() -> None:
    memory = NodeMemory()
    assert findings(view(gpu(), host=disk("/data", read_only=False), memory=memory), "disk-read-only") == []
    found = only(view(gpu(), host=disk("/data", read_only=True), memory=memory), "disk-read-only")
    assert found.id == "disk-read-only:n1:/data"


def test_a_read_only_system_is_how_some_are_built() -> None:
    assert findings(view(gpu(), host=disk("/usr", read_only=True)), "disk-read-only") == []


def test_a_power_limit_below_the_default_is_a_note_without_any_peer() -> None:
    found = only(view(gpu(0, power=Power(300.0, 400.0, 700.0, 200.0, 700.0)), gpu(1)), "power-limit")
    assert (found.severity, found.claim) == (INFO, "1 GPU may draw less than the board's default")
    assert found.evidence[0].text == "GPU 0: 400 of 700 W"
    raised = Power(300.0, 700.0, 600.0, 200.0, 700.0)
    assert findings(view(gpu(0, power=raised), gpu(1, power=Power()), guest(2)), "power-limit") == []


def test_a_closed_kernel_log_is_told_and_its_xids_are_not_counted_as_checked() -> None:
    triager = Triager(SiteSpec("site"))
    closed = [node(gpu(0, f"n{number}"), name=f"n{number}", kernel_log=None) for number in range(3)]
    for second in range(6):
        triage = triager.run(fleet(*(live(each, NOW + second) for each in closed)), (), NOW + second)
    assert [each.claim for each in triage.findings] == [
        "the kernel log is closed on 3 of 3 nodes: past XIDs are unseen"
    ]
    assert triage.findings[0].severity is INFO
    subjects = {check.rule: check.subjects for check in triage.checks}
    assert (subjects["xid"], subjects["kernel-log"], subjects["gpu-lost"]) == (0, 0, 3)


def test_what_a_bus_id_names_is_the_same_gpu_after_a_reboot() -> None:
    memory = NodeMemory()
    view(gpu(0, uuid=None, pci_bus_id=bus(0)), memory=memory, now=NOW - 60)
    assert findings(state(view(gpu(0, uuid=None, pci_bus_id=bus(0)), memory=memory)), "gpu-missing") == []
