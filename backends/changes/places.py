"""Where a change is made: the cluster and the machines that its steps act on, told apart by more than the site's name.

Two configurations may give the same name to different sites. So a journal keeps who was acted on, and a change is gone
on with, or taken back, on that very cluster or machine alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from backends.changes.step import PLATFORM, Reach, Step
from backends.contract import ChangeRefused, GpudeckError, Identifies, Unreachable
from backends.domain import Identity, SiteSpec, clean

LOOK_SECONDS = 30.0
SHOWN_SECONDS = 2.0
"""How long a list waits for the platform to tell which one it is."""
AGAIN_SECONDS = 30.0
"""The pause before one that did not tell is asked again."""
_TEXT_LIMIT = 300

Places = Mapping[str, Identity]
"""`Step.place` -> who is there."""


async def places_of(steps: Iterable[Step], spec: SiteSpec, reach: Reach, host: str) -> dict[str, Identity]:
    """Who the steps act on as the site is now; `host` is this machine's name.

    A place that cannot tell who it is, as a platform without that capability, is left out. Raises GpudeckError.
    """
    named = dict.fromkeys(step.place for step in steps if step.place)
    machines = _machines(spec, host)
    found = {place: machines[place] for place in named if place in machines}
    if PLATFORM in named:
        platform = await _platform(reach)
        found |= {} if platform is None else {PLATFORM: platform}
    return found


def _machines(spec: SiteSpec, host: str) -> dict[str, Identity]:
    return {
        f"node {node.name}": Identity(f"this machine ({host})" if node.local else node.destination)
        for node in spec.nodes
    }


async def _platform(reach: Reach, seconds: float = LOOK_SECONDS) -> Identity | None:
    try:
        async with asyncio.timeout(seconds):
            backend = await reach.client(PLATFORM).backend()
            return await backend.identity() if isinstance(backend, Identifies) else None
    except TimeoutError:
        raise Unreachable(f"the platform did not tell within {seconds:.0f} s which one it is", "") from None


class Here:
    """Who the places of a site are, for lists: the platform is asked once, and waited for briefly.

    What is changed never rests on this: `places_of` asks anew.
    """

    def __init__(self, spec: SiteSpec, reach: Reach, host: str) -> None:
        """`host` is this machine's name."""
        self._machines = _machines(spec, host)
        self._reach = reach
        self._platform: Identity | None = None
        self._ask_from = float("-inf")
        """Not asked before, by the monotonic clock."""

    async def known(self, made: Iterable[Places]) -> Places:
        """Who is here of those that `made` names; a platform that does not tell is left out."""
        clock = self._reach.clock
        if self._platform is None and clock.monotonic() >= self._ask_from and any(PLATFORM in each for each in made):
            self._ask_from = clock.monotonic() + AGAIN_SECONDS
            with contextlib.suppress(GpudeckError):
                self._platform = await _platform(self._reach, SHOWN_SECONDS)
        return self._machines if self._platform is None else {**self._machines, PLATFORM: self._platform}


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
