"""A process that changes a cluster is killed at each step, also between a request and the journal's line about it: the
journal tells the truth about the cluster, and what is left is resumed or undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from backends.changes.change import Change
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from backends.lab.kube.cluster import KINDS
from tests.changes.cluster_worker import killed
from tests.changes.platforms import Bench, bench
from tests.changes.test_platform_lab import make_room, uid_of, without_budgets

CUTS = {"restart": (2, 3, 4, 5), "mig": (2, 3, 4, 5), "drain": (2, 3, 4, 6, 7, 9, 10, 11)}
"""The line of the journal that is not written any more. There are: begin; applying, applied and verified of each step;
finished. Before `applying` no request was sent, before `applied` one was, and nobody wrote down that."""
ARGUMENTS = {"restart": "device-plugin", "mig": "all-3g.40gb", "drain": ""}
FORMER = "all-disabled"
PACE_SECONDS = {"restart": 5.0, "mig": 5.0, "drain": 0.1}
"""How much later it is in the lab at each of its beats: a job must not end by itself while its pod is evicted."""


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as made:
        yield made


async def quickly(on: Bench, action: str, work: Any) -> Any:
    """The end of `work`, while time passes in the lab."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.wait({task}, timeout=0.02)
        await on.clock.advance(PACE_SECONDS[action])
        on.service.cluster.tick()
    return task.result()


async def planned(on: Bench, action: str) -> Change:
    """With nothing in the way: room for a layout, one pod to evict."""
    without_budgets(on)
    if action == "mig":
        make_room(on)
    for pod in on.pods()[1:] if action == "drain" else ():
        on.store.delete(KINDS["pods"], pod["metadata"]["namespace"], pod["metadata"]["name"])
    return await on.change(action, ARGUMENTS[action])


async def cut_off(on: Bench, tmp_path: Path, action: str, change: Change, what: str, number: int) -> ChangeRecord:
    arguments = (on.desk.spec, tmp_path / "state", change, what, number)
    await killed(*arguments, running=lambda work: quickly(on, action, work))
    (record,) = (await on.desk.look()).records
    return record


def is_done(on: Bench, step: Any) -> bool:
    """Whether the effect of a step is in the cluster, by what the lab itself keeps."""
    there = [uid_of(pod) for pod in on.store.select(KINDS["pods"]) if not pod["metadata"].get("deletionTimestamp")]
    looks: dict[str, Callable[[], bool]] = {
        "cordon": lambda: bool(on.node["spec"].get("unschedulable")),
        "mig-label": lambda: on.labels["nvidia.com/mig.config"] == step.layout,
        "restart-pod": lambda: step.pod.uid not in there,
        "evict-pod": lambda: step.pod.uid not in there,
        "drained": lambda: on.pods() == [],
    }
    return looks[step.kind]()


def tells_the_truth(on: Bench, change: Change, record: ChangeRecord) -> None:
    for step, told in zip(change.steps, record.steps, strict=True):
        if told.effect is Effect.UNKNOWN:
            assert record.reached is not None
            assert record.steps[record.reached] is told
            assert told.state in (StepState.APPLYING, StepState.UNDOING)
        elif step.kind != "drained" or told.effect is Effect.DONE:  # what a drain waits for may come by itself
            assert is_done(on, step) is (told.effect is Effect.DONE), told
    assert sum(told.effect is Effect.UNKNOWN for told in record.steps) <= 1


def is_as_before(on: Bench, action: str) -> bool:
    if action == "drain":
        return "unschedulable" not in on.node["spec"]
    return on.labels["nvidia.com/mig.config"] == FORMER


@pytest.mark.parametrize(("action", "number"), [(action, number) for action, cuts in CUTS.items() for number in cuts])
async def test_killed_at_a_step_it_is_resumed_and_undone(on: Bench, tmp_path: Path, action: str, number: int) -> None:
    change = await planned(on, action)
    record = await cut_off(on, tmp_path, action, change, "run", number)
    assert (record.status, record.events) == (Status.OPEN, number - 1)
    tells_the_truth(on, change, record)
    resumed = await quickly(on, action, on.desk.resume(change.id))
    assert resumed.status is Status.DONE, resumed
    assert all(is_done(on, step) for step in change.steps)
    if action != "restart":
        assert (await quickly(on, action, on.desk.undo(change.id))).status is Status.UNDONE
        assert is_as_before(on, action)


@pytest.mark.parametrize(
    ("action", "number"),
    # Behind the first request, when it was answered, and for the drain behind the eviction of the pod.
    [("mig", 3), ("mig", 4), ("drain", 3), ("drain", 6)],
)
async def test_killed_at_a_step_it_is_undone(on: Bench, tmp_path: Path, action: str, number: int) -> None:
    change = await planned(on, action)
    record = await cut_off(on, tmp_path, action, change, "run", number)
    tells_the_truth(on, change, record)
    assert "undo" in record.offers
    assert (await quickly(on, action, on.desk.undo(change.id))).status is Status.UNDONE
    assert is_as_before(on, action)


@pytest.mark.parametrize("action", ["mig", "drain"])
async def test_killed_while_it_is_undone_it_is_undone_again(on: Bench, tmp_path: Path, action: str) -> None:
    change = await planned(on, action)
    record = await quickly(on, action, on.desk.run(change))
    assert record.status is Status.DONE, record
    kept = sum(not step.undoable for step in record.steps)
    record = await cut_off(on, tmp_path, action, change, "undo", kept + 3)  # undo; kept, undoing; it is sent
    assert record.status is Status.UNDOING
    assert record.steps[0].state is StepState.UNDOING
    tells_the_truth(on, change, record)
    assert is_as_before(on, action)
    assert (await quickly(on, action, on.desk.undo(change.id))).status is Status.UNDONE
    assert is_as_before(on, action)
