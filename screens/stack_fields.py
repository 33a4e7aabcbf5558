"""What a filter may ask a node of the GPU stack for; every operand is a field of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from backends.domain import Operand, OperandPhase, ResourceCount, StackHealth, StackNode, clean
from screens.stack_rows import HEALTH, PHASES, SHORT, blocker_text
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


def _both(value: str, word: str) -> frozenset[str]:
    """The value, and the word that the grid shows for it."""
    return frozenset({value, word})


def _operand(key: str) -> Callable[[StackNode], Value]:
    def get(node: StackNode) -> Value:
        state = node.get(key)
        if state is None or state.phase is OperandPhase.UNKNOWN:
            return None
        return _both(state.phase.value, PHASES[state.phase][1])

    return get


def _blocking(node: StackNode) -> frozenset[str] | None:
    return None if node.blocker is None else _both(node.blocker.state.operand, node.blocker.title)


def _failing(node: StackNode) -> frozenset[str]:
    return frozenset(state.operand for state in node.operands if state.phase in BROKEN)


def _reasons(node: StackNode) -> frozenset[str]:
    return frozenset(told for state in node.operands for told in (state.reason, state.message) if told)


def _mig(node: StackNode) -> frozenset[str] | None:
    told = () if node.mig is None else (node.mig.requested, node.mig.state)
    return frozenset(each for each in told if each) or None


def _upgrade(node: StackNode) -> str | None:
    return None if node.upgrade is None else node.upgrade.step or None


def _sum(count: Callable[[ResourceCount], int | None]) -> Callable[[StackNode], int | None]:
    """Over a node's resources, as the grid adds them up; None where one was not told."""

    def get(node: StackNode) -> int | None:
        counts = [count(each) for each in node.capacity.resources]
        known = [each for each in counts if each is not None]
        return sum(known) if counts and len(known) == len(counts) else None

    return get


def _gpus(node: StackNode) -> int | None:
    return _sum(lambda each: each.capacity)(node) if node.capacity.resources else node.capacity.gpus


def _free(each: ResourceCount) -> int | None:
    return None if each.requested is None else max(0, each.allocatable - each.requested)


FIELDS: tuple[Field, ...] = (
    Field("node", "text", lambda node: node.name, "name of the node", "node~dgx-0"),
    Field(
        "state",
        "text",
        lambda node: _both(node.health.value, HEALTH[node.health][1]),
        "how its stack does",
        "state=starting",
        ("health",),
        choices=tuple(map(str, StackHealth)),
    ),
    Field("blocked", "text", _blocking, "the operand that blocks first", "blocked=driver", ("blocker",)),
    Field("failing", "text", _failing, "operands that fail or are missing", "failing~dcgm"),
    Field("reason", "text", _reasons, "why an operand does not run", "reason~CrashLoop", ("message",)),
    Field("restarts", "number", lambda node: max((each.restarts for each in node.operands), default=0),
          "most of one operand's container", "restarts>5"),
    Field("mig", "text", _mig, "layout wanted of the MIG manager, its state", "mig=failed"),
    Field("upgrade", "text", _upgrade, "step of the driver upgrade", "upgrade~required"),
    Field("schedulable", "flag", lambda node: node.schedulable, "takes new pods", "schedulable=no"),
    Field("gpus", "number", _gpus, "whole, MIG or shared ones, as scheduled", "gpus>=8"),
    Field("allocatable", "number", _sum(lambda each: each.allocatable), "of these, what may be given", "allocatable<8"),
    Field("requested", "number", _sum(lambda each: each.requested), "of these, what pods hold", "requested>0",
          ("used",)),
    Field("free", "number", _sum(_free), "what may be given and nobody holds", "free>=4"),
    Field("version", "version", lambda node: node.driver_version, "of the running driver", "version<580"),
    Field("kernel", "version", lambda node: node.kernel, "kernel of the node", "kernel>=6.8"),
    Field("os", "text", lambda node: node.os, "operating system", "os~ubuntu", ("system",)),
    Field("runtime", "text", lambda node: node.runtime, "container runtime", "runtime~containerd"),
)  # fmt: skip
"""Of every node, whatever runs there."""
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


def stack_subject(node: StackNode) -> Subject:
    """Words look for what tells this node from the others; of the operands, those that do not run."""
    unwell = [state for state in node.operands if state.phase not in (OperandPhase.READY, OperandPhase.OFF)]
    parts: Iterable[str | None] = (
        node.name,
        *_both(node.health.value, HEALTH[node.health][1]),
        blocker_text(node),
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
    return Subject(text, frozenset(word for word, so in states.items() if so), node)


def stack_values(field: str, nodes: Iterable[StackNode]) -> list[str]:
    """What the nodes say for a field, for its completion; nothing where it is a number or a sentence."""
    named = next((each for each in FIELDS if each.name == field and each.kind in ("text", "version")), None)
    if named is None or field in ("state", "reason"):
        return []
    found: set[str] = set()
    for node in nodes:
        value = named.get(node)
        found |= value if isinstance(value, frozenset) else {str(value)} if value is not None else set()
    return sorted(found)
