"""Each scripted fault: the top finding names the cause, once, and goes away with it."""

from __future__ import annotations

import pytest

from backends.domain import Finding, Fleet, Severity
from backends.lab.scenarios import SCENARIOS
from screens.triage_jump import destination
from tests.drills.expected import EXPECTED, ON_PLATFORMS, Expected
from tests.drills.inside import START, InsideSite


def told(finding: Finding) -> Expected:
    return Expected(finding.rule, str(finding.severity), finding.subject.node, finding.subject.gpu_index, finding.claim)


def names(finding: Finding, expected: Expected) -> bool:
    return told(finding)._replace(words="") == expected._replace(words="") and expected.words in finding.claim


def test_every_scenario_of_the_lab_has_a_drill() -> None:
    assert set(EXPECTED) == {each.name for each in SCENARIOS.values() if each.platform is None} - {"quiet"}
    assert set(ON_PLATFORMS) == {each.name for each in SCENARIOS.values() if each.platform is not None}


@pytest.mark.parametrize("scenario", EXPECTED)
async def test_a_fault_that_is_there_at_the_start_is_one_finding_that_names_the_cause(scenario: str) -> None:
    async with InsideSite(scenario) as inside:
        triage = await inside.checked()
        assert names(inside.top, EXPECTED[scenario]), told(inside.top)
        assert len(triage.findings) == 1, [finding.id for finding in triage.findings]
        assert inside.top.evidence
        assert inside.top.cause
        assert any(step.kind == "command" for step in inside.top.steps)
        to = destination(inside.top)
        assert to.node == inside.top.subject.node
        assert to.gpu_key in (None, inside.top.subject.gpu_key)
        assert inside.top.advice_source


LATER_RULES = {
    # Values stand still in the middle of a reading then, and a call that hangs is seen from inside.
    "stall": Expected("nvml-stall", "warning", "dgx-a100-02", 3, "the driver hangs"),
    # Read on the slow beat, and by a probe that is already there.
    "gpu-lost": EXPECTED["gpu-lost"],
}
UNSEEN_LATER = {"no-python", "driver-drift", "vbios-drift"}
"""A probe that already runs reads these once, when it starts."""


@pytest.mark.parametrize("scenario", [name for name in EXPECTED if name not in UNSEEN_LATER])
async def test_a_fault_that_begins_later_is_told_and_recovers(scenario: str) -> None:
    expected = LATER_RULES.get(scenario, EXPECTED[scenario])
    async with InsideSite(fast_seconds=2.0) as inside:
        quiet = await inside.passes(12)
        assert quiet.findings == ()
        inside.on(scenario)
        triage = await inside.until(lambda now: any(names(finding, expected) for finding in now.findings), 100)
        triage = await inside.passes(6)
        assert names(inside.top, expected), told(inside.top)
        assert len(triage.findings) == 1, [finding.id for finding in triage.findings]
        assert inside.top.since <= inside.clock.now()
        name = inside.top.id
        inside.off(scenario)
        triage = await inside.until(lambda now: not now.findings, 150)
        assert triage.findings == (), [finding.id for finding in triage.findings]
        (recovered,) = [finding for finding in triage.recovered if finding.id == name]
        assert recovered.recovered_at is not None
        assert recovered.since < recovered.recovered_at <= inside.clock.now()


async def test_a_row_remap_that_fails_is_another_finding_with_the_first_folded_in() -> None:
    async with InsideSite("row-remap") as inside:
        await inside.passes(10)
        assert inside.top.rule == "row-remap-pending"
        triage = await inside.passes(45)
        assert inside.top.rule == "row-remap-failed"
        assert len(triage.findings) == 1
        assert any("waits for a reset" in claim for claim in inside.top.folded)
        assert triage.recovered == ()


async def test_corrected_errors_that_grow_become_a_warning_of_the_radar() -> None:
    async with InsideSite("ecc-corrected", fast_seconds=20.0, slow_seconds=60.0) as inside:
        triage = await inside.passes(700)
        assert (inside.top.rule, inside.top.severity) == ("radar-ecc", Severity.WARNING)
        assert len(triage.findings) == 1


async def test_a_driver_that_hangs_from_the_start_comes_with_the_xid_that_explains_it() -> None:
    inside = InsideSite()
    machine = next(each for each in inside.machines if each.name == "dgx-h100-02")
    machine.stalled = (3, "nvmlInit")
    machine.write_xid(START - 5, machine.gpus[3], 119, "pid=7, name=python, Timeout after 6s of waiting for RPC")
    async with inside:
        triage = await inside.passes(12)
        assert (inside.top.rule, inside.top.subject.node) == ("node-unreadable", "dgx-h100-02")
        assert len(triage.findings) == 1
        assert any("XID 119" in claim for claim in inside.top.folded)


async def test_a_clock_that_is_set_right_shifts_no_later_event() -> None:
    async with InsideSite("clock-skew") as inside:
        await inside.passes(8)
        inside.off("clock-skew")
        await inside.passes(8)
        machine = next(each for each in inside.machines if each.name == "dgx-a100-01")
        machine.write_xid(inside.clock.now(), machine.gpus[0], 31, "pid=7, name=python, MMU Fault")
        await inside.passes(3)
        (event,) = [each for each in inside.site.events.reading.value or () if each.code == 31]
        assert abs(event.at - inside.clock.now()) < 5


async def test_a_connection_that_breaks_tells_no_xid_twice() -> None:
    async with InsideSite("gpu-lost") as inside:
        await inside.passes(8)
        before = inside.site.events.reading.value or ()
        inside.cut("dgx-h100-01")
        await inside.passes(8)
        after = inside.site.events.reading.value or ()
        assert [each for each in after if each.kind == "xid"] == [each for each in before if each.kind == "xid"]
        assert sum(each.count for each in after if each.code == 45) == 14


async def test_a_memory_error_is_not_called_over_while_the_values_are_from_before_it() -> None:
    async with InsideSite(fast_seconds=2.0, slow_seconds=120.0) as inside:
        await inside.passes(12)
        inside.on("ecc")
        await inside.passes(10)
        for _ in range(120):
            triage = await inside.passes(1)
            assert names(inside.top, EXPECTED["ecc"]), told(inside.top)
            assert inside.top.gone_at is None
            assert triage.recovered == ()


async def test_nor_where_only_nvidia_smi_is_read() -> None:
    async with InsideSite("no-python", fast_seconds=10.0, slow_seconds=120.0) as inside:
        await inside.passes(12)
        nodes = {each.name: each.node for each in (inside.site.fleet.reading.value or Fleet()).nodes}
        node = nodes["hgx-h200-01"]
        assert node is not None
        assert node.transport == "nvidia-smi"
        assert node.slow_read_at == pytest.approx(START, abs=12)


PAIRS = [
    ("nvswitch-fatal", "nvlink-down"),
    ("gpu-lost", "nvlink-down"),
    ("gpu-lost", "ecc"),
    ("node-unreachable", "ssh-auth"),
    ("ecc", "row-remap"),
    ("pcie-narrow", "gsp-timeout"),
    ("nvlink-down", "warm"),
    ("app-fault", "memory-held"),
    ("power-brake", "gpu-lost"),
    ("mig-pending", "persistence-off"),
    ("thermal", "driver-drift"),
]
"""Some of them on one node, all of different causes."""


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_two_faults_at_once_are_exactly_two_findings(first: str, second: str) -> None:
    async with InsideSite(first, second) as inside:
        triage = await inside.checked()
        assert len(triage.findings) == 2, [finding.id for finding in triage.findings]
        for scenario in (first, second):
            assert any(names(finding, EXPECTED[scenario]) for finding in triage.findings), scenario


ON_ONE_NODE = [
    ("gpu-lost", "nvswitch-fatal", 4),
    ("gpu-lost", "nvlink-down", 1),
    ("gpu-lost", "ecc", 1),
    ("ecc", "gsp-timeout", 1),
    ("ecc", "nvlink-down", 1),
    ("gsp-timeout", "nvlink-down", 1),
]
"""With the size of the fleet in which they meet on one machine."""


@pytest.mark.parametrize(("first", "second", "nodes"), ON_ONE_NODE)
async def test_two_faults_on_one_node_are_two_findings_with_their_own_evidence(
    first: str, second: str, nodes: int
) -> None:
    async with InsideSite(first, second, nodes=nodes) as inside:
        triage = await inside.checked()
        assert len({finding.subject.node for finding in triage.findings}) == 1
        assert sorted(each.rule for each in triage.findings) == sorted(EXPECTED[name].rule for name in (first, second))
        for finding in triage.findings:
            index = finding.subject.gpu_index
            others = {each.gpu_index for each in finding.others}
            assert index is None or others == set(), finding.evidence
