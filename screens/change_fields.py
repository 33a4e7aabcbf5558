"""What a filter may ask a change for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from backends.changes.former import status_word
from backends.changes.record import Effect
from tui.widgets.filter.fields import SECONDS, Field, FieldTable
from tui.widgets.filter.match import Subject

if TYPE_CHECKING:
    from backends.changes.record import ChangeRecord

STATES = (
    "running",
    "undoing",
    "interrupted",
    "undo-interrupted",
    "failed",
    "undo-failed",
    "stopped",
    "done",
    "undone",
    "abandoned",
)


class ChangeItem(NamedTuple):
    """A change, looked at at a time."""

    record: ChangeRecord
    running: bool
    """A live console is at it."""
    now: float
    """Seconds since the epoch."""

    @property
    def state(self) -> str:
        return status_word(self.record, running=self.running)


def _is_open(item: ChangeItem) -> bool:
    return not item.record.ended and not item.running


CHANGE_FIELDS = FieldTable(
    (
        Field("state", "text", lambda item: item.state, "where it stands", "state=done", ("status",), choices=STATES),
        Field("target", "text", lambda item: " ".join(item.record.targets), "what it changes", "target~gpu3"),
        Field("who", "text", lambda item: item.record.actor.label, "who made it", "who~alice", ("user",)),
        Field("reason", "text", lambda item: item.record.reason, "why, as it was given", "reason~INC-42"),
        Field("title", "text", lambda item: item.record.title, "what it is called", "title~MIG"),
        Field("steps", "number", lambda item: len(item.record.steps), "how many steps it has", "steps>3"),
        Field(
            "age",
            "number",
            lambda item: max(0.0, item.now - item.record.begun_at),
            "how long ago it was begun: s, m, h or d",
            "age<2d",
            unit=SECONDS,
            of_the_moment=True,
        ),
    ),
    words={
        "open": "not brought to an end, and nobody is at it",
        "doubt": "the effect of a step is not known",
    },
)


def change_subject(item: ChangeItem) -> Subject:
    """The change as a filter sees it."""
    record = item.record
    parts = (item.state, record.title, *record.targets, record.actor.label, record.reason, record.id)
    states = {"open": _is_open(item), "doubt": any(step.effect is Effect.UNKNOWN for step in record.steps)}
    return Subject(" ".join(parts).lower(), frozenset(word for word, so in states.items() if so), item)
