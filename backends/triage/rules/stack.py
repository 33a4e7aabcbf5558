"""The GPU stack on the nodes: the operand that blocks, nodes that are not Ready, GPUs that were taken out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from backends.domain import (
    READ_LOG,
    Blocker,
    Evidence,
    Finding,
    Hit,
    NextStep,
    OperandPhase,
    OperandState,
    Severity,
    StackNode,
    Subject,
    Workload,
    plural,
)
from backends.triage import hits, refusals, steps
from backends.triage.causes import Cause, holding
from backends.triage.rule import finding
from backends.triage.state import SiteState
from backends.triage.words import listed

LINES_TOLD = 4
EVENTS_TOLD = 2
GRAVE = frozenset(
    {"driver", "toolkit", "device-plugin", "validator", "mps", "engine", "vgpu-manager", "fabric-manager"}
)
"""Operands without which no new work can use the node's GPUs."""
RUNS_ON: dict[str, str] = {
    "driver": "runs until the driver is made anew",
    "vgpu-manager": "runs until the vGPU manager is made anew",
    "validator": "runs on GPUs that are not validated",
    "mps": "runs without its MPS daemon",
    "fabric-manager": "runs without Fabric Manager",
}
"""Operand -> how work that runs already is touched; without the others it goes on."""
PENDING, RUNNING = "Pending", "Running"
PHRASES: tuple[tuple[str, str], ...] = (
    ("ImagePull", "cannot pull its image"),
    ("ErrImage", "cannot pull its image"),
    ("InvalidImageName", "cannot pull its image"),
    ("OOMKilled", "is killed for want of memory"),
    ("CrashLoopBackOff", "crashes"),
    ("(exit", "crashes"),
    ("CreateContainer", "cannot be created"),
    ("RunContainerError", "cannot be started"),
    ("Unschedulable", "cannot be scheduled"),
    ("not ready for", "does not become ready"),
    ("no-runtime", "is missing"),
    ("no-driver", "does not work"),
    ("nvml", "does not work"),
    ("driver-mismatch", "is of two versions"),
    ("unreachable", "cannot be reached"),
)
"""Part of an operand's reason -> what it does; a crash is one thing whether the container waits or runs again."""


CAUSES: tuple[Cause, ...] = (
    Cause(
        ("linux-headers", "kernel-headers", "kernel-devel", "kernel headers", "Could not resolve Linux kernel version"),
        "likely no package with the headers of the kernel that runs can be found: the driver cannot be built for it",
        "give the node's package repository the headers of its kernel, or boot a kernel that has them",
    ),
    Cause(
        ("nouveau",),
        "likely the nouveau module holds the GPUs",
        "blacklist nouveau in the node's kernel arguments and reboot it",
    ),
    Cause(
        ("system not yet initialized",),
        "likely Fabric Manager does not run there, or its version differs from the driver's",
        "look at Fabric Manager on the node",
    ),
    Cause(
        ("In use by another client", "in use by another client"),
        "likely work still runs on a GPU that is to be changed",
        "let the work on the node end, or drain it",
    ),
    Cause(
        ("Compiling", "Building NVIDIA driver"),
        "likely its kernel module is compiled on the node, which takes some minutes",
        "wait; precompiled drivers come up faster",
    ),
    Cause(
        ("no space left", "No space left"),
        "likely a disk of the node is full",
        "free space on the node",
    ),
)


@dataclass(frozen=True, slots=True)
class ByHand:
    """What to do about an operand of a node without an operator."""

    cause: str
    text: str
    command: str
    ends_work: bool = False
    """The command restarts the engine, and so ends its containers, but for an engine with live-restore."""


LIVE_RESTORE = (
    "see whether containers outlive a restart of the engine (true); if not, let their work end first",
    "docker info --format '{{.LiveRestoreEnabled}}'",
)

BY_HAND: dict[str, ByHand] = {
    "driver": ByHand(
        "likely the kernel module is not loaded, or it and the user library are of different versions",
        "see whether the driver answers",
        "nvidia-smi",
    ),
    "fabric-manager": ByHand(
        "likely its version differs from the driver's, or an NVSwitch is sick",
        "see why Fabric Manager does not run",
        "systemctl status nvidia-fabricmanager; tail -n 50 /var/log/fabricmanager.log",
    ),
    "engine": ByHand(
        "likely the engine does not run, or this login may not use its socket",
        "see whether the engine runs",
        "systemctl status docker; docker version",
    ),
    "toolkit": ByHand(
        "likely the NVIDIA Container Toolkit is not installed, or the engine was not restarted after it was configured:"
        " no new container gets a GPU",
        "make the NVIDIA runtime known to the engine",
        "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker",
        ends_work=True,
    ),
}
"""By the key of the operand."""


def operands(state: SiteState) -> Iterator[Finding]:
    """The first operand of each node that does not run by a cause of its own; the others wait for it.

    Of one that runs, and makes a change that is broken, the rules of changes tell.
    """
    for node, subject in nodes(state):
        if node.blocker is not None and not node.blocker.change:
            yield _blocked(state, node, subject, node.blocker)


def _blocked(state: SiteState, node: StackNode, subject: Subject, blocker: Blocker) -> Finding:
    operand = blocker.state
    starting = operand.phase is OperandPhase.STARTING
    severity = Severity.CRITICAL if operand.operand in GRAVE else Severity.WARNING
    refusal = refusals.of_operand(state.stack, operand)
    if refusal is not None:
        return finding(
            f"operand-{operand.operand}",
            severity,
            subject,
            f"{blocker.title} has no pod, SCCs refuse it: {refusal.why}",
            state.since(refusal.since),
            evidence=refusals.evidence(refusal),
            cause=refusals.cause(refusal),
            hits=_touched(holders(state, node), operand.operand),
            steps=[steps.open_stack(), *refusals.next_steps(refusal)],
            source=refusals.SOURCE,
        )
    cause = next(holding(CAUSES, _said(blocker)), None)
    return finding(
        f"operand-{operand.operand}",
        Severity.INFO if starting else severity,
        subject,
        f"{blocker.title} {_phrase(blocker)}",
        state.since(operand.since),
        evidence=_evidence(node, blocker),
        cause=cause.text if cause is not None else _by_phase(blocker),
        hits=_ended(state, node) if _restarts(operand) else _touched(holders(state, node), operand.operand),
        steps=[*_steps(state, subject, blocker), *([steps.advice(cause.step)] if cause is not None else [])],
        source="NVIDIA GPU Operator" if operand.pod or operand.daemon_set else "gpudeck: stack",
    )


def _touched(held_by: Iterable[Workload], operand: str) -> tuple[Hit, ...]:
    """What waits for the operand; then what runs and is hit as well, or will be."""
    by_phase = {phase: [each for each in held_by if each.phase == phase] for phase in (PENDING, RUNNING)}
    how = RUNS_ON.get(operand)
    running = () if how is None else hits.of_workloads(by_phase[RUNNING], how)
    return (*hits.of_workloads(by_phase[PENDING], "waits"), *running)[: hits.HITS_KEPT]


def _restarts(operand: OperandState) -> bool:
    """What is to be done about it by hand restarts the engine of the node."""
    hand = BY_HAND.get(operand.operand)
    return hand is not None and hand.ends_work and operand.pod is None and operand.daemon_set is None


def _ended(state: SiteState, node: StackNode) -> tuple[Hit, ...]:
    """All that runs in the node's engine, what holds GPUs first."""
    every = () if state.platform is None else state.platform.ownership.workloads.items
    here = [each for each in every if each.node == node.name and each.phase == RUNNING]
    here.sort(key=lambda each: (not each.gpus, each.title))
    return hits.of_workloads(here, "a restart of the engine may end it")


def _phrase(blocker: Blocker) -> str:
    operand = blocker.state
    reason = operand.reason or ""
    if operand.phase is OperandPhase.STARTING:
        return "is still starting"
    known = next((phrase for part, phrase in PHRASES if part in reason), None)
    if known is not None:
        inside = f" in {operand.container}" if operand.container and known == "crashes" else ""
        return known + inside
    if operand.phase is OperandPhase.MISSING:
        return f"is missing: {reason or 'no pod'}"
    return f"fails: {reason}" if reason else "fails"


def _by_phase(blocker: Blocker) -> str:
    phase = blocker.state.phase
    if blocker.state.pod is None and blocker.state.operand in BY_HAND:
        return BY_HAND[blocker.state.operand].cause
    if phase is OperandPhase.STARTING:
        return "likely it was started a moment ago; the later operands wait for it"
    if phase is OperandPhase.MISSING:
        return "likely a label, a taint or a setting keeps it off the node"
    return "see its log; the later operands wait for it"


def cause_of(line: str | None) -> str | None:
    return next((each.text for each in holding(CAUSES, (line or "",))), None)


def _said(blocker: Blocker) -> tuple[str, ...]:
    """The last lines of its log, and what the platform says of it."""
    return (*(blocker.log or ())[-20:], blocker.state.message or "")


def _evidence(node: StackNode, blocker: Blocker) -> Iterator[Evidence]:
    operand = blocker.state
    where = f"{operand.namespace}/{operand.pod}" if operand.pod else operand.daemon_set
    kind = "init container" if operand.init else "container"
    inside = f", {kind} {operand.container}" if operand.container else ""
    runs = f", {plural(operand.restarts, 'restart')}" if operand.restarts else ""
    yield Evidence(f"{where or blocker.title}{inside}: {operand.reason or operand.phase}{runs}", operand.since, "stack")
    lines = [line for line in blocker.log or () if line.strip()][-LINES_TOLD:]
    for line in lines:
        yield Evidence(line, None, f"log of {operand.container}")
    told = {event.text for event in blocker.events}
    if operand.message and operand.message not in told.union(lines):
        yield Evidence(operand.message, None, "stack")
    if blocker.log_problem and not lines:
        yield Evidence(blocker.log_problem, None, "stack")
    for event in blocker.events[-EVENTS_TOLD:]:
        times = f" ({event.count} times)" if event.count > 1 else ""
        yield Evidence(f"{event.text}{times}", event.at, "events")
    waiting = [state.operand for state in node.operands if state.phase is OperandPhase.WAITING]
    if waiting:
        yield Evidence(f"waiting for it: {listed(waiting, 8)}", None, "stack")
    for count in node.capacity.resources:
        if count.allocatable < count.capacity:
            yield Evidence(f"{count.allocatable} of {count.capacity} {count.resource} allocatable", None, "stack")


def _steps(state: SiteState, subject: Subject, blocker: Blocker) -> Iterator[NextStep]:
    operand = blocker.state
    yield steps.open_stack()
    if operand.pod and operand.namespace:
        tool = "oc" if state.site.platform == "openshift" else "kubectl"
        pod, space = shlex.quote(operand.pod), shlex.quote(operand.namespace)
        if operand.container:
            container = shlex.quote(operand.container)
            yield steps.command(READ_LOG, f"{tool} -n {space} logs {pod} -c {container} --tail=100")
        yield steps.command("see its events", f"{tool} -n {space} describe pod {pod}")
    elif operand.operand in BY_HAND and operand.daemon_set is None:
        hand = BY_HAND[operand.operand]
        if hand.ends_work:
            yield steps.command(f"on {subject.label}: {LIVE_RESTORE[0]}", LIVE_RESTORE[1])
        yield steps.command(f"on {subject.label}: {hand.text}", hand.command)


def across(told: Finding) -> str | None:
    """The same operand that does the same on several nodes has one cause: an image, a driver, a kernel."""
    claim = told.claim.replace("{", "(").replace("}", ")")
    return f"{claim} on {{count}} of {{total}} nodes"


def not_ready(state: SiteState) -> Iterator[Finding]:
    for node, subject in nodes(state):
        if node.ready is False:
            said = next((note for note in node.notes if "not Ready" in note), "its Ready condition is not True")
            yield finding(
                "platform-node",
                Severity.CRITICAL,
                subject,
                f"is not Ready for {state.site.platform}",
                state.since(node.ready_at),
                evidence=[Evidence(said, None, state.site.platform)],
                cause="likely the kubelet does not run there, or cannot reach the API server: its pods are moved away",
                hits=hits.of_workloads(holders(state, node)),
                steps=[
                    steps.in_cluster(state.site, "see its conditions", f"describe node {shlex.quote(node.name)}"),
                    steps.command(f"on {subject.label}: read the kubelet's log", "journalctl -u kubelet -n 100"),
                    steps.open_stack(),
                ],
            )


def allocatable(state: SiteState) -> Iterator[Finding]:
    """GPUs that a running device plugin took out; one that does not run is told as what it is."""
    for node, subject in nodes(state):
        plugin = node.get("device-plugin")
        # Of a node that lost its labels the operator takes the plugin away too.
        if plugin is None or plugin.phase is not OperandPhase.READY or node.labelled is False:
            continue
        for count in node.capacity.resources:
            gone = count.capacity - count.allocatable
            if gone <= 0:
                continue
            yield finding(
                "gpu-allocatable",
                Severity.WARNING,
                subject,
                f"{gone} of {count.capacity} {count.resource} cannot be allocated: the device plugin took them out",
                state.now,
                evidence=[
                    Evidence(f"capacity {count.capacity}, allocatable {count.allocatable}", None, state.site.platform)
                ],
                cause="likely the device plugin saw a critical XID, or a GPU does not answer it any more",
                steps=[*log_steps(state, "the device plugin", plugin), steps.open_stack()],
                magnitude=float(gone),
                more=count.resource,
            )


def log_steps(state: SiteState, whose: str, operand: OperandState | None) -> list[NextStep]:
    """The command that reads the log of an operand's pod; none where there is no pod."""
    if operand is None or operand.namespace is None or operand.pod is None:
        return []
    inside = f" -c {shlex.quote(operand.container)}" if operand.container else " --all-containers"
    words = f"-n {shlex.quote(operand.namespace)} logs {shlex.quote(operand.pod)}{inside} --tail=100"
    return [steps.in_cluster(state.site, f"read the log of {whose}", words)]


def holders(state: SiteState, node: StackNode) -> tuple[Workload, ...]:
    """What was given GPUs of the node; what runs already goes on while an operand is down, and what comes waits."""
    return () if state.platform is None else state.platform.ownership.holders(node.name)


def nodes(state: SiteState) -> Iterator[tuple[StackNode, Subject]]:
    """The nodes of the platform, each under the name that the site has for it."""
    stack = state.stack
    if stack is None or state.platform is None or not state.platform.answers("stack"):
        return
    own = {view.name for view in state.views}
    short: dict[str, list[str]] = {}
    for name in own:
        short.setdefault(name.partition(".")[0], []).append(name)
    for node in stack.nodes:
        near = short.get(node.name.partition(".")[0], [])
        yield node, Subject(node.name if node.name in own or len(near) != 1 else near[0])


def node_subjects(holds: Callable[[StackNode], bool]) -> Callable[[SiteState], int]:
    """How many nodes of the platform `holds` lets be looked at."""
    return lambda state: 0 if state.stack is None else sum(holds(node) for node in state.stack.nodes)
