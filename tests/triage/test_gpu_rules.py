"""Rules about one GPU: what is a finding, what is not, and what cannot be told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from backends.domain import (
    Clocks,
    Ecc,
    EccCounts,
    Fabric,
    Gpu,
    GpuProcess,
    Memory,
    Mig,
    MigInstance,
    Pcie,
    RemappedRows,
    RetiredPages,
    Service,
    Severity,
    SiteSpec,
    Temperature,
    Vgpu,
)
from backends.domain.host import Host
from backends.triage.memory import NodeMemory
from tests.triage.makers import (
    GIB,
    NOW,
    blank,
    bus,
    findings,
    gpu,
    guest,
    idle,
    links,
    live,
    node,
    only,
    sliced,
    state,
    view,
    xid,
)

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def clocks(*reasons: str, sm: int = 1980) -> Clocks:
    return Clocks(sm, sm, 2619, 1500, 1980, 1980, 2619, 1545, reasons)


# --- nothing wrong, nothing measured ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gpu, idle, sliced, guest])
def test_a_sound_gpu_of_any_kind_has_no_finding(make: Any) -> None:
    assert findings(view(*(make(index) for index in range(8)))) == []


def test_what_was_not_measured_is_never_a_fault() -> None:
    assert findings(view(*(blank(index) for index in range(8)))) == []


def test_a_fault_of_a_node_that_does_not_answer_now_is_not_judged() -> None:
    broken = gpu(ecc=Ecc(True, True, EccCounts(0, 9)), clocks=clocks("hw_thermal_slowdown"))
    old = live(node(broken), at=NOW - 120)
    assert {finding.rule for finding in findings(view(reading=old))} == {"node-slow"}


# --- lost ------------------------------------------------------------------------------------------------------------


def test_a_lost_gpu_is_critical_and_names_whose_work_was_on_it() -> None:
    found = only(view(gpu(0), gpu(1, lost=True, lost_reason="NVML: GPU is lost")), "gpu-lost")
    assert (found.severity, found.subject.gpu_index) == (CRITICAL, 1)
    assert "does not answer" in found.claim
    assert found.hits[0].user == "alice"
    assert "58.0 GiB" in found.hits[0].text


def test_the_xid_that_took_the_gpu_is_its_reason_and_its_time() -> None:
    found = only(view(gpu(0, lost=True, lost_reason="NVML: GPU is lost"), events=[xid(79, at=NOW - 500)]), "gpu-lost")
    assert found.claim == "has fallen off the bus (XID 79)"
    assert found.since == NOW - 500
    assert any(step.target == "systemctl reboot" for step in found.steps)


def test_an_xid_79_from_before_the_boot_is_not_the_reason() -> None:
    lost = gpu(0, lost=True, lost_reason="NVML: GPU is lost")
    found = only(view(lost, events=[xid(79, at=NOW - 500)], boot_at=NOW - 100), "gpu-lost")
    assert "XID" not in found.claim


def test_what_the_driver_asks_for_comes_before_the_table() -> None:
    asks = xid(154, text="GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", at=NOW - 5)
    lost = gpu(0, lost=True, lost_reason="NVML: GPU is lost")
    found = only(view(lost, events=[xid(79), asks]), "gpu-lost")
    commands = [step.target for step in found.steps if step.target]
    assert commands[0] == f"nvidia-smi --gpu-reset -i {bus(0)}"


def test_a_gpu_that_this_user_may_not_open_is_not_called_lost() -> None:
    found = only(view(gpu(0, lost=True, lost_reason="NVML: Insufficient Permissions")), "gpu-lost")
    assert found.severity is WARNING
    assert "may not be asked" in found.claim


def test_the_id_of_a_lost_gpu_is_the_same_before_and_after_a_restart_of_the_console() -> None:
    reason = "NVML: GPU is lost"
    known = only(view(gpu(0, lost=True, lost_reason=reason)), "gpu-lost")
    nameless = only(view(Gpu(index=0, pci_bus_id=bus(0), lost=True, lost_reason=reason)), "gpu-lost")
    assert known.id == nameless.id
    assert (known.hits_known, nameless.hits_known, nameless.hits) == (True, False, ())


# --- memory errors ---------------------------------------------------------------------------------------------------


def test_old_uncorrectable_errors_are_a_warning_and_new_ones_critical() -> None:
    bad = gpu(ecc=Ecc(True, True, EccCounts(3, 2), EccCounts(3, 7)))
    assert only(view(bad), "ecc-uncorrected").severity is WARNING
    assert only(view(bad, events=[xid(48)]), "ecc-uncorrected").severity is CRITICAL
    asked = dataclasses.replace(bad, recovery_action="drain_and_reset")
    assert only(view(asked), "ecc-uncorrected").severity is CRITICAL


def test_uncorrectable_errors_that_come_while_the_console_looks_are_critical() -> None:
    memory = NodeMemory()
    view(gpu(ecc=Ecc(True, True, EccCounts(0, 1))), memory=memory, now=NOW - 60)
    found = only(view(gpu(ecc=Ecc(True, True, EccCounts(0, 4))), memory=memory), "ecc-uncorrected")
    assert (found.severity, found.magnitude) == (CRITICAL, 4.0)
    assert any("3 of them within 60 s" in line.text for line in found.evidence)


def test_corrected_errors_and_those_of_a_former_life_are_no_finding() -> None:
    assert findings(view(gpu(ecc=Ecc(True, True, EccCounts(500, 0), EccCounts(9000, 12))))) == []


def test_a_reset_of_one_gpu_is_that_of_all_on_ampere_behind_switches_that_nobody_looks_after() -> None:
    bad = Ecc(True, True, EccCounts(0, 1))
    host = Host(services=(Service("nvidia-fabricmanager", "failed"),))
    alone = only(view(gpu(3, ecc=bad), gpu(4), host=host), "ecc-uncorrected")
    ampere = (gpu(3, ecc=bad, architecture="Ampere"), gpu(4, architecture="Ampere"))
    all_of_them = only(view(*ampere, host=host), "ecc-uncorrected")
    assert f"nvidia-smi --gpu-reset -i {bus(3)}" in [step.target for step in alone.steps]
    assert "nvidia-smi --gpu-reset" in [step.target for step in all_of_them.steps]


def test_row_remaps_that_wait_and_that_failed() -> None:
    waits = view(gpu(remapped_rows=RemappedRows(0, 1, pending=True, failed=False)))
    assert only(waits, "row-remap-pending").severity is WARNING
    assert findings(waits, "row-remap-failed") == []
    failed = view(gpu(remapped_rows=RemappedRows(0, 8, pending=False, failed=True)))
    assert only(failed, "row-remap-failed").severity is CRITICAL
    done = view(gpu(remapped_rows=RemappedRows(2, 1, pending=False, failed=False)))
    assert findings(done) == []


@pytest.mark.parametrize(
    ("platform", "line"),
    [
        ("kubernetes", "gpudeck stack drain --node n1"),
        ("openshift", "gpudeck stack drain --node n1"),
        (None, ""),
    ],
)
def test_draining_is_done_with_what_the_platform_has(platform: str | None, line: str) -> None:
    site = SiteSpec("site", platform=platform)
    found = only(view(gpu(ecc=Ecc(True, True, EccCounts(0, 1))), site=site), "ecc-uncorrected")
    assert line in [step.target for step in found.steps]


def test_a_drain_names_the_configuration_and_the_site_where_they_must_be_named() -> None:
    site = SiteSpec("lab b", platform="kubernetes", config_file=Path("/srv/a.toml"), named=True)
    found = only(view(gpu(ecc=Ecc(True, True, EccCounts(0, 1))), site=site), "ecc-uncorrected")
    targets = [step.target for step in found.steps if step.kind == "change"]
    assert targets == ["gpudeck stack drain --node n1 --config /srv/a.toml --site 'lab b'"]


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasons", "rule"),
    [
        (("hw_slowdown", "hw_thermal_slowdown"), "hw-thermal"),
        (("sw_thermal_slowdown",), "sw-thermal"),
        (("hw_slowdown", "hw_power_brake_slowdown"), "power-brake"),
        (("hw_slowdown",), "hw-slowdown"),
    ],
)
def test_each_slowdown_is_told_by_its_own_name(reasons: tuple[str, ...], rule: str) -> None:
    (found,) = findings(view(gpu(clocks=clocks(*reasons, sm=900))))
    assert (found.rule, found.severity) == (rule, WARNING)
    assert any("900 of 1980 MHz" in line.text for line in found.evidence)


@pytest.mark.parametrize(
    "reasons",
    [("sw_power_cap",), ("gpu_idle",), ("applications_clocks_setting",), ("sync_boost",), ("gpu_idle", "hw_slowdown")],
)
def test_what_is_normal_for_a_clock_is_no_finding(reasons: tuple[str, ...]) -> None:
    found = findings(view(gpu(clocks=clocks(*reasons))), "hw-thermal", "sw-thermal", "power-brake", "hw-slowdown")
    assert found == []


def test_a_board_about_to_shut_down_is_critical_by_absolute_and_by_relative_limits() -> None:
    hot = clocks("hw_thermal_slowdown")
    absolute = Temperature(gpu_celsius=90, slowdown_celsius=89, shutdown_celsius=92)
    relative = Temperature(gpu_celsius=92, margin_celsius=-6, shutdown_tlimit_celsius=-8)
    warm = Temperature(gpu_celsius=88, margin_celsius=-1, shutdown_tlimit_celsius=-8)
    for temperature, severity in ((absolute, CRITICAL), (relative, CRITICAL), (warm, WARNING)):
        assert only(view(gpu(clocks=hot, temperature=temperature)), "hw-thermal").severity is severity


def test_the_driver_holding_a_desktop_board_at_its_limit_is_a_note() -> None:
    board = gpu(name="NVIDIA GeForce RTX 4090", clocks=clocks("sw_thermal_slowdown"))
    assert only(view(board), "sw-thermal").severity is INFO
    braked = gpu(name="NVIDIA GeForce RTX 4090", clocks=clocks("hw_slowdown"))
    assert only(view(braked), "hw-slowdown").severity is INFO


# --- PCIe ------------------------------------------------------------------------------------------------------------


def eight(changed: int, **changes: Any) -> list[Gpu]:
    return [gpu(index, **changes) if index == changed else gpu(index) for index in range(8)]


def test_a_narrow_link_among_wide_ones_is_a_warning() -> None:
    found = only(state(view(*eight(2, pcie=Pcie(5, 4, 5, 16, 0)))), "pcie-width")
    assert (found.severity, found.subject.gpu_index) == (WARNING, 2)
    assert found.claim == "runs its PCIe link at x4 of x16"


def test_links_that_are_all_as_narrow_were_built_so() -> None:
    assert findings(state(view(*(gpu(index, pcie=Pcie(5, 8, 5, 16, 0)) for index in range(4))))) == []


def test_a_narrow_link_without_peers_is_a_note() -> None:
    assert only(state(view(gpu(pcie=Pcie(5, 8, 5, 16, 0)))), "pcie-width").severity is INFO


def test_an_idle_board_may_lower_its_generation_and_one_under_load_may_not() -> None:
    lowered = Pcie(1, 16, 5, 16, 0)
    assert findings(state(view(idle(0, pcie=lowered), *(gpu(index) for index in range(1, 8))))) == []
    found = only(state(view(*eight(0, pcie=lowered))), "pcie-generation")
    assert (found.severity, found.claim) == (WARNING, "runs its PCIe link at generation 1 of generation 5")


def test_a_guest_sees_the_hypervisors_pcie_and_is_not_judged_by_it() -> None:
    assert findings(state(view(*(gpu(n, pcie=Pcie(1, 1, 5, 16), vgpu=Vgpu("passthrough")) for n in range(4))))) == []


def test_replays_count_by_how_fast_they_come_not_by_how_many_there_are() -> None:
    memory = NodeMemory()
    first = view(gpu(pcie=Pcie(5, 16, 5, 16, 5000)), memory=memory, now=NOW - 300)
    assert findings(first, "pcie-replays") == []
    found = only(view(gpu(pcie=Pcie(5, 16, 5, 16, 5200)), memory=memory), "pcie-replays")
    assert found.severity is WARNING
    assert any("200 of them within 5 min" in line.text for line in found.evidence)


# --- NVLink and the fabric -------------------------------------------------------------------------------------------


def test_a_link_that_is_up_on_all_peers_and_down_here_is_critical() -> None:
    found = only(view(*eight(4, links=links(down=[7]))), "nvlink-down")
    assert (found.severity, found.claim, found.magnitude) == (CRITICAL, "NVLink 7 is down", 1.0)


def test_boards_without_a_bridge_have_all_their_links_down_by_design() -> None:
    assert findings(view(*(gpu(index, links=links(12, down=range(12), remote=None)) for index in range(8)))) == []


def test_links_that_no_peer_uses_are_not_missed() -> None:
    assert findings(view(*(gpu(index, links=links(18, down=range(12, 18), remote="gpu")) for index in range(4)))) == []


def test_a_link_that_worked_before_is_missed_even_without_peers() -> None:
    memory = NodeMemory()
    view(gpu(links=links(4, remote="gpu")), memory=memory, now=NOW - 60)
    assert only(view(gpu(links=links(4, down=[1], remote="gpu")), memory=memory), "nvlink-down").claim.endswith(
        "is down"
    )


def test_one_link_seen_from_both_ends_is_one_finding() -> None:
    four = [gpu(index, links=links(12, remote="gpu")) for index in range(4)]
    four[1] = gpu(1, links=links(12, down=[3], remote="gpu"))
    four[2] = gpu(2, links=links(12, down=[5], remote="gpu"))
    found = only(view(*four), "nvlink-down")
    assert found.claim == "NVLink 3 is down, to GPU 2"
    assert any("GPU 2 sees it too: link 5" in line.text for line in found.evidence)


def test_links_to_a_lost_gpu_are_told_as_its_follow_ons() -> None:
    memory = NodeMemory()
    up = tuple(dataclasses.replace(link, remote_pci_bus_id=bus(3)) for link in links(4, remote="gpu"))
    view(gpu(0, links=up), gpu(1, links=up), memory=memory, now=NOW - 60)
    lost = gpu(3, lost=True, lost_reason="NVML: GPU is lost")
    down = links(4, down=[0, 1], remote="gpu")
    found = findings(view(gpu(0, links=down), gpu(1, links=down), lost, memory=memory), "nvlink-down")
    assert {finding.rule for finding in found} == {"nvlink-down-peer"}


def test_link_errors_count_by_how_fast_they_come() -> None:
    memory = NodeMemory()
    before = tuple(dataclasses.replace(link, replay_errors=1000) for link in links(4))
    after = tuple(dataclasses.replace(link, replay_errors=1100) for link in links(4))
    assert findings(view(gpu(links=before), memory=memory, now=NOW - 300), "nvlink-errors") == []
    assert only(view(gpu(links=after), memory=memory), "nvlink-errors").severity is WARNING


@pytest.mark.parametrize(
    ("fabric", "count"),
    [
        (Fabric("not_started"), 1),
        (Fabric("in_progress"), 1),
        (Fabric("completed", 999), 1),
        (Fabric("completed", 0), 0),
        (Fabric("not_supported"), 0),
        (Fabric(), 0),
    ],
)
def test_a_fabric_that_is_not_ready_is_one_finding_for_the_node(fabric: Fabric, count: int) -> None:
    found = findings(view(*(gpu(index, fabric=fabric) for index in range(8))), "fabric-not-ready")
    assert [(each.severity, each.subject.gpu_key) for each in found] == [(CRITICAL, None)] * count


def test_a_node_that_has_just_booted_may_still_be_joining() -> None:
    joining = [gpu(index, fabric=Fabric("in_progress")) for index in range(8)]
    assert findings(view(*joining, boot_at=NOW - 200)) == []
    assert findings(view(*joining, boot_at=None)) == []


def test_the_health_of_the_fabric() -> None:
    assert only(view(gpu(fabric=Fabric("completed", 0, "unhealthy"))), "fabric-unhealthy").severity is CRITICAL
    assert only(view(gpu(fabric=Fabric("completed", 0, "limited_capacity"))), "fabric-unhealthy").severity is WARNING


@pytest.mark.parametrize(
    ("state", "board", "severity"),
    [
        ("failed", gpu(), WARNING),
        ("inactive", gpu(), WARNING),
        ("failed", gpu(fabric=Fabric("not_started")), CRITICAL),
        ("active", gpu(), None),
        ("missing", gpu(), None),  # it may run in the GPU Operator's container
        (None, gpu(), None),
        ("inactive", gpu(fabric=Fabric(), links=None), None),  # a machine without switches
    ],
)
def test_fabric_manager_matters_where_there_are_switches(
    state: str | None, board: Gpu, severity: Severity | None
) -> None:
    host = Host(services=(Service("nvidia-fabricmanager", state),))
    found = findings(view(board, host=host), "fabric-manager")
    assert [each.severity for each in found] == ([] if severity is None else [severity])


# --- modes and use ---------------------------------------------------------------------------------------------------


def test_modes_that_wait_for_a_reset() -> None:
    assert only(view(gpu(mig=Mig(enabled=False, pending=True))), "mig-pending").severity is INFO
    assert only(view(gpu(mig=Mig(enabled=True, pending=False))), "mig-stuck").severity is WARNING
    assert only(view(gpu(ecc=Ecc(True, False))), "ecc-pending").severity is INFO
    assert findings(view(gpu(mig=Mig(enabled=None, pending=None)))) == []


def test_persistence_is_one_note_for_a_node_and_none_for_guests_and_desktops() -> None:
    found = only(view(*(gpu(index, persistence=False) for index in range(8))), "persistence")
    assert (found.severity, found.subject.gpu_key, found.claim) == (INFO, None, "persistence mode is off on 8 GPUs")
    assert findings(view(guest(persistence=False))) == []
    assert findings(view(gpu(name="NVIDIA GeForce RTX 3060", persistence=False)), "persistence") == []


def test_persistence_is_a_warning_where_a_mig_layout_hangs_on_it() -> None:
    assert only(view(sliced(persistence=False)), "persistence").severity is WARNING


def test_a_gpu_closed_to_work_is_a_note() -> None:
    assert only(view(gpu(compute_mode="prohibited")), "compute-prohibited").severity is INFO


def held(**changes: Any) -> Gpu:
    return idle(memory=Memory(80 * GIB, 41 * GIB, 38 * GIB, GIB), **changes)


def test_memory_that_no_process_holds_is_a_warning() -> None:
    found = only(view(held(), gpu(1)), "memory-held")
    assert (found.severity, found.claim) == (WARNING, "41.0 GiB of its memory are held by no live process")


def test_where_no_process_is_seen_at_all_the_login_may_be_blind() -> None:
    assert only(view(held()), "memory-held").severity is INFO


@pytest.mark.parametrize(
    "board",
    [
        held(processes=None),
        held(processes=(GpuProcess(1, "compute", "bob", "python", 40 * GIB),)),
        held(mig=Mig(enabled=True, pending=True)),
        held(vgpu=Vgpu("host_vgpu")),
        held(processes_omitted=3),
        idle(memory=Memory(80 * GIB, GIB, 79 * GIB)),
    ],
)
def test_memory_whose_holder_is_there_or_cannot_be_seen_is_no_finding(board: Gpu) -> None:
    assert findings(view(board), "memory-held") == []


def test_a_process_that_the_node_does_not_have_holds_nothing() -> None:
    ghost = held(processes=(GpuProcess(77, "compute", memory_bytes=40 * GIB),))
    neighbour = gpu(1)
    assert only(view(ghost, neighbour), "memory-held").subject.gpu_index == 0
    assert findings(view(ghost), "memory-held") == []  # nothing says that this login shares the namespace
    assert findings(view(ghost, neighbour, privileged=False), "memory-held") == []


def test_an_idle_gpu_with_memory_allocated_is_a_note_for_the_tracker_to_time() -> None:
    notebook = idle(
        memory=Memory(80 * GIB, 41 * GIB, 38 * GIB, GIB),
        processes=(GpuProcess(9, "compute", "bob", "jupyter", 40 * GIB),),
    )
    assert only(view(notebook), "idle-with-memory").severity is INFO
    assert findings(view(gpu()), "idle-with-memory") == []


def test_a_guest_without_a_licence_is_a_warning_once_it_had_time_to_get_one() -> None:
    bare = guest(vgpu=Vgpu("vgpu", licensed=False))
    assert only(view(bare), "vgpu-unlicensed").severity is WARNING
    assert findings(view(bare, boot_at=NOW - 60)) == []
    assert findings(view(guest(vgpu=Vgpu("vgpu", licensed=None)))) == []
    assert findings(view(gpu(vgpu=Vgpu("none", licensed=False)))) == []


@pytest.mark.parametrize(
    ("action", "severity"),
    [("gpu_reset", CRITICAL), ("node_reboot", CRITICAL), ("drain_and_reset", WARNING), ("something_new", WARNING)],
)
def test_what_the_driver_asks_for_is_a_finding(action: str, severity: Severity) -> None:
    assert only(view(gpu(recovery_action=action)), "recovery-action").severity is severity


def test_a_page_that_is_to_be_retired_waits_for_a_reset() -> None:
    found = only(view(gpu(retired_pages=RetiredPages(4, 1, pending=True))), "page-retirement-pending")
    assert found.severity is Severity.WARNING
    assert "1 after uncorrectable errors, 4 after corrected ones" in found.evidence[0].text
    assert findings(view(gpu(retired_pages=RetiredPages(4, 1, pending=False))), "page-retirement-pending") == []
    assert findings(view(gpu()), "page-retirement-pending") == []


def test_an_idle_gpu_that_the_driver_holds_down_is_a_note() -> None:
    quiet = dataclasses.replace(idle().clocks, event_reasons=("gpu_idle", "sw_thermal_slowdown"))
    assert only(view(idle(clocks=quiet)), "sw-thermal").severity is INFO
    busy = dataclasses.replace(gpu().clocks, event_reasons=("sw_thermal_slowdown",))
    assert only(view(gpu(clocks=busy)), "sw-thermal").severity is WARNING


# --- what does not outlive a reset -----------------------------------------------------------------------------------

WAITS = RemappedRows(0, 1, pending=True, failed=False)
CUT = Mig(
    True,
    True,
    7,
    (
        MigInstance(1, 0, "MIG-1", "4g.40gb", (0, 4)),
        MigInstance(3, 0, "MIG-3", "1c.2g.20gb", (4, 2)),
        MigInstance(3, 1, "MIG-4", "1c.2g.20gb", (4, 2)),
        MigInstance(9, 0, "MIG-9", "1g.10gb", (6, 1)),
    ),
)


def test_a_reset_says_which_layout_goes_with_it_and_how_it_is_made_again() -> None:
    found = only(view(sliced(2, mig=CUT, remapped_rows=WAITS)), "row-remap-pending")
    at = [step.target.startswith("nvidia-smi --gpu-reset") for step in found.steps].index(True)
    again = found.steps[at + 1]
    assert again.text == "it ends the MIG layout of GPU 2 (4g.40gb + 2g.20gb + 1g.10gb), to be made again"
    assert again.target == "gpudeck mig apply --node n1 --gpu 2 --want 4g.40gb:0,2g.20gb:4,1g.10gb:6"
    whole = only(view(gpu(2, remapped_rows=WAITS)), "row-remap-pending")
    assert not any("MIG" in step.text for step in whole.steps)


def test_a_reset_of_all_takes_the_layouts_of_the_neighbours() -> None:
    host = Host(services=(Service("nvidia-fabricmanager", "failed"),))
    unread = Mig(True, True, 7, (MigInstance(1, 0, "MIG-1"),))
    seen = view(
        gpu(0, architecture="Ampere", remapped_rows=WAITS),
        sliced(1, architecture="Ampere", mig=CUT),
        sliced(2, architecture="Ampere", mig=unread),
        host=host,
    )
    again = only(seen, "row-remap-pending").steps[2]
    assert "of GPU 1 (4g.40gb + 2g.20gb + 1g.10gb), GPU 2 (n/a)" in again.text
    assert again.target == "gpudeck mig apply --node n1 --gpu 1 --want 4g.40gb:0,2g.20gb:4,1g.10gb:6"


@pytest.mark.parametrize(("architecture", "goes"), [("Hopper", "MIG mode and layout"), ("Ampere", "MIG layout")])
def test_a_reboot_takes_the_layouts_of_the_node_and_since_hopper_the_mode(architecture: str, goes: str) -> None:
    asks = dataclasses.replace(gpu(0), recovery_action="node_reboot")
    found = only(view(asks, sliced(1, mig=CUT, architecture=architecture)), "recovery-action")
    assert [step.target for step in found.steps if step.target == "systemctl reboot"]
    assert any(step.text.startswith(f"it ends the {goes} of GPU 1 (4g.40gb") for step in found.steps)


@pytest.mark.parametrize(("platform", "commands"), [(None, ["mig"]), ("kubernetes", ["stack", "stack"])])
def test_what_makes_the_layout_again_names_the_configuration(platform: str | None, commands: list[str]) -> None:
    site = SiteSpec("site", platform=platform, config_file=Path("/srv/a.toml"))
    found = only(view(sliced(2, mig=CUT, remapped_rows=WAITS), site=site), "row-remap-pending")
    typed = [step.target for step in found.steps if step.target.startswith("gpudeck ")]
    assert [line.split()[1] for line in typed] == commands
    assert all(line.endswith(" --config /srv/a.toml") for line in typed)


def test_in_a_cluster_mig_manager_makes_the_layout_again() -> None:
    cluster = SiteSpec("site", platform="kubernetes")
    reset = only(view(sliced(2, mig=CUT, remapped_rows=WAITS), site=cluster), "row-remap-pending")
    assert "gpudeck stack restart mig-manager --node n1" in [step.target for step in reset.steps]
    asks = sliced(2, mig=CUT, recovery_action="node_reboot")
    reboot = only(view(asks, site=cluster), "recovery-action")
    assert any("which MIG Manager makes again as it starts" in step.text for step in reboot.steps)


# --- what the driver asks for ----------------------------------------------------------------------------------------

DRAIN, REBOOT = "gpudeck stack drain --node n1", "systemctl reboot"


@pytest.mark.parametrize(
    ("action", "typed"),
    [
        ("gpu_reset", [DRAIN, f"nvidia-smi --gpu-reset -i {bus(2)}"]),
        ("drain_and_reset", [DRAIN, f"nvidia-smi --gpu-reset -i {bus(2)}"]),
        ("node_reboot", [DRAIN, REBOOT]),
        ("system_reboot", [DRAIN, REBOOT]),
        ("bus_reset", [DRAIN, f"nvidia-smi -r bus -i {bus(2)}", REBOOT]),
        ("drain_p2p", [DRAIN]),
        (
            "recover_imex_domain",
            [
                "nvidia-imex-ctl -N; systemctl status nvidia-imex",
                "kubectl get computedomains -A",
                "systemctl restart nvidia-imex",
                "nvidia-bug-report.sh",
            ],
        ),
        ("odd", ["nvidia-bug-report.sh"]),
    ],
)
def test_each_recovery_action_says_what_to_do(action: str, typed: list[str]) -> None:
    asks = gpu(2, recovery_action=action)
    found = only(view(asks, site=SiteSpec("site", platform="kubernetes")), "recovery-action")
    assert [step.target for step in found.steps if step.kind != "screen" and step.target] == typed


def test_peers_are_stopped_before_the_node_is_drained() -> None:
    found = only(view(gpu(2, recovery_action="drain_p2p")), "recovery-action")
    texts = [step.text for step in found.steps]
    assert texts[0] == "stop the jobs that reach GPU 2 of n1 from other GPUs, over NVLink or PCIe"
    assert texts[3].startswith("look again then")
