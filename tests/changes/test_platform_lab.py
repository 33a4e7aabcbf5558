"""Changes through a platform, on the lab's API: dry runs, what is done, what is seen, the way back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.changes import pod_steps
from backends.changes.change import Change
from backends.changes.former import remaining, undoing
from backends.changes.lock import Held
from backends.changes.platform_actions import ACTIONS, Wish, plan
from backends.changes.radius import HitsMore
from backends.changes.record import Effect, Status, StepState
from backends.changes.report import Listed, offer_lines
from backends.changes.step import step_from_json, step_json
from backends.contract import ChangeRefused, ConfigError, GpudeckError, StepFailed
from backends.domain import GpuLayout, Stack, UpgradePolicy
from backends.feed import closing
from backends.kubernetes.mig_layouts import layouts_in
from backends.lab.hardware import SimNode
from backends.lab.kube.cluster import KINDS, POLICY_NAME
from backends.lab.kube.objects import mig_config
from backends.lab.kube.operands import OperandFault
from tests.changes.platforms import NODE, Bench, bench, on
from tests.lab.client import busy_moment

__all__ = ["on"]
UPGRADE = "nvidia.com/gpu-driver-upgrade-state"


def uid_of(pod: Any) -> str:
    return str(pod["metadata"]["uid"])


def make_room(on: Bench) -> None:
    """The node without work, and without new one."""
    on.store.update(KINDS["nodes"], None, NODE, lambda node: node["spec"].update(unschedulable=True))
    for pod in on.pods():
        on.store.delete(KINDS["pods"], pod["metadata"]["namespace"], pod["metadata"]["name"])


def without_budgets(on: Bench) -> None:
    for each in list(on.store.select(KINDS["poddisruptionbudgets"])):
        on.store.delete(KINDS["poddisruptionbudgets"], each["metadata"]["namespace"], each["metadata"]["name"])


CASES = [
    ("restart", "driver"),
    ("restart", "toolkit"),
    ("cordon", ""),
    ("drain", ""),
    ("drain-force", ""),
    ("mig", "all-3g.40gb"),
    ("upgrade-start", ""),
    ("upgrade-pause", ""),
]


@pytest.mark.parametrize(("action", "argument"), CASES)
async def test_a_look_beforehand_changes_nothing(on: Bench, action: str, argument: str) -> None:
    before = on.versions
    change = await on.change(action, argument)
    found = await on.desk.preflight(change)
    assert found.obstacles == ()
    assert found.permissions
    assert all(each.granted for each in found.permissions)
    assert on.versions == before


@pytest.mark.parametrize(("action", "argument"), CASES)
async def test_every_step_is_rebuilt_from_its_json(on: Bench, action: str, argument: str) -> None:
    for step in (await on.change(action, argument)).steps:
        assert step_from_json(step_json(step)) == step
        undo = step.undo()
        if undo is not None:
            assert step_from_json(step_json(undo)) == undo
            assert undo.undo() == step
        assert undo is not None or step.undo_note


@pytest.mark.parametrize(("action", "argument"), CASES)
async def test_a_viewer_is_told_which_right_is_missing(tmp_path: Path, action: str, argument: str) -> None:
    async with bench(tmp_path, user="viewer") as on:
        before = on.versions
        change = await on.change(action, argument)
        found = await on.desk.preflight(change)
        right = {"restart": "delete pods nvidia-", "drain": "patch nodes", "drain-force": "patch nodes"}
        wanted = right.get(action, f"patch nodes {NODE}")
        assert any(wanted in each and "is not granted" in each and NODE in each for each in found.obstacles)
        with pytest.raises(ChangeRefused, match="is not granted"):
            await on.desk.run(change)
        assert on.versions == before


async def test_a_restarted_driver_ends_the_gpu_pods_and_is_done_when_its_successor_is_ready(on: Bench) -> None:
    before = on.operand("nvidia-driver-daemonset")
    change = await on.change("restart", "driver")
    named = [f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in on.pods()]
    assert sorted(change.radius.pods) == sorted(named)
    assert change.radius.gpu_number >= len(named) > 0
    assert change.typed_name == f"{NODE} driver"
    assert change.steps[0].describe() == (
        f"DELETE /api/v1/namespaces/gpu-operator/pods/{before['metadata']['name']} "
        f'{{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{{"uid":"{uid_of(before)}"}}}}'
    )
    record = await on.running(on.desk.run(change))
    assert record.status is Status.DONE, record
    after = on.operand("nvidia-driver-daemonset")
    assert uid_of(after) != uid_of(before)
    assert record.steps[0].said == f"{after['metadata']['name']}: Ready"
    assert record.offers == ()
    assert "not taken back" in record.steps[0].undo_note


async def test_a_restart_that_hurts_no_workload_says_so(on: Bench) -> None:
    change = await on.change("restart", "device-plugin")
    assert change.radius.workloads == 0
    assert change.typed_name is None
    assert any("no GPU is given to new pods" in each for each in (await on.desk.preflight(change)).warnings)


async def test_a_pod_that_was_replaced_since_is_left_alone(on: Bench) -> None:
    change = await on.change("restart", "driver")
    before = on.operand("nvidia-driver-daemonset")
    on.store.delete(KINDS["pods"], "gpu-operator", before["metadata"]["name"])
    found = await on.desk.preflight(change)
    assert any("is not there any more" in each for each in found.obstacles)


@pytest.mark.parametrize("reached", ["applying", "sent", "applied"])
async def test_a_restart_that_was_cut_off_can_be_resumed(on: Bench, reached: str) -> None:
    """Before the request, after it, and after its answer was written down: the pod is deleted once, and its successor
    is waited for."""
    change = await on.change("restart", "device-plugin")
    before = on.operand("nvidia-device-plugin-daemonset")
    journal = await on.desk._begun(change)
    journal.write("applying", on.clock.now(), step=0)
    if reached != "applying":
        on.store.delete(KINDS["pods"], "gpu-operator", before["metadata"]["name"])
    if reached == "applied":
        journal.write("applied", on.clock.now(), step=0, said="deleted")
    journal.close()
    left = remaining(journal.record)
    assert left.in_doubt == {0}
    found = await on.desk.preflight(await on.desk.with_radius(left))
    assert found.obstacles == ()
    record = await on.running(on.desk.resume(change.id))
    assert record.status is Status.DONE, record
    assert uid_of(on.operand("nvidia-device-plugin-daemonset")) != uid_of(before)


async def test_a_restart_whose_successor_crashes_ends_early_and_says_where_to_look(on: Bench) -> None:
    change = await on.change("restart", "device-plugin")
    fault = OperandFault("device-plugin", "nvidia-device-plugin", "CrashLoopBackOff", "back-off", ("no",), restarts=3)
    journal = await on.desk._begun(change)
    for event in ("applying", "applied"):
        journal.write(event, on.clock.now(), step=0, said="deleted")
    journal.close()
    on.service.cluster.fail_operand(NODE, fault)  # its pod is another one from now on
    record = await on.running(on.desk.resume(change.id))
    assert record.status is Status.FAILED, record
    assert "CrashLoopBackOff; its log says why: gpudeck logs gpu-operator/" in record.steps[0].said
    assert "not seen within" not in record.steps[0].said


async def test_another_lab_under_the_same_name_is_left_alone(tmp_path: Path) -> None:
    async with bench(tmp_path) as on:
        record = await on.desk.run(await on.change("cordon"))
        system = on.store.get(KINDS["namespaces"], None, "kube-system")
        assert record.places["platform"].uid == uid_of(system)
    async with bench(tmp_path) as other:
        before = other.versions
        with pytest.raises(ChangeRefused, match="it was made elsewhere: the platform was http://"):
            await other.desk.undo(record.id)
        assert other.versions == before


async def test_cordon_and_back(on: Bench) -> None:
    change = await on.change("cordon")
    assert change.radius.lines == ("what runs there is not touched",)
    assert (await on.desk.run(change)).status is Status.DONE
    assert on.node["spec"]["unschedulable"] is True
    with pytest.raises(GpudeckError, match="is cordoned already"):
        await on.change("cordon")
    assert (await on.desk.undo(change.id)).status is Status.UNDONE
    assert "unschedulable" not in on.node["spec"]


async def test_a_drain_closes_the_node_and_evicts_every_pod_but_the_operators(on: Bench) -> None:
    without_budgets(on)
    operands = sorted(uid_of(pod) for pod in on.pods(gpu=False))
    change = await on.change("drain")
    assert [step.kind for step in change.steps] == ["cordon", *["evict-pod"] * len(on.pods()), "drained"]
    assert change.typed_name == NODE
    found = await on.desk.preflight(change)
    assert any("(DaemonSet)" in effect for effect in found.previews[-1].effects)
    record = await on.running(on.desk.run(change))
    assert record.status is Status.DONE, record
    assert on.pods() == []
    assert sorted(uid_of(pod) for pod in on.pods(gpu=False)) == operands
    back = await on.desk.with_radius(undoing(record))
    assert (await on.desk.preflight(back)).typed_name(back) is None  # it only lets pods on again
    undone = await on.desk.undo(record.id)
    assert undone.status is Status.UNDONE
    assert [step.state for step in undone.steps[1:]] == [StepState.KEPT] * (len(record.steps) - 1)
    assert "does not come back" in undone.steps[1].said
    assert "unschedulable" not in on.node["spec"]


async def test_a_cordon_of_somebody_else_outlives_the_undo_of_a_drain(on: Bench) -> None:
    without_budgets(on)
    on.store.update(KINDS["nodes"], None, NODE, lambda node: node["spec"].update(unschedulable=True))
    change = await on.change("drain")
    assert change.steps[0].kind == "evict-pod"
    record = await on.running(on.desk.run(change))
    assert record.offers == ()
    assert on.node["spec"]["unschedulable"] is True


async def test_pods_that_come_after_the_question_are_asked_about_anew(on: Bench) -> None:
    change = await on.change("restart", "driver")
    found = await on.desk.preflight(change)
    late = {
        "metadata": {"name": "late", "namespace": "team-search"},
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "main", "image": "busybox", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
        },
        "status": {"phase": "Running"},
    }
    on.store.create(KINDS["pods"], late)
    with pytest.raises(HitsMore, match="hits more than was asked about: pod team-search/late; ") as caught:
        await on.desk.run(change, found.radius)
    assert "team-search/late" in caught.value.change.radius.pods
    assert on.operand("nvidia-driver-daemonset")["metadata"].get("deletionTimestamp") is None
    assert (await on.desk.look()).records == ()
    again = await on.desk.preflight(caught.value.change)
    record = await on.running(on.desk.run(caught.value.change, again.radius))
    assert record.status is Status.DONE, record


async def test_a_drain_waits_as_long_as_its_slowest_pod_may_take(on: Bench) -> None:
    without_budgets(on)
    usual = await on.change("drain")
    assert "(within 10 min)" in usual.steps[-1].verified_by()
    pod = on.pods()[0]["metadata"]

    def edit(each: Any) -> None:
        each["spec"]["terminationGracePeriodSeconds"] = 7200

    on.store.update(KINDS["pods"], pod["namespace"], pod["name"], edit)
    change = await on.change("drain")
    assert change.steps[-1].verify_seconds == 7260
    named = f"{pod['namespace']}/{pod['name']} may take 7200 s to end (terminationGracePeriodSeconds)"
    effects = (await on.desk.preflight(change)).previews[-1].effects
    assert f"waits at most 121 min: {named}" in effects
    late = await on.desk.preflight(usual)
    assert f"{named}, longer than the drain waits: plan it again" in late.warnings


def held_moment(hardware: tuple[SimNode, ...]) -> float:
    """A time at which the node runs something that no disruption is allowed of, and something else."""
    from backends.lab.dynamics import Meter
    from backends.lab.jobs import jobs

    node = next(each for each in hardware if each.name == NODE)
    meter = Meter(node)
    start = int(busy_moment(hardware))
    for at in range(start, start + 400_000, 60):
        owners = {job.owner for job in jobs(node, meter, at)}
        if "vllm-mistral-large" in owners and len(owners) > 2:
            return float(at)
    raise AssertionError("such a time never comes")


HELD = r"held by budget \S+ \(needs \d+ healthy, has \d+\): asked again for 0 s, 0:00 left"


async def test_a_budget_stops_a_drain_after_its_time_and_a_resume_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_steps, "AGAIN_SECONDS", 0.05)
    async with bench(tmp_path, when=held_moment) as on:
        change = quick(await on.change("drain"))
        found = await on.desk.preflight(change)
        assert found.obstacles == ()
        assert any("may not be evicted now" in each and "disruption budget" in each for each in found.warnings)
        told: list[str] = []
        unwatch = on.desk.running.watch(lambda reading: told.append(reading.value.progress if reading.value else ""))
        record = await on.running(on.desk.run(change))
        unwatch()
        assert any(re.fullmatch(HELD, each) for each in told), told
        assert record.status is Status.FAILED
        assert record.reached is not None
        assert record.in_doubt is None
        assert "may not be evicted" in record.why
        # Those that a budget holds come last: all others are gone by then.
        held: list[Any] = list(change.steps[record.reached : -1])
        assert 0 < len(held) < len(change.steps) - 2
        assert sorted(uid_of(pod) for pod in on.pods()) == sorted(step.pod.uid for step in held)
        assert {"resume", "undo"} <= set(record.offers)
        without_budgets(on)
        resumed = await on.running(on.desk.resume(record.id))
        assert resumed.status is Status.DONE, resumed
        assert on.pods() == []


async def test_a_drain_that_a_budget_holds_is_stopped_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, when=held_moment) as on:
        held = asyncio.Event()

        def look(reading: Any) -> None:
            if reading.value is not None and reading.value.progress.startswith("held by budget"):
                held.set()

        on.desk.running.watch(look)
        task = on.desk.launch(on.desk.run(await on.change("drain")))
        await asyncio.wait_for(on.running(held.wait()), 60)
        left = sorted(uid_of(pod) for pod in on.pods())
        on.desk.stop()
        record = await asyncio.wait_for(task, 60)
        assert (record.status, record.in_doubt) == (Status.STOPPED, None)
        assert "it was asked to stop; " in record.why
        assert "may not be evicted: the disruption budget" in record.why
        assert sorted(uid_of(pod) for pod in on.pods()) == left


def quick(change: Change) -> Change:
    """With evictions that give up at once."""
    from dataclasses import replace

    steps = [
        replace(step, apply_seconds=0.2) if step.kind == "evict-pod" else step  # type: ignore[type-var]
        for step in change.steps
    ]
    return replace(change, steps=tuple(steps))


async def test_a_successor_of_the_same_name_is_not_evicted(on: Bench) -> None:
    change = await on.change("drain")
    pod = on.pods()[0]
    step = next(each for each in change.steps if getattr(getattr(each, "pod", None), "uid", "") == uid_of(pod))
    on.store.delete(KINDS["pods"], pod["metadata"]["namespace"], pod["metadata"]["name"])
    again = {**pod, "metadata": {**pod["metadata"], "uid": "another"}}
    on.store.create(KINDS["pods"], again)
    found = await step.preview(on.site)
    assert any("Precondition failed" in each for each in found.obstacles)
    with pytest.raises(GpudeckError):
        await step.apply(on.site, lambda _line: None)
    assert on.store.find(KINDS["pods"], pod["metadata"]["namespace"], pod["metadata"]["name"])
    assert (await step.check(on.site)).holds  # that very pod is gone


async def test_a_pod_without_a_controller_needs_force(on: Bench) -> None:
    without_budgets(on)
    bare = {
        "metadata": {"name": "debug", "namespace": "team-search"},
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "busybox"}]},
        "status": {"phase": "Running"},
    }
    on.store.create(KINDS["pods"], bare)
    found = await on.desk.preflight(await on.change("drain"))
    assert any("team-search/debug: no controller" in each and "--force" in each for each in found.obstacles)
    forced = await on.change("drain-force")
    assert "team-search/debug" in forced.radius.pods
    assert (await on.desk.preflight(forced)).obstacles == ()


async def test_the_limit_of_the_site_counts_pods_and_gpus(tmp_path: Path) -> None:
    async with bench(tmp_path, limit=1) as on:
        change = await on.change("drain")
        assert change.radius.gpu_number > 1
        with pytest.raises(ChangeRefused, match="the limit of this site is 1"):
            await on.desk.run(change)
        assert "unschedulable" not in on.node["spec"]


async def test_a_mig_layout_is_made_and_the_former_one_comes_back(on: Bench) -> None:
    make_room(on)
    change = await on.change("mig", "all-3g.40gb")
    record = await on.running(on.desk.run(change))
    assert record.status is Status.DONE, record
    machine = next(node for node in on.hardware if node.name == NODE)
    assert {len(gpu.mig) for gpu in machine.gpus} == {2}
    assert record.steps[0].said == "all-3g.40gb: success"
    undone = await on.running(on.desk.undo(record.id))
    assert undone.status is Status.UNDONE, undone
    assert on.labels["nvidia.com/mig.config"] == "all-disabled"
    assert not any(gpu.mig for gpu in machine.gpus)


async def test_a_mig_layout_that_fails_is_told_at_once_and_can_be_undone(on: Bench) -> None:
    change = await on.change("mig", "all-3g.40gb")
    assert change.radius.workloads == len(on.pods()) > 0
    assert any("drain first" in each for each in (await on.desk.preflight(change)).warnings)
    record = await on.running(on.desk.run(change))
    assert record.status is Status.FAILED
    assert "all-3g.40gb: failed: Unable to enable MIG mode: In use by another client" in record.why
    assert (record.steps[0].effect, record.steps[0].words) == (Effect.FAILED, "failed"), "it is known that it failed"
    assert record.summary.startswith("failed at step 1 of 1, failed")
    assert (await on.running(on.desk.undo(record.id))).status is Status.UNDONE


async def test_a_layout_that_failed_is_asked_for_again_by_a_change_of_the_label(on: Bench) -> None:
    record = await on.running(on.desk.run(await on.change("mig", "all-3g.40gb")))
    assert record.status is Status.FAILED
    await on.running(on.desk.abandon(record.id, "the work was still there"))
    make_room(on)
    change = await on.change("mig", "all-3g.40gb")
    (step,) = change.steps
    assert step.describe().count("PATCH") == 2
    assert step_from_json(step_json(step)) == step
    found = await on.desk.preflight(change)
    assert found.obstacles == ()
    assert any("is asked for again" in each for each in found.previews[0].effects)
    again = await on.running(on.desk.run(change))
    assert again.status is Status.DONE, again
    assert on.labels["nvidia.com/mig.config.state"] == "success"
    assert step.undo() is None


async def test_a_layout_that_failed_is_resumed_once_there_is_room(on: Bench) -> None:
    record = await on.running(on.desk.run(await on.change("mig", "all-3g.40gb")))
    assert record.status is Status.FAILED
    make_room(on)
    left = await on.desk.with_radius(remaining(record))
    (step,) = left.steps
    assert step.describe().count("PATCH") == 2
    undo = step.undo()
    assert undo is not None, "the layout of before is not lost"
    found = await on.desk.preflight(left)
    assert found.obstacles == ()
    assert any("is asked for again" in each for each in found.previews[0].effects)
    said: list[str] = []
    on.desk.running.watch(lambda reading: said.append(reading.value.steps[0].said if reading.value else ""))
    resumed = await on.running(on.desk.resume(record.id))
    assert resumed.status is Status.DONE, resumed
    assert any("taken away and set again" in each for each in said), said
    assert on.labels["nvidia.com/mig.config.state"] == "success"
    assert (await on.running(on.desk.undo(record.id))).status is Status.UNDONE
    assert on.labels["nvidia.com/mig.config"] == "all-disabled"


async def test_an_undo_that_failed_asks_again_likewise(on: Bench) -> None:
    (step,) = (await on.change("mig", "all-3g.40gb")).steps
    undo = step.undo()
    assert undo is not None
    await step.apply(on.site, lambda _line: None)
    await undo.apply(on.site, lambda _line: None)
    on.label(mig__config__state="failed")
    assert "taken away and set again" in await undo.apply(on.site, lambda _line: None)
    assert on.labels["nvidia.com/mig.config"] == "all-disabled"
    assert "nvidia.com/mig.config.state" not in on.labels


async def test_a_wish_that_is_under_way_is_not_sent_again_and_said_to_be(
    on: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_room(on)
    monkeypatch.setattr(on.site, "clock", on.clock)  # the wish is as old as the lab says
    change = await on.change("mig", "all-3g.40gb")
    (step,) = change.steps
    await step.apply(on.site, lambda _line: None)
    before = on.versions
    assert await step.apply(on.site, lambda _line: None) == "not sent: asked for already"
    assert on.versions == before


async def test_the_same_value_alone_is_no_wish_for_the_mig_manager(on: Bench) -> None:
    await on.running(on.desk.run(await on.change("mig", "all-3g.40gb")))
    on.label(mig__config="all-3g.40gb")
    for _ in range(20):
        await on.clock.advance(1)
        on.service.cluster.tick()
    assert on.labels["nvidia.com/mig.config.state"] == "failed"


async def test_why_a_layout_failed_is_read_from_the_manager_s_log(on: Bench) -> None:
    await on.running(on.desk.run(await on.change("mig", "all-3g.40gb")))
    node = (await on.stack()).get(NODE)
    assert node is not None
    assert node.mig is not None
    assert node.mig.reason == "Unable to enable MIG mode: In use by another client"


async def test_a_layout_that_is_asked_for_already_is_refused(on: Bench) -> None:
    found = await on.desk.preflight(await on.change("mig", "all-disabled"))
    assert any("is asked for all-disabled already" in each for each in found.obstacles)


async def test_a_driver_upgrade_is_followed_to_its_end(on: Bench) -> None:
    change = await on.change("upgrade-start")
    assert change.typed_name == f"{NODE} driver"
    record = await on.running(on.desk.run(change))
    assert record.status is Status.DONE, record
    assert record.steps[0].said == "the upgrade is at upgrade-done"
    assert "not taken back" in record.steps[0].undo_note
    assert record.offers == ()
    of_before = replace(record, steps=(replace(record.steps[0], final=False),))  # as its journal has it
    assert of_before.offers == ("undo",)
    found = await on.desk.preflight(undoing(of_before))
    assert any("only upgrade-required is taken back" in each for each in found.obstacles)


async def test_an_end_that_was_there_before_does_not_count_after_a_crash(on: Bench) -> None:
    (step,) = (await on.change("upgrade-start")).steps
    verdict = await step.check(on.site)
    assert (verdict.holds, "as it was before" in verdict.evidence) == (None, True)


def policy(on: Bench, **values: Any) -> None:
    """Other values in the upgrade policy of the ClusterPolicy."""

    def edit(each: Any) -> None:
        driver = each["spec"]["driver"]
        driver["upgradePolicy"] = {**driver["upgradePolicy"], **values}

    on.store.update(KINDS["clusterpolicies"], None, POLICY_NAME["kubernetes"], edit)


async def seen(on: Bench, holds: Callable[[Stack], bool]) -> None:
    """The site's own watch has it."""
    backend: Any = await on.site.platform.backend()
    async with asyncio.timeout(10), closing(backend.stack()) as stacks:
        async for stack in stacks:
            if holds(stack):
                return


def upgrade_of(stack: Stack, name: str = NODE) -> Any:
    node = stack.get(name)
    return None if node is None else node.upgrade


async def test_no_upgrade_begins_on_a_node_that_is_left_out(on: Bench) -> None:
    change = await on.change("upgrade-start")
    on.label(gpu_driver_upgrade__skip="true")
    found = await on.desk.preflight(change)
    assert any(f"{NODE} is left out of driver upgrades" in each for each in found.obstacles)
    (step,) = change.steps
    with pytest.raises(StepFailed, match="is left out") as failed:
        await step.apply(on.site, lambda _line: None)
    assert failed.value.untouched
    assert failed.value.hint == f"gpudeck stack upgrade resume --node {NODE}"
    assert on.labels[UPGRADE] == "upgrade-done"


@pytest.mark.parametrize("by_undo", [False, True])
async def test_taking_a_node_in_again_while_its_upgrade_waits_counts_as_that_upgrade(
    on: Bench, *, by_undo: bool
) -> None:
    pause = await on.change("upgrade-pause")
    record = await on.desk.run(pause)
    on.label(gpu_driver_upgrade_state="upgrade-required")
    await seen(on, lambda stack: upgrade_of(stack).step == "upgrade-required" and upgrade_of(stack).skipped)
    change = await on.desk.with_radius(undoing(record)) if by_undo else await on.change("upgrade-resume")
    assert len(change.radius.pods) == len(on.pods()) > 0
    assert change.typed_name == f"{NODE} driver"
    warnings = (await on.desk.preflight(change)).warnings
    assert any("it goes on once the node is taken in again" in each for each in warnings)
    assert any("ends the pods that use GPUs" in each for each in warnings)


@pytest.mark.parametrize("by_undo", [False, True])
async def test_taking_a_node_in_again_takes_the_name_even_where_no_pod_is_seen(on: Bench, *, by_undo: bool) -> None:
    make_room(on)
    record = await on.desk.run(await on.change("upgrade-pause"))
    assert record.typed_name is None
    on.label(gpu_driver_upgrade_state="upgrade-required")
    await seen(on, lambda stack: upgrade_of(stack).step == "upgrade-required" and upgrade_of(stack).skipped)
    change = await on.desk.with_radius(undoing(record)) if by_undo else await on.change("upgrade-resume")
    assert change.radius.workloads == 0
    assert change.typed_name == f"{NODE} driver"


async def test_taking_a_node_in_again_hits_nobody_while_no_upgrade_waits(on: Bench) -> None:
    await on.desk.run(await on.change("upgrade-pause"))
    await seen(on, lambda stack: upgrade_of(stack).skipped)
    change = await on.change("upgrade-resume")
    assert (change.radius.workloads, change.typed_name) == (0, None)


async def test_no_upgrade_is_asked_for_where_the_driver_is_the_wanted_one(on: Bench) -> None:
    change = await on.change("upgrade-start")
    runs = on.labels["nvidia.com/cuda.driver-version.full"]
    on.want_driver(runs)
    await seen(on, lambda stack: stack.policies[0].driver_version == runs)
    (obstacle,) = (await on.desk.preflight(change)).obstacles
    assert obstacle.startswith(f"{NODE} runs the driver {runs} already, as is asked for")
    assert f"gpudeck stack restart driver --node {NODE}" in obstacle
    on.label(gpu_driver_upgrade_state="upgrade-failed")
    await seen(on, lambda stack: upgrade_of(stack).step == "upgrade-failed")
    assert (await on.desk.preflight(change)).obstacles == (), "a failed one is tried again so"


async def test_without_automatic_upgrades_none_is_begun(on: Bench) -> None:
    change = await on.change("upgrade-start")
    policy(on, autoUpgrade=False)
    await seen(on, lambda stack: stack.policies[0].upgrades == UpgradePolicy(False, True, None))
    found = await on.desk.preflight(change)
    assert any("autoUpgrade is off" in each for each in found.obstacles)


async def test_a_label_that_the_operator_takes_away_is_a_refusal_and_not_waited_for(on: Bench) -> None:
    (step,) = (await on.change("upgrade-start")).steps
    await step.apply(on.site, lambda _line: None)
    assert on.labels[UPGRADE] == "upgrade-required"
    policy(on, autoUpgrade=False)
    on.service.cluster.tick()
    assert UPGRADE not in on.labels
    verdict = await asyncio.wait_for(step.verify(on.site, lambda _line: None), 10)
    assert (verdict.holds, "refused" in verdict.evidence) == (False, True)
    undo = step.undo()
    assert undo is not None
    assert (await undo.check(on.site)).holds  # nothing is asked for any more


async def test_a_node_in_a_queue_waits_and_tells_whom_it_waits_for(on: Bench) -> None:
    other = "dgx-a100-01"
    on.service.cluster.hold_upgrade(other)
    on.service.cluster.tick()
    await seen(on, lambda stack: upgrade_of(stack, other).step == "drain-required")
    change = await on.change("upgrade-start")
    queue = f"queued: 1 upgrade of 1 is under way ({other})"
    assert any(queue in each for each in (await on.desk.preflight(change)).warnings)
    (step,) = change.steps
    told: list[str] = []
    assert "upgrade-required" in await step.apply(on.site, told.append)

    def hear(line: str) -> None:
        told.append(line)
        on.service.cluster.hold_upgrade(None)  # it is this node's turn as soon as it is told to wait

    verdict = await on.running(step.verify(on.site, hear))
    assert verdict.holds
    assert f"not yet: the upgrade is at upgrade-required: {queue}" in told


@pytest.mark.parametrize("former", ["upgrade-done", "upgrade-failed", None])
async def test_an_upgrade_that_has_not_begun_is_taken_back(on: Bench, former: str | None) -> None:
    def edit(node: Any) -> None:
        node["metadata"]["labels"].pop(UPGRADE)
        node["metadata"]["labels"].update({UPGRADE: former} if former else {})

    on.store.update(KINDS["nodes"], None, NODE, edit)
    await seen(on, lambda stack: (upgrade_of(stack).step if upgrade_of(stack) else None) == former)
    (step,) = (await on.change("upgrade-start")).steps
    undo = step.undo()
    assert undo is not None
    await step.apply(on.site, lambda _line: None)
    assert (await undo.check(on.site)).holds is False
    assert (await undo.preview(on.site)).obstacles == ()
    assert on.labels[UPGRADE] == "upgrade-required"
    await undo.apply(on.site, lambda _line: None)
    assert (await undo.verify(on.site, lambda _line: None)).holds
    assert on.labels.get(UPGRADE) == former


async def test_an_upgrade_that_has_begun_is_not_taken_back(on: Bench) -> None:
    (step,) = (await on.change("upgrade-start")).steps
    undo = step.undo()
    assert undo is not None
    on.label(gpu_driver_upgrade_state="cordon-required")
    assert any("is at cordon-required" in each for each in (await undo.preview(on.site)).obstacles)
    with pytest.raises(StepFailed):
        await undo.apply(on.site, lambda _line: None)
    assert on.labels[UPGRADE] == "cordon-required"


async def test_where_the_policy_drains_every_pod_of_the_node_is_counted(on: Bench) -> None:
    bare = {
        "metadata": {"name": "cpu-only", "namespace": "team-search"},
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "busybox"}]},
        "status": {"phase": "Running"},
    }
    on.store.create(KINDS["pods"], bare)
    change = await on.change("upgrade-start")
    assert "team-search/cpu-only" in change.radius.pods
    assert any("drain on" in each for each in (await on.desk.preflight(change)).warnings)
    policy(on, drain={"enable": False})
    await seen(on, lambda stack: stack.policies[0].upgrades == UpgradePolicy(True, False, None))
    change = await on.change("upgrade-start")
    assert "team-search/cpu-only" not in change.radius.pods
    assert not any("drain on" in each for each in (await on.desk.preflight(change)).warnings)


@pytest.mark.parametrize(("noted", "said"), [("true", "evicts nothing"), ("false", "may evict"), (None, "where ")])
async def test_a_restart_of_the_driver_says_what_the_node_lets_it_do(on: Bench, noted: str | None, said: str) -> None:
    notes = {} if noted is None else {"nvidia.com/gpu-driver-upgrade-enabled": noted}
    on.store.update(KINDS["nodes"], None, NODE, lambda node: node["metadata"].update(annotations=notes))
    change = await on.change("restart", "driver")
    warnings = (await on.desk.preflight(change)).warnings
    assert warnings
    assert all(said in each for each in warnings)
    assert change.typed_name == f"{NODE} driver"


async def test_a_node_is_left_out_of_upgrades_and_taken_in_again(on: Bench) -> None:
    change = await on.change("upgrade-pause")
    assert (await on.desk.run(change)).status is Status.DONE
    assert on.labels["nvidia.com/gpu-driver-upgrade.skip"] == "true"
    with pytest.raises(GpudeckError, match="already"):
        await on.change("upgrade-pause")
    assert (await on.desk.undo(change.id)).status is Status.UNDONE
    assert "nvidia.com/gpu-driver-upgrade.skip" not in on.labels


async def test_names_nobody_has_come_with_the_nearest_ones(on: Bench) -> None:
    with pytest.raises(ConfigError) as wrong:
        await on.change("restart", "toolkt")
    assert wrong.value.hint == "did you mean toolkit?"
    with pytest.raises(ConfigError) as nowhere:
        await plan(Wish("cordon", "dgx-h100-1"), await on.stack(), on.site, site="lab")
    assert NODE in nowhere.value.hint


async def test_an_operand_without_a_pod_on_the_node_is_told(on: Bench) -> None:
    on.label(gpu__deploy__driver="false")
    on.service.cluster.tick()
    with pytest.raises(GpudeckError, match=f"{NODE} has no pod of the driver") as wrong:
        await on.change("restart", "driver")
    assert "toolkit" in wrong.value.hint


async def test_whom_an_undo_hits_is_asked_again(on: Bench) -> None:
    make_room(on)
    change = await on.change("mig", "all-3g.40gb")
    assert change.radius.workloads == 0
    record = await on.running(on.desk.run(change))
    pod = {
        "metadata": {"name": "later", "namespace": "team-search"},
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "main", "resources": {"limits": {"nvidia.com/mig-3g.40gb": "1"}}}],
        },
        "status": {"phase": "Running"},
    }
    on.store.create(KINDS["pods"], pod)
    from backends.changes.former import undoing

    looked = await on.desk.with_radius(undoing(record))
    assert looked.radius.pods == ("team-search/later",)
    assert looked.typed_name is not None


async def test_the_undo_of_a_mig_layout_wants_the_name_again_though_nobody_is_seen(on: Bench) -> None:
    record = await on.desk.run(await on.change("cordon"))
    assert record.typed_name is None
    await on.desk.undo(record.id)
    change = await on.change("mig", "all-3g.40gb")
    assert change.typed_name == f"{NODE} mig"
    make_room(on)
    record = await on.running(on.desk.run(change))
    back = await on.desk.with_radius(undoing(record))
    assert (back.radius.workloads, back.typed_name) == (0, f"{NODE} mig")


async def test_the_printed_commands_have_a_place_for_the_name_where_they_may_end_work(on: Bench) -> None:
    change = await on.change("drain")
    journal = await on.desk._begun(change)
    for event in ("applying", "verified"):
        journal.write(event, on.clock.now(), step=0)
    journal.write("applying", on.clock.now(), step=1)
    journal.close()
    nobody = Held(None, alive=False)
    file = Path("/srv/a.toml")
    resume, undo, abandon, words = offer_lines(Listed(journal.record, nobody), file)
    assert resume == f"  gpudeck changes resume {change.id} --yes --confirm NAME --config /srv/a.toml"
    assert undo == f"  gpudeck changes undo {change.id} --yes --config /srv/a.toml"
    assert abandon == f"  gpudeck changes abandon {change.id} --yes --config /srv/a.toml"
    assert "for NAME type the name" in words
    (obstacle,) = (await on.desk.preflight(await on.change("cordon"))).obstacles
    assert "was left unfinished (interrupted); end it first: " in obstacle
    assert f"gpudeck changes resume {change.id} --yes --confirm NAME or gpudeck changes undo {change.id}" in obstacle

    layout = await on.change("mig", "all-3g.40gb")
    make_room(on)
    await on.desk.abandon(change.id, "by hand")
    record = await on.running(on.desk.run(layout))
    undo, _words = offer_lines(Listed(record, nobody))
    assert undo == f"  gpudeck changes undo {record.id} --yes --confirm NAME"
    cordon = await on.desk._begun(replace(await on.change("uncordon"), id="20990101T000000.000-aaaa"))
    cordon.close()
    assert not any("NAME" in line for line in offer_lines(Listed(cordon.record, nobody)))


async def test_a_resumed_drain_wants_the_name_while_pods_are_left(on: Bench) -> None:
    change = await on.change("drain")
    journal = await on.desk._begun(change)
    journal.close()
    assert (await on.desk.with_radius(remaining(journal.record))).typed_name == NODE
    make_room(on)
    assert (await on.desk.with_radius(remaining(journal.record))).typed_name is None


async def test_an_undo_whose_cluster_does_not_answer_says_that_it_cannot_tell(on: Bench) -> None:
    change = await on.change("mig", "all-3g.40gb")
    on.service.api.faults.unauthorized = True
    looked = await on.desk.with_radius(change)
    assert [each.uncounted for each in looked.radius.undetermined] == [True]


def test_every_action_names_what_it_needs() -> None:
    for action in ACTIONS.values():
        assert action.needs
        assert action.help
        assert action.title.format(node="n", argument="a")


async def test_a_layout_that_the_mig_manager_does_not_have_is_refused_with_the_nearest_names(on: Bench) -> None:
    before = on.versions
    change = await on.change("mig", "all-3g.40g")
    found = await on.desk.preflight(change)
    (obstacle,) = found.obstacles
    assert f"the MIG manager has no layout all-3g.40g for {NODE}: did you mean all-3g.40gb or" in obstacle
    with pytest.raises(ChangeRefused, match="has no layout"):
        await on.desk.run(change)
    assert on.versions == before


async def test_a_list_of_layouts_that_cannot_be_read_is_a_warning(on: Bench) -> None:
    make_room(on)
    on.store.delete(KINDS["configmaps"], on.service.cluster.space, f"{NODE}-mig-config")
    found = await on.desk.preflight(await on.change("mig", "all-nothing"))
    assert found.obstacles == ()
    (warning,) = (each for each in found.warnings if "the layout all-nothing is not known" in each)
    assert "mig" in warning


def parted(name: str, *layouts: str) -> Any:
    return mig_config(name, "gpu-operator", {each: {} for each in layouts})


async def names(on: Bench, *like: GpuLayout) -> tuple[str, ...]:
    backend: Any = await on.site.platform.backend()
    found: tuple[str, ...] = await backend.mig_layouts(NODE, like)
    return found


async def test_a_layout_is_found_by_what_it_makes_of_every_gpu(on: Bench) -> None:
    halves = [GpuLayout(index, True, (("3g.40gb", 2),)) for index in range(8)]
    assert await names(on, *halves) == ("all-3g.40gb",)
    assert await names(on, *halves[:7], GpuLayout(7, False)) == ()
    assert await names(on, *(GpuLayout(index, False) for index in range(8))) == ("all-disabled",)


async def test_the_layouts_are_those_of_the_node_s_own_file_and_of_the_operator_s(on: Bench) -> None:
    on.store.create(KINDS["configmaps"], parted("default-mig-parted-config", "all-1g.5gb"))
    assert {"all-1g.5gb", "all-3g.40gb", "all-disabled"} <= set(await names(on))


async def test_a_policy_that_names_a_file_of_the_site_s_own_has_its_layouts_alone(on: Bench) -> None:
    on.store.create(KINDS["configmaps"], parted("ours", "ours-big"))
    policy = POLICY_NAME["kubernetes"]
    on.store.update(
        KINDS["clusterpolicies"], None, policy, lambda raw: raw["spec"]["migManager"].update(config={"name": "ours"})
    )
    assert await names(on) == ("ours-big",)


@pytest.mark.parametrize("written", [None, "", "mig-configs: [", "mig-configs: 5", "- 1", "a: &a [*a]"])
def test_a_file_that_holds_no_layouts_says_so(written: str | None) -> None:
    raw = {"metadata": {"name": "ours"}, "data": {} if written is None else {"config.yaml": written}}
    with pytest.raises(GpudeckError, match="the ConfigMap ours holds no mig-configs"):
        layouts_in(raw)
