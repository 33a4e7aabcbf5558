"""XIDs: the catalogue, incidents and their heads, and how long one is told."""

from __future__ import annotations

from typing import Any

import pytest

from backends.domain import Ecc, EccCounts, Event, RemappedRows, RetiredPages, Severity
from backends.triage import xids
from tests.triage.makers import NOW, findings, gpu, only, view, xid

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
    assert "nvidia-smi --gpu-reset -i 0" in [step.target for step in found.steps]


def test_xid_154_alone_is_told_by_its_action() -> None:
    asks = xid(154, text="GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)")
    found = only(view(gpu(recovery_action=None), events=[asks]), "xid")
    assert found.severity is WARNING
    assert "systemctl reboot" in [step.target for step in found.steps]
