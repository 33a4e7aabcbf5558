"""What a filter may ask a node of the GPU stack for; every operand is a field of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from backends.allocation import InUse
from backends.domain import NodeGpuCapacity, Operand, OperandPhase, ResourceCount, StackHealth, StackNode, clean
from screens.stack_rows import PHASES, SHORT, blocker_text, changes, state_word
from tui.widgets.filter.fields import Field, FieldTable, Value
from tui.widgets.filter.lexer import NOT_MEASURED, is_bare_word
from tui.widgets.filter.match import Subject

TITLE_LIMIT = 32
PHASE_CHOICES = tuple(str(phase) for phase in OperandPhase if phase is not OperandPhase.UNKNOWN)
BROKEN = frozenset({OperandPhase.FAILING, OperandPhase.MISSING})
WORDS = {
    "blocked": "an operand, MIG change or driver upgrade fails",
    "ready": "every operand runs",
    "cordoned": "takes no new pods",
}


class StackItem(NamedTuple):
    """A node as its fields see it."""

    node: StackNode
    used: InUse | None = None
    """None: not known, or not asked for."""
    now: float = 0.0
    """Seconds since the epoch."""


def _both(value: str, word: str) -> frozenset[str]:
    """The value, and the word that the grid shows for it."""
    return frozenset({value, word})


def _operand(key: str) -> Callable[[StackItem], Value]:
    def get(item: StackItem) -> Value:
        state = item.node.get(key)
        if state is None or state.phase is OperandPhase.UNKNOWN:
            return None
        style, word = changes(item.node, item.now).get(key, ("", ""))
        if style == "bad":
            return _both(OperandPhase.FAILING.value, word)
        return _both(state.phase.value, PHASES[state.phase][1])

    return get


def _blocking(item: StackItem) -> frozenset[str] | None:
    blocker = item.node.blocker
    return None if blocker is None else _both(blocker.state.operand, blocker.title)


def _failing(item: StackItem) -> frozenset[str]:
    made = changes(item.node, item.now)
    broken = frozenset(key for key, (style, _) in made.items() if style == "bad")
    return broken | frozenset(state.operand for state in item.node.operands if state.phase in BROKEN)


def _reasons(item: StackItem) -> frozenset[str]:
    return frozenset(told for state in item.node.operands for told in (state.reason, state.message) if told)


def _mig(node: StackNode) -> frozenset[str] | None:
    told = () if node.mig is None else (node.mig.requested, node.mig.state)
    return frozenset(each for each in told if each) or None


def _upgrade(node: StackNode) -> str | None:
    return None if node.upgrade is None else node.upgrade.step or None


def _gpus(count: Callable[[ResourceCount], int | None]) -> Callable[[StackItem], int | None]:
    """Over what the grid counts as GPUs; MIG instances are not among them."""
    return lambda item: _sum(item.node.capacity, item.node.capacity.whole, count)


def _instances(count: Callable[[ResourceCount], int | None]) -> Callable[[StackItem], int | None]:
    return lambda item: _sum(item.node.capacity, item.node.capacity.instances, count)


def _sum(
    capacity: NodeGpuCapacity, counts: Iterable[ResourceCount], count: Callable[[ResourceCount], int | None]
) -> int | None:
    """None where the node tells of no resource at all, or one of these was not told."""
    numbers = [count(each) for each in counts]
    known = [each for each in numbers if each is not None]
    return sum(known) if capacity.resources and len(known) == len(numbers) else None


def _all(each: ResourceCount) -> int:
    return each.capacity


def _allocatable(each: ResourceCount) -> int:
    return each.allocatable


def _requested(each: ResourceCount) -> int | None:
    return each.requested


def _free(each: ResourceCount) -> int | None:
    return None if each.requested is None else max(0, each.allocatable - each.requested)


def _open(count: Callable[[StackItem], int | None]) -> Callable[[StackItem], int | None]:
    """A cordoned node has none to give."""
    return lambda item: count(item) if item.node.schedulable else 0


def _used(place: int) -> Callable[[StackItem], int | None]:
    """0: of the GPUs, 1: of the MIG instances."""
    return lambda item: None if item.used is None else item.used.counted(item.node.capacity)[place]


def _told_gpus(item: StackItem) -> int | None:
    """Without a scheduler's count, that of GPU feature discovery or the node itself."""
    capacity = item.node.capacity
    return _gpus(_all)(item) if capacity.resources else capacity.gpus


FIELDS: tuple[Field, ...] = (
    Field("node", "text", lambda item: item.node.name, "name of the node", "node~dgx-0"),
    Field(
        "state",
        "text",
        lambda item: _both(item.node.health.value, state_word(item.node)[1]),
        "how its stack does",
        "state=starting",
        ("health",),
        choices=tuple(map(str, StackHealth)),
    ),
    Field("blocked", "text", _blocking, "the operand that blocks first", "blocked=driver", ("blocker",)),
    Field("failing", "text", _failing, "operands that fail or are missing", "failing~dcgm"),
    Field("reason", "text", _reasons, "why an operand does not run", "reason~CrashLoop", ("message",)),
    Field("restarts", "number", lambda item: max((each.restarts for each in item.node.operands), default=0),
          "most of one operand's container", "restarts>5"),
    Field("mig", "text", lambda item: _mig(item.node), "layout wanted of the MIG manager, its state", "mig=failed"),
    Field("upgrade", "text", lambda item: _upgrade(item.node), "step of the driver upgrade", "upgrade~required"),
    Field("schedulable", "flag", lambda item: item.node.schedulable, "takes new pods", "schedulable=no"),
    Field("gpus", "number", _told_gpus, "whole or shared, as scheduled", "gpus>=8"),
    Field("allocatable", "number", _gpus(_allocatable), "GPUs that may be given", "allocatable<8"),
    Field("requested", "number", _gpus(_requested), "GPUs that pods hold", "requested>0"),
    Field("used", "number", _used(0), "GPUs with a pod's process", "used=0"),
    Field("free", "number", _open(_gpus(_free)), "GPUs that a pod can get", "free>=4"),
    Field("instances", "number", _instances(_all), "MIG instances, as scheduled", "instances>0"),
    Field("allocatable_instances", "number", _instances(_allocatable), "those that may be given",
          "allocatable_instances<7"),
    Field("requested_instances", "number", _instances(_requested), "those that pods hold", "requested_instances>0"),
    Field("used_instances", "number", _used(1), "those with a pod's process", "used_instances>0"),
    Field("free_instances", "number", _open(_instances(_free)), "those that a pod can get", "free_instances>=1"),
    Field("version", "version", lambda item: item.node.driver_version, "of the running driver", "version<580"),
    Field("kernel", "version", lambda item: item.node.kernel, "kernel of the node", "kernel>=6.8"),
    Field("os", "text", lambda item: item.node.os, "operating system", "os~ubuntu", ("system",)),
    Field("runtime", "text", lambda item: item.node.runtime, "container runtime", "runtime~containerd"),
)  # fmt: skip
"""Of every node, whatever runs there."""
USED_FIELDS = frozenset({"used", "used_instances"})
"""Those that want `StackItem.used`."""
_TAKEN = frozenset(name for field in FIELDS for name in (field.name, *field.aliases))


@lru_cache(maxsize=8)
def stack_fields(operands: tuple[Operand, ...]) -> FieldTable:
    """The fields of a stack with these operands: `driver!=ready`.

    An operand of somebody's own platform whose key cannot be written as a field, or is the name of another, has none.
    """
    keys = {each.key: each.title for each in operands if _can_be_a_field(each.key)}
    return FieldTable((*FIELDS, *(_operand_field(key, title) for key, title in keys.items())), WORDS)


def _can_be_a_field(key: str) -> bool:
    return is_bare_word(key) and key == clean(key.lower()) and key not in _TAKEN and key not in NOT_MEASURED


def _operand_field(key: str, title: str) -> Field:
    said = f"state of the {clean(title, TITLE_LIMIT)}"
    return Field(key, "text", _operand(key), said, f"{key}!=ready", choices=PHASE_CHOICES)


STACK_FIELDS = stack_fields(tuple(Operand(key, key.replace("-", " ")) for key in SHORT))
"""Of the operands that are known on any platform: what a saved filter may ask for."""


def stack_subject(node: StackNode, used: InUse | None = None, now: float = 0.0) -> Subject:
    """Words look for what tells this node from the others; of the operands, those that do not run."""
    unwell = [state for state in node.operands if state.phase not in (OperandPhase.READY, OperandPhase.OFF)]
    parts: Iterable[str | None] = (
        node.name,
        *_both(node.health.value, state_word(node)[1]),
        blocker_text(node, now),
        *(f"{state.operand} {state.reason or ''} {state.pod or ''}" for state in unwell),
        *(_mig(node) or ()),
        _upgrade(node),
        *node.notes,
        node.capacity.product,
        node.driver_version,
    )
    states = {
        "blocked": node.health is StackHealth.BLOCKED,
        "ready": node.health is StackHealth.READY,
        "cordoned": not node.schedulable,
    }
    text = " ".join(part for part in parts if part).lower()
    return Subject(text, frozenset(word for word, so in states.items() if so), StackItem(node, used, now))


def stack_values(field: str, nodes: Iterable[StackNode]) -> list[str]:
    """What the nodes say for a field, for its completion; nothing where it is a number or a sentence."""
    named = next((each for each in FIELDS if each.name == field and each.kind in ("text", "version")), None)
    if named is None or field in ("state", "reason"):
        return []
    found: set[str] = set()
    for node in nodes:
        value = named.get(StackItem(node))
        found |= value if isinstance(value, frozenset) else {str(value)} if value is not None else set()
    return sorted(found)
