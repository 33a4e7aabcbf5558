"""The few fields that the console keeps of an API object.

A pod's JSON has some 8 KB; what is kept has some hundred bytes, so that 5,000 pods cost little. `keeping` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from backends.domain import Condition, UpgradePolicy

Labels = dict[str, str]
TIMED_LABELS = ("nvidia.com/mig.config.state", "nvidia.com/gpu-driver-upgrade-state")
"""Node labels whose last change is read from managedFields, because a label carries no time."""


class OwnerRef(NamedTuple):
    """The controller that an object belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str


class LeanContainer(NamedTuple):
    """A container's spec and status as one."""

    name: str
    image: str
    init: bool
    id: str | None
    state: str | None
    """waiting, running, terminated; None before the kubelet says."""
    reason: str | None
    message: str | None
    exit_code: int | None
    """Of the present state when it is terminated."""
    last_reason: str | None
    last_exit_code: int | None
    """Of the run before."""
    last_message: str | None
    ready: bool
    started: bool | None
    """Its startup probe has passed; None where it has none or is not running."""
    restarts: int
    since: float | None
    """Start of the present run, or the end of it when it is terminated."""
    gpus: tuple[tuple[str, int], ...]
    sidecar: bool
    """An init container that is meant to go on running (restartPolicy Always)."""


@dataclass(frozen=True, slots=True)
class LeanPod:
    namespace: str
    name: str
    uid: str
    node: str | None
    phase: str
    reason: str | None
    message: str | None
    labels: Labels
    user: str | None
    owner: OwnerRef | None
    containers: tuple[LeanContainer, ...]
    """Init containers first, in their order."""
    gpus: tuple[tuple[str, int], ...]
    """What the scheduler counts: the sum of the containers, or the largest init container."""
    created_at: float | None
    started_at: float | None
    deleted_at: float | None
    """When it is to be gone, grace included; None while nobody deleted it."""
    ready_since: float | None
    unscheduled: str | None
    """Why it has no node: the scheduler's message."""
    mirror: bool
    empty_dir: bool
    claims: bool = False
    """It asks for devices by resource claims (`spec.resourceClaims`)."""
    grace_seconds: int | None = None
    """How long it may take to end (`spec.terminationGracePeriodSeconds`); None where it is not told."""
    unready_since: float | None = None
    """When it stopped being Ready, of one that never was when it began; None while it is, or where it is not told."""
    unscheduled_since: float | None = None

    @property
    def ended(self) -> bool:
        return self.phase in {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class LeanNode:
    name: str
    uid: str
    labels: Labels
    """Those of NVIDIA and the few others that are looked at."""
    annotations: Labels
    has_nfd: bool
    """It carries labels of node feature discovery."""
    capacity: tuple[tuple[str, int], ...]
    allocatable: tuple[tuple[str, int], ...]
    schedulable: bool
    taints: tuple[tuple[str, str, str], ...]
    """key, value, effect"""
    ready: bool | None
    ready_message: str | None
    kernel: str | None
    os: str | None
    runtime: str | None
    kubelet: str | None
    label_times: tuple[tuple[str, float], ...]
    """For each of `TIMED_LABELS`: when the manager that set it last wrote anything."""
    ready_at: float | None = None
    """When its Ready condition last became another."""


class Toleration(NamedTuple):
    key: str
    operator: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class LeanDaemonSet:
    namespace: str
    name: str
    uid: str
    app: str | None
    """The `app` label of its pods."""
    labels: Labels
    node_selector: Labels
    tolerations: tuple[Toleration, ...]
    desired: int
    ready: int


@dataclass(frozen=True, slots=True)
class LeanPolicy:
    """A ClusterPolicy or an NVIDIADriver."""

    kind: str
    name: str
    uid: str
    created_at: float | None
    state: str | None
    namespace: str | None
    conditions: tuple[Condition, ...]
    driver_version: str | None
    driver_enabled: bool | None
    step_limits: tuple[tuple[str, float], ...]
    """Seconds that the upgrade policy gives a step of the driver upgrade; steps without a bound are left out."""
    upgrades: UpgradePolicy | None = None
