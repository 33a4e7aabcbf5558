"""A next step of a finding that is a change: it is looked at and asked about as from the stack screen."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from backends.contract import GpudeckError
from screens.menu import Entry, MenuScreen

if TYPE_CHECKING:
    from textual.app import App

    from backends.changes.change import Change
    from backends.domain import NextStep
    from backends.site import Site
    from screens.stack import StackApp

READ_SECONDS = 30.0


def propose(app: App[Any], site: Site, steps: Sequence[NextStep]) -> None:
    """Makes the change of one of `steps` out of the stack as it is, and asks about it."""

    async def planned() -> Change | None:
        step = await _chosen(app, steps)
        if step is None:
            return None
        # In a thread: it takes longer than a frame.
        actions = await asyncio.to_thread(importlib.import_module, "backends.changes.platform_actions")
        wish = actions.wish_of(step.target)
        if wish is None:
            raise GpudeckError(f"the console cannot do this: {step.target}", "it can be typed on a command line")
        stack = await site.platform.read_stack(READ_SECONDS)
        return cast("Change", await actions.plan(wish, stack, site, site=site.spec.name))

    cast("StackApp", app).changing.plan(planned)


async def _chosen(app: App[Any], steps: Sequence[NextStep]) -> NextStep | None:
    if len(steps) == 1:
        return steps[0]
    entries = [Entry(str(number), step.text, step.target) for number, step in enumerate(steps)]
    key = await app.push_screen_wait(MenuScreen("Which change?", entries, "ON THE COMMAND LINE"))
    return None if key is None else steps[int(key)]
