"""Changes as a document (`gpudeck/changes/1`) and as plain text. Times are seconds since the epoch."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backends.changes.change import Change
from backends.changes.former import ending, may_want_name, status_word
from backends.changes.journals import Unreadable, read_all
from backends.changes.lock import Held, lock_path, look
from backends.changes.places import places_json
from backends.changes.preflight import Preflight
from backends.changes.record import ChangeRecord, StepState
from backends.contract import JournalFailed

SCHEMA = "gpudeck/changes/1"
NAME_WORDS = "it may end work: for NAME type the name of what is changed, which --dry-run tells"


@dataclass(frozen=True, slots=True)
class Listed:
    """A change, and whether a live console is at it."""

    record: ChangeRecord
    held: Held

    @property
    def running(self) -> bool:
        return self.held.alive and self.held.owner is not None and self.held.owner.change == self.record.id

    @property
    def status(self) -> str:
        return status_word(self.record, running=self.running)

    @property
    def offers(self) -> tuple[str, ...]:
        return () if self.running else self.record.offers


def listed_of(
    own: Path, shared: Iterable[Path], site: str | None, now: float, host: str
) -> tuple[list[Listed], list[Unreadable]]:
    """`listed` of this login's directory and of those it shares with others, which may be closed to it."""
    found, unreadable = listed(own, site, now, host)
    for directory in shared:
        try:
            changes, broken = listed(directory, site, now, host)
        except JournalFailed as error:
            unreadable.append(Unreadable(directory, error.message))
        else:
            found += changes
            unreadable += broken
    return sorted(found, key=lambda each: each.record.id, reverse=True), unreadable


def listed(directory: Path, site: str | None, now: float, host: str) -> tuple[list[Listed], list[Unreadable]]:
    """The changes of a site, or of all, newest first. Blocks on the disk."""
    records, unreadable = read_all(directory, site)
    locks = {name: look(lock_path(directory, name), now, host) for name in {record.site for record in records}}
    return [Listed(record, locks[record.site]) for record in records], unreadable


def document(
    changes: Iterable[Listed], unreadable: Iterable[Unreadable], directories: Sequence[Path], now: float
) -> dict[str, Any]:
    """What `gpudeck changes --json` prints; the first of `directories` is this login's own."""
    return {
        "schema": SCHEMA,
        "at": now,
        "directory": str(directories[0]),
        "shared_directories": [str(each) for each in directories[1:]],
        "changes": [entry(each) for each in changes],
        "unreadable": [{"file": str(each.path), "why": each.why} for each in unreadable],
    }


def entry(listed: Listed) -> dict[str, Any]:
    record = listed.record
    owner = listed.held.owner if listed.running else None
    return {
        "id": record.id,
        "site": record.site,
        "title": record.title,
        "reason": record.reason,
        "who": record.actor.to_json(),
        "targets": record.targets,
        "places": places_json(record.places),
        "status": listed.status,
        "why": record.why or None,
        "last_by": record.last_by or None,
        "begun_at": record.begun_at,
        "updated_at": record.updated_at,
        "step_reached": _reached(record),
        "offers": listed.offers,
        "running_in": None if owner is None else {"pid": owner.pid, "host": owner.host, "since": owner.since},
        "hits": record.hits,
        "steps": [_step(record, number) for number in range(len(record.steps))],
        "torn_bytes": record.torn_bytes,
    }


def _reached(record: ChangeRecord) -> dict[str, Any] | None:
    index = record.reached
    return None if index is None else {"of": len(record.steps), **_step(record, index)}


def _step(record: ChangeRecord, index: int) -> dict[str, Any]:
    step = record.steps[index]
    return {
        "number": index + 1,
        "kind": step.kind,
        "what": step.describe,
        "state": str(step.state),
        "effect": str(step.effect),
        "at": step.at,
        "said": step.said or None,
        "verified_by": step.verified_by,
        "undo": step.undo_describe,
        "undo_note": step.undo_note or None,
    }


def plan_document(change: Change, found: Preflight, now: float) -> dict[str, Any]:
    """What `--dry-run --json` prints: everything that a confirmation is asked with. Nothing was changed."""
    steps = []
    for number, (step, preview) in enumerate(zip(change.steps, found.previews, strict=True), 1):
        undo = step.undo()
        steps.append(
            {
                "number": number,
                "kind": step.kind,
                "what": step.describe(),
                "verified_by": step.verified_by(),
                "undo": None if undo is None else undo.describe(),
                "undo_note": step.undo_note or None,
                "effects": preview.effects,
                "warnings": preview.warnings,
                "obstacles": preview.obstacles,
            }
        )
    return {
        "schema": SCHEMA,
        "at": now,
        "dry_run": True,
        "changed": False,
        "possible": not found.obstacles,
        "change": {
            "id": change.id,
            "site": change.site,
            "title": change.title,
            "reason": change.reason,
            "targets": [asdict(target) for target in change.targets],
            "type_to_confirm": found.typed_name(change),
            "steps": steps,
            "blast_radius": {
                **asdict(change.radius),
                "workloads": change.radius.workloads,
                "gpu_count": change.radius.gpu_number,
            },
            "seen_besides": found.news(change),
            "permissions": [asdict(permission) for permission in found.permissions],
            "warnings": found.warnings,
            "obstacles": found.obstacles,
        },
    }


# Plain text


def plan_lines(change: Change, found: Preflight) -> list[str]:
    """A change before it is done, as plain text."""
    lines = [change.title, ""]
    for number, (step, preview) in enumerate(zip(change.steps, found.previews, strict=True), 1):
        undo = step.undo()
        lines += _numbered(number, step.describe())
        lines += [f"     effect  {effect}" for effect in preview.effects]
        lines.append(f"     verify  {step.verified_by()}")
        told = [] if undo is None else undo.describe().split("\n")
        if undo is None or step.undo_note:
            told += (step.undo_note or "there is none").split("\n")
        lines += [f"     {'undo' if n == 0 else '':<8}{line}" for n, line in enumerate(told)]
    lines += ["", "hits", *(f"  {line}" for line in change.radius.lines)]
    lines += [f"  seen just now besides: {line}" for line in found.news(change)]
    for permission in found.permissions:
        word = {True: "granted", False: "not granted", None: "not known"}[permission.granted]
        lines.append(f"permission  {permission.what}: {word}" + (f" ({permission.why})" if permission.why else ""))
    lines += [f"warning  {warning}" for warning in found.warnings]
    name = found.typed_name(change)
    if name is not None and not found.obstacles:
        lines.append(f"it ends workloads: to do it, --yes and --confirm {shlex.quote(name)}")
    return [*lines, *(f"refused  {obstacle}" for obstacle in found.obstacles)]


def _numbered(number: int, text: str) -> list[str]:
    first, *more = text.split("\n")
    return [f"{number:>3}  {first}", *(f"     {line}" for line in more)]


_MARKS = {
    StepState.PENDING: ".",
    StepState.APPLYING: "?",
    StepState.APPLIED: "+",
    StepState.VERIFIED: "+",
    StepState.FAILED: "X",
    StepState.UNDOING: "?",
    StepState.UNDONE: "-",
    StepState.UNDO_FAILED: "X",
    StepState.KEPT: "=",
    StepState.ALREADY: "=",
}


Sites = Collection[str] | None
"""Names of the sites that are configured; None: not known."""


def change_lines(listed: Listed, moment: str, config_file: Path | None = None, sites: Sites = None) -> list[str]:
    """One change in full; `moment` is when it began, as text, `config_file` what its commands have to name."""
    record = listed.record
    lines = [
        f"{record.id}  {listed.status}",
        f"  what    {record.title}",
        f"  why     {record.reason or 'no reason was given'}",
        f"  who     {record.actor.label}",
        *([f"  last    {record.last_by}"] if record.last_by else []),
        f"  when    {moment}",
        f"  where   {record.site}: {', '.join(record.targets)}",
    ]
    lines += [f"  at      {place}: {identity}" for place, identity in record.places.items()]
    lines += [f"  hits    {hit}" for hit in record.hits]
    if record.why:
        lines.append(f"  ended   {record.why}")
    for number, step in enumerate(record.steps, 1):
        lines += [f"  {_MARKS[step.state]}{line}" for line in _numbered(number, step.describe)]
        lines.append(f"        {step.words}" + (f": {step.said}" if step.said else ""))
    if record.torn_bytes:
        lines.append(f"  the journal's last line was cut off ({record.torn_bytes} bytes); it is not counted")
    return [*lines, *offer_lines(listed, config_file, sites)]


def offer_lines(listed: Listed, config_file: Path | None = None, sites: Sites = None) -> list[str]:
    """What can be done about it, as command lines; none of them could be run where `sites` has not its site."""
    if listed.running and listed.held.owner is not None:
        owner = listed.held.owner
        return [f"  running in pid {owner.pid} on {owner.host}"]
    if sites is not None and listed.record.site not in sites:
        there = config_file or "the configuration"
        return [f"  {there} has no site {listed.record.site}: name the one that has, with --config, to end it"]
    lines = [f"  {ending(offer, listed.record, config_file)}" for offer in listed.offers]
    named = any(may_want_name(listed.record, offer) for offer in listed.offers)
    return [*lines, f"  ({NAME_WORDS})"] if named else lines


def list_lines(
    changes: list[Listed],
    unreadable: list[Unreadable],
    moments: list[str],
    config_file: Path | None = None,
    sites: Sites = None,
) -> list[str]:
    """All changes, one line each and what is offered for the open ones; `moments` are when they began."""
    lines: list[str] = []
    for each, moment in zip(changes, moments, strict=True):
        lines.append(f"{each.record.id}  {moment}  {each.record.site}  {each.status}  {each.record.title}")
        if not each.record.ended:
            index = each.record.reached
            if index is not None:
                step = each.record.steps[index]
                lines.append(f"  step {index + 1} of {len(each.record.steps)}, {step.words}:")
                lines += [f"    {line}" for line in step.describe.split("\n")]
            lines += [f"  at {place}: {identity}" for place, identity in each.record.places.items()]
            lines += offer_lines(each, config_file, sites)
    lines += [f"unreadable  {each.why}" for each in unreadable]
    return lines or ["no change was made yet"]
