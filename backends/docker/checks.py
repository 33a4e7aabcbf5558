"""The GPU stack of a node without an operator: driver, runtime, services, each as an operand of a waterfall. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backends.contract import GpudeckError, NotAllowed, Unreachable
from backends.docker.about import About
from backends.domain import Node, NodeGpuCapacity, NodeReading, NodeState, NotPermitted, Permission, clean
from backends.domain.stack import (
    Blocker,
    Operand,
    OperandPhase,
    OperandState,
    Stack,
    StackHealth,
    StackNode,
)
from backends.fabric import SERVICE, is_dark, is_joining, is_switched

CDI_KIND = "nvidia.com/gpu"
READ_ENGINE = Permission("get", "info")
OF_DRIVER = frozenset({"no-driver", "nvml-missing", "nvml-failed", "driver-mismatch"})
"""Codes of problems that the node itself tells of its driver."""
ANSWERS = OF_DRIVER | {"driver-hangs", "no-python", "probe-failed", "version-mismatch"}
"""Codes of problems of a node that is reached all the same."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one node."""

    reading: NodeReading
    answer: About | GpudeckError
    """What the engine tells of itself, or why it does not."""

    @property
    def node(self) -> Node | None:
        """What is so on the node now; None where that is not known."""
        return self.reading.node if self.reading.is_current else None

    @property
    def reached(self) -> bool:
        """The way to the node is open, whatever is wrong there."""
        problem = self.reading.problem
        return self.reading.state is NodeState.LIVE or (problem is not None and problem.code in ANSWERS)

    @property
    def engine(self) -> About | None:
        return self.answer if isinstance(self.answer, About) else None

    @property
    def denied(self) -> NotPermitted | None:
        """What the engine refuses to this user."""
        refused, node = isinstance(self.answer, NotAllowed), self.reading.name
        return NotPermitted(f"the engine of {node}", READ_ENGINE, node) if refused else None


Verdict = tuple[OperandPhase, str | None, str | None]
"""(phase, reason, message)"""
READY: Verdict = (OperandPhase.READY, None, None)
UNKNOWN: Verdict = (OperandPhase.UNKNOWN, None, None)


def _unread(reading: NodeReading) -> Verdict:
    """Of what only the node could tell, while it does not: the node's own problem, and when it was last read."""
    last, problem = reading.node, reading.problem
    code, why = "not-read", "the node has not answered yet"
    if problem is not None:
        code, why = problem.code, problem.message
    elif last is not None and last.stall is not None:
        code, why = "driver-hangs", last.stall.told
    if last is not None and reading.at is not None:
        why += f"; last read {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(reading.at))}"
    return OperandPhase.UNKNOWN, code, why


def _driver(facts: Facts) -> Verdict:
    node, problem = facts.node, facts.reading.problem
    if problem is not None and problem.code in OF_DRIVER:
        return OperandPhase.FAILING, problem.code, problem.message
    if node is None:
        return _unread(facts.reading)
    return READY if node.driver else UNKNOWN


def _engine(facts: Facts) -> Verdict:
    if isinstance(facts.answer, About):
        return READY
    if facts.denied is not None:
        return OperandPhase.UNKNOWN, f"not permitted: {facts.denied.permission}", facts.answer.message
    if not facts.reached and isinstance(facts.answer, Unreachable):
        return _unread(facts.reading)
    return OperandPhase.FAILING, "unreachable", facts.answer.message


def _toolkit(facts: Facts) -> Verdict:
    """The NVIDIA runtime in the engine's configuration, or CDI devices: either lets containers have GPUs."""
    engine = facts.engine
    if engine is None:
        return UNKNOWN if facts.reached else _unread(facts.reading)
    if engine.nvidia_runtime:
        return READY
    by_cdi = _has_cdi(facts)
    if by_cdi is None:
        return OperandPhase.UNKNOWN, None, _UNTOLD[engine.name]
    if by_cdi:
        return OperandPhase.READY, None, "by CDI alone: `--gpus` and the nvidia runtime are not configured"
    said = (
        "the engine knows no nvidia runtime and no CDI device of NVIDIA: nvidia-ctk runtime configure, then restart it"
    )
    return OperandPhase.MISSING, "no-runtime", said


_UNTOLD = {
    "docker": "no nvidia runtime, and this version does not tell its CDI devices: nvidia-ctk cdi list on the node does",
    "podman": "Podman does not tell its CDI devices: nvidia-ctk cdi list on the node does; where there is none, "
    "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
}
"""By the engine's name."""


def _has_cdi(facts: Facts) -> bool | None:
    """Whether containers can have NVIDIA's CDI devices; None: not known.

    An engine that does not tell has those of the usual directories; it may be told to look in others.
    """
    if facts.engine is None:
        return None
    if facts.engine.cdi is not None:
        return bool(facts.engine.cdi)
    kinds = facts.node.host.cdi if facts.node is not None else None
    return True if CDI_KIND in (kinds or ()) else None


def _cdi(facts: Facts) -> Verdict:
    by_cdi = _has_cdi(facts)
    if by_cdi is None:
        return UNKNOWN if facts.reached else _unread(facts.reading)
    return READY if by_cdi else (OperandPhase.OFF, None, "no CDI device of NVIDIA: nvidia-ctk cdi generate")


def _service(*names: str) -> Callable[[Facts], Verdict]:
    def check(facts: Facts) -> Verdict:
        if facts.node is None:
            return _unread(facts.reading)
        services = facts.node.host.services
        for service in services or ():
            if service.name.removesuffix(".service") in names and service.state != "missing":
                phase = _SERVICE_PHASES.get(service.state or "", OperandPhase.UNKNOWN)
                return phase, service.state if phase is not OperandPhase.READY else None, None
        return UNKNOWN if services is None else (OperandPhase.OFF, None, "not installed")

    return check


_SERVICE_PHASES = {
    "active": OperandPhase.READY,
    "activating": OperandPhase.STARTING,
    "failed": OperandPhase.FAILING,
    "inactive": OperandPhase.MISSING,
}


def _fabric(facts: Facts) -> Verdict:
    """Fabric Manager, needed where the GPUs hang on NVSwitches; where they do not, its unit may well have failed."""
    node = facts.node
    if node is None:
        return _unread(facts.reading)
    service = _service(SERVICE)(facts)
    absent = service[0] in (OperandPhase.OFF, OperandPhase.UNKNOWN)
    switched = is_switched(node.gpus)
    if switched is False:
        return OperandPhase.OFF, None, "no NVSwitch here"
    guest = bool(node.gpus) and all(gpu.vgpu.is_guest for gpu in node.gpus)
    if guest and (absent or switched is None):
        return OperandPhase.OFF, None, "this is a virtual machine: its host configures the fabric"
    if switched is None and absent:
        return OperandPhase.UNKNOWN, None, "the links were not read: whether there are NVSwitches is not known"
    if is_dark(node.gpus) or any(map(is_joining, node.gpus)):
        return _unjoined(service)
    return service


def _unjoined(service: Verdict) -> Verdict:
    said = "GPUs have not joined the NVSwitch fabric: CUDA answers 802"
    phase, reason, _ = service
    if phase is OperandPhase.OFF:
        return OperandPhase.MISSING, "not installed", said
    return (phase, reason, said) if phase.blocks else (OperandPhase.STARTING, "fabric not ready", said)


@dataclass(frozen=True, slots=True)
class _Check:
    operand: Operand
    judge: Callable[[Facts], Verdict]
    needed: bool = True
    """An optional one that is absent is no blocker."""


CHECKS: tuple[_Check, ...] = (
    _Check(Operand("driver", "driver"), _driver),
    _Check(Operand("fabric-manager", "fabric manager", ("driver",)), _fabric),
    _Check(Operand("persistenced", "persistenced", ("driver",)), _service("nvidia-persistenced"), needed=False),
    _Check(Operand("engine", "container engine"), _engine),
    _Check(Operand("toolkit", "container toolkit", ("driver", "engine")), _toolkit),
    _Check(Operand("cdi", "CDI", ("toolkit",)), _cdi, needed=False),
    _Check(Operand("dcgm", "DCGM", ("driver",)), _service("nvidia-dcgm", "dcgm"), needed=False),
)
"""In dependency order: a new check is one function and one line."""


def stack_node(facts: Facts) -> StackNode:
    """The waterfall of one node; the first needed check that fails blocks the later ones that build on it."""
    states: list[OperandState] = []
    blocked: dict[str, str] = {}
    blocker: Blocker | None = None
    for check in CHECKS:
        phase, reason, message = check.judge(facts)
        cause = next((blocked[key] for key in check.operand.after if key in blocked), None)
        if cause is not None and phase is not OperandPhase.READY:
            phase, reason, message = OperandPhase.WAITING, None, None
        state = OperandState(
            operand=check.operand.key,
            phase=phase,
            reason=reason,
            message=None if message is None else clean(message, 300),
            waits_for=cause if phase is OperandPhase.WAITING else None,
            version=_version(check.operand.key, facts),
        )
        states.append(state)
        if check.needed and phase.blocks:
            blocked[check.operand.key] = check.operand.key
            hint = facts.answer.hint if isinstance(facts.answer, GpudeckError) else ""
            blocker = blocker or Blocker(state, check.operand.title, log_problem=hint or None)
        elif phase is OperandPhase.WAITING and cause is not None:
            blocked[check.operand.key] = cause
    node = facts.reading.node
    return StackNode(
        name=facts.reading.name,
        health=_health(states, blocker),
        operands=tuple(states),
        blocker=blocker,
        capacity=NodeGpuCapacity(gpus=None if node is None else len(node.gpus)),
        driver_version=None if node is None else node.driver,
        kernel=None if node is None else node.kernel,
        os=None if node is None else node.os,
        runtime=_runtime(facts.engine),
        notes=_notes(facts, blocker),
    )


def _notes(facts: Facts, blocker: Blocker | None) -> tuple[str, ...]:
    """Why little is known of the node, where nothing that is known blocks it."""
    if blocker is not None or facts.node is not None:
        return ()
    _, _, why = _unread(facts.reading)
    return (clean(f"not known now: {why}", 300),)


def _runtime(engine: About | None) -> str | None:
    """`podman 5.2.0`"""
    return None if engine is None or engine.version is None else f"{engine.name} {engine.version}"


def _version(key: str, facts: Facts) -> str | None:
    if key == "driver":
        return facts.node.driver if facts.node is not None else None
    return facts.engine.version if key == "engine" and facts.engine is not None else None


def _health(states: list[OperandState], blocker: Blocker | None) -> StackHealth:
    if blocker is not None:
        return StackHealth.STARTING if blocker.state.phase is OperandPhase.STARTING else StackHealth.BLOCKED
    optional = {check.operand.key for check in CHECKS if not check.needed}
    if any(state.phase.blocks and state.operand in optional for state in states):
        return StackHealth.WARNING
    needed = [state for state in states if state.operand not in optional]
    return StackHealth.UNKNOWN if any(state.phase is OperandPhase.UNKNOWN for state in needed) else StackHealth.READY


def stack(facts: Sequence[Facts]) -> Stack:
    nodes = tuple(sorted((stack_node(each) for each in facts), key=lambda node: node.name))
    operands = tuple(check.operand for check in CHECKS)
    denied = tuple(each.denied for each in facts if each.denied is not None)
    answered = not facts or any(each.engine is not None or each.denied is not None for each in facts)
    return Stack(platform="docker", operands=operands, nodes=nodes, not_permitted=denied, answered=answered)
