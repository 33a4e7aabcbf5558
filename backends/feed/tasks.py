"""The end of tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any


async def end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancels the tasks and waits for their end; None is none."""
    listed = [task for task in tasks if task is not None]
    for task in listed:
        task.cancel()
    for task in listed:
        with contextlib.suppress(asyncio.CancelledError):
            await task
