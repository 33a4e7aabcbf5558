"""Changes that are not at their end, those that run now among them: read again and again, and only what is new."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backends.changes.journals import Journals
from backends.changes.lock import lock_path, look
from backends.changes.places import Here, elsewhere
from backends.changes.record import ChangeRecord, Effect, Status
from backends.changes.report import status_word
from backends.changes.step import Reach
from backends.domain import SiteSpec, UnfinishedChange, clean

TOLD_SECONDS = 86_400.0
"""What was abandoned is told for so long, as what recovered."""


class UnfinishedChanges:
    """Of one site, in one state directory."""

    def __init__(self, directory: Path, spec: SiteSpec, reach: Reach, host: str) -> None:
        """`directory` is where the journals are; `host` is this machine's name."""
        self._directory = directory
        self._site = spec.name
        self._host = host
        self._journals = Journals(directory)
        self._here = Here(spec, reach, host)

    async def __call__(self) -> tuple[UnfinishedChange, ...]:
        """Newest first, without those that are known to be of another site of that name: see `read`."""
        found = await asyncio.to_thread(self.read)
        here = await self._here.known(change.places for change in found)
        return tuple(change for change in found if elsewhere(change.places, here) is None)

    def read(self) -> tuple[UnfinishedChange, ...]:
        """All of the site's name, newest first, and what was abandoned within a day.

        Blocks; raises JournalFailed where the directory cannot be read.

        A journal that cannot be read is left to the list of changes, which tells why.
        """
        records, _ = self._journals()
        since = time.time() - TOLD_SECONDS
        left = [record for record in records if record.site == self._site and _is_told(record, since)]
        if not left:
            return ()
        held = look(lock_path(self._directory, self._site), time.time(), self._host)
        at_it = held.owner.change if held.alive and held.owner is not None else None
        return tuple(_unfinished(record, running=record.id == at_it) for record in left)


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
        running=running,
        nodes=tuple(dict.fromkeys(_nodes(record))),
        stopped_services=stopped_services(record),
        why=record.why,
        places=record.places,
    )


def _nodes(record: ChangeRecord) -> Iterator[str]:
    for document in record.documents:
        node = document.get("node")
        if isinstance(node, str):
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
