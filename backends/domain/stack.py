"""The GPU stack: what has to run on a node before a workload can use its GPUs, and what keeps it from running.

On Kubernetes the operands are the DaemonSets of the GPU Operator; on Docker they are checks on the node. Either way
they depend on one another, and one that fails makes the later ones wait: a waterfall, whose first blocker matters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from backends.domain.access import NotPermitted
from backends.domain.capacity import NO_CAPACITY, NodeGpuCapacity
from backends.domain.cluster import ClusterRelease, OlmOperator
from backends.domain.monitoring import Monitoring
from backends.domain.scc import SccRefusal

MIG_PENDING_SECONDS = 360.0
"""MIG manager leaves the state `pending` when its waits of 5 minutes run out: later than this it is stuck."""


class OperandPhase(StrEnum):
    """How an operand does on one node."""

    READY = "ready"
    STARTING = "starting"
    """Pulls, initialises, compiles: within its time, but the later operands wait for it."""
    WAITING = "waiting"
    """Waits for an earlier operand; nothing is wrong with itself."""
    FAILING = "failing"
    """Crashes, exits, cannot be pulled or scheduled."""
    MISSING = "missing"
    """The node is to have it, and there is no pod."""
    PAUSED = "paused"
    """Taken off the node for the time of a driver upgrade or of a MIG change."""
    OFF = "off"
    """The node's labels turn it off, or the platform does not deploy it here."""
    UNKNOWN = "unknown"
    """It cannot be told, for example because it may not be read."""

    @property
    def blocks(self) -> bool:
        """It keeps later operands from running by a cause of its own."""
        return self in {OperandPhase.STARTING, OperandPhase.FAILING, OperandPhase.MISSING}


class StackHealth(StrEnum):
    """Of a node, or of all; worst first."""

    BLOCKED = "blocked"
    """An operand fails or is missing, a MIG change or a driver upgrade failed or is stuck."""
    STARTING = "starting"
    """An operand has not come up yet."""
    CHANGING = "changing"
    """A driver upgrade or a MIG change is under way."""
    WARNING = "warning"
    """Runs, but something about it is not as it should be: see the notes."""
    UNKNOWN = "unknown"
    READY = "ready"
    OFF = "off"
    """The operands are turned off here."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One part of the stack."""

    key: str
    """driver, toolkit, validator, device-plugin, gfd, dcgm, dcgm-exporter, mig-manager, ..."""
    title: str
    after: tuple[str, ...] = ()
    """Keys of the operands that it needs."""
    container: str | None = None
    """The container whose log tells most."""


@dataclass(frozen=True, slots=True)
class OperandState:
    """An operand on one node."""

    operand: str
    phase: OperandPhase
    pod: str | None = None
    namespace: str | None = None
    daemon_set: str | None = None
    """What would make the pod; told when there is none."""
    container: str | None = None
    """The first container that is not well: where to look."""
    init: bool = False
    """`container` is an init container."""
    waits_for: str | None = None
    """Key of the operand it waits for."""
    reason: str | None = None
    """CrashLoopBackOff, ImagePullBackOff, Error (exit 1), Unschedulable, paused-for-mig-change, ..."""
    message: str | None = None
    """The last words of the container or of the scheduler."""
    ready_containers: int = 0
    containers: int = 0
    restarts: int = 0
    since: float | None = None
    """Start of the present phase, seconds since the epoch; None where the platform does not tell."""
    version: str | None = None
    """Tag of the image of the main container."""


@dataclass(frozen=True, slots=True)
class StackEvent:
    """What the platform reported about a pod."""

    text: str
    reason: str | None = None
    at: float | None = None
    """Last seen, seconds since the epoch."""
    count: int = 1
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Blocker:
    """The earliest operand of a node that does not run by a cause of its own."""

    state: OperandState
    title: str
    log: tuple[str, ...] | None = None
    """The last lines of `state.container`, oldest first; None while not read, or when it cannot be."""
    log_problem: str | None = None
    """Why there are none."""
    events: tuple[StackEvent, ...] = ()
    """Oldest first."""

    @property
    def log_line(self) -> str | None:
        """The last line that says something."""
        return next((line for line in reversed(self.log or ()) if line.strip()), None)


@dataclass(frozen=True, slots=True)
class Since:
    """When a state began: a label carries no time, so often only a bound is known."""

    at: float
    """Seconds since the epoch."""
    exact: bool = False
    """False: it began at `at` or earlier."""

    def seconds(self, now: float) -> float:
        return max(0.0, now - self.at)


@dataclass(frozen=True, slots=True)
class MigManagerState:
    """What the MIG manager was asked for, and how far it is (nvidia.com/mig.config, mig.config.state)."""

    requested: str | None = None
    """all-disabled, all-3g.40gb, ..."""
    state: str | None = None
    """pending, rebooting, success, failed."""
    since: Since | None = None
    reason: str | None = None
    """What the MIG manager's log says of a change that failed or is stuck; None: not read, or nothing."""

    def stuck(self, now: float) -> bool:
        """`pending` for longer than the manager itself waits."""
        return self.state == "pending" and self.since is not None and self.since.seconds(now) > MIG_PENDING_SECONDS


@dataclass(frozen=True, slots=True)
class DriverUpgradeState:
    """Where a node is in the operator's driver upgrade (nvidia.com/gpu-driver-upgrade-state)."""

    step: str
    """upgrade-required, cordon-required, ..., upgrade-done, upgrade-failed."""
    since: Since | None = None
    limit_seconds: float | None = None
    """What the upgrade policy, or the operator itself, gives this step; None: no bound."""
    usual_seconds: float | None = None
    """Longer than this is called stuck where nothing bounds the step: a judgement of gpudeck. None: it is never."""
    skipped: bool = False
    """The node is labelled to be left out."""
    hint: str | None = None
    """What usually holds this step up."""

    @property
    def running(self) -> bool:
        return self.step not in {"", "upgrade-done", "upgrade-failed"}

    def stuck(self, now: float) -> bool:
        """Longer in this step than the policy gives it, or than is usual where it gives no time."""
        bound = self.limit_seconds if self.limit_seconds is not None else self.usual_seconds
        if not self.running or self.since is None or bound is None:
            return False
        return self.since.seconds(now) > bound


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: str
    """True, False, Unknown."""
    reason: str | None = None
    message: str | None = None
    at: float | None = None
    """Last transition, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class UpgradePolicy:
    """How the operator upgrades drivers (driver.upgradePolicy of a ClusterPolicy); None where it is not told."""

    automatic: bool | None = None
    """autoUpgrade: without it the operator takes the upgrade labels off the nodes, and upgrades none."""
    drains: bool | None = None
    """drain.enable: nodes may be drained, not only freed of the pods that use GPUs."""
    at_once: int | None = None
    """maxParallelUpgrades; 0: no bound."""


@dataclass(frozen=True, slots=True)
class PolicyState:
    """The operator's own verdict: a ClusterPolicy or an NVIDIADriver."""

    kind: str
    name: str
    state: str | None = None
    """ready, notReady, ignored, disabled."""
    reason: str | None = None
    """Of the condition that decides: Reconciled, OperandNotReady, NFDLabelsMissing, NoGPUNodes, ..."""
    message: str | None = None
    conditions: tuple[Condition, ...] = ()
    failing_states: tuple[str, ...] = ()
    """state-driver, ...: those that the message names."""
    driver_version: str | None = None
    upgrades: UpgradePolicy | None = None
    """None: it has none."""
    since: float | None = None
    """When the condition that says it is not ready became so, seconds since the epoch; None where it is not told."""

    @property
    def health(self) -> StackHealth:
        """`ready` without NFD's labels or without GPU nodes is a warning: the operator has nothing to be ready for."""
        if self.state == "ready":
            hollow = self.reason in {"NFDLabelsMissing", "NoGPUNodes"}
            return StackHealth.WARNING if hollow else StackHealth.READY
        if self.state in {"ignored", "disabled"}:
            return StackHealth.OFF
        return StackHealth.UNKNOWN if self.state is None else StackHealth.BLOCKED


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the stack that is not on every GPU node: the operator itself, node feature discovery."""

    name: str
    ready: int
    wanted: int
    reason: str | None = None
    """Of the first pod that is not well."""
    message: str | None = None
    pod: str | None = None
    namespace: str | None = None
    since: float | None = None
    """Since when that pod is not ready, seconds since the epoch; None where it is not told."""


@dataclass(frozen=True, slots=True)
class Support:
    """A version held against NVIDIA's support matrix."""

    what: str
    """GPU Operator 26.7 on Kubernetes 1.31."""
    supported: bool | None
    """None: the table of this gpudeck does not know the release."""
    wanted: str
    """1.32 to 1.36; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class StackNode:
    """One node's waterfall."""

    name: str
    health: StackHealth
    operands: tuple[OperandState, ...] = ()
    """In the order of `Stack.operands`; those that this node has nothing to do with are left out."""
    blocker: Blocker | None = None
    capacity: NodeGpuCapacity = NO_CAPACITY
    mig: MigManagerState | None = None
    upgrade: DriverUpgradeState | None = None
    notes: tuple[str, ...] = ()
    """What else is not as it should be, one sentence each."""
    ready: bool | None = None
    """The node's own Ready condition; None where the platform has none."""
    ready_at: float | None = None
    """When that last became another, seconds since the epoch."""
    schedulable: bool = True
    """False: cordoned."""
    labelled: bool | None = None
    """Node feature discovery has labelled it; None where the platform has none."""
    driver_version: str | None = None
    """Of the running driver, by GPU feature discovery or by the driver's image."""
    kernel: str | None = None
    os: str | None = None
    runtime: str | None = None

    def get(self, operand: str) -> OperandState | None:
        return next((state for state in self.operands if state.operand == operand), None)

    @property
    def waiting(self) -> int:
        """How many operands wait for another one."""
        return sum(state.phase is OperandPhase.WAITING for state in self.operands)


@dataclass(frozen=True, slots=True)
class Stack:
    """The GPU stack of a site."""

    platform: str
    version: str | None = None
    """Of the platform; on OpenShift of its Kubernetes, see `cluster`."""
    operands: tuple[Operand, ...] = ()
    """In dependency order; only those that are deployed somewhere."""
    nodes: tuple[StackNode, ...] = ()
    """By name."""
    policies: tuple[PolicyState, ...] = ()
    components: tuple[Component, ...] = ()
    operator_namespace: str | None = None
    operator_version: str | None = None
    support: tuple[Support, ...] = ()
    cluster: ClusterRelease | None = None
    """OpenShift's own release."""
    monitoring_url: str | None = None
    """Where the cluster's Prometheus answers queries from outside; None: there is no such way, or it is not known."""
    monitoring_problem: str | None = None
    """Why it does not, though there is a route for it."""
    monitoring: Monitoring | None = None
    """What it answered; None: not read."""
    operators: tuple[OlmOperator, ...] = ()
    """Operators installed by OLM."""
    refused: tuple[SccRefusal, ...] = ()
    """Controllers whose pods OpenShift's SCCs refuse: of the stack, or of work that asks for GPUs."""
    notes: tuple[str, ...] = ()
    not_permitted: tuple[NotPermitted, ...] = ()
    answered: bool = True
    """False: no part of the platform does; what is told is what the nodes themselves say."""

    def get(self, name: str) -> StackNode | None:
        """The node called `name`; see `node_named`."""
        return node_named(self.nodes, name)

    def operand(self, key: str) -> Operand | None:
        return next((operand for operand in self.operands if operand.key == key), None)

    @property
    def title(self) -> str:
        """`kubernetes v1.33.4`, `openshift 4.20.4 (kubernetes v1.33.4)`; without what is not known."""
        if self.platform != "openshift":
            return f"{self.platform} {self.version}" if self.version else self.platform
        release = None if self.cluster is None else self.cluster.version
        below = f" (kubernetes {self.version})" if self.version else ""
        return (f"openshift {release}" if release else "openshift") + below

    @property
    def health(self) -> StackHealth:
        """The worst of the nodes, the policies, the components, OLM's operators and the cluster's release."""
        found = [node.health for node in self.nodes] + [policy.health for policy in self.policies]
        if any(component.ready < component.wanted for component in self.components) or self.notes:
            found.append(StackHealth.WARNING)
        if any(not operator.healthy for operator in self.operators):
            found.append(StackHealth.BLOCKED)
        if self.cluster is not None and self.cluster.unwell:
            found.append(StackHealth.WARNING)
        if not self.nodes and (self.not_permitted or not found):
            found.append(StackHealth.UNKNOWN)
        order = list(StackHealth)
        return min(found, key=order.index)


T = TypeVar("T", bound=StackNode)


def node_named(nodes: Iterable[T], name: str) -> T | None:
    """The node of that name; else the only one whose first label agrees: `dgx07` and `dgx07.example.com` are one."""
    listed = list(nodes)
    exact = next((node for node in listed if node.name == name), None)
    if exact is not None:
        return exact
    short = name.partition(".")[0]
    near = [node for node in listed if node.name.partition(".")[0] == short]
    return near[0] if len(near) == 1 else None
