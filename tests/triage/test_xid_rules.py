"""XIDs: the catalogue, incidents and their heads, and how long one is told."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

import pytest

from backends.domain import (
    Ecc,
    EccCounts,
    Event,
    Fabric,
    Gpu,
    GpuProcess,
    Mig,
    MigInstance,
    RemappedRows,
    RetiredPages,
    Severity,
)
from backends.triage import xids
from tests.triage.makers import GIB, NOW, bus, findings, gpu, links, only, sliced, view, xid

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


# --- the catalogue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "severity", "action"),
    [
        (13, INFO, "RESTART_APP"),
        (31, INFO, "RESTART_APP"),
        (43, INFO, "IGNORE"),
        (45, INFO, "WORKFLOW_XID_45"),
        (48, CRITICAL, "WORKFLOW_XID_48"),
        (63, WARNING, "IGNORE"),
        (64, CRITICAL, "RESET_GPU"),
        (74, CRITICAL, "WORKFLOW_NVLINK_ERR"),
        (79, CRITICAL, "RESTART_BM"),
        (94, WARNING, "RESTART_APP"),
        (95, CRITICAL, "RESET_GPU"),
        (119, CRITICAL, "RESET_GPU"),
        (120, CRITICAL, "RESET_GPU"),
        (167, WARNING, None),
    ],
)
def test_the_catalogue_tells_severity_and_action(code: int, severity: Severity, action: str | None) -> None:
    found = xids.lookup(code)
    assert (found.severity, found.action) == (severity, action)
    assert found.meaning
    assert (found.action_text is None) == (action is None)


def test_every_code_of_the_catalogue_is_there_and_one_beyond_it_is_a_warning() -> None:
    assert all(xids.lookup(code).meaning != xids.UNKNOWN_MEANING for code in (*range(1, 15), *range(140, 173)))
    assert xids.lookup(999).severity is WARNING
    assert xids.lookup(999).meaning == xids.UNKNOWN_MEANING


@pytest.mark.parametrize(
    ("code", "text", "severity", "action"),
    [
        # By its bits: unit, interrupt information and error status of a row of the table.
        (149, "NETIR_BER_EVENT Nonfatal XC0 i0 Link 08 (0x00000226 0x00000001 0x0)", INFO, "IGNORE"),
        (145, "RLW_TAGSTATE Fatal XC0 i0 Link 02 (0x00000102 0x00020000 0x0)", CRITICAL, "RESET_GPU"),
        (145, "RLW_TAGSTATE Nonfatal XC0 i0 Link 02 (0x00000102 0x80000000 0x0)", INFO, "IGNORE"),
        # Bits that no row has: the driver's own word.
        (149, "NETIR_LINK_EVT Fatal XC0 i0 Link 08 (0x004505c6 0x77777777 0x0)", CRITICAL, "RESET_GPU"),
        (146, "TLW_CTRL Nonfatal XC0 i0 Link 08 (0x004505c6 0x77777777 0x0)", INFO, "IGNORE"),
        # Nothing to decode: the plain row.
        (149, "reported by NVML", CRITICAL, "WORKFLOW_NVLINK5_ERR"),
    ],
)
def test_nvlink_5_errors_are_decoded(code: int, text: str, severity: Severity, action: str) -> None:
    found = xids.lookup(code, text)
    assert (found.severity, found.action) == (severity, action)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", "node_reboot"),
        ("GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", "gpu_reset"),
        ("GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)", "none"),
        ("GPU recovery action changed from 0x0 (None) to 0x99 (Unheard Of)", None),
        ("reported by NVML", None),
    ],
)
def test_xid_154_says_what_the_driver_asks_for(text: str, action: str | None) -> None:
    assert xids.recovery_action(text) == action


def test_a_whole_line_and_its_end_say_the_same() -> None:
    line = "NVRM: Xid (PCI:0000:9b:00 GPU-I:05): 119, pid=2024380, name=nvidia-smi, Timeout after 6s"
    assert xids.message(line) == "pid=2024380, name=nvidia-smi, Timeout after 6s"
    assert xids.message("pid=1, name=x, (2), y") == "pid=1, name=x, (2), y"


# --- incidents -------------------------------------------------------------------------------------------------------


def test_what_follows_within_two_minutes_belongs_to_the_same_incident() -> None:
    events = [xid(48, at=NOW - 60), xid(94, at=NOW - 59), xid(45, at=NOW - 58), xid(13, at=NOW - 20)]
    found = only(view(gpu(ecc=Ecc(True, True, EccCounts(0, 1))), events=events), "xid")
    assert found.rule == "xid-48"
    assert found.since == NOW - 60
    told = " ".join(line.text for line in found.evidence)
    assert all(f"XID {code}" in told for code in (48, 94, 45, 13))


def test_an_xid_long_after_another_is_an_incident_of_its_own() -> None:
    found = findings(view(gpu(), events=[xid(31, at=NOW - 1200), xid(109, at=NOW - 60)]), "xid")
    assert {finding.rule for finding in found} == {"xid-31", "xid-109"}


def test_the_same_again_is_one_finding_that_counts() -> None:
    found = only(view(gpu(), events=[xid(109, at=NOW - 4000), xid(109, at=NOW - 60)]), "xid")
    assert (found.since, found.magnitude) == (NOW - 60, 1.0)  # the driver asks for nothing: an hour is enough
    both = only(view(gpu(recovery_action=None), events=[xid(109, at=NOW - 4000), xid(109, at=NOW - 60)]), "xid")
    assert (both.since, both.magnitude) == (NOW - 4000, 2.0)
    assert both.claim.endswith(", 2 times")


def test_xids_of_two_gpus_are_two_findings() -> None:
    found = findings(view(gpu(0), gpu(1), events=[xid(31, 0), xid(31, 1)]), "xid")
    assert {finding.subject.gpu_index for finding in found} == {0, 1}


def test_an_xid_of_a_gpu_that_nobody_listed_is_told_of_the_node() -> None:
    stray = Event(NOW - 5, "n1", "xid", "GPU has fallen off the bus.", pci_bus_id="00000000:F0:00.0", code=79)
    found = only(view(gpu(0), events=[stray]), "xid")
    assert (found.subject.node, found.subject.gpu_key) == ("n1", None)
    assert found.id == "xid-79:n1:00000000:F0:00.0"


def test_the_kernels_way_of_writing_a_slot_finds_its_gpu() -> None:
    early = Event(NOW - 5, "n1", "xid", "GPU has fallen off the bus.", pci_bus_id="0000:01:00", code=79)
    assert only(view(gpu(0), events=[early]), "xid").subject.gpu_index == 0


def test_application_faults_are_notes_for_an_hour() -> None:
    assert only(view(gpu(), events=[xid(31, at=NOW - 3000)]), "xid").severity is INFO
    assert findings(view(gpu(), events=[xid(31, at=NOW - 4000)]), "xid") == []


@pytest.mark.parametrize(("remote", "looks"), [("switch", True), ("gpu", False)])
def test_xid_45_alone_asks_first_who_killed_it_and_for_fabric_manager_only_behind_switches(
    remote: str, looks: bool
) -> None:
    board = gpu(recovery_action=None, links=links(remote=remote), fabric=Fabric())
    said = [step.text for step in only(view(board, events=[xid(45)]), "xid").steps]
    assert "alone: was the process killed" in said[0]
    assert [at for at, text in enumerate(said) if "Fabric Manager" in text] == ([1, 2] if looks else [])
    assert not looks or said[2].startswith("nobody killed it, and it returns? drain the node")


def test_xid_45_alone_is_a_note_about_a_process_that_was_ended() -> None:
    found = only(view(gpu(), events=[xid(45), xid(45, at=NOW - 9)]), "xid")
    assert found.severity is INFO
    assert "killed" in (found.cause or "")


def test_faults_of_many_processes_on_one_gpu_make_the_gpu_suspect() -> None:
    events = [xid(31, at=NOW - 100 + n, text=f"pid={n}, name=python, MMU Fault") for n in range(4)]
    assert "suspect the GPU" in (only(view(gpu(), events=events), "xid").cause or "")


@pytest.mark.parametrize(
    ("code", "broken", "repaired"),
    [
        (79, {"lost": True}, {}),
        (48, {"ecc": Ecc(True, True, EccCounts(0, 2))}, {}),
        (94, {"ecc": Ecc(True, True, EccCounts(0, 2))}, {}),
        (95, {"ecc": Ecc(True, True, EccCounts(0, 2))}, {}),
        (63, {"remapped_rows": RemappedRows(0, 1, True, False)}, {"remapped_rows": RemappedRows(0, 1, False, False)}),
        (63, {"retired_pages": RetiredPages(0, 1, True)}, {"retired_pages": RetiredPages(0, 1, False)}),
        (64, {"remapped_rows": RemappedRows(0, 1, True, True)}, {"remapped_rows": RemappedRows(0, 1, False, False)}),
    ],
)
def test_an_xid_is_over_when_the_gpu_itself_shows_so(
    code: int, broken: dict[str, Any], repaired: dict[str, Any]
) -> None:
    event = xid(code, at=NOW - 600)
    assert only(view(gpu(**broken), events=[event]), "xid").rule == f"xid-{code}"
    assert findings(view(gpu(**repaired), events=[event]), "xid") == []
    # Values that are read slowly are not yet those after the XID.
    assert only(view(gpu(**repaired), events=[xid(code, at=NOW - 5)]), "xid").rule == f"xid-{code}"


def test_values_from_before_the_xid_say_nothing_about_it() -> None:
    events = [xid(48, at=NOW - 600)]
    for read_at in (NOW - 700, NOW - 599, None):
        assert only(view(gpu(), events=events, slow_read_at=read_at), "xid").severity is CRITICAL
        assert only(view(gpu(), events=[xid(119, at=NOW - 600)], slow_read_at=read_at), "xid").severity is CRITICAL
    assert findings(view(gpu(), events=events, slow_read_at=NOW - 590), "xid") == []
    # By the clock of the node, which may be another.
    assert findings(view(gpu(), events=events, slow_read_at=NOW - 290, clock_skew_seconds=300.0), "xid") == []
    assert findings(view(gpu(), events=events, slow_read_at=NOW - 590, clock_skew_seconds=300.0), "xid") != []


def test_an_xid_from_before_the_boot_is_over() -> None:
    assert findings(view(gpu(recovery_action=None), events=[xid(119, at=NOW - 600)], boot_at=NOW - 300), "xid") == []


def test_the_driver_that_asks_for_nothing_makes_a_grave_xid_less_grave() -> None:
    event = xid(119, at=NOW - 120)
    assert only(view(gpu(recovery_action="none"), events=[event]), "xid").severity is WARNING
    assert only(view(gpu(recovery_action="gpu_reset"), events=[event]), "xid").severity is CRITICAL
    assert only(view(gpu(recovery_action=None), events=[event]), "xid").severity is CRITICAL
    fresh = only(view(gpu(recovery_action="none"), events=[xid(119, at=NOW - 5)]), "xid")
    assert fresh.severity is CRITICAL  # what it asks for is read every ten seconds


def test_nvidias_action_is_among_the_steps_with_its_source() -> None:
    found = only(view(gpu(recovery_action=None), events=[xid(95)]), "xid")
    assert found.advice_source == "NVIDIA XID catalogue"
    assert any(step.text.startswith("NVIDIA: Drain workloads") for step in found.steps)
    assert f"nvidia-smi --gpu-reset -i {bus(0)}" in [step.target for step in found.steps]


def test_xid_154_alone_is_told_by_its_action() -> None:
    asks = xid(154, text="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    found = only(view(gpu(recovery_action=None), events=[asks]), "xid")
    assert (found.severity, found.claim) == (CRITICAL, "XID 154: its node must be rebooted, says the driver")
    assert "systemctl reboot" in [step.target for step in found.steps]


@pytest.mark.parametrize(
    ("code", "severity", "claim"),
    [
        (3, WARNING, "XID 154: must take no peer-to-peer work, says the driver"),
        (4, WARNING, "XID 154: should be drained and reset, says the driver"),
        (1, CRITICAL, "XID 154: must be reset, says the driver"),
    ],
)
def test_xid_154_is_as_grave_as_what_it_asks_for(code: int, severity: Severity, claim: str) -> None:
    asks = xid(154, text=f"GPU recovery action changed from 0x0 (None) to 0x{code} (Something)")
    found = only(view(gpu(recovery_action=None), events=[asks]), "xid")
    assert (found.severity, found.claim) == (severity, claim)


@pytest.mark.parametrize(("code", "rule"), [(119, "xid-119"), (94, "xid-94"), (13, "xid-154"), (45, "xid-154")])
def test_what_the_driver_asks_for_outranks_the_table(code: int, rule: str) -> None:
    asks = xid(154, text="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", at=NOW - 9)
    found = only(view(gpu(recovery_action="node_reboot", ecc=ERRORS), events=[xid(code), asks]), "xid")
    assert (found.rule, found.severity) == (rule, CRITICAL)
    assert "systemctl reboot" in [step.target for step in found.steps]


def test_xid_154_is_over_when_the_driver_asked_again_wants_nothing() -> None:
    asks = xid(154, text="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", at=NOW - 60)
    assert findings(view(gpu(recovery_action="none"), events=[asks]), "xid") == []
    assert only(view(gpu(recovery_action="node_reboot"), events=[asks]), "xid").severity is CRITICAL


# --- what the on-call reads ------------------------------------------------------------------------------------------


def raw_catalogue() -> dict[str, Any]:
    text = importlib.resources.files("backends.triage").joinpath("xids.json").read_text("utf-8")
    raw: dict[str, Any] = json.loads(text)
    return raw


def test_every_action_of_the_catalogue_has_words() -> None:
    raw = raw_catalogue()
    actions = {row[3] for row in raw["xids"]} | {row[5] for row in raw["nvlink5"]}
    assert {action for action in actions if action} - raw["actions"].keys() == set()
    assert all(xids.lookup(code).action_text for code, _, _, action, *_ in raw["xids"] if action)


def test_notes_are_for_the_one_on_call_and_not_for_who_writes_consoles() -> None:
    notes = " ".join(row[7] for row in raw_catalogue()["xids"] if row[7])
    for word in ("k8s-device-plugin", "field 230", "Decode the line", "Show ", "atalogue", "marked Unused"):
        assert word not in notes


@pytest.mark.parametrize(("code", "action"), [(5, "recover_imex_domain"), (6, "bus_reset"), (7, "system_reboot")])
def test_newer_recovery_actions_of_xid_154(code: int, action: str) -> None:
    assert xids.recovery_action(f"GPU recovery action changed from 0x0 (None) to 0x{code} (Something)") == action


# --- an incident that the driver itself closes -----------------------------------------------------------------------

DONE = "GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"
ASKED = "GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"


def test_an_incident_is_over_when_the_driver_asks_for_nothing_any_more() -> None:
    before = [xid(119, at=NOW - 600), xid(154, at=NOW - 599, text=ASKED)]
    assert [each.rule for each in findings(view(gpu(), events=before), "xid")] == ["xid-119"]
    assert findings(view(gpu(), events=[*before, xid(154, at=NOW - 60, text=DONE)]), "xid") == []


def test_what_comes_after_that_is_an_incident_of_its_own_and_a_fault_of_an_application_stays_news() -> None:
    events = [xid(119, at=NOW - 600), xid(31, at=NOW - 300), xid(154, at=NOW - 60, text=DONE), xid(74, at=NOW - 5)]
    assert {each.rule for each in findings(view(gpu(), events=events), "xid")} == {"xid-31", "xid-74"}
    other = [xid(119, 1, at=NOW - 600), xid(154, 0, at=NOW - 60, text=DONE)]
    assert [each.rule for each in findings(view(gpu(0), gpu(1), events=other), "xid")] == ["xid-119"]


# --- whose work ------------------------------------------------------------------------------------------------------


def process(pid: int, user: str, started: float | None) -> GpuProcess:
    return GpuProcess(pid, "compute", user, f"python {user}.py", GIB, started_at=started)


def test_an_application_fault_hits_the_process_that_the_driver_names() -> None:
    running = (process(10, "alice", NOW - 900), process(11, "bob", NOW - 900))
    event = xid(31, at=NOW - 30, text="pid=11, name=python, Ch 00000008, intr 00000000. MMU Fault")
    (hit,) = only(view(gpu(processes=running), events=[event]), "xid").hits
    assert (hit.user, hit.pid) == ("bob", 11)


def test_a_process_that_is_gone_is_told_by_its_name_and_its_successor_is_not_hit() -> None:
    event = xid(31, at=NOW - 30, text="pid='11', name=python3, Ch 00000008")
    found = only(
        view(gpu(processes=(process(11, "carol", NOW - 5), process(12, "bob", NOW - 900))), events=[event]), "xid"
    )
    assert [(hit.text, hit.user) for hit in found.hits] == [("python3 (pid 11), named in the kernel log", None)]


def test_without_a_name_only_what_ran_then_is_hit() -> None:
    later = (process(10, "alice", NOW - 900), process(11, "bob", NOW - 5), process(12, "carol", None))
    event = xid(31, at=NOW - 30, text="pid='<unknown>', name=<unknown>, Ch 00000008")
    (hit,) = only(view(gpu(processes=later), events=[event]), "xid").hits
    assert hit.user == "alice"


def test_the_clock_of_the_node_decides_what_ran_then() -> None:
    ahead = view(
        gpu(processes=(process(10, "alice", NOW + 270),)), events=[xid(31, at=NOW - 5)], clock_skew_seconds=300.0
    )
    assert [hit.user for hit in only(ahead, "xid").hits] == ["alice"]


def test_a_fault_of_the_gpu_hits_all_that_runs_there() -> None:
    running = (process(10, "alice", NOW - 900), process(11, "bob", NOW - 5))
    event = xid(119, at=NOW - 30, text="pid=10, name=python, Timeout")
    assert {hit.user for hit in only(view(gpu(processes=running), events=[event]), "xid").hits} == {"alice", "bob"}


def test_an_older_incident_does_not_date_the_newest() -> None:
    found = only(view(gpu(), events=[xid(45, at=NOW - 1800), xid(45, at=NOW - 4), xid(45, at=NOW - 3)]), "xid")
    assert (found.since, found.again_at) == (NOW - 1800, NOW - 4)


# --- MIG instances ---------------------------------------------------------------------------------------------------

UNNAMED = "pid='<unknown>', name=<unknown>, Graphics SM Warp Exception"


def tenants(*instances: MigInstance, **changes: Any) -> Gpu:
    """Alice works in GPU instance 1, Bob in 2."""
    cut = instances or (MigInstance(gi=1, ci=0, profile="3g.40gb"), MigInstance(gi=2, ci=0, profile="3g.40gb"))
    running = (
        GpuProcess(10, "compute", "alice", "python a.py", GIB, gi=1, ci=0, started_at=NOW - 900),
        GpuProcess(11, "compute", "bob", "python b.py", GIB, gi=2, ci=0, started_at=NOW - 900),
    )
    return sliced(mig=Mig(True, True, 7, cut), **{"processes": running, **changes})


@pytest.mark.parametrize("code", [13, 31, 94])
def test_an_xid_of_an_instance_hits_the_work_in_it_and_names_it(code: int) -> None:
    found = only(view(tenants(ecc=ERRORS), events=[xid(code, text=UNNAMED, gi=2)]), "xid")
    assert [hit.user for hit in found.hits] == ["bob"]
    assert found.claim.startswith(f"XID {code} in GI 2 (3g.40gb): ")
    assert found.evidence[0].text == f"XID {code} in GI 2 (3g.40gb): {UNNAMED}"
    assert any(step.target.endswith("/mig") for step in found.steps)


def test_work_of_which_no_instance_is_told_may_be_in_it() -> None:
    unknown = GpuProcess(12, "compute", "carol", "python c.py", GIB, started_at=NOW - 900)
    gpu = tenants()
    seen = view(tenants(processes=(*(gpu.processes or ()), unknown)), events=[xid(13, text=UNNAMED, gi=2)])
    assert {hit.user for hit in only(seen, "xid").hits} == {"bob", "carol"}


def test_a_compute_instance_is_told_apart_from_its_neighbour() -> None:
    parts = tuple(MigInstance(gi=2, ci=number, profile="1c.3g.40gb") for number in (0, 1))
    running = tuple(
        GpuProcess(10 + ci, "compute", user, f"python {user}.py", GIB, gi=2, ci=ci, started_at=NOW - 900)
        for ci, user in enumerate(("alice", "bob"))
    )
    seen = view(tenants(*parts, processes=running), events=[xid(31, text=UNNAMED, gi=2, ci=1)])
    found = only(seen, "xid")
    assert [hit.user for hit in found.hits] == ["bob"]
    assert found.claim.startswith("XID 31 in GI 2 CI 1 (1c.3g.40gb): ")


def test_xids_of_several_instances_are_one_finding_that_names_them() -> None:
    both = [xid(13, text=UNNAMED, gi=2), xid(13, text="pid=10, name=python, Graphics SM", gi=1, at=NOW - 9)]
    found = only(view(tenants(), events=both), "xid")
    assert {hit.user for hit in found.hits} == {"alice", "bob"}
    assert found.claim.startswith("XID 13 in GI 2 (3g.40gb) and GI 1 (3g.40gb): ")
    # One that tells no instance may be anybody's.
    found = only(view(tenants(), events=[both[0], xid(13, text=UNNAMED, at=NOW - 9)]), "xid")
    assert {hit.user for hit in found.hits} == {"alice", "bob"}
    assert "GI" not in found.claim


def test_many_instances_are_counted_and_one_that_is_gone_has_its_number() -> None:
    events = [xid(13, text=UNNAMED, gi=gi, at=NOW - 10 + gi) for gi in range(1, 5)]
    assert only(view(tenants(), events=events), "xid").claim.startswith("XID 13 in 4 MIG instances: ")
    assert only(view(tenants(), events=[xid(13, text=UNNAMED, gi=9)]), "xid").claim.startswith("XID 13 in GI 9: ")


def test_a_fault_of_the_whole_gpu_hits_all_instances() -> None:
    found = only(view(tenants(recovery_action=None), events=[xid(95, text="Uncontained", gi=2)]), "xid")
    assert {hit.user for hit in found.hits} == {"alice", "bob"}


def test_a_contained_error_of_an_instance_hits_the_work_in_it() -> None:
    found = only(view(tenants(ecc=ERRORS), events=[xid(94, at=NOW - 40, text="Contained", gi=2)]), "ecc-uncorrected")
    assert [hit.user for hit in found.hits] == ["bob"]
    assert found.claim == "has 2 uncorrectable memory errors (ECC), contained in GI 2 (3g.40gb)"


# --- memory errors that are contained --------------------------------------------------------------------------------

ERRORS = Ecc(True, True, EccCounts(0, 2))


@pytest.mark.parametrize(
    ("codes", "action", "severity"),
    [
        ((94,), "none", WARNING),
        ((63, 94), "none", WARNING),
        ((94, 172), "none", WARNING),
        ((94,), "drain_and_reset", CRITICAL),
        ((48, 94), "none", CRITICAL),
        ((94, 95), "none", CRITICAL),
        ((94, 64), "none", CRITICAL),
        ((94, 140), "none", CRITICAL),
        ((171,), "none", CRITICAL),
    ],
)
def test_contained_memory_errors_are_a_warning_unless_more_is_told(
    codes: tuple[int, ...], action: str, severity: Severity
) -> None:
    events = [xid(code, at=NOW - 40 + place) for place, code in enumerate(codes)]
    found = only(view(gpu(ecc=ERRORS, recovery_action=action), events=events), "ecc-uncorrected")
    assert found.severity is severity
    wants_restart = found.steps[0].text == "restart the application that was hit"
    assert wants_restart is (severity is WARNING)


def test_a_contained_error_hits_the_process_that_was_ended() -> None:
    running = (process(10, "alice", NOW - 900), process(11, "bob", NOW - 900))
    events = [xid(94, at=NOW - 40, text="pid=11, name=python, Contained: HBM (0x2,0x1)")]
    (hit,) = only(view(gpu(ecc=ERRORS, processes=running), events=events), "ecc-uncorrected").hits
    assert hit.user == "bob"
