"""How long the README says that the effect of a step is waited for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from backends.changes import mig_driver, pod_steps, upgrade_steps
from backends.changes.node_steps import MIG_SECONDS, CordonStep
from backends.changes.platform_actions import OTHER_SECONDS, STARTING_SECONDS
from backends.changes.platform_step import PlatformStep
from backends.changes.pod_steps import EvictStep
from backends.domain import DrainPlan, DrainPod

README = (Path(__file__).parents[2] / "README.md").read_text()


def words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def verified(step: type[PlatformStep]) -> float:
    return next(float(field.default) for field in dataclasses.fields(step) if field.name == "verify_seconds")  # type: ignore[arg-type]


def within(step: str) -> str:
    (row,) = (line for line in README.splitlines() if line.startswith(f"| {step}"))
    return row.split("|")[-2].strip()


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        ("restart of the driver or the vGPU manager", STARTING_SECONDS["driver"]),
        ("restart of the driver or the vGPU manager", STARTING_SECONDS["vgpu-manager"]),
        ("restart of another operand", OTHER_SECONDS),
        ("cordon, uncordon", verified(CordonStep)),
        ("eviction of one pod", verified(EvictStep)),
        ("MIG layout through Kubernetes", MIG_SECONDS),
        ("driver upgrade |", upgrade_steps.UPGRADE_SECONDS),
        ("MIG layout over SSH", mig_driver.VERIFY_SECONDS),
    ],
)
def test_each_time_is_the_one_that_is_waited_for(step: str, seconds: float) -> None:
    assert within(step) == words(seconds)


def test_a_drain_is_waited_for_as_long_as_its_slowest_pod_may_take() -> None:
    shortest = pod_steps.wait_seconds(DrainPlan("dgx01"), force=False)
    grace = 3600
    pod = DrainPod("team-a", "train", grace_seconds=grace)
    beyond = pod_steps.wait_seconds(DrainPlan("dgx01", evicts=(pod,)), force=False) - grace
    longer = f"where a pod may take longer to end, its grace period and {words(beyond)}"
    assert within("the end of a drain") == f"{words(shortest)}; {longer}"


def test_a_budget_is_waited_for_as_long_as_is_said() -> None:
    assert f"asked for again for {words(pod_steps.HELD_SECONDS)}" in README
