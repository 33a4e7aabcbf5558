"""What somebody else does to a node between the question, the request and the way back is left to him."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backends.changes.change import Change
from backends.changes.former import remaining, undoing
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from backends.contract import ChangeRefused
from backends.lab.kube.cluster import KINDS
from tests.changes.platforms import NODE, Bench, on
from tests.changes.test_platform_lab import make_room, without_budgets

__all__ = ["on"]
SKIP = "nvidia.com/gpu-driver-upgrade.skip"


def cordon_by_hand(on: Bench) -> None:
    on.store.update(KINDS["nodes"], None, NODE, lambda node: node["spec"].update(unschedulable=True))


def when_applying(on: Bench, act: Callable[[], None]) -> None:
    """Lets somebody else act once, after the journal says that a step begins and before its request."""
    acted: list[bool] = []

    def hear(reading: Any) -> None:
        if not acted and reading.value is not None and reading.value.steps[0].state is StepState.APPLYING:
            acted.append(True)
            act()

    on.desk.running.watch(hear)


async def drained(on: Bench, change: Change) -> ChangeRecord:
    record: ChangeRecord = await on.running(on.desk.run(change))
    assert record.status is Status.DONE, record
    return record


@pytest.mark.parametrize("late", [False, True])
async def test_a_cordon_that_was_set_while_the_drain_was_asked_about_is_left_to_who_set_it(
    on: Bench, *, late: bool
) -> None:
    without_budgets(on)
    change = await on.change("drain")
    assert change.steps[0].kind == "cordon"
    if late:
        when_applying(on, lambda: cordon_by_hand(on))
    else:
        cordon_by_hand(on)
    record = await drained(on, change)
    step = record.steps[0]
    assert (step.state, step.effect, step.undoable) == (StepState.ALREADY, Effect.NONE, False)
    assert step.said == f"{NODE} is cordoned already: nothing is sent, and the undo leaves it"
    assert record.offers == ()
    with pytest.raises(ChangeRefused):
        await on.desk.undo(record.id)
    assert on.node["spec"]["unschedulable"] is True


async def test_the_dry_run_says_whose_the_cordon_is(on: Bench) -> None:
    change = await on.change("drain")
    cordon_by_hand(on)
    found = await on.desk.preflight(change)
    assert found.obstacles == ()
    assert f"{NODE} is cordoned already: nothing is sent, and the undo leaves it" in found.previews[0].effects


@pytest.mark.parametrize(("action", "said"), [("cordon", "is cordoned already"), ("upgrade-pause", "is left out of")])
async def test_of_two_who_ask_for_the_same_one_is_refused(on: Bench, action: str, said: str) -> None:
    first, second = await on.change(action), await on.change(action)
    assert (await on.desk.run(first)).status is Status.DONE
    with pytest.raises(ChangeRefused, match=f"there is nothing to do: {NODE} {said}"):
        await on.desk.run(second)
    assert [each.id for each in (await on.desk.look()).records] == [first.id]
    assert (await on.desk.undo(first.id)).status is Status.UNDONE
    assert "unschedulable" not in on.node["spec"]
    assert SKIP not in on.labels


@pytest.mark.parametrize("action", ["upgrade-pause", "cordon"])
async def test_what_was_so_when_the_request_was_to_be_sent_is_not_undone(on: Bench, action: str) -> None:
    change = await on.change(action)
    by_hand = {"cordon": lambda: cordon_by_hand(on), "upgrade-pause": lambda: on.label(gpu_driver_upgrade__skip="true")}
    when_applying(on, by_hand[action])
    record = await on.desk.run(change)
    assert (record.status, record.steps[0].state) == (Status.DONE, StepState.ALREADY), record
    assert "1 was so already" in record.summary
    assert record.offers == ()


@pytest.mark.parametrize("resumed", [False, True])
async def test_cut_off_between_the_request_and_its_line_the_journal_has_what_was_before(
    on: Bench, *, resumed: bool
) -> None:
    change = await on.change("cordon")
    (step,) = change.steps
    journal = await on.desk._begun(change)
    before = await step.check(on.site)
    journal.write("applying", on.clock.now(), step=0, said=f"before: {before.evidence}")
    journal.close()
    await step.apply(on.site, lambda _line: None)
    (listed,) = (await on.desk.look()).records
    assert (listed.steps[0].effect, listed.steps[0].said) == (Effect.UNKNOWN, f"before: {NODE} is open to new pods")
    if resumed:
        assert (await on.desk.resume(change.id)).status is Status.DONE
    assert (await on.desk.undo(change.id)).status is Status.UNDONE
    assert "unschedulable" not in on.node["spec"]


async def test_a_request_that_was_never_sent_is_looked_at_anew_when_it_is_resumed(on: Bench) -> None:
    change = await on.change("drain")
    without_budgets(on)
    journal = await on.desk._begun(change)
    journal.write("applying", on.clock.now(), step=0, said=f"before: {NODE} is open to new pods")
    journal.close()
    said: list[tuple[str, str]] = []

    def hear(reading: Any) -> None:
        if reading.value is not None:
            step = reading.value.steps[0]
            said.append((str(step.state), step.said))

    on.desk.running.watch(hear)
    record = await on.running(on.desk.resume(change.id))
    assert record.status is Status.DONE, record
    assert ("applying", f"before: {NODE} is open to new pods") in said
    assert record.offers == ("undo",)


async def test_what_was_before_is_written_down_before_the_request(on: Bench) -> None:
    said: list[str] = []

    def hear(reading: Any) -> None:
        if reading.value is not None and reading.value.steps[0].state is StepState.APPLYING:
            said.append(reading.value.steps[0].said)
            assert "unschedulable" not in on.node["spec"]

    on.desk.running.watch(hear)
    assert (await on.desk.run(await on.change("cordon"))).status is Status.DONE
    assert said[0] == f"before: {NODE} is open to new pods"


# MIG layouts through the cluster

OURS, HIS = "all-3g.40gb", "all-1g.10gb"
TAKEN = f"{NODE} is asked for {HIS} by now, and not for"


def label_by_hand(on: Bench, layout: str | None, state: str = "success") -> None:
    def edit(node: Any) -> None:
        labels = node["metadata"]["labels"]
        labels.pop("nvidia.com/mig.config", None)
        labels.update({} if layout is None else {"nvidia.com/mig.config": layout})
        labels["nvidia.com/mig.config.state"] = state

    on.store.update(KINDS["nodes"], None, NODE, edit)


async def test_the_undo_of_a_layout_leaves_a_newer_one_to_who_asked_for_it(on: Bench) -> None:
    make_room(on)
    record = await on.running(on.desk.run(await on.change("mig", OURS)))
    assert record.status is Status.DONE
    label_by_hand(on, HIS)
    found = await on.desk.preflight(await on.desk.with_radius(undoing(record)))
    assert any(each.startswith(f"{TAKEN} {OURS}") for each in found.obstacles), found.obstacles
    with pytest.raises(ChangeRefused, match=f"{TAKEN} {OURS}"):
        await on.desk.undo(record.id)
    assert on.labels["nvidia.com/mig.config"] == HIS


@pytest.mark.parametrize("late", [False, True])
async def test_a_layout_is_not_asked_for_over_one_that_came_after_the_question(on: Bench, *, late: bool) -> None:
    make_room(on)
    change = await on.change("mig", OURS)
    if late:
        when_applying(on, lambda: label_by_hand(on, HIS))
        record = await on.running(on.desk.run(change))
        assert (record.status, record.steps[0].effect) == (Status.FAILED, Effect.NONE), record
        assert record.why.startswith(f"{TAKEN} all-disabled")
    else:
        label_by_hand(on, HIS)
        with pytest.raises(ChangeRefused, match=f"{TAKEN} all-disabled"):
            await on.desk.run(change)
    assert on.labels["nvidia.com/mig.config"] == HIS


async def test_a_failed_layout_is_not_resumed_over_a_newer_one(on: Bench) -> None:
    record = await on.running(on.desk.run(await on.change("mig", OURS)))
    assert record.status is Status.FAILED
    make_room(on)
    label_by_hand(on, HIS)
    found = await on.desk.preflight(await on.desk.with_radius(remaining(record)))
    assert any(each.startswith(TAKEN) for each in found.obstacles), found.obstacles
    with pytest.raises(ChangeRefused, match=TAKEN):
        await on.desk.resume(record.id)
    assert on.labels["nvidia.com/mig.config"] == HIS


async def test_where_there_was_no_layout_none_may_have_come(on: Bench) -> None:
    make_room(on)
    label_by_hand(on, None)
    change = await on.change("mig", OURS)
    label_by_hand(on, HIS)
    with pytest.raises(ChangeRefused, match=f"{TAKEN} no layout"):
        await on.desk.run(change)
    label_by_hand(on, None)
    record = await on.running(on.desk.run(change))
    assert record.status is Status.DONE, record
    assert (await on.running(on.desk.undo(change.id))).status is Status.UNDONE
    assert "nvidia.com/mig.config" not in on.labels


async def test_a_label_that_somebody_took_away_is_not_set_again(on: Bench) -> None:
    make_room(on)
    change = await on.change("mig", OURS)
    label_by_hand(on, None)
    with pytest.raises(ChangeRefused, match=f"{NODE} is asked for no layout by now, and not for all-disabled"):
        await on.desk.run(change)


async def test_what_an_own_change_left_that_was_abandoned_is_taken_back_and_a_strangers_is_not(on: Bench) -> None:
    make_room(on)
    first = await on.running(on.desk.run(await on.change("mig", OURS)))
    later = await on.change("mig", HIS)
    journal = await on.desk._begun(later)
    journal.write("applying", on.clock.now(), step=0)
    journal.close()
    await on.desk.abandon(later.id, "by hand")
    label_by_hand(on, "all-2g.20gb")
    with pytest.raises(ChangeRefused, match=f"{NODE} is asked for all-2g.20gb by now"):
        await on.desk.undo(first.id)
    label_by_hand(on, HIS)
    undone = await on.running(on.desk.undo(first.id))
    assert undone.status is Status.UNDONE, undone
    assert on.labels["nvidia.com/mig.config"] == "all-disabled"


async def test_cut_off_while_the_label_was_away_it_is_set_again(on: Bench) -> None:
    record = await on.running(on.desk.run(await on.change("mig", OURS)))
    assert record.status is Status.FAILED
    make_room(on)
    label_by_hand(on, None, "failed")  # as it is between the two requests
    resumed = await on.running(on.desk.resume(record.id))
    assert resumed.status is Status.DONE, resumed
