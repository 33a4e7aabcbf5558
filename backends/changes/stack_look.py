"""A look at the GPU stack, for steps whose effect is told by more than the node itself."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backends.changes.platform_step import backend_for
from backends.changes.step import Reach
from backends.contract import GpudeckError, ReportsStack
from backends.domain import Stack
from backends.feed import closing

STACK_SECONDS = 10.0


async def stack_now(reach: Reach, holds: Callable[[Stack], bool] = lambda _stack: True) -> Stack | None:
    """The first stack that is told for which `holds`; None where the platform tells none, or not in time."""
    try:
        backend = await backend_for(reach, ReportsStack)
        async with asyncio.timeout(STACK_SECONDS), closing(backend.stack()) as stacks:
            async for stack in stacks:
                if holds(stack):
                    return stack
    except (GpudeckError, TimeoutError):
        return None
    return None
