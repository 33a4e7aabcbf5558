"""Where a change is made: the cluster and the machines that its steps act on, told apart by more than the site's name.

Two configurations may give the same name to different sites. So a journal keeps who was acted on, and a change is gone
on with, or taken back, on that very cluster or machine alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from backends.changes.step import PLATFORM, Reach, Step
from backends.contract import ChangeRefused, GpudeckError, Identifies, Unreachable
from backends.domain import Identity, SiteSpec, clean

LOOK_SECONDS = 30.0
_TEXT_LIMIT = 300

Places = Mapping[str, Identity]
"""`Step.place` -> who is there."""


async def places_of(steps: Iterable[Step], spec: SiteSpec, reach: Reach, host: str) -> dict[str, Identity]:
    """Who the steps act on as the site is now; `host` is this machine's name.

    A place that cannot tell who it is, as a platform without that capability, is left out. Raises GpudeckError.
    """
    named = dict.fromkeys(step.place for step in steps if step.place)
    machines = {
        f"node {node.name}": Identity(f"this machine ({host})" if node.local else node.destination)
        for node in spec.nodes
    }
    found = {place: machines[place] for place in named if place in machines}
    if PLATFORM in named:
        platform = await _platform(reach)
        found |= {} if platform is None else {PLATFORM: platform}
    return found


async def _platform(reach: Reach) -> Identity | None:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            backend = await reach.client(PLATFORM).backend()
            return await backend.identity() if isinstance(backend, Identifies) else None
    except TimeoutError:
        raise Unreachable(f"the platform did not tell within {LOOK_SECONDS:.0f} s which one it is", "") from None


def elsewhere(made: Places, here: Places) -> ChangeRefused | None:
    """Why what was made at `made` is nothing of the site as it is now; None where nothing says so."""
    for place, one in made.items():
        now = here.get(place)
        if now is not None and now.is_another(one):
            what = "the platform" if place == PLATFORM else place
            return ChangeRefused(
                f"it was made elsewhere: {what} was {one}, and by this site's name it is {now} now",
                "use the configuration that it was made with (--config FILE), or abandon it",
            )
    return None


def places_json(places: Places) -> dict[str, Any]:
    return {place: asdict(identity) for place, identity in places.items()}


def places_from_json(value: object) -> dict[str, Identity]:
    """Raises GpudeckError for anything but what `places_json` makes; None is none: journals of before kept none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise GpudeckError("it says in no known way where it was made")
    return {clean(place): _identity(document) for place, document in value.items()}


def _identity(document: object) -> Identity:
    address, uid = (document.get("address"), document.get("uid")) if isinstance(document, dict) else (None, None)
    if not isinstance(address, str) or not isinstance(uid, str | None):
        raise GpudeckError("it says in no known way where it was made")
    return Identity(clean(address, _TEXT_LIMIT), None if uid is None else clean(uid, _TEXT_LIMIT))
