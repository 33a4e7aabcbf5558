"""Former changes as changes again: what resuming and undoing them does, and whether that may be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from backends.changes.change import Change, Target
from backends.changes.record import ChangeRecord, Effect, Status, StepState
from backends.changes.step import Step, step_from_json
from backends.contract import ChangeRefused, GpudeckError, JournalFailed
from backends.domain import ending_command


def rebuild(record: ChangeRecord) -> Change:
    """The change of a journal; raises GpudeckError when a step cannot be rebuilt.

    Whom it hits is left open: `backends.changes.radius` looks, because the journal tells of another day.
    """
    return Change(
        id=record.id,
        title=record.title,
        reason=record.reason,
        site=record.site,
        targets=tuple(Target("", name) for name in record.targets),
        steps=tuple(step_from_json(document) for document in record.documents),
    )


def remaining(record: ChangeRecord) -> Change:
    """What resuming a former change does, to be looked at before it is asked for."""
    change = rebuild(record)
    left = [
        (step, known)
        for step, known in zip(change.steps, record.steps, strict=True)
        if known.state not in (StepState.VERIFIED, StepState.ALREADY)
    ]
    begun = frozenset(index for index, (_, known) in enumerate(left) if known.effect is not Effect.NONE)
    steps = tuple(step for step, _ in left)
    return replace(change, steps=steps, disruptive=_wants_name(record, steps), in_doubt=begun)


def undoing(record: ChangeRecord) -> Change:
    """What undoing a former change does, likewise."""
    change = rebuild(record)
    undos = [step.undo() for step, told in zip(change.steps, record.steps, strict=True) if told.undoable]
    steps = tuple(undo for undo in reversed(undos) if undo is not None)
    title = f"Undo of: {change.title}"
    return replace(change, title=title, steps=steps, disruptive=_wants_name(record, steps), backwards=True)


def _wants_name(record: ChangeRecord, steps: Iterable[Step]) -> bool:
    """Whether the name is to be typed again, whatever is seen: these steps may end what the change was to end."""
    return record.typed_name is not None and not all(step.tells_all_hits for step in steps)


def may_want_name(record: ChangeRecord, what: str) -> bool:
    """Whether resume or undo may want the target's name typed: its own steps may end work. Nobody is looked for."""
    if record.typed_name is None or what not in ("resume", "undo"):
        return False
    try:
        ahead = undoing(record) if what == "undo" else remaining(record)
    except GpudeckError:
        return True
    return not all(step.ends_nothing for step in ahead.steps)


def ending(what: str, record: ChangeRecord, config_file: Path | None) -> str:
    """The command line that ends a change so; see `ending_command`."""
    return ending_command(what, record.id, config_file, named=may_want_name(record, what))


def built_upon(
    record: ChangeRecord, records: Iterable[ChangeRecord], config_file: Path | None = None
) -> ChangeRefused | None:
    """Why a former change can be neither resumed nor undone: a later one of the same target still holds.

    One without an undo, as a restart or a finished upgrade, stands in nobody's way: nothing could ever take it away.
    Neither does an abandoned one, which nobody can undo any more: see `abandoned_since`.
    """
    later = [
        each
        for each in _later(record, records)
        if each.status is not Status.ABANDONED and any(step.undoable for step in each.steps)
    ]
    if not later:
        return None
    return ChangeRefused(
        f"the later change {later[-1].id} ({later[-1].title}) holds on {', '.join(record.targets)}",
        f"undo that one first: {ending('undo', later[0], config_file)}",
    )


def abandoned_since(
    change: Change, record: ChangeRecord, records: Iterable[ChangeRecord]
) -> tuple[Change, tuple[str, ...]]:
    """A former change whose steps know of later ones of the same target that were abandoned, and what is to be known.

    What those did stays, and what was done about it by hand no journal tells.
    """
    touched: list[Step] = []
    doubts = []
    for each in _later(record, records):
        if each.status is not Status.ABANDONED or all(step.effect is Effect.NONE for step in each.steps):
            continue
        with contextlib.suppress(GpudeckError):  # what cannot be rebuilt tells a step nothing
            touched += rebuild(each).steps
        doubts.append(
            f"the later change {each.id} ({each.title}) was abandoned: {', '.join(record.targets)} may be "
            "neither as this change left it nor as that one found it; look at what is there first"
        )
    return replace(change, steps=tuple(step.knowing(touched) for step in change.steps)), tuple(doubts)


def _later(record: ChangeRecord, records: Iterable[ChangeRecord]) -> list[ChangeRecord]:
    """Those of the same target that were begun after it."""
    return [each for each in records if each.id > record.id and set(each.targets).intersection(record.targets)]


def need_offer(record: ChangeRecord, what: str) -> None:
    """Raises ChangeRefused when that cannot be done about it."""
    if what not in record.offers:
        offers = ", ".join(record.offers) or "nothing"
        raise ChangeRefused(f"{record.id} is {record.summary}: {what} is not possible", f"possible: {offers}")


def status_word(record: ChangeRecord, *, running: bool) -> str:
    """The journal's status, where an open end means running or cut off by who holds the lock."""
    if record.status is Status.OPEN:
        return "running" if running else "interrupted"
    if record.status is Status.UNDOING:
        return "undoing" if running else "undo-interrupted"
    return str(record.status)


def step_place(record: ChangeRecord) -> str:
    """`step 2 of 3, applying`."""
    index = record.reached
    return "not begun" if index is None else f"step {index + 1} of {len(record.steps)}, {record.steps[index].state}"


def stopped_there(error: JournalFailed, record: ChangeRecord, config_file: Path | None) -> JournalFailed:
    """What the journal could not be told: where the change stands."""
    place = f"the change has stopped at {step_place(record)}"
    return JournalFailed(f"{error.message}; {place}", f"{error.hint}; then: {ending('resume', record, config_file)}")
