"""The changes of a site as its triage and its event log hear of them: read again and again, and only what is new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from backends.changes.former import may_want_name, status_word
from backends.changes.journals import Journals
from backends.changes.lock import lock_path, look
from backends.changes.places import Here, elsewhere
from backends.changes.record import ChangeRecord, Effect, Status
from backends.changes.step import Reach
from backends.changes.turns import Turns
from backends.domain import Event, SiteSpec, UnfinishedChange, clean

MIG_LABEL = "mig-label"
"""`MigLabelStep.kind`"""
TOLD_SECONDS = 86_400.0
"""What was abandoned is told for so long, as what recovered."""


class UnfinishedChanges:
    """Of one site, in one state directory: those that are not at their end, and what happens to all of them."""

    def __init__(
        self,
        directory: Path,
        spec: SiteSpec,
        reach: Reach,
        host: str,
        on_event: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        """`directory` is where the journals are; `host` is this machine's name; `on_event` hears what happens."""
        self._directory = directory
        self._site = spec.name
        self._host = host
        self._journals = Journals(directory)
        self._reach = reach
        self._here = Here(spec, reach, host)
        self._turns = Turns()
        self._on_event = on_event
        self._looked = False

    async def __call__(self) -> tuple[UnfinishedChange, ...]:
        """Newest first, without those that are known to be of another site of that name: see `read`.

        What happened is told from the second look on: the first one keeps a console waiting, and the platform may have
        to be asked which one it is.
        """
        records, running = await asyncio.to_thread(self._read)
        here = await self._here.known(record.places for record in records if self._looked or not record.ended)
        ours = [record for record in records if elsewhere(record.places, here) is None]
        if self._looked:
            for event in self._turns.new(ours, running, self._reach.clock.now()):
                self._on_event(event)
        self._looked = True
        return _left(ours, running)

    def read(self) -> tuple[UnfinishedChange, ...]:
        """All of the site's name, newest first, and what was abandoned within a day.

        Blocks; raises JournalFailed where the directory cannot be read.

        A journal that cannot be read is left to the list of changes, which tells why.
        """
        return _left(*self._read())

    def _read(self) -> tuple[list[ChangeRecord], str | None]:
        """The journals of the site, newest first, and the change that somebody is at."""
        records, _ = self._journals()
        ours = [record for record in records if record.site == self._site]
        if all(record.ended for record in ours):
            return ours, None
        held = look(lock_path(self._directory, self._site), time.time(), self._host)
        return ours, held.owner.change if held.alive and held.owner is not None else None


def _left(records: Iterable[ChangeRecord], running: str | None) -> tuple[UnfinishedChange, ...]:
    since = time.time() - TOLD_SECONDS
    return tuple(_unfinished(record, running=record.id == running) for record in records if _is_told(record, since))


def _is_told(record: ChangeRecord, since: float) -> bool:
    return not record.ended or (record.status is Status.ABANDONED and record.updated_at >= since)


def _unfinished(record: ChangeRecord, *, running: bool) -> UnfinishedChange:
    index = record.reached
    return UnfinishedChange(
        id=record.id,
        title=record.title,
        who=record.actor.label,
        status=status_word(record, running=running),
        place="" if index is None else f"step {index + 1} of {len(record.steps)}",
        step="" if index is None else record.steps[index].describe.split("\n")[0],
        updated_at=record.updated_at,
        touched=any(step.effect is not Effect.NONE for step in record.steps),
        offers=() if running else record.offers,
        named=tuple(offer for offer in record.offers if may_want_name(record, offer)),
        running=running,
        nodes=record.nodes,
        mig_nodes=tuple(dict.fromkeys(_mig_nodes(record))),
        stopped_services=stopped_services(record),
        why=record.why,
        places=record.places,
    )


def _mig_nodes(record: ChangeRecord) -> Iterator[str]:
    for document in record.documents:
        node = document.get("node")
        if document.get("kind") == MIG_LABEL and isinstance(node, str):
            yield clean(node)


def stopped_services(record: ChangeRecord) -> tuple[str, ...]:
    """The services that its steps have stopped, or may have, and none has started again for certain."""
    stopped: dict[str, None] = {}
    for document, step in zip(record.documents, record.steps, strict=True):
        verb, units = _service(document)
        if verb == "stop" and step.effect is not Effect.NONE:
            stopped.update(dict.fromkeys(units))
        elif verb == "start" and step.effect is Effect.DONE:
            for unit in units:
                stopped.pop(unit, None)
    return tuple(stopped)


def _service(document: Mapping[str, Any]) -> tuple[str, list[str]]:
    argv = document.get("argv")
    words = [word for word in argv if isinstance(word, str)] if isinstance(argv, list) else []
    if "systemctl" not in words:
        return "", []
    verb, *units = words[words.index("systemctl") + 1 :] or [""]
    return verb, [clean(unit, 100) for unit in units]
