"""What is found out before a change is asked about, and once more before it begins. Nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.changes.change import BlastRadius, Change, Permission, Preview
from backends.changes.former import ending, status_word
from backends.changes.radius import radius_of
from backends.changes.record import ChangeRecord
from backends.changes.step import Reach, Step, Verdict
from backends.contract import ChangeRefused, GpudeckError
from backends.domain import SiteSpec, clean

LOOK_SECONDS = 30.0
"""Longest time of one step's dry run and of its permission check."""
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a confirmation is asked with."""

    previews: tuple[Preview, ...]
    """One per step."""
    permissions: tuple[Permission, ...]
    """Each once."""
    obstacles: tuple[str, ...]
    """Why the change is refused; empty when it may go on."""
    radius: BlastRadius = field(default_factory=BlastRadius)
    """Whom the steps hit at this moment, as they tell it themselves: to be compared with a later look."""
    doubts: tuple[str, ...] = ()
    """Why a former change may find its target otherwise than it left it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the change as a whole, of the steps, and of permissions that could not be asked."""
        open_questions = [
            f"whether {permission.what} is granted could not be asked: {permission.why}"
            for permission in self.permissions
            if permission.granted is None
        ]
        told = dict.fromkeys(warning for preview in self.previews for warning in preview.warnings)
        return (*self.doubts, *told, *open_questions)

    def news(self, change: Change) -> tuple[str, ...]:
        """What the steps hit at this moment besides what `change` tells, one line each."""
        return self.radius.more_than(change.radius)

    def typed_name(self, change: Change) -> str | None:
        """What must be typed to confirm, by what `change` tells or by what was found; None: a button is enough."""
        return change.typed_name or replace(change, radius=self.radius).typed_name


async def preflight(
    change: Change,
    reach: Reach,
    site: SiteSpec,
    *,
    records: Iterable[ChangeRecord] = (),
    doubts: Sequence[str] = (),
) -> Preflight:
    """Asks every step; `records` are the site's former changes that nobody is at.

    With `doubts` about its target, nothing is taken back by a step that cannot tell what it finds there.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(index: int, step: Step) -> tuple[Preview, Sequence[Permission]]:
        async with gate:
            there = await _there(step, reach, blindly=not doubts) if change.backwards else None
            preview = there or await _previewed(step, reach, begun=index in change.in_doubt)
            return preview, await _permissions(step, reach)

    radius, looked = await asyncio.gather(
        radius_of(change.steps, reach),
        asyncio.gather(*(look(index, step) for index, step in enumerate(change.steps))),
    )
    permissions = tuple(dict.fromkeys(permission for _, found in looked for permission in found))
    previews = tuple(preview for preview, _ in looked)
    obstacles = [
        *_over_limit(change, radius, site.changes.limit),
        *_left_open(change, records, site.config_file),
        *(
            f"{permission.what} is not granted" + (f": {permission.why}" if permission.why else "")
            for permission in permissions
            if permission.granted is False
        ),
        *dict.fromkeys(obstacle for preview in previews for obstacle in preview.obstacles),
    ]
    return Preflight(previews, permissions, tuple(obstacles), radius, tuple(doubts))


def nothing_to_do(found: Preflight) -> ChangeRefused | None:
    """Why a new change is refused: all that it would do is there, and was done by somebody else."""
    there = dict.fromkeys(preview.there for preview in found.previews)
    if not there or "" in there:
        return None
    return ChangeRefused(f"there is nothing to do: {', '.join(there)} already")


def _over_limit(change: Change, found: BlastRadius, limit: int | None) -> list[str]:
    """By what the change tells, and by what was found just now: each may know more than the other."""
    limits = [each for each in (limit, change.limit) if each is not None]
    beyond = (radius.beyond(min(limits)) for radius in (change.radius, found)) if limits else ()
    return [each for each in beyond if each is not None][:1]


def _left_open(change: Change, records: Iterable[ChangeRecord], config_file: Path | None) -> list[str]:
    """Another change of the same target that nobody brought to an end."""
    targets = {target.name for target in change.targets}
    return [
        f"the change {record.id} of {', '.join(sorted(targets.intersection(record.targets)))} was left unfinished "
        f"({status_word(record, running=False)}); end it first: "
        + " or ".join(ending(offer, record, config_file) for offer in record.offers)
        for record in records
        if not record.ended and record.id != change.id and targets.intersection(record.targets)
    ]


async def _there(step: Step, reach: Reach, *, blindly: bool) -> Preview | None:
    """What there is to say of a step whose effect is there without it; None where it is not.

    Where that cannot be told it is looked at as any other step if it may be done `blindly`, and refused else.
    """
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            verdict = await step.check(reach)
    except Exception as error:  # noqa: BLE001 - a step of anybody's that cannot look has seen nothing
        verdict = Verdict(None, _words(error))
    if verdict.holds:
        return Preview((f"it is so already: {verdict.evidence}",))
    if verdict.holds is None and not blindly:
        return Preview(obstacles=(f"what this step finds cannot be told ({verdict.evidence}): {step.describe()}",))
    return None


async def _previewed(step: Step, reach: Reach, *, begun: bool) -> Preview:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await (step.preview_begun(reach) if begun else step.preview(reach))
    except Exception as error:  # noqa: BLE001 - a step of anybody's that cannot look is a warning, never a crash
        return Preview(warnings=(f"no preview of {step.describe()}: {_words(error)}",))


async def _permissions(step: Step, reach: Reach) -> Sequence[Permission]:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await step.permissions(reach)
    except Exception as error:  # noqa: BLE001 - as above
        return (Permission(f"what {step.kind} needs", None, _words(error)),)


def _words(error: Exception) -> str:
    if isinstance(error, GpudeckError):
        return error.message
    if isinstance(error, TimeoutError):
        return f"no answer in {LOOK_SECONDS:.0f} s"
    return clean(f"{type(error).__name__}: {error}", 300)
