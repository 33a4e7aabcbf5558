"""Faults of the platforms, over their real protocols: the lab's API servers, its SSH, the real backends.

A lab takes most of its time waiting, so several run at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.domain import Blocker, Finding, Severity, Triage
from backends.lab.scenarios import SCENARIOS
from backends.lab.server import Lab, LabSpec
from backends.site import Site
from tests.drills.expected import BLOCKERS, CAUSES, EXPECTED, ON_PLATFORMS, Expected
from tests.drills.test_scenarios import names, told
from tui.cli import WATCH_SECONDS
from tui.config import load

pytestmark = pytest.mark.timeout(300)
AT_ONCE = 2
"""Labs at a time, all of them in this process."""
ROUNDS = 2
PLATFORMS = ("docker", "kubernetes", "openshift")


@dataclasses.dataclass(frozen=True)
class Seen:
    triage: Triage
    joined: int
    """Processes on GPUs whose workload is known."""
    processes: int
    owned: int
    """Those whose workload has an owner."""
    blockers: dict[str, Blocker]
    """By node."""


async def looked_at(
    directory: Path, *scenarios: str, platform: str | None = None, expected: Sequence[Expected] = ()
) -> Seen:
    """What a site tells of a lab that plays `scenarios`, after as long as `gpudeck check` looks.

    On a machine that has no time for so many labs, as much longer as it takes for what is `expected` to be there.
    """
    out = directory / f"{'+'.join(scenarios)}@{platform}"
    played = tuple(name for name in scenarios if name != "quiet")
    async with Lab(LabSpec(out=out, scenarios=played, platform=platform)) as lab:
        site = Site(load(lab.site_file).site(None))
        try:
            triage = await site.observe(60, WATCH_SECONDS)
            for _ in range(ROUNDS):
                if all(any(names(finding, each) for finding in triage.findings) for each in expected):
                    break
                triage = await site.observe(60, WATCH_SECONDS)
            ownership, fleet = site.ownership.reading.value, site.fleet.reading.value
            assert ownership is not None, site.ownership.reading.error
            assert fleet is not None
            processes = [
                process
                for reading in fleet.nodes
                if reading.node
                for gpu in reading.node.gpus
                for process in gpu.processes or ()
            ]
            found = [workload for process in processes if (workload := ownership.of(process)) is not None]
            nodes = () if (stack := site.stack.reading.value) is None else stack.nodes
            return Seen(
                triage,
                len(found),
                len(processes),
                sum(each.owner is not None for each in found),
                {node.name: node.blocker for node in nodes if node.blocker is not None},
            )
        finally:
            await site.close()


def grave(triage: Triage) -> list[str]:
    return [f"{each.id}: {each.claim}" for each in triage.findings if each.severity is not Severity.INFO]


def wrong_about(seen: Triage, *expected: Expected) -> list[object]:
    """What `seen` says besides `expected`, and what of it is missing."""
    findings: list[Finding] = list(seen.findings)
    missing: list[object] = []
    for each in expected:
        found = next((finding for finding in findings if names(finding, each)), None)
        if found is None:
            missing.append(each)
        else:
            findings.remove(found)
    return [*missing, *(told(finding) for finding in findings)]


async def test_every_scenario_of_a_platform_is_one_finding_that_names_the_cause(tmp_path: Path) -> None:
    turns, wrong = asyncio.Semaphore(AT_ONCE), dict[str, object]()

    async def play(scenario: str) -> None:
        async with turns:
            seen = await looked_at(tmp_path, scenario, expected=[ON_PLATFORMS[scenario]])
        problems = wrong_about(seen.triage, ON_PLATFORMS[scenario])
        first = seen.triage.findings[0] if seen.triage.findings else None
        if problems or first is None or not (first.evidence and first.cause and first.steps):
            wrong[scenario] = problems
        elif CAUSES.get(scenario, "") not in (first.cause or ""):
            wrong[scenario] = first.cause
        elif scenario in BLOCKERS:
            operand, words = BLOCKERS[scenario]
            blocker = seen.blockers.get(first.subject.node or "")
            named = None if blocker is None else (blocker.state.operand, blocker.log_line)
            if named is None or named[0] != operand or (words or "") not in (named[1] or ""):
                wrong[scenario] = named

    async with asyncio.TaskGroup() as group:
        for scenario in ON_PLATFORMS:
            group.create_task(play(scenario))
    assert wrong == {}


async def test_a_quiet_platform_says_nothing_above_info_and_every_process_has_its_workload(tmp_path: Path) -> None:
    seen = dict(
        zip(
            PLATFORMS,
            await asyncio.gather(*(looked_at(tmp_path, "quiet", platform=name) for name in PLATFORMS)),
            strict=True,
        )
    )
    for platform, each in seen.items():
        assert grave(each.triage) == [], platform
        assert each.processes > 20
        assert (each.joined, each.owned) == (each.processes, each.processes), platform
        looked = {check.rule: check.subjects for check in each.triage.checks}
        assert looked["operand"] == 12
        assert looked["alloc-idle"] > 0


PAIRS = (
    ("operator-driver-build", "gpu-lost", "kubernetes"),
    ("operator-validator-crash", "ecc", "openshift"),
    ("alloc-host", "thermal", "kubernetes"),
    ("docker-no-runtime", "gpu-lost", "docker"),
    ("operator-upgrade-drain", "alloc-idle", "kubernetes"),
)
"""The first two and the fourth are on one node, all of different causes."""


async def test_two_faults_at_once_are_exactly_two_findings(tmp_path: Path) -> None:
    turns, wrong, every = asyncio.Semaphore(AT_ONCE), dict[str, object](), {**EXPECTED, **ON_PLATFORMS}

    async def play(first: str, second: str, platform: str) -> None:
        async with turns:
            seen = await looked_at(tmp_path, first, second, platform=platform, expected=[every[first], every[second]])
        problems = wrong_about(seen.triage, every[first], every[second])
        if problems:
            wrong[f"{first}+{second}"] = problems

    async with asyncio.TaskGroup() as group:
        for pair in PAIRS:
            group.create_task(play(*pair))
    assert wrong == {}


async def test_a_lost_gpu_that_the_device_plugin_took_out_is_one_finding(tmp_path: Path) -> None:
    seen = await looked_at(tmp_path, "gpu-lost", platform="kubernetes", expected=[EXPECTED["gpu-lost"]])
    assert wrong_about(seen.triage, EXPECTED["gpu-lost"]) == []
    assert any("the device plugin took them out" in claim for claim in seen.triage.findings[0].folded)


def test_each_scenario_is_played_on_the_platform_that_it_names_first() -> None:
    assert {SCENARIOS[name].platform for name in ON_PLATFORMS} == set(PLATFORMS)
