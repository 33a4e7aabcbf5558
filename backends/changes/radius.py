"""Whom a change hits as things are now: asked for before each question, also before a resume and an undo."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from backends.changes.change import BlastRadius, Change, Undetermined, together
from backends.changes.step import Reach, Step
from backends.contract import ChangeRefused, GpudeckError
from backends.domain import clean

LOOK_SECONDS = 30.0
"""Longest look of the steps of one kind."""


class HitsMore(ChangeRefused):
    """Between the question and the answer more came that the change would hit: it is to be asked about anew."""

    code = "hits-more"

    def __init__(self, change: Change, news: tuple[str, ...]) -> None:
        shown = "; ".join(news[:TOLD]) + (f"; and {len(news) - TOLD} more" if len(news) > TOLD else "")
        super().__init__(f"it hits more than was asked about: {shown}", "look at it again")
        self.change = change
        """With whom it hits now."""
        self.news = news


TOLD = 4
"""As many of the news are named in the sentence."""


async def with_radius(change: Change, reach: Reach) -> Change:
    """A former change with its steps as they will find things, and whom they hit, at this moment."""
    steps, radius = await asyncio.gather(_foreseen(change.steps, reach), radius_of(change.steps, reach))
    return replace(change, steps=steps, radius=radius)


async def _foreseen(steps: Sequence[Step], reach: Reach) -> tuple[Step, ...]:
    """Steps that cannot be looked at are told as they were planned."""
    looked = list(steps)
    kinds: list[type[Step]] = list(dict.fromkeys(map(type, steps)))
    for kind in kinds:
        places = [index for index, step in enumerate(steps) if type(step) is kind]
        of_kind: Sequence[Step] = [steps[index] for index in places]
        with contextlib.suppress(Exception):  # a step of anybody's that cannot look is never a crash
            async with asyncio.timeout(LOOK_SECONDS):
                of_kind = await kind.foreseen(of_kind, reach)
        for index, step in zip(places, of_kind, strict=True):
            looked[index] = step
    return tuple(looked)


async def radius_of(steps: Iterable[Step], reach: Reach) -> BlastRadius:
    """Of all steps together. A look that fails is told, and counts as unknown workloads."""
    kinds: dict[type[Step], list[Step]] = {}
    for step in steps:
        kinds.setdefault(type(step), []).append(step)
    return together(await asyncio.gather(*(_hits(kind, of_kind, reach) for kind, of_kind in kinds.items())))


async def _hits(kind: type[Step], steps: list[Step], reach: Reach) -> BlastRadius:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await kind.hits(steps, reach)
    except Exception as error:  # noqa: BLE001 - a step of anybody's that cannot look is told, never a crash
        why = error.message if isinstance(error, GpudeckError) else clean(f"{type(error).__name__}: {error}", 200)
        return BlastRadius(undetermined=(Undetermined("whom it hits now", why, uncounted=True),))
