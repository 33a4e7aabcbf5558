"""What a journal says: a pure reading of its lines.

A journal is JSON lines. The first, `begin`, names the change and every step with its undo; each later one is an event,
numbered, written and synced before what it announces is done (`applying`, `undoing`) or after it was (`applied`,
`verified`, `undone`). So after a crash the last whole line tells the step that was reached, and whether its effect is
known. `replay` folds the events one by one: the running engine and a later reader see the same record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from backends.changes.actor import Actor
from backends.changes.places import places_from_json
from backends.contract import GpudeckError
from backends.domain import Identity, clean, plural

VERSION = 1
TEXT_LIMIT = 2_000
DESCRIBE_LIMIT = 20_000


class JournalCorrupt(GpudeckError):
    code = "journal-corrupt"


class StepState(StrEnum):
    PENDING = "pending"
    """Not begun."""
    APPLYING = "applying"
    """Begun; whether it took effect is not known, until something later says so."""
    APPLIED = "applied"
    VERIFIED = "verified"
    FAILED = "failed"
    """`effect` says what it left."""
    UNDOING = "undoing"
    """Its undo has begun; how far it came is not known."""
    UNDONE = "undone"
    UNDO_FAILED = "undo-failed"
    KEPT = "kept"
    """It has no undo: its effect stays."""


class Effect(StrEnum):
    NONE = "none"
    UNKNOWN = "unknown"
    FAILED = "failed"
    """Who was asked says that it failed: no wait brings it about, and what was asked for stays until it is undone."""
    DONE = "done"


class Status(StrEnum):
    """Of a whole change. `OPEN` is running, or was cut off: the site's lock tells which."""

    OPEN = "open"
    DONE = "done"
    STOPPED = "stopped"
    """Between two steps: asked to, or the write window closed."""
    FAILED = "failed"
    UNDOING = "undoing"
    """Being undone, or cut off while it was."""
    UNDONE = "undone"
    UNDO_FAILED = "undo-failed"
    ABANDONED = "abandoned"
    """A person took it over: nothing more is done or offered."""


ENDED = frozenset({Status.DONE, Status.UNDONE, Status.ABANDONED})


TURNS = frozenset(
    {"begin", "failed", "undo-failed", "resumed", "stopped", "undo", "undo-stopped", "finished", "undo-finished"}
    | {"abandoned"}
)
"""Events of a journal that turn the change as a whole."""
TURNS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Turn:
    """One of `TURNS`, as it is in the journal."""

    number: int
    """Of its line, from 0."""
    at: float
    """Seconds since the epoch."""
    name: str
    who: str
    step: int | None = None
    """Index of the step that failed."""
    why: str = ""
    """Why it was done, or came to that."""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step as the journal knows it."""

    kind: str
    describe: str
    verified_by: str
    undo_describe: str | None
    undo_note: str
    state: StepState = StepState.PENDING
    effect: Effect = Effect.NONE
    at: float | None = None
    """When it came to this state, seconds since the epoch."""
    said: str = ""
    """What it answered, what was seen, or why it failed."""
    final: bool = False
    """Once it is verified nothing takes it back."""

    @property
    def words(self) -> str:
        """Its state, and what is not known of it: `applying, its effect is not known`, `applied, not verified`."""
        if self.effect is Effect.UNKNOWN:
            return f"{self.state}, its effect is not known"
        return f"{self.state}, not verified" if self.state is StepState.APPLIED else str(self.state)

    @property
    def kept(self) -> bool:
        """Its effect stays, whatever is undone."""
        never = self.undo_describe is None or (self.final and self.state is StepState.VERIFIED)
        return never or self.state is StepState.KEPT

    @property
    def undoable(self) -> bool:
        """It has an effect, or may have one, that can be taken back."""
        return self.effect is not Effect.NONE and not self.kept


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """A change as its journal knows it."""

    id: str
    site: str
    title: str
    reason: str
    actor: Actor
    targets: tuple[str, ...]
    hits: tuple[str, ...]
    """Whom it was to hit, in lines, as it was known before it began."""
    typed_name: str | None
    """What had to be typed to confirm it."""
    begun_at: float
    steps: tuple[StepRecord, ...]
    status: Status = Status.OPEN
    updated_at: float = 0.0
    last_by: str = ""
    """Who was at it last, where that is another than who began it."""
    why: str = ""
    """Why it stopped, failed or was abandoned."""
    events: int = 0
    """Lines read so far."""
    torn_bytes: int = 0
    """Length of a last line that was cut off while it was written; what it would have said is not counted."""
    progress: str = ""
    """What the running step tells; never in the journal."""
    waits_until: float | None = None
    """How long its effect is waited for at most, seconds since the epoch; None while none is, never in the journal."""
    documents: tuple[Mapping[str, Any], ...] = ()
    """The steps as JSON, to rebuild them."""
    places: Mapping[str, Identity] = field(default_factory=dict)
    """Who was acted on; empty in a journal of before that was kept."""
    turns: tuple[Turn, ...] = ()
    """Oldest first, bounded: the last `TURNS_KEPT`."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes of the site that its steps act on."""
        named = (document.get("node") for document in self.documents)
        return tuple(dict.fromkeys(clean(node) for node in named if isinstance(node, str)))

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def reached(self) -> int | None:
        """Index of the step it came to; None before the first."""
        begun = [index for index, step in enumerate(self.steps) if step.state is not StepState.PENDING]
        backwards = [index for index in begun if self.steps[index].state in (StepState.UNDOING, StepState.UNDO_FAILED)]
        found = backwards or begun[-1:]
        return found[0] if found else None

    @property
    def in_doubt(self) -> int | None:
        """Index of the step whose effect is not known; None when every effect is."""
        return next((index for index, step in enumerate(self.steps) if step.effect is Effect.UNKNOWN), None)

    @property
    def offers(self) -> tuple[str, ...]:
        """What can be done about it, unless it is running: resume, undo, abandon."""
        undo = ("undo",) if any(step.undoable for step in self.steps) else ()
        if self.status is Status.DONE:
            return undo
        if self.ended:
            return ()
        if self.status in (Status.UNDOING, Status.UNDO_FAILED):
            return ("undo", "abandon")
        return ("resume", *undo, "abandon")

    @property
    def summary(self) -> str:
        """One line: where it stands."""
        index = self.reached
        if index is None:
            return f"{self.status}; no step had begun" + _because(self.why)
        step = self.steps[index]
        place = f"{self.status} at step {index + 1} of {len(self.steps)}, {step.words}"
        if self.status in (Status.DONE, Status.UNDONE):
            kept = sum(each.state is StepState.KEPT for each in self.steps)
            unseen = sum(each.state is StepState.APPLIED for each in self.steps)
            notes = [f"{unseen} not verified"] * bool(unseen) + [f"{kept} cannot be undone"] * bool(kept)
            place = f"{self.status}, {plural(len(self.steps), 'step')}" + (f" ({', '.join(notes)})" if notes else "")
        return place + _because(self.why)


def _because(why: str) -> str:
    return f": {why}" if why else ""


def parse(content: bytes) -> ChangeRecord:
    """The record of a whole journal file; a cut last line is left out and counted. Raises JournalCorrupt."""
    lines = content.split(b"\n")
    torn = lines.pop()
    if not lines:
        raise JournalCorrupt("it was cut off while it was begun: no step had been started")
    record: ChangeRecord | None = None
    for number, line in enumerate(lines):
        event = _event(line, number)
        record = begin(event) if record is None else replay(record, event)
    assert record is not None
    return replace(record, torn_bytes=len(torn))


def _event(line: bytes, number: int) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        raise JournalCorrupt(f"line {number + 1} is no JSON") from None
    if not isinstance(event, dict) or event.get("n") != number:
        raise JournalCorrupt(f"line {number + 1} is not event {number}: lines are missing or out of order")
    return event


def begin(event: Mapping[str, Any]) -> ChangeRecord:
    """The record of a `begin` event; raises JournalCorrupt."""
    if event.get("event") != "begin" or event.get("v") != VERSION:
        raise JournalCorrupt(f"it does not begin with a change of version {VERSION}")
    documents, told = event.get("steps"), event.get("told")
    if not isinstance(documents, list) or not isinstance(told, list) or len(documents) != len(told):
        raise JournalCorrupt("its first line names no steps")
    if not all(isinstance(each, dict) for each in [*documents, *told]):
        raise JournalCorrupt("its first line names no steps")
    at, actor, reason = _number(event.get("at")), Actor.from_json(event.get("who")), _word(event, "reason")
    return ChangeRecord(
        id=_word(event, "id"),
        site=_word(event, "site"),
        title=_word(event, "title"),
        reason=reason,
        actor=actor,
        targets=tuple(clean(str(each)) for each in _list(event.get("targets"))),
        hits=tuple(clean(str(each), TEXT_LIMIT) for each in _list(event.get("hits"))),
        typed_name=None if event.get("typed") is None else clean(str(event.get("typed"))),
        begun_at=at,
        updated_at=at,
        steps=tuple(_step(document, words) for document, words in zip(documents, told, strict=True)),
        events=1,
        documents=tuple(documents),
        places=_places(event.get("places")),
        turns=(Turn(0, at, "begin", actor.label, None, reason),),
    )


def _places(value: object) -> Mapping[str, Identity]:
    try:
        return places_from_json(value)
    except GpudeckError as error:
        raise JournalCorrupt(error.message) from None


def _step(document: Mapping[str, Any], words: Mapping[str, Any]) -> StepRecord:
    undo = words.get("undo")
    return StepRecord(
        kind=clean(str(document.get("kind", "")), 64),
        describe=clean_lines(words.get("describe"), DESCRIBE_LIMIT),
        verified_by=clean_lines(words.get("verified_by"), TEXT_LIMIT),
        undo_describe=None if undo is None else clean_lines(undo, DESCRIBE_LIMIT),
        undo_note=clean_lines(words.get("undo_note"), TEXT_LIMIT),
        final=words.get("final") is True,
    )


# event -> (state, effect); None keeps what was.
_STEP_EVENTS: dict[str, tuple[StepState, Effect | None]] = {
    "applying": (StepState.APPLYING, Effect.UNKNOWN),
    "applied": (StepState.APPLIED, Effect.DONE),
    "verified": (StepState.VERIFIED, Effect.DONE),
    "unverified": (StepState.APPLIED, Effect.DONE),
    "failed": (StepState.FAILED, None),
    "undoing": (StepState.UNDOING, Effect.UNKNOWN),
    "undo-unverified": (StepState.UNDOING, Effect.UNKNOWN),
    "undone": (StepState.UNDONE, Effect.NONE),
    "undo-failed": (StepState.UNDO_FAILED, Effect.UNKNOWN),
    "kept": (StepState.KEPT, None),
    "untouched": (StepState.PENDING, Effect.NONE),
}
_CHANGE_EVENTS: dict[str, Status] = {
    "resumed": Status.OPEN,
    "stopped": Status.STOPPED,
    "finished": Status.DONE,
    "undo": Status.UNDOING,
    "undo-stopped": Status.UNDOING,
    "undo-finished": Status.UNDONE,
    "abandoned": Status.ABANDONED,
}


def replay(record: ChangeRecord, event: Mapping[str, Any]) -> ChangeRecord:
    """`record` after one more event; raises JournalCorrupt for one that makes no sense."""
    name, at = str(event.get("event")), _number(event.get("at"))
    known = replace(record, updated_at=at, events=record.events + 1, progress="")
    who = event.get("who")
    if isinstance(who, str):
        known = replace(known, last_by="" if who == record.actor.label else clean(who, TEXT_LIMIT))
    if name in TURNS:
        known = replace(known, turns=(*record.turns, _turn(known, event, name, at))[-TURNS_KEPT:])
    if name in _CHANGE_EVENTS:
        return replace(known, status=_CHANGE_EVENTS[name], why=clean_lines(event.get("why"), TEXT_LIMIT))
    index = event.get("step")
    if name not in _STEP_EVENTS or not isinstance(index, int) or not 0 <= index < len(record.steps):
        raise JournalCorrupt(f"line {record.events + 1} is no event of this change: {clean(name, 40)!r}")
    state, effect = _STEP_EVENTS[name]
    said = clean_lines(event.get("said"), TEXT_LIMIT)
    before = record.steps[index]
    if name == "failed":
        effect = _effect(event.get("effect"))
    step = replace(before, state=state, effect=before.effect if effect is None else effect, at=at, said=said)
    known = replace(known, steps=(*record.steps[:index], step, *record.steps[index + 1 :]))
    if name in ("failed", "undo-failed"):
        return replace(known, status=Status.FAILED if name == "failed" else Status.UNDO_FAILED, why=said)
    if name in ("undoing", "undo-unverified", "undone", "kept"):
        return replace(known, status=Status.UNDOING)
    return replace(known, status=Status.OPEN, why="")


def _turn(record: ChangeRecord, event: Mapping[str, Any], name: str, at: float) -> Turn:
    """Of the line that `record` has counted already."""
    step = event.get("step")
    return Turn(
        record.events - 1,
        at,
        name,
        record.last_by or record.actor.label,
        step if isinstance(step, int) else None,
        clean_lines(event.get("why") or event.get("said"), TEXT_LIMIT),
    )


def _effect(value: object) -> Effect:
    try:
        return Effect(str(value))
    except ValueError:
        return Effect.UNKNOWN


def clean_lines(value: object, limit: int) -> str:
    """Text of several lines, each made inert; what is not text is empty."""
    if not isinstance(value, str):
        return ""
    return "\n".join(clean(line, limit) for line in value[:limit].split("\n"))


def _word(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    if not isinstance(value, str):
        raise JournalCorrupt(f"its first line has no {key}")
    return clean(value, TEXT_LIMIT)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JournalCorrupt("an event has no time")
    try:
        return float(value)
    except OverflowError:
        raise JournalCorrupt("an event has no time") from None


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
