"""What somebody else does to a node between the question, the request and the way back is left to him."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backends.changes.change import Change
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from backends.contract import ChangeRefused
from backends.lab.kube.cluster import KINDS
from tests.changes.platforms import NODE, Bench, on
from tests.changes.test_platform_lab import without_budgets

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
