"""What the rules look at.

A rule about a node gets a `NodeView`, a rule that compares nodes a `SiteState`. The values of a node that does not
answer now are in neither: `NodeView.node` is None then, so that no rule takes old values for current ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from backends.domain import (
    Event,
    Gpu,
    Node,
    NodeReading,
    NodeSpec,
    Problem,
    SiteSpec,
    Stack,
    UnfinishedChange,
    Workloads,
)
from backends.ownership import NOBODY, Ownership
from backends.triage.memory import NodeMemory

CURRENT_SECONDS = 30.0
"""A value older than this, or than `CURRENT_BEATS` fast beats if that is more, is not judged."""
CURRENT_BEATS = 15
CONSUMER_WORDS = ("geforce", "titan", "quadro", "rtx")
"""In the name of a board made for desks: no persistence daemon, and heat limits that are met every day."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as its rules see it."""

    spec: NodeSpec
    site: SiteSpec
    reading: NodeReading
    node: Node | None
    """The values while they are current; None for a node that is stale, stalled, silent, down or still connecting."""
    gpus: tuple[Gpu, ...]
    """Those of `node` that answer; empty without current values."""
    events: tuple[Event, ...]
    """What happened on the node, oldest first: facts with a time, true whatever the node does now."""
    now: float
    memory: NodeMemory
    tells_changes: bool = False
    """The changes of the site that nobody brought to an end were read."""

    @property
    def name(self) -> str:
        return self.reading.name

    @property
    def last(self) -> Node | None:
        """The last good value, however old: for names and for whose work was there, never for what is so now."""
        return self.reading.node

    @property
    def uptime(self) -> float | None:
        """Seconds since the node booted; None where that is unknown."""
        if self.node is None or self.node.boot_at is None:
            return None
        return self.now + (self.node.clock_skew_seconds or 0.0) - self.node.boot_at

    @property
    def booted_at(self) -> float | None:
        """Seconds since the epoch by this machine's clock, of the node as it was last seen."""
        if self.last is None or self.last.boot_at is None:
            return None
        return self.last.boot_at - (self.last.clock_skew_seconds or 0.0)

    def gpu_of(self, event: Event) -> Gpu | None:
        """The GPU that `event` is about, as it was last seen."""
        gpus = () if self.last is None else self.last.gpus
        return next((gpu for gpu in gpus if event.is_of(gpu)), None)


class Peer(NamedTuple):
    """A GPU among those it can be compared with."""

    view: NodeView
    gpu: Gpu


class PeerClass(NamedTuple):
    """GPUs of one class do the same thing on the same board."""

    name: str
    load: str
    """idle, busy or power-capped; see `load_class`."""
    mig: bool


@dataclass(frozen=True, slots=True, eq=False)
class PlatformState:
    """What the platform of the site says: the last good values, and why there are no newer ones."""

    stack: Stack | None = None
    """None: not told yet."""
    ownership: Ownership = NOBODY
    """Of the last workloads that were told."""
    workloads: Workloads | None = None
    """None: not told yet."""
    stack_problem: Problem | None = None
    workloads_problem: Problem | None = None
    stack_at: float | None = None
    """When `stack` was told, seconds since the epoch."""
    workloads_at: float | None = None

    def answers(self, part: str) -> bool:
        """Its `stack` or `workloads`, or what the stack's `monitoring` told, are what is so now."""
        if part != "workloads":
            told = self.stack is not None and self.stack_problem is None
            return told and (part == "stack" or _is_monitored(self.stack))
        return self.workloads is not None and self.workloads_problem is None

    def told_at(self, part: str) -> float | None:
        return self.workloads_at if part == "workloads" else self.stack_at

    def is_same(self, other: PlatformState | None) -> bool:
        """By identity: a value that is told again is no other."""
        return (
            other is not None
            and self.stack is other.stack
            and self.workloads is other.workloads
            and self.stack_problem is other.stack_problem
            and self.workloads_problem is other.workloads_problem
        )


def _is_monitored(stack: Stack | None) -> bool:
    """It was asked and answered, or there is nothing to ask any more."""
    if stack is None or stack.monitoring_problem is not None:
        return False
    return stack.monitoring is not None or stack.monitoring_url is None


@dataclass(frozen=True, slots=True)
class SiteState:
    """The whole site, for rules that compare."""

    site: SiteSpec
    views: tuple[NodeView, ...]
    now: float
    peers: Mapping[PeerClass, list[Peer]] = field(default_factory=dict)
    platform: PlatformState | None = None
    """None: the site has no platform."""
    unfinished: tuple[UnfinishedChange, ...] | None = None
    """Changes that nobody brought to an end; None where no state directory is kept, or it cannot be read."""

    @property
    def stack(self) -> Stack | None:
        return None if self.platform is None else self.platform.stack

    def since(self, told: float | None) -> float:
        """When something began by what its platform tells, seconds since the epoch; now where that is not told.

        A clock that is ahead of this machine's does not make it begin later.
        """
        return self.now if told is None else min(told, self.now)


def is_current(reading: NodeReading, now: float, fast_seconds: float) -> bool:
    """Whether the values of `reading` may be judged as what is so now."""
    if not reading.is_current:
        return False
    age = reading.age(now)
    return age is not None and age <= max(CURRENT_SECONDS, CURRENT_BEATS * fast_seconds)


def load_class(gpu: Gpu) -> str | None:
    """What the driver says of the GPU's work by its clock event reasons; None where it says nothing.

    Not the utilisation: a GPU that waits for its network shows 100 % of it and a MIG GPU shows none.
    """
    reasons = gpu.clocks.event_reasons
    if reasons is None:
        return None
    if "gpu_idle" in reasons:
        return "idle"
    return "power-capped" if "sw_power_cap" in reasons else "busy"


def add_peers(classes: defaultdict[PeerClass, list[Peer]], view: NodeView) -> None:
    """The node's answering GPUs by class; a GPU without a name or a known load is in none."""
    for gpu in view.gpus:
        load = load_class(gpu)
        if load is not None and gpu.name is not None:
            classes[PeerClass(gpu.name, load, gpu.mig.enabled is True)].append(Peer(view, gpu))


class Machine(NamedTuple):
    """What machines of one make have in common, besides how many GPUs they show now."""

    model: str | None
    board: str | None
    """Part number of most of its boards."""
    cpu_count: int | None
    memory: int | None
    """The nearest step of its size: steps of two to the power of n, as machines are equipped."""
    direct: bool
    """Its GPUs are linked to each other without a switch: half of a switched board is not that."""
    switched: bool

    @property
    def is_sure(self) -> bool:
        """Enough is known to tell a machine with half its GPUs from one that was built with so many."""
        return self.switched or None not in (self.cpu_count, self.memory)


def machine_of(view: NodeView) -> Machine | None:
    """The make of a node whose GPUs are all of one model; None of any other."""
    if view.node is None or not view.node.gpus:
        return None
    names = {gpu.name for gpu in view.node.gpus}
    if len(names) != 1:
        return None
    boards = Counter(gpu.board_part_number for gpu in view.node.gpus)
    total = view.node.memory_total_bytes
    return Machine(
        names.pop(),
        boards.most_common(1)[0][0],
        view.node.cpu_count,
        round(math.log2(total)) if total else None,
        view.memory.was_direct,
        # Where the rest is known this need not be: half a board without its switches tells of none.
        view.memory.was_switched and not (total and view.node.cpu_count),
    )


def is_consumer(gpu: Gpu) -> bool:
    return gpu.name is not None and _is_consumer(gpu.name)


@lru_cache(maxsize=256)
def _is_consumer(name: str) -> bool:
    return any(word in name.lower() for word in CONSUMER_WORDS)
