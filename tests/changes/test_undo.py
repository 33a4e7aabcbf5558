"""Undo is offered where it can work, and refused with the reason where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from backends.changes.change import Permission, Preview
from backends.changes.desk import ChangeDesk
from backends.changes.former import remaining, undoing
from backends.changes.journals import read_all
from backends.changes.preflight import Preflight
from backends.changes.record import ChangeRecord, Status, StepState
from backends.changes.report import plan_lines
from backends.changes.step import KINDS, Reach, Step, Verdict
from backends.contract import ChangeRefused
from tests.changes.steps import FileStep, GoneStep, change_of, open_desk

KINDS["test-final"] = "tests.changes.test_undo:FinalStep"
KINDS["test-guarded"] = "tests.changes.test_undo:GuardedStep"
KINDS["test-blind"] = "tests.changes.test_undo:BlindStep"
LATER = "20231114T221321-bbbbbb"


class FinalStep(FileStep):
    """Once the file is seen nothing takes it away."""

    kind: ClassVar[str] = "test-final"

    @property
    def final(self) -> bool:
        return True

    @property
    def undo_note(self) -> str:
        return "what is written stays"


@dataclass(frozen=True, slots=True)
class GuardedGoneStep(GoneStep):
    """Refuses whatever it is asked for."""

    kind: ClassVar[str] = "test-guarded-gone"

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [Permission("remove files", True)]

    async def preview(self, reach: Reach) -> Preview:
        return Preview(obstacles=("the file is open",))


class GuardedStep(FileStep):
    kind: ClassVar[str] = "test-guarded"

    def undo(self) -> Step | None:
        return GuardedGoneStep(self.path)


@dataclass(frozen=True, slots=True)
class BlindGoneStep(GoneStep):
    """Cannot look whether there is a file."""

    kind: ClassVar[str] = "test-blind-gone"

    async def check(self, reach: Reach) -> Verdict:
        return Verdict(None, "no light there")


class BlindStep(FileStep):
    kind: ClassVar[str] = "test-blind"

    def undo(self) -> Step | None:
        return BlindGoneStep(self.path)


async def abandoned_later(desk: ChangeDesk, step: Step) -> ChangeRecord:
    """A later change of the same target that came half way and was given up."""
    record = await desk.run(change_of(step, change_id=LATER))
    assert record.status is Status.FAILED
    return await desk.abandon(record.id, "looked after by hand")


async def test_what_was_abandoned_stands_in_nobodys_way_and_is_told(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first = await desk.run(change_of(FileStep(str(tmp_path / "a"))))
    later = await abandoned_later(desk, FileStep(str(tmp_path / "a"), "other", fails="half"))
    found = await desk.preflight(undoing(first))
    assert found.obstacles == ()
    assert found.warnings[0].startswith(f"the later change {later.id} (write some files) was abandoned: the files may")
    assert (await desk.undo(first.id)).status is Status.UNDONE
    assert not (tmp_path / "a").exists()
    await desk.close()


async def test_what_was_abandoned_does_not_hide_one_that_holds(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first = await desk.run(change_of(FileStep(str(tmp_path / "a"))))
    await abandoned_later(desk, FileStep(str(tmp_path / "b"), fails="half"))
    holds = await desk.run(change_of(FileStep(str(tmp_path / "c")), change_id="20231114T221322-cccccc"))
    with pytest.raises(ChangeRefused, match=f"the later change {holds.id} .* holds on the files"):
        await desk.undo(first.id)
    assert (await desk.undo(holds.id)).status is Status.UNDONE
    assert (await desk.undo(first.id)).status is Status.UNDONE
    await desk.close()


async def test_an_abandoned_change_that_touched_nothing_is_not_told(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first = await desk.run(change_of(FileStep(str(tmp_path / "a"))))
    await abandoned_later(desk, FileStep(str(tmp_path / "b"), fails="refused"))
    assert (await desk.preflight(undoing(first))).doubts == ()
    await desk.close()


async def test_after_an_abandoned_change_nothing_is_taken_back_blindly(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first = await desk.run(change_of(BlindStep(str(tmp_path / "a"))))
    assert (await desk.preflight(undoing(first))).obstacles == ()
    await abandoned_later(desk, FileStep(str(tmp_path / "b"), fails="half"))
    with pytest.raises(ChangeRefused, match=r"what this step finds cannot be told \(no light there\): remove "):
        await desk.undo(first.id)
    assert (tmp_path / "a").exists()
    await desk.close()


async def test_a_change_is_resumed_though_a_later_one_was_abandoned(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    later = await abandoned_later(desk, FileStep(str(tmp_path / "b"), fails="half"))
    first = await desk.run(change_of(FileStep(str(tmp_path / "a"), fails="lost")))
    assert first.status is Status.FAILED
    found = await desk.preflight(remaining(first))
    assert found.obstacles == ()
    assert later.id in found.warnings[0]
    assert (await desk.resume(first.id)).status is Status.DONE
    await desk.close()


async def test_what_is_final_is_not_offered_to_be_taken_back(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(FinalStep(str(tmp_path / "a"))))
    assert (record.status, record.offers) == (Status.DONE, ())
    with pytest.raises(ChangeRefused, match="undo is not possible"):
        await desk.undo(record.id)
    await desk.close()


async def test_before_its_effect_is_seen_it_is_taken_back(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(FinalStep(str(tmp_path / "a"), fails="half")))
    assert "undo" in record.offers
    assert (await desk.undo(record.id)).status is Status.UNDONE
    assert not (tmp_path / "a").exists()
    await desk.close()


async def test_the_rest_of_its_change_is_taken_back(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(FileStep(str(tmp_path / "a")), FinalStep(str(tmp_path / "b"))))
    assert [step.kind for step in undoing(record).steps] == ["test-gone"]
    undone = await desk.undo(record.id)
    assert [step.state for step in undone.steps] == [StepState.UNDONE, StepState.KEPT]
    assert undone.steps[1].said == "what is written stays"
    assert [path.name for path in tmp_path.glob("?")] == ["b"]
    await desk.close()


async def test_what_is_final_stands_in_nobodys_way(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    first = await desk.run(change_of(FileStep(str(tmp_path / "a"))))
    await desk.run(change_of(FinalStep(str(tmp_path / "b")), change_id=LATER))
    assert (await desk.undo(first.id)).status is Status.UNDONE
    await desk.close()


async def test_an_undo_that_cannot_work_is_refused_and_the_change_stays_as_it_was(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(GuardedStep(str(tmp_path / "a"))))
    with pytest.raises(ChangeRefused, match="the file is open"):
        await desk.undo(record.id)
    assert [each.status for each in read_all(tmp_path / "state" / "changes")[0]] == [Status.DONE]
    assert (tmp_path / "a").exists()
    await desk.close()


async def test_what_is_as_before_already_needs_no_dry_run_to_be_undone(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(GuardedStep(str(tmp_path / "a"))))
    (tmp_path / "a").unlink()
    found = await desk.preflight(undoing(record))
    assert (found.obstacles, found.previews[0].effects) == ((), ("it is so already: there is no file",))
    assert (await desk.undo(record.id)).status is Status.UNDONE
    await desk.close()


async def test_a_resume_is_looked_at_beforehand_as_well(tmp_path: Path) -> None:
    desk = await open_desk(tmp_path / "state")
    record = await desk.run(change_of(FileStep(str(tmp_path / "a"), fails="refused"), FileStep(str(tmp_path / "b"))))
    (path,) = (tmp_path / "state" / "changes").glob("*.journal")
    path.write_text(path.read_text().replace('"granted":true', '"granted":false'))
    with pytest.raises(ChangeRefused, match="write files is not granted"):
        await desk.resume(record.id)
    assert read_all(tmp_path / "state" / "changes")[0][0].events == record.events
    await desk.close()


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (FinalStep("/tmp/a"), ["     undo    remove /tmp/a", "             what is written stays"]),
        (FileStep("/tmp/a"), ["     undo    remove /tmp/a"]),
        (FinalStep("/tmp/a", undoable=False), ["     undo    what is written stays"]),
        (FileStep("/tmp/a", undoable=False), ["     undo    there is none"]),
    ],
)
def test_a_plan_tells_what_an_undo_does_and_what_it_does_not_bring_back(step: FileStep, told: list[str]) -> None:
    lines = plan_lines(change_of(step), Preflight((Preview(),), (), ()))
    first = next(number for number, line in enumerate(lines) if line.startswith("     undo"))
    assert lines[first : lines.index("", first)] == told
