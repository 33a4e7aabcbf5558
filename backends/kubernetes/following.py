"""A few objects followed by themselves, apart from the collections that the screens watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from backends.contract import Clock, Gone, NotAllowed
from backends.feed import end
from backends.kubernetes.api import Api
from backends.kubernetes.resources import Resource
from backends.kubernetes.watching import Sync, Watch

V = TypeVar("V")


async def following(
    api: Api,
    resource: Resource,
    keep: Callable[[Mapping[str, Any]], V],
    clock: Clock,
    *,
    selector: Mapping[str, str],
    namespace: str | None = None,
) -> AsyncIterator[list[V]]:
    """The objects that `selector` picks, as soon as they were read, then after every change.

    Raises `GpudeckError` when they cannot be read at first, and NotAllowed whenever they may not; a watch that is cut
    afterwards is outlived.
    """
    changed = asyncio.Event()
    watch = Watch(api, resource, keep, changed.set, clock, namespace=namespace, selector=selector)
    running = asyncio.create_task(watch.run(), name=f"follow {resource.plural}")
    try:
        while True:
            await changed.wait()
            changed.clear()
            if watch.denied is not None:
                needed = watch.denied.permission
                raise NotAllowed(f"not permitted: {needed}", f"needs: {needed}", permission=needed)
            if watch.state is Sync.ABSENT:
                raise Gone(f"the API server has no {resource.qualified}", "")
            if watch.settled:
                yield list(watch.objects.values())
            elif watch.error is not None:
                raise watch.error
    finally:
        await end([running])
