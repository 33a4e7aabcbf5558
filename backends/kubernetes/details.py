"""The log lines and events of the operands that block, and what the MIG manager says of a change that came to nothing.

Read on demand, a few at a time, and kept for a short while.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable

from backends.contract import Clock, Gone, GpudeckError, Refused
from backends.domain import OperandPhase, OperandState, Stack, StackEvent, StackNode, clean
from backends.feed import end
from backends.kubernetes.api import Api
from backends.kubernetes.fields import MESSAGE_LIMIT, entries, table, text, time_of, whole, word
from backends.kubernetes.logs import last_lines
from backends.kubernetes.mig_log import reason_of
from backends.kubernetes.operands import BY_KEY
from backends.kubernetes.resources import EVENTS

LOG_LINES = 30
EVENTS_KEPT = 8
MOST = 12
"""Blockers whose details are read; the same fault on 500 nodes is read often enough so."""
OF_ONE_OPERAND = 4
FRESH_SECONDS = 15.0
MIG_MANAGER = "mig-manager"

Key = tuple[str | None, str | None, str | None, int, str | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Detail:
    log: tuple[str, ...] | None
    log_problem: str | None
    events: tuple[StackEvent, ...]


class Details:
    """Remembers what it read; reads again in the background, and then calls `changed`."""

    def __init__(self, api: Api, clock: Clock, changed: Callable[[], None]) -> None:
        self._api = api
        self._clock = clock
        self._changed = changed
        self._known: dict[Key, tuple[float, Detail]] = {}
        self._reading: dict[Key, asyncio.Task[None]] = {}

    async def close(self) -> None:
        reading, self._reading = dict(self._reading), {}
        await end(reading.values())

    async def fill(self, stack: Stack, *, wait: float = 0.0) -> Stack:
        """`stack` with what is known of its blockers; waits up to `wait` seconds for what is not known yet."""
        chosen = [node.blocker.state for node in _chosen(stack.nodes) if node.blocker is not None]
        managers = [_mig_manager(node, self._clock.now()) for node in stack.nodes]
        chosen += [state for state in managers if state is not None][:MOST]
        wanted = {key_of(state): state for state in chosen}
        for key, state in wanted.items():
            at, _ = self._known.get(key, (float("-inf"), None))
            if key not in self._reading and self._clock.monotonic() - at >= FRESH_SECONDS:
                self._reading[key] = asyncio.create_task(self._read(key, state), name=f"details of {state.operand}")
        fresh = [self._reading[key] for key in wanted if key in self._reading and key not in self._known]
        if wait and fresh:
            await asyncio.wait(fresh, timeout=wait)
        self._known = {key: known for key, known in self._known.items() if key in wanted}
        nodes = tuple(self._filled(node) for node in stack.nodes)
        return stack if nodes == stack.nodes else dataclasses.replace(stack, nodes=nodes)

    def _filled(self, node: StackNode) -> StackNode:
        node = self._with_reason(node)
        if node.blocker is not None and node.blocker.change:
            mig = node.mig if node.blocker.state.operand == MIG_MANAGER else None
            log = None if mig is None or mig.reason is None else (mig.reason,)
            return (
                node if log is None else dataclasses.replace(node, blocker=dataclasses.replace(node.blocker, log=log))
            )
        known = None if node.blocker is None else self._known.get(key_of(node.blocker.state))
        if node.blocker is None or known is None:
            return node
        _, detail = known
        blocker = dataclasses.replace(
            node.blocker, log=detail.log, log_problem=detail.log_problem, events=detail.events
        )
        return dataclasses.replace(node, blocker=blocker)

    def _with_reason(self, node: StackNode) -> StackNode:
        manager = _mig_manager(node, self._clock.now())
        known = None if manager is None else self._known.get(key_of(manager))
        if known is None or node.mig is None:
            return node
        return dataclasses.replace(node, mig=dataclasses.replace(node.mig, reason=reason_of(known[1].log or ())))

    async def _read(self, key: Key, state: OperandState) -> None:
        try:
            log, problem = await self._log(state)
            detail = Detail(log, problem, await self._events(state))
            former = self._known.get(key)
            self._known[key] = (self._clock.monotonic(), detail)
            if former is None or former[1] != detail:
                self._changed()
        finally:
            self._reading.pop(key, None)

    async def _log(self, state: OperandState) -> tuple[tuple[str, ...] | None, str | None]:
        if state.pod is None or state.namespace is None or state.container is None:
            return None, None if state.pod is None else "no container of it has been started"
        try:
            lines = await last_lines(self._api, state.namespace, state.pod, state.container, lines=LOG_LINES)
            if not lines and state.restarts:
                # The present run has not said anything yet: the former one said why it ended.
                lines = await last_lines(
                    self._api, state.namespace, state.pod, state.container, lines=LOG_LINES, previous=True
                )
        except (Refused, Gone):
            return None, f"{state.container} has not been started"
        except GpudeckError as error:
            return None, error.message
        return lines, None

    async def _events(self, state: OperandState) -> tuple[StackEvent, ...]:
        if state.namespace is None or (state.pod is None and state.phase is not OperandPhase.MISSING):
            return ()
        about = state.pod if state.pod is not None else state.daemon_set
        if about is None:
            return ()
        query: dict[str, str | int] = {"fieldSelector": f"involvedObject.name={about}", "limit": 100}
        try:
            listing = await self._api.get(EVENTS.path(state.namespace), query)
        except GpudeckError as error:
            return (StackEvent(f"events cannot be read: {error.message}", "NotRead", warning=True),)
        return events_of(entries(listing, "items"))


def events_of(raw: Iterable[object]) -> tuple[StackEvent, ...]:
    """The newest events, oldest first."""
    events = [_event(entry) for entry in raw if isinstance(entry, dict)]
    events.sort(key=lambda event: event.at or 0.0)
    return tuple(events[-EVENTS_KEPT:])


def key_of(state: OperandState) -> Key:
    """The same operand in the same trouble."""
    return (state.namespace, state.pod or state.daemon_set, state.container, state.restarts, state.reason)


def _event(raw: dict[str, object]) -> StackEvent:
    series = table(raw, "series")
    times = (series.get("lastObservedTime"), raw.get("lastTimestamp"), raw.get("eventTime"), raw.get("firstTimestamp"))
    return StackEvent(
        text=clean(str(raw.get("message") or ""), MESSAGE_LIMIT),
        reason=text(raw, "reason"),
        at=next((at for value in times if (at := time_of(value)) is not None), None),
        count=max(1, whole(series.get("count") or raw.get("count") or 1)),
        warning=word(raw, "type") == "Warning",
    )


def _mig_manager(node: StackNode, now: float) -> OperandState | None:
    """Whose log says why the MIG change of the node came to nothing; None where it did not, or has no pod."""
    manager, mig = node.get(MIG_MANAGER), node.mig
    if mig is None or manager is None or manager.pod is None or not mig.broken(now):
        return None
    # The change is part of the key: another one is read anew.
    return dataclasses.replace(manager, container=BY_KEY[MIG_MANAGER].container, reason=f"{mig.requested} {mig.state}")


def _chosen(nodes: Iterable[StackNode]) -> list[StackNode]:
    """Of every operand that blocks a few nodes, failures before start-ups, by name."""
    blocked = [node for node in nodes if node.blocker is not None and not node.blocker.change]
    blocked.sort(key=lambda node: node.blocker is not None and node.blocker.state.phase is OperandPhase.STARTING)
    counts: dict[str, int] = {}
    chosen: list[StackNode] = []
    for node in blocked:
        assert node.blocker is not None
        operand = node.blocker.state.operand
        counts[operand] = counts.get(operand, 0) + 1
        if counts[operand] <= OF_ONE_OPERAND and len(chosen) < MOST:
            chosen.append(node)
    return chosen
