"""The GPU stack of a node without an operator: driver, runtime, services, each as an operand of a waterfall. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.domain import Node, NodeGpuCapacity, NodeReading, NotPermitted, clean
from backends.domain.stack import (
    Blocker,
    Operand,
    OperandPhase,
    OperandState,
    Stack,
    StackHealth,
    StackNode,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one node."""

    reading: NodeReading
    info: Mapping[str, Any] | None
    """The engine's /info; None when it could not be asked."""
    version: str | None = None
    problem: str | None = None
    """Why it could not."""
    hint: str = ""
    denied: NotPermitted | None = None
    """What the engine refuses to this user."""

    @property
    def node(self) -> Node | None:
        return self.reading.node


Verdict = tuple[OperandPhase, str | None, str | None]
"""(phase, reason, message)"""
READY: Verdict = (OperandPhase.READY, None, None)
UNKNOWN: Verdict = (OperandPhase.UNKNOWN, None, None)


def _driver(facts: Facts) -> Verdict:
    node, problem = facts.node, facts.reading.problem
    if problem is not None and problem.code in ("no-driver", "nvml-missing", "nvml-failed", "driver-mismatch"):
        return OperandPhase.FAILING, problem.code, problem.message
    if node is None:
        return OperandPhase.UNKNOWN, None, None if problem is None else problem.message
    return READY if node.driver else UNKNOWN


def _engine(facts: Facts) -> Verdict:
    if facts.info is None and facts.denied is not None:
        return OperandPhase.UNKNOWN, f"not permitted: {facts.denied.permission}", facts.problem
    return READY if facts.info is not None else (OperandPhase.FAILING, "unreachable", facts.problem)


def _toolkit(facts: Facts) -> Verdict:
    """The NVIDIA runtime in the engine's configuration, or CDI devices: either lets containers have GPUs."""
    if facts.info is None:
        return UNKNOWN
    runtimes = facts.info.get("Runtimes")
    if isinstance(runtimes, Mapping) and any("nvidia" in str(name) for name in runtimes):
        return READY
    if _cdi_devices(facts):
        return OperandPhase.READY, None, "by CDI alone: `--gpus` and the nvidia runtime are not configured"
    said = (
        "the engine knows no nvidia runtime and no CDI device of NVIDIA: nvidia-ctk runtime configure, then restart it"
    )
    return OperandPhase.MISSING, "no-runtime", said


def _cdi(facts: Facts) -> Verdict:
    if facts.info is None or "DiscoveredDevices" not in facts.info:
        return UNKNOWN  # engines before 28 do not tell
    found = _cdi_devices(facts)
    return READY if found else (OperandPhase.OFF, None, "no CDI specification of NVIDIA: nvidia-ctk cdi generate")


def _cdi_devices(facts: Facts) -> list[str]:
    listed = (facts.info or {}).get("DiscoveredDevices")
    names = (
        [str(each.get("ID") or "") for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    )
    return [name for name in names if name.startswith("nvidia.com/gpu=")]


def _service(*names: str) -> Callable[[Facts], Verdict]:
    def check(facts: Facts) -> Verdict:
        services = facts.node.host.services if facts.node is not None else None
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
    """Needed only where the GPUs hang on NVSwitches."""
    node = facts.node
    switched = node is not None and any(
        link.remote_kind == "switch" for gpu in node.gpus for link in gpu.links or () if link.active is not False
    )
    if node is not None and not switched:
        return OperandPhase.OFF, None, "no NVSwitch here"
    return _service("nvidia-fabricmanager")(facts)


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
            blocker = blocker or Blocker(state, check.operand.title, log_problem=facts.hint or None)
        elif phase is OperandPhase.WAITING and cause is not None:
            blocked[check.operand.key] = cause
    node = facts.node
    return StackNode(
        name=facts.reading.name,
        health=_health(states, blocker),
        operands=tuple(states),
        blocker=blocker,
        capacity=NodeGpuCapacity(gpus=None if node is None else len(node.gpus)),
        driver_version=None if node is None else node.driver,
        kernel=None if node is None else node.kernel,
        os=None if node is None else node.os,
        runtime=None if facts.version is None else f"docker {facts.version}",
    )


def _version(key: str, facts: Facts) -> str | None:
    if key == "driver":
        return facts.node.driver if facts.node is not None else None
    return facts.version if key == "engine" else None


def _health(states: list[OperandState], blocker: Blocker | None) -> StackHealth:
    if blocker is not None:
        return StackHealth.STARTING if blocker.state.phase is OperandPhase.STARTING else StackHealth.BLOCKED
    optional = {check.operand.key for check in CHECKS if not check.needed}
    if any(state.phase.blocks and state.operand in optional for state in states):
        return StackHealth.WARNING
    needed = [state for state in states if state.operand not in optional]
    return StackHealth.UNKNOWN if any(state.phase is OperandPhase.UNKNOWN for state in needed) else StackHealth.READY


def stack(facts: list[Facts]) -> Stack:
    nodes = tuple(sorted((stack_node(each) for each in facts), key=lambda node: node.name))
    operands = tuple(check.operand for check in CHECKS)
    denied = tuple(each.denied for each in facts if each.denied is not None)
    return Stack(platform="docker", operands=operands, nodes=nodes, not_permitted=denied)
