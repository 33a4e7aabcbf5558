"""One cause, one finding."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from fnmatch import fnmatchcase

import pytest

from backends.docker.checks import CHECKS
from backends.domain import Finding, Hit, NextStep, Severity
from backends.kubernetes.operands import BY_KEY
from backends.triage.grouping import EXPLAINS, group
from backends.triage.impact import Impacts
from backends.triage.rules import RULES, rule_of
from backends.triage.rules.recovery import DRIVER
from tests.triage.makers import NOW, told

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def grouped(*findings: Finding, held: Collection[str] = frozenset(), gpus: int = 8, nodes: int = 40) -> list[Finding]:
    names = {finding.subject.node: gpus for finding in findings if finding.subject.node}
    groups = group(
        findings, rule_of, held=held, gpus_of={str(name): count for name, count in names.items()}, nodes=nodes
    )
    impacts = Impacts()
    for each in groups:
        impacts.note(each.finding, each.nodes, NOW)
    return sorted((each.finding for each in groups), key=impacts.place)


FOLDS = [
    # A GPU off the bus, with its XIDs, its links and the work on the other GPUs of the job.
    (("gpu-lost", 3), [("xid-79", 3), ("xid-45", 3), ("xid-154", 3), ("xid-45", 5), ("nvlink-down-peer", 5)]),
    (("gpu-lost", 3), [("ecc-uncorrected", 3), ("recovery-action", 3), ("nvml-stall", 3)]),
    # Uncorrectable memory errors, their containment, and the row that is replaced.
    (("ecc-uncorrected", 2), [("xid-48", 2), ("xid-94", 2), ("xid-63", 2), ("row-remap-pending", 2), ("xid-43", 4)]),
    (("row-remap-failed", 5), [("row-remap-pending", 5), ("xid-64", 5), ("xid-63", 5), ("recovery-action", 5)]),
    (("row-remap-pending", 5), [("xid-63", 5), ("xid-94", 5), ("recovery-action", 5)]),
    # Heat takes the clocks.
    (("hw-thermal", 0), [("hw-slowdown", 0), ("sw-thermal", 0), ("radar-clock", 0), ("radar-temperature", 0)]),
    (("power-brake", 0), [("hw-slowdown", 0), ("radar-straggler", 0), ("radar-memory-clock", 0)]),
    # Links.
    (("nvlink-down", 4), [("xid-74", 4), ("nvlink-errors", 4), ("radar-link-errors", 4), ("fabric-unhealthy", 6)]),
    (("pcie-width", 6), [("pcie-generation", 6), ("pcie-replays", 6), ("radar-replays", 6)]),
    (("fabric-manager", None), [("fabric-not-ready", None), ("nvlink-node", None), ("fabric-unhealthy", 1)]),
    # Firmware.
    (("xid-119", 3), [("nvml-stall", 3), ("recovery-action", 3), ("xid-154", 3), ("node-slow", None)]),
    (("mig-stuck", 2), [("mig-pending", 2)]),
    # The operator's own alerts say half an hour later what is seen at once.
    (("operand-driver", None), [("monitoring-operator", None)]),
    (("node-unreadable", None), [("node-flapping", None), ("node-slow", None), ("xid-119", 1)]),
]


@pytest.mark.parametrize(("cause", "follows"), FOLDS)
def test_what_follows_is_folded_into_its_cause(
    cause: tuple[str, int | None], follows: list[tuple[str, int | None]]
) -> None:
    root = told(cause[0], "n1", cause[1])
    parts = [told(rule, "n1", gpu, claim=f"{rule} on {gpu}") for rule, gpu in follows]
    for findings in ([root, *parts], [*parts, root]):
        (found,) = grouped(*findings)
        assert (found.id, found.claim) == (root.id, root.claim)
        assert len(found.folded) == len(parts)


APART = [
    (("gpu-lost", 3), ("ecc-uncorrected", 5)),
    (("gpu-lost", 3), ("nvlink-down", 5)),
    (("ecc-uncorrected", 2), ("hw-thermal", 2)),
    (("hw-thermal", 0), ("hw-thermal", 1)),
    (("xid-31", 2), ("recovery-action", 2)),
    (("xid-13", 2), ("pcie-width", 2)),
    (("node-slow", None), ("disk-full", None)),
    (("radar-power-limit", 1), ("radar-temperature", 1)),
    (("operand-driver", None), ("monitoring-alert", None)),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_two_causes_stay_two_findings(one: tuple[str, int | None], other: tuple[str, int | None]) -> None:
    assert len(grouped(told(one[0], "n1", one[1]), told(other[0], "n1", other[1]))) == 2
    assert len(grouped(told(one[0], "n1", one[1]), told(other[0], "n2", other[1]))) == 2


def test_work_that_died_long_before_is_not_the_lost_gpus_doing() -> None:
    lost = told("gpu-lost", "n1", 3, since=NOW - 10)
    assert len(grouped(lost, told("xid-45", "n1", 5, since=NOW - 60))) == 1
    assert len(grouped(lost, told("xid-45", "n1", 5, since=NOW - 4000))) == 2


def test_the_cause_is_as_grave_as_the_gravest_and_as_old_as_the_oldest() -> None:
    (found,) = grouped(
        told("row-remap-pending", "n1", 1, severity=WARNING, since=NOW - 10),
        told("recovery-action", "n1", 1, severity=CRITICAL, since=NOW - 5),
        told("xid-63", "n1", 1, severity=WARNING, since=NOW - 40),
    )
    assert (found.severity, found.since) == (CRITICAL, NOW - 40)
    assert found.evidence[0].text == "evidence of row-remap-pending"
    assert len(found.evidence) == 3


def test_what_the_driver_asks_for_is_the_first_step_and_named_as_the_source() -> None:
    root = dataclasses.replace(told("ecc-uncorrected", "n1", 2), steps=(NextStep("command", "by the table"),))
    asked = dataclasses.replace(told("recovery-action", "n1", 2), steps=(NextStep("command", "by the driver"),))
    (found,) = grouped(root, asked)
    assert [step.text for step in found.steps] == ["by the driver", "by the table"]
    assert (found.advice_source or "").startswith(DRIVER)


def test_the_same_on_several_gpus_is_one_finding_of_the_node() -> None:
    three = [told("hw-thermal", "n1", index) for index in (0, 1, 4)]
    (found,) = grouped(*three)
    assert found.id == "hw-thermal:n1"
    assert found.claim == "3 of 8 GPUs are slowed down by their hardware because they are too hot"
    assert len(found.folded) == 3
    assert found.evidence[0].text.startswith("gpu0: ")
    assert len(grouped(*three[:2])) == 2  # two may be two
    assert len(grouped(*three[:2], gpus=2)) == 1  # all there are


def test_an_xid_on_all_gpus_of_a_job_is_one_finding_with_its_claim() -> None:
    (found,) = grouped(*(told("xid-31", "n1", index, claim="XID 31: GPU memory page fault") for index in range(8)))
    assert found.claim == "8 of 8 GPUs have XID 31: GPU memory page fault"


def test_the_same_on_a_good_part_of_the_site_is_one_finding_of_the_site() -> None:
    claim = "refuses the SSH key"
    refused = [told("node-access", f"n{number}", claim=claim) for number in range(12)]
    (found,) = grouped(*refused, nodes=12)
    assert (found.subject.label, found.claim) == ("site", "12 of 12 nodes refuse the SSH key")
    assert len(grouped(*refused[:2], nodes=4)) == 2
    assert len(grouped(*refused[:4], nodes=100)) == 4
    other = told("node-access", "m1", claim="offers another host key than known_hosts holds")
    assert len(grouped(*refused, other, nodes=13)) == 2


def test_what_was_so_when_a_node_was_last_read_is_folded_into_why_it_is_not_read_now() -> None:
    gone = told("node-unreachable", severity=CRITICAL)
    was = told("hw-thermal", gpu_index=2)
    (found,) = grouped(gone, was, held={was.id})
    assert found.rule == "node-unreachable"
    assert len(grouped(gone, was)) == 2


def test_something_grave_is_not_hidden_behind_something_light() -> None:
    refused, was = told("node-access", severity=WARNING), told("gpu-lost", gpu_index=2, severity=CRITICAL)
    assert [finding.rule for finding in grouped(refused, was, held={was.id})] == ["gpu-lost", "node-access"]


def test_findings_that_explain_each_other_end_in_one() -> None:
    ring = [told("nvlink-node"), told("fabric-not-ready"), told("fabric-manager"), told("nvlink-down", gpu_index=1)]
    assert len(grouped(*ring)) == 1


def test_every_rule_named_in_the_table_is_in_the_registry() -> None:
    names = [rule.id for rule in RULES] + [f"xid-{code}" for code in range(200)] + ["nvlink-down-peer"]
    names += [f"operand-{operand}" for operand in (*BY_KEY, *(check.operand.key for check in CHECKS))]
    names += ["sxid-fatal", "sxid-nonfatal", "monitoring-operator"]
    patterns = {pattern for line in EXPLAINS for pattern in (*line.causes, *line.follows)}
    assert [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)] == []


def test_what_needs_no_nvml_comes_first_where_nvml_hangs() -> None:
    log, reboot = NextStep("command", "read the kernel log", "journalctl -k"), NextStep("command", "reboot", "reboot")
    reset = NextStep("command", "reset it", "nvidia-smi --gpu-reset -i 3")
    stall = dataclasses.replace(told("nvml-stall", gpu_index=3, severity=CRITICAL), steps=(log, reboot))
    (found,) = grouped(dataclasses.replace(told("xid-119", gpu_index=3, severity=CRITICAL), steps=(reset,)), stall)
    assert found.rule == "xid-119"
    assert found.steps == (log, reboot, reset)


def test_of_what_happens_again_and_again_the_newest_time_decides() -> None:
    lost = told("gpu-lost", gpu_index=3, severity=CRITICAL, since=NOW)
    again = dataclasses.replace(told("xid-45", gpu_index=5, since=NOW - 1800), again_at=NOW + 1)
    (found,) = grouped(lost, again)
    assert (found.rule, found.since) == ("gpu-lost", NOW)
    apart = dataclasses.replace(again, since=NOW, again_at=NOW + 1800)
    assert {each.rule for each in grouped(lost, apart)} == {"gpu-lost", "xid-45"}


def test_whom_it_hits_is_told_by_the_cause_where_both_are_of_one_gpu() -> None:
    victim, bystander, other = Hit("alice", "alice", 1), Hit("bob", "bob", 2), Hit("carol", "carol", 3)
    root = dataclasses.replace(told("ecc-uncorrected", gpu_index=2), hits=(victim,))
    pending = dataclasses.replace(told("row-remap-pending", gpu_index=2), hits=(victim, bystander))
    elsewhere = dataclasses.replace(told("xid-43", gpu_index=4), hits=(other,))
    (found,) = grouped(root, pending, elsewhere)
    assert {hit.user for hit in found.hits} == {"alice", "carol"}
    (found,) = grouped(dataclasses.replace(root, hits=()), pending)
    assert {hit.user for hit in found.hits} == {"alice", "bob"}


def test_links_of_a_gpu_that_is_no_longer_listed_follow_from_that() -> None:
    (found,) = grouped(told("gpu-missing", severity=CRITICAL), told("nvlink-down", gpu_index=4, severity=CRITICAL))
    assert (found.rule, len(found.folded)) == ("gpu-missing", 1)
