"""Whom the drain of a driver upgrade that takes long waits for: pods that a PodDisruptionBudget holds.

Read on demand, a few nodes at a time, and kept for a short while.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from backends.contract import Clock, GpudeckError
from backends.domain import DrainPod, Stack, StackNode
from backends.feed import end
from backends.kubernetes.api import Api
from backends.kubernetes.drain import plan_drain
from backends.kubernetes.node_state import DRAIN
from backends.kubernetes.owners import Owners

MOST = 8
"""Nodes whose drain is looked at."""
FRESH_SECONDS = 30.0


class HeldDrains:
    """Remembers what it read; reads again in the background, and then calls `changed`."""

    def __init__(self, api: Api, owners: Owners, clock: Clock, changed: Callable[[], None]) -> None:
        self._api = api
        self._owners = owners
        self._clock = clock
        self._changed = changed
        self._known: dict[str, tuple[float, tuple[DrainPod, ...] | None]] = {}
        """Node -> when it was read, and the pods that are held; None: it could not be told."""
        self._reading: asyncio.Task[None] | None = None

    async def close(self) -> None:
        await end([self._reading])

    async def fill(self, stack: Stack, *, wait: float = 0.0) -> Stack:
        """`stack` with who holds its drains, as far as it is known; waits up to `wait` seconds for it."""
        now = self._clock.monotonic()
        wanted = [node.name for node in stack.nodes if is_drained_long(node, self._clock.now())][:MOST]
        self._known = {name: known for name, known in self._known.items() if name in wanted}
        due = [name for name in wanted if name not in self._known or now - self._known[name][0] >= FRESH_SECONDS]
        if due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(due), name="who holds drains")
        if wait and self._reading is not None:
            await asyncio.wait([self._reading], timeout=wait)
        nodes = tuple(self._filled(node) for node in stack.nodes)
        return stack if nodes == stack.nodes else dataclasses.replace(stack, nodes=nodes)

    def _filled(self, node: StackNode) -> StackNode:
        known = self._known.get(node.name)
        if known is None or node.upgrade is None:
            return node
        return dataclasses.replace(node, upgrade=dataclasses.replace(node.upgrade, held=known[1]))

    async def _read(self, names: list[str]) -> None:
        changed = False
        for name in names:
            held = await self._held(name)
            changed |= name not in self._known or self._known[name][1] != held
            self._known[name] = (self._clock.monotonic(), held)
        if changed:
            self._changed()

    async def _held(self, node: str) -> tuple[DrainPod, ...] | None:
        try:
            plan = await plan_drain(self._api, self._owners, node)
        except GpudeckError:
            return None
        return plan.held if plan.held or plan.budgets_known else None


def is_drained_long(node: StackNode, now: float) -> bool:
    return node.upgrade is not None and node.upgrade.step == DRAIN and node.upgrade.stuck(now)
