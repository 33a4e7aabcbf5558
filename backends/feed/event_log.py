"""What a site remembers of what happened: bounded for each node, device and code, so that no storm hides anything else.

A run of the same XID is its first and its last events and a few in between; each stands for those before it that are
left out (`Event.count`, `Event.first_at`). The newest event of a device and code is never given up for another one:
to a reader of the log, something that is not in it any more would be over.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field, replace

from backends.domain import Event

KEPT = 200
"""Events of each node and kind, where they are not runs."""
RUN_KEPT = 16
"""Events of each node, device and code, where they are."""
NODE_KEYS_KEPT = 256
"""Devices and codes of one node; a node in the worst of states has some thirty."""
SITE_EVENTS_KEPT = 5_000
"""Beyond that, runs are thinned: the longest first."""
RUN_SECONDS = 120.0
"""A longer silence ends a run: what is left out before it is forgotten, and stands in no other event's count."""
SAME_EVENT_SECONDS = 5.0
"""NVML and the kernel log both tell of an XID; within this time it is one event."""
SAME_LINE_SECONDS = 0.05
"""A line that is read again has the same time, but for what reading the clock costs."""
STALE_SECONDS = 7 * 86_400.0
"""No rule and no screen asks for anything so old before something newer."""
UNMATCHED_KEPT = 64

RUNS = frozenset({"xid", "sxid", "ecc_double_bit"})
"""Kinds that come in storms."""
_TWICE_TOLD = {"nvml": "kernel", "kernel": "nvml"}

_Key = tuple[str, int | None, str | None]


@dataclass(slots=True)
class _Span:
    """Events of one source that the other one has not told yet."""

    first_at: float
    at: float
    count: int


@dataclass(slots=True)
class _Kept:
    """What is kept of one key."""

    events: list[Event] = field(default_factory=list)
    """Oldest first; never empty once it is in the log."""
    unmatched: dict[str, deque[_Span]] = field(default_factory=dict)
    """By source."""


class EventLog:
    """The events of one site."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[_Key, _Kept]] = {}
        self._count = 0
        self._thinned_to = 0
        """How many were left the last time, where that is as few as there can be."""

    def add(self, event: Event) -> bool:
        """Whether the log is another one now; False for what it knows already."""
        keys = self._nodes.setdefault(event.node, {})
        key = _key(event)
        kept = keys.get(key)
        if kept is None:
            if len(keys) >= NODE_KEYS_KEPT and not self._forget_stale(keys, event.at):
                return False
            kept = keys[key] = _Kept()
        before = len(kept.events)
        changed = self._put(kept, event)
        self._count += len(kept.events) - before
        if self._count > max(SITE_EVENTS_KEPT, self._thinned_to * 1.05):
            self._thin()
        return changed

    def all(self) -> tuple[Event, ...]:
        """Oldest first."""
        found = (event for keys in self._nodes.values() for kept in keys.values() for event in kept.events)
        return tuple(sorted(found, key=_at))

    def _put(self, kept: _Kept, event: Event) -> bool:
        events = kept.events
        for position, known in enumerate(events):
            if _is_retold(known, event):
                return _name(events, position, event)
        new, at_once = _unmatched(kept, event)
        if not new:
            return event.source == "kernel" and at_once is not None and _reword(events, event, at_once)
        event = event if new == event.count else replace(event, count=new)
        for position, known in enumerate(events):
            if known.key == event.key:
                events[position] = _standing_for(known, event)
                return True
        insort(events, event, key=_at)
        if len(events) > (RUN_KEPT if event.kind in RUNS else KEPT):
            _shorten(events)
        return True

    def _thin(self) -> None:
        """A twentieth less than may be kept, the longest lists first; the newest of each stays."""
        lists = [kept.events for keys in self._nodes.values() for kept in keys.values()]
        enough = SITE_EVENTS_KEPT * 19 // 20
        while self._count > enough and (length := max(map(len, lists))) > 1:
            for events in [each for each in lists if len(each) == length][: self._count - enough]:
                _shorten(events)
                self._count -= 1
        self._thinned_to = self._count

    def _forget_stale(self, keys: dict[_Key, _Kept], now: float) -> bool:
        """Room for another key; False when all that is there is still of interest."""
        oldest = min(keys, key=lambda key: keys[key].events[-1].at)
        if now - keys[oldest].events[-1].at <= STALE_SECONDS:
            return False
        self._count -= len(keys.pop(oldest).events)
        return True


def _at(event: Event) -> float:
    return event.at


def _key(event: Event) -> _Key:
    return (event.kind, event.code, event.device if event.kind in RUNS else None)


def _is_retold(known: Event, event: Event) -> bool:
    """The same line of the same source, read again."""
    return (
        known.source == event.source
        and abs(known.at - event.at) < SAME_LINE_SECONDS
        and known.text == event.text
        and known.device == event.device
    )


def _name(events: list[Event], position: int, event: Event) -> bool:
    """The GPU of an event that was told before the node had listed its GPUs."""
    known = events[position]
    if known.gpu_key == event.gpu_key or known.gpu_index is not None or event.gpu_index is None:
        return False
    named = replace(known, gpu_index=event.gpu_index, gpu_uuid=event.gpu_uuid, pci_bus_id=event.pci_bus_id)
    events[position] = named
    return True


def _unmatched(kept: _Kept, event: Event) -> tuple[int, float | None]:
    """How many of those `event` stands for are news, and when the other source told of the first that is none.

    NVML and the kernel log tell of each XID once: so many of the one are so many of the other, at about the same time.
    """
    other = _TWICE_TOLD.get(event.source or "") if event.kind == "xid" else None
    if other is None:
        return event.count, None
    new, at_once = event.count, None
    begin = event.at if event.first_at is None else event.first_at
    spans = kept.unmatched.get(other, deque())
    for span in spans:
        if new and span.first_at - SAME_EVENT_SECONDS < event.at and begin < span.at + SAME_EVENT_SECONDS:
            matched = min(new, span.count)
            span.count -= matched
            new -= matched
            at_once = span.at if at_once is None else at_once
    while spans and not spans[0].count:
        spans.popleft()
    if new:
        mine = kept.unmatched.setdefault(event.source or "", deque(maxlen=UNMATCHED_KEPT))
        mine.append(_Span(begin, event.at, new))
    return new, at_once


def _reword(events: list[Event], event: Event, told_at: float) -> bool:
    """The kernel's line in the place of what NVML said of the same XID: it says what, whose and where."""
    for position, known in enumerate(events):
        if known.source == "nvml" and known.at == told_at:
            gi, ci = (known.gi, known.ci) if event.gi is None else (event.gi, event.ci)
            worded = replace(event, at=known.at, count=known.count, first_at=known.first_at, gi=gi, ci=ci)
            if all(worded.key != other.key for other in events if other is not known):
                events[position] = worded
                return True
    return False


def _standing_for(event: Event, other: Event) -> Event:
    """`event`, standing for `other` too."""
    first = min(each.at if each.first_at is None else each.first_at for each in (event, other))
    return replace(event, count=event.count + other.count, first_at=first)


def _shorten(events: list[Event]) -> None:
    """One less: of a run the one that is nearest to the next, which stands for it then; else the oldest."""
    if events[-1].kind in RUNS and len(events) > 2:
        gaps = [_since(events[place + 1]) - events[place].at for place in range(1, len(events) - 1)]
        shortest = min(range(len(gaps)), key=gaps.__getitem__)
        if gaps[shortest] <= RUN_SECONDS:
            left_out = events.pop(shortest + 1)
            events[shortest + 1] = _standing_for(events[shortest + 1], left_out)
            return
    del events[0]


def _since(event: Event) -> float:
    return event.at if event.first_at is None else event.first_at
