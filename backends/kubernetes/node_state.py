"""One node: its waterfall, its GPUs as the scheduler sees them, and what its labels keep hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backends.domain import (
    Blocker,
    DriverUpgradeState,
    MigManagerState,
    NodeGpuCapacity,
    OperandPhase,
    OperandState,
    ResourceCount,
    Since,
    StackHealth,
    StackNode,
)
from backends.kubernetes.objects import LeanDaemonSet, LeanNode, LeanPod
from backends.kubernetes.operands import BY_KEY, DEPLOY, OperandKind
from backends.kubernetes.waterfall import first_blocker, operand_states

MIG_CONFIG = "nvidia.com/mig.config"
MIG_STATE = "nvidia.com/mig.config.state"
UPGRADE_STATE = "nvidia.com/gpu-driver-upgrade-state"
UPGRADE_SKIP = "nvidia.com/gpu-driver-upgrade.skip"
UPGRADE_ENABLED = "nvidia.com/gpu-driver-upgrade-enabled"
"""An annotation."""
GPU_PRESENT = "nvidia.com/gpu.present"
PRODUCT = "nvidia.com/gpu.product"
NFD_GPU = (
    "feature.node.kubernetes.io/pci-10de.present",
    "feature.node.kubernetes.io/pci-0302_10de.present",
    "feature.node.kubernetes.io/pci-0300_10de.present",
)
STEP_TIMES: Mapping[str, str] = {
    "wait-for-jobs-required": "nvidia.com/gpu-driver-upgrade-wait-for-pod-completion-start-time",
    "validation-required": "nvidia.com/gpu-driver-upgrade-validation-start-time",
}
"""Annotations in which the operator notes when a step began, in seconds since the epoch."""
STEP_HINTS: Mapping[str, str] = {
    "wait-for-jobs-required": "a job on the node still runs; without a timeout it is waited for without end",
    "pod-deletion-required": "a GPU pod uses emptyDir or has no controller, and force or deleteEmptyDir is off",
    "drain-required": "a pod cannot be evicted: see its PodDisruptionBudget",
    "pod-restart-required": "the new driver pod does not come up",
    "validation-required": "the validator is not ready on the node",
    "upgrade-failed": "see the driver's log; the state upgrade-required starts it again",
}
VALIDATION_SECONDS = 600.0
"""After this the operator gives up on its own (k8s-operator-libs, not configurable)."""
_MINUTE, _HOUR = 60.0, 3600.0
USUAL_SECONDS: Mapping[str, float] = {
    "cordon-required": 10 * _MINUTE,
    "wait-for-jobs-required": 24 * _HOUR,
    "pod-deletion-required": 30 * _MINUTE,
    "drain-required": 30 * _MINUTE,
    "node-maintenance-required": 24 * _HOUR,
    "pod-restart-required": 45 * _MINUTE,
    "post-maintenance-required": 24 * _HOUR,
    "uncordon-required": 10 * _MINUTE,
}
"""How long a step may take before gpudeck calls it stuck where neither the policy nor the operator bounds it: its own
judgement. One request of the operator is minutes; a driver that is compiled takes up to 25; jobs and another
operator's maintenance a day. A node at upgrade-required waits for its turn, however long that is."""
LEFT_OVER_SECONDS = 600.0
"""Operands that are still paused this long after what they were paused for has ended, are forgotten."""

Seen = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Site:
    """What every node is held against."""

    daemon_sets: tuple[tuple[OperandKind, LeanDaemonSet], ...] | None
    deployed: frozenset[str]
    step_limits: Mapping[str, float]
    pods_complete: bool
    now: float
    seen: Seen = field(default_factory=dict)
    """(node, label) -> since when the console knows its present value, seconds since the epoch."""
    hidden: str | None = None
    """Why the operands' pods are not seen; None where they are."""

    def same_but_time(self, other: Site) -> bool:
        return dataclasses.replace(other, now=self.now, seen=self.seen) == self


@dataclass(slots=True)
class OnNode:
    """The pods of one node."""

    operands: list[tuple[OperandKind, LeanPod]] = field(default_factory=list)
    requested: dict[str, int] = field(default_factory=dict)


def is_gpu_node(node: LeanNode) -> bool:
    """By the operator's label (also `false`: its GPUs have vanished), by NFD, or by what the kubelet offers."""
    if GPU_PRESENT in node.labels or any(node.labels.get(key) == "true" for key in NFD_GPU):
        return True
    return bool(node.capacity) or any(key.startswith(DEPLOY) for key in node.labels)


def node_of_stack(node: LeanNode, on_node: OnNode, site: Site) -> StackNode:
    states = operand_states(node, on_node.operands, site.daemon_sets, site.deployed, site.now, site.hidden)
    blocking = first_blocker(states)
    capacity = capacity_of(node, on_node.requested if site.pods_complete else None)
    mig, upgrade = mig_of(node, site.seen), upgrade_of(node, site.step_limits, site.seen)
    notes = tuple(_node_notes(node, capacity, states, mig, upgrade, site))
    driver = next((state for state in states if state.operand == "driver"), None)
    return StackNode(
        name=node.name,
        health=_health(node, states, blocking, mig, upgrade, notes, site.now),
        operands=states,
        blocker=None if blocking is None else Blocker(blocking, BY_KEY[blocking.operand].title),
        capacity=capacity,
        mig=mig,
        upgrade=upgrade,
        notes=notes,
        ready=node.ready,
        ready_at=node.ready_at,
        schedulable=node.schedulable,
        labelled=node.has_nfd,
        driver_version=node.labels.get("nvidia.com/cuda.driver-version.full") or (driver.version if driver else None),
        kernel=node.kernel,
        os=node.os,
        runtime=node.runtime,
    )


def _health(
    node: LeanNode,
    states: tuple[OperandState, ...],
    blocking: OperandState | None,
    mig: MigManagerState | None,
    upgrade: DriverUpgradeState | None,
    notes: tuple[str, ...],
    now: float,
) -> StackHealth:
    mig_broken = mig is not None and (mig.state == "failed" or mig.stuck(now))
    upgrade_broken = upgrade is not None and (upgrade.step == "upgrade-failed" or upgrade.stuck(now))
    left_over = _left_over(states, mig, upgrade, now)
    changing = (mig is not None and mig.state in {"pending", "rebooting"}) or (upgrade is not None and upgrade.running)
    phases = {state.phase for state in states}
    verdicts = (
        (StackHealth.BLOCKED, mig_broken or upgrade_broken or left_over or node.ready is False),
        (StackHealth.CHANGING, changing and blocking is not None and blocking.phase is OperandPhase.STARTING),
        (StackHealth.BLOCKED, blocking is not None and blocking.phase is not OperandPhase.STARTING),
        (StackHealth.STARTING, blocking is not None),
        (StackHealth.CHANGING, changing or OperandPhase.PAUSED in phases),
        (StackHealth.WARNING, bool(notes)),
        (StackHealth.UNKNOWN, not states or phases & {OperandPhase.UNKNOWN, OperandPhase.WAITING} != set()),
        (StackHealth.OFF, phases == {OperandPhase.OFF}),
    )
    return next((health for health, holds in verdicts if holds), StackHealth.READY)


def capacity_of(node: LeanNode, requested: Mapping[str, int] | None) -> NodeGpuCapacity:
    """Capacity against allocatable against requested; `requested` None: not known."""
    allocatable = dict(node.allocatable)
    capacity = dict(node.capacity)
    resources = sorted(capacity.keys() | allocatable.keys() | (requested or {}).keys())
    labels = node.labels
    sharing = labels.get("nvidia.com/gpu.sharing-strategy")
    return NodeGpuCapacity(
        resources=tuple(
            ResourceCount(
                resource,
                capacity.get(resource, 0),
                allocatable.get(resource, 0),
                None if requested is None else requested.get(resource, 0),
            )
            for resource in resources
        ),
        product=labels.get(PRODUCT),
        gpus=_number(labels.get("nvidia.com/gpu.count")),
        sharing=None if sharing in {None, "none"} else sharing,
        replicas=_number(labels.get("nvidia.com/gpu.replicas")) if sharing not in {None, "none"} else None,
        mig_strategy=labels.get("nvidia.com/mig.strategy"),
    )


def mig_of(node: LeanNode, seen: Seen) -> MigManagerState | None:
    requested, state = node.labels.get(MIG_CONFIG), node.labels.get(MIG_STATE)
    if requested is None and state is None:
        return None
    return MigManagerState(requested, state, _label_since(node, MIG_STATE, seen))


def upgrade_of(node: LeanNode, limits: Mapping[str, float], seen: Seen) -> DriverUpgradeState | None:
    step = node.labels.get(UPGRADE_STATE)
    if not step:
        return None
    noted = _number(node.annotations.get(STEP_TIMES.get(step, "")))
    return DriverUpgradeState(
        step=step,
        since=Since(float(noted), exact=True) if noted is not None else _label_since(node, UPGRADE_STATE, seen),
        limit_seconds=limits.get(step),
        usual_seconds=USUAL_SECONDS.get(step),
        skipped=node.labels.get(UPGRADE_SKIP) == "true",
        hint=STEP_HINTS.get(step),
    )


def _left_over(
    states: tuple[OperandState, ...], mig: MigManagerState | None, upgrade: DriverUpgradeState | None, now: float
) -> bool:
    """Operands are paused for something that ended: whoever was to let them on again did not."""
    paused = {state.reason for state in states if state.phase is OperandPhase.PAUSED}
    driver = next((state for state in states if state.operand == "driver"), None)
    settled = driver is not None and driver.phase is OperandPhase.READY and driver.since is not None
    if "paused-for-driver-upgrade" in paused and settled and not (upgrade is not None and upgrade.running):
        assert driver is not None
        return now - (driver.since or now) > LEFT_OVER_SECONDS
    if "paused-for-mig-change" in paused and mig is not None and mig.state == "success" and mig.since is not None:
        return mig.since.seconds(now) > LEFT_OVER_SECONDS
    return False


def _label_since(node: LeanNode, label: str, seen: Seen) -> Since | None:
    """The earliest time at which the label is known to have had its present value."""
    times = [at for key, at in node.label_times if key == label]
    observed = seen.get((node.name, label))
    return Since(min(times + ([observed] if observed is not None else [])), False) if times or observed else None


def _node_notes(
    node: LeanNode,
    capacity: NodeGpuCapacity,
    states: tuple[OperandState, ...],
    mig: MigManagerState | None,
    upgrade: DriverUpgradeState | None,
    site: Site,
) -> Iterable[str]:
    if node.ready is False:
        yield f"the node is not Ready: {node.ready_message or 'no reason given'}"
    if node.labels.get(GPU_PRESENT) == "false":
        yield "its GPUs have vanished: the operator set nvidia.com/gpu.present to false"
    elif not node.has_nfd:
        yield "node feature discovery has not labelled it: no operand is put on it"
    elif not is_gpu_node(node):
        yield "no label says that it has GPUs"
    plugin = next((state for state in states if state.operand == "device-plugin"), None)
    why = _taken_out_by(plugin, site)
    for count in capacity.resources:
        if count.allocatable < count.capacity:
            gone = count.capacity - count.allocatable
            yield f"{gone} of {count.capacity} {count.resource} not allocatable: {why}"
    if "MIG-INVALID" in (capacity.product or ""):
        yield "the single MIG strategy needs one profile on all GPUs of the node"
    plugin = next((state for state in states if state.operand == "device-plugin"), None)
    if (
        plugin is not None
        and plugin.phase is OperandPhase.READY
        and not any(count.capacity for count in capacity.resources)
    ):
        yield "the device plugin runs, and the kubelet offers no GPU"
    if mig is not None and mig.state == "failed":
        yield f"the MIG change to {mig.requested} failed: see the MIG manager's log"
    if mig is not None and mig.stuck(site.now):
        yield f"the MIG change to {mig.requested} is pending for more than 6 min: see the MIG manager's log"
    if _left_over(states, mig, upgrade, site.now):
        yield "operands are still paused, and nothing is under way: the labels nvidia.com/gpu.deploy.* are left over"
    if upgrade is not None and (upgrade.step == "upgrade-failed" or upgrade.stuck(site.now)):
        yield f"the driver upgrade is at {upgrade.step}" + (f": {upgrade.hint}" if upgrade.hint else "")


def _taken_out_by(plugin: OperandState | None, site: Site) -> str:
    if plugin is not None and plugin.phase is OperandPhase.UNKNOWN:
        return "whether the device plugin runs is not known"
    runs = plugin.phase is OperandPhase.READY if plugin is not None else "device-plugin" not in site.deployed
    return "the device plugin took them out" if runs else "the device plugin does not run"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
