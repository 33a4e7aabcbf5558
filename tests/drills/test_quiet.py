"""Nothing is wrong, and nothing is said: the worst thing a triage can do is to cry wolf."""

from __future__ import annotations

import pytest

from backends.domain import Severity, Triage
from tests.drills.inside import InsideSite

HOUR = 3600.0


def grave(triage: Triage) -> list[str]:
    return [
        f"{finding.id}: {finding.claim}"
        for finding in (*triage.findings, *triage.recovered)
        if finding.severity is not Severity.INFO
    ]


@pytest.mark.timeout(600)
async def test_a_quiet_hour_of_twelve_machines_has_no_finding_above_info() -> None:
    async with InsideSite(fast_seconds=10.0, slow_seconds=60.0) as inside:
        triage = await inside.passes(HOUR)
        assert grave(triage) == []
        assert (triage.nodes_seen, triage.nodes_total) == (12, 12)
        assert triage.oldest_reading_at is not None
        assert inside.clock.now() - triage.oldest_reading_at <= 12.0


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_quiet_minutes_of_other_fleets_at_the_usual_beat(seed: int) -> None:
    async with InsideSite(seed=seed) as inside:
        assert grave(await inside.passes(120)) == []


@pytest.mark.parametrize("nodes", [1, 2, 5])
async def test_small_sites_are_as_quiet(nodes: int) -> None:
    async with InsideSite(nodes=nodes) as inside:
        triage = await inside.passes(60)
        assert triage.findings == ()
        assert triage.nodes_seen == nodes


async def test_an_all_clear_says_what_was_looked_at() -> None:
    async with InsideSite() as inside:
        triage = await inside.passes(5)
        looked = {check.rule: check.subjects for check in triage.checks}
        assert looked["node-unreachable"] == 12
        assert looked["gpu-lost"] == 85
        assert looked["ecc-uncorrected"] == 84  # a vGPU tells nothing of ECC
        assert looked["vgpu-unlicensed"] == 1


async def test_a_connection_that_breaks_once_is_no_finding() -> None:
    async with InsideSite(nodes=5) as inside:
        await inside.passes(10)
        inside.cut("dgx-h100-01")
        seen = [await inside.passes(1) for _ in range(30)]
        assert all(triage.findings == () and triage.recovered == () for triage in seen)
