"""What happened to the changes of a site, as events for its log: from their journals, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backends.changes.record import ChangeRecord, Status, Turn
from backends.domain import Event, clean

SECONDS_BACK = 86_400.0
"""So old a turn is told to a console that has just begun."""
TEXT_LIMIT = 400
SOURCE = "journal"
CUT_OFF = "cut-off"
TOLD: dict[str, tuple[str, str]] = {
    "begin": ("change_begun", "begun"),
    "resumed": ("change_begun", "resumed"),
    "undo": ("change_begun", "undo begun"),
    "failed": ("change_failed", "failed"),
    "undo-failed": ("change_failed", "undo failed"),
    "stopped": ("change_stopped", "stopped"),
    "undo-stopped": ("change_stopped", "undo stopped"),
    CUT_OFF: ("change_cut_off", "cut off"),
    "finished": ("change_done", "done"),
    "undo-finished": ("change_undone", "undone"),
    "abandoned": ("change_abandoned", "abandoned"),
}
"""What a journal tells, `record.TURNS` and being cut off -> kind of the event, and its words."""
_AT_WORK = frozenset({Status.OPEN, Status.UNDOING})


class Turns:
    """Of the changes of one site: what is new about them since they were looked at last."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told: dict[str, int] = {}
        """Change -> number of its last line that was told."""
        self._silent: dict[str, tuple[int, bool]] = {}
        """Change that seems cut off -> its number of lines, and whether that was told."""
        self._ran: set[str] = set()
        """Changes that were seen at work."""

    def new(self, records: Sequence[ChangeRecord], running: str | None, now: float) -> list[Event]:
        """Of all `records` there are; `running` is the change that somebody is at, `now` is seconds since the epoch.

        The first look tells what is no older than `SECONDS_BACK`.
        """
        self._since = now - SECONDS_BACK if self._since is None else self._since
        events: list[Event] = []
        for record in records:
            last = self._told.get(record.id, -1)
            turns = [turn for turn in record.turns if turn.number > last and turn.at >= self._since]
            self._told[record.id] = record.events - 1
            for turn in turns:
                events += events_of(record, turn)
        cut_off = [record for record in records if self._is_cut_off(record, running)]
        for record in cut_off:
            events += self._cut_off(record, now)
        left = {record.id for record in records}
        silent = {record.id for record in cut_off}
        self._told = {each: number for each, number in self._told.items() if each in left}
        self._silent = {each: known for each, known in self._silent.items() if each in silent}
        self._ran = (self._ran & silent) | ({running} if running is not None else set())
        return events

    @staticmethod
    def _is_cut_off(record: ChangeRecord, running: str | None) -> bool:
        """Its journal ends at work, and nobody is at it."""
        last = record.turns[-1] if record.turns else None
        waits = last is not None and last.name == "undo-stopped" and last.number == record.events - 1
        return record.status in _AT_WORK and record.id != running and not waits

    def _cut_off(self, record: ChangeRecord, now: float) -> Iterator[Event]:
        """Told at the second look that finds it so: the lock is looked at after the journals, and may be gone by then.

        When it was noticed, where it was seen at work; else its last word is all that is known.
        """
        lines, told = self._silent.get(record.id, (-1, False))
        if lines != record.events:
            self._silent[record.id] = (record.events, False)
        elif not told:
            self._silent[record.id] = (record.events, True)
            at = now if record.id in self._ran else record.updated_at
            if self._since is not None and at >= self._since:
                who = record.last_by or record.actor.label
                yield from events_of(record, Turn(record.events, at, CUT_OFF, who, record.reached, ""))


def events_of(record: ChangeRecord, turn: Turn) -> Iterator[Event]:
    """One turn of a change, once for each node that it acts on, of a GPU where it is about that GPU alone."""
    kind, words = TOLD[turn.name]
    step = "" if turn.step is None else f" at step {turn.step + 1} of {len(record.steps)}"
    why = turn.why.split("\n")[0]
    text = f"{words}{step}: {record.title}, by {turn.who}" + (f": {why}" if why else "")
    for node in record.nodes or ("",):
        index, uuid = _gpu(record, node)
        yield Event(
            turn.at, node, kind, clean(text, TEXT_LIMIT), index, uuid, source=SOURCE, who=turn.who, change=record.id
        )


def _gpu(record: ChangeRecord, node: str) -> tuple[int | None, str | None]:
    """Index and UUID of the one GPU of the node that the steps act on; None where there is none, or more."""
    found = set()
    for document in record.documents:
        index, uuid = document.get("index"), document.get("uuid")
        if document.get("node") == node and isinstance(index, int) and isinstance(uuid, str):
            found.add((index, clean(uuid)))
    return found.pop() if len(found) == 1 else (None, None)
