"""The end of tasks and streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def end(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """Cancels the tasks and waits for their end; None is none."""
    listed = [task for task in tasks if task is not None]
    for task in listed:
        task.cancel()
    for task in listed:
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def closing(values: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Closes a generator when its reader leaves; another kind of iterator is left alone."""
    try:
        yield values
    finally:
        if (close := getattr(values, "aclose", None)) is not None:
            await close()
