"""What watches a node's labels and acts on its hardware: the MIG manager, the upgrade controller, cordon.

A wish is worked off in some seconds of the lab's clock, as the real ones do in minutes: the MIG manager pauses the
clients of the GPUs and fails while a process holds one; the upgrade controller cordons, deletes the pods that use GPUs,
lets the driver pod be made anew, waits for the validator, and uncordons. One node is upgraded at a time, and a policy
without autoUpgrade has the labels taken away. Nothing is drained here, whatever the policy says; a driver pod that is
deleted takes the GPU pods with it, though the real one leaves them alone where the operator upgrades drivers by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.lab import mig
from backends.lab.dynamics import Meter
from backends.lab.hardware import SimGpu, SimNode
from backends.lab.kube.operands import ClusterFaults
from backends.lab.kube.store import Object

CONFIG, STATE = "nvidia.com/mig.config", "nvidia.com/mig.config.state"
UPGRADE, SKIP = "nvidia.com/gpu-driver-upgrade-state", "nvidia.com/gpu-driver-upgrade.skip"
PAUSED = "paused-for-mig-change"
CLIENTS = ("device-plugin", "gpu-feature-discovery", "dcgm-exporter")
"""Operands that hold GPUs open and are paused for a MIG change."""
MIG_CHANGE_SECONDS = 8.0
STEP_SECONDS = 2.0
UPGRADE_STEPS = (
    "upgrade-required",
    "cordon-required",
    "wait-for-jobs-required",
    "pod-deletion-required",
    "pod-restart-required",
    "validation-required",
    "uncordon-required",
    "upgrade-done",
)
BALANCED = ("3g", "2g", "1g", "1g")
MIG_FAILURE_LOG = (
    "Updating to MIG config: {layout}",
    "Asserting that the requested configuration is present in the configuration file",
    "Applying the MIG mode change from the selected config to the node",
    "Unable to enable MIG mode: In use by another client",
    "Changing the 'nvidia.com/mig.config.state' node label to 'failed'",
)

Division = tuple[bool, tuple[tuple[str, int], ...]]
"""The mode, and the instances by profile and start."""
Layout = tuple[Division, ...]
"""Of each GPU."""


@dataclass(slots=True)
class Effects:
    """What a controller does to pods, besides the node's own labels."""

    delete_gpu_pods: bool = False
    restart_driver: bool = False
    mig_log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What the upgrade controller takes from the policy and from the other nodes."""

    automatic: bool = True
    free: bool = True
    """One more upgrade may begin."""


@dataclass(slots=True)
class NodeControllers:
    """Those of one node."""

    hardware: SimNode
    meter: Meter
    faults: ClusterFaults
    _wish: str | None = None
    _wished_at: float | None = None
    _first: Layout = ()
    _step_since: float = 0.0
    _step: str = ""
    _was_closed: bool = False
    _forced: bool = False
    _known: bool = False

    def changed(self, node: Object, now: float) -> None:
        """The node's object is another: a wish, or a cordon."""
        labels = node["metadata"].get("labels", {})
        wish = labels.get(CONFIG)
        if not self._known:
            self._known, self._wish, self._first = True, wish, _layout(self.hardware)
        elif wish != self._wish:
            self._wish, self._wished_at = wish, now
        closed = bool(node.get("spec", {}).get("unschedulable"))
        for gpu in self.hardware.gpus:
            if closed and gpu.closed_since is None:
                gpu.closed_since = now
            elif not closed and gpu.closed_since is not None:
                if not self.meter.read(gpu, now).processes:
                    gpu.changed_at = (
                        now  # what would have begun meanwhile does not appear: work comes with a new window
                    )
                gpu.closed_since = None

    def tick(self, node: Object, now: float, ready: Mapping[str, bool], turn: Turn) -> Effects:
        """Moves `node`, a copy that is being edited, on to `now`."""
        effects = Effects()
        if not turn.automatic:
            node["metadata"]["labels"].pop(UPGRADE, None)
        self._tick_mig(node["metadata"]["labels"], now, ready.get("mig-manager", False), effects)
        self._tick_upgrade(node, now, ready, turn, effects)
        return effects

    # The MIG manager

    def _tick_mig(self, labels: dict[str, str], now: float, manager_ready: bool, effects: Effects) -> None:
        if CONFIG not in labels:
            return
        fails = self.faults.mig_failed == self.hardware.name
        if fails and not self._forced:
            labels[CONFIG], labels[STATE] = self.faults.mig_wanted, "failed"
            self._wish, self._wished_at = self.faults.mig_wanted, None
        self._forced = fails
        if self._wished_at is None or not manager_ready:
            return
        if now - self._wished_at < MIG_CHANGE_SECONDS:
            labels[STATE] = "pending"
            _set_clients(labels, PAUSED)
            return
        self._wished_at = None
        wrong = MIG_FAILURE_LOG if fails else self._apply(labels[CONFIG], now)
        effects.mig_log = tuple(line.format(layout=labels[CONFIG]) for line in wrong)
        labels[STATE] = "failed" if wrong else "success"
        _set_clients(labels, "true")

    def _apply(self, layout: str, now: float) -> tuple[str, ...]:
        """Cuts the GPUs; the manager's log lines where it cannot, and then nothing is changed."""
        gpus = [gpu for gpu in self.hardware.gpus if gpu.board.mig]
        wanted = self._wanted(layout, gpus)
        if wanted is None:
            return (f"Error: mig-config not present in the configuration file: {layout}",)
        changes = [(gpu, want) for gpu, want in zip(gpus, wanted, strict=True) if want != _of_gpu(gpu)]
        if any(self.meter.read(gpu, now).processes for gpu, _ in changes):
            return MIG_FAILURE_LOG
        for gpu, (enabled, instances) in changes:
            gpu.mig_on, gpu.mig, gpu.changed_at, gpu.faults.mig_pending = enabled, (), now, None
            for profile, start in instances:
                mig.create(gpu, mig.find_profile(gpu.board, profile), start, now, compute=True)
        return ()

    def _wanted(self, layout: str, gpus: list[SimGpu]) -> Layout | None:
        if layout == f"custom-{self.hardware.name}":
            return tuple(each for gpu, each in zip(self.hardware.gpus, self._first, strict=True) if gpu in gpus)
        found = [_named(layout, gpu) for gpu in gpus]
        return None if None in found else tuple(each for each in found if each is not None)

    # The upgrade controller

    def _tick_upgrade(self, node: Object, now: float, ready: Mapping[str, bool], turn: Turn, effects: Effects) -> None:
        labels = node["metadata"]["labels"]
        if self.faults.upgrade_stuck == self.hardware.name:
            labels[UPGRADE] = "drain-required"
            node["spec"]["unschedulable"] = True
            return
        step = labels.get(UPGRADE, "")
        if step != self._step:
            self._step, self._step_since = step, now
        if step not in UPGRADE_STEPS[:-1] or now - self._step_since < STEP_SECONDS:
            return
        if step == "upgrade-required" and (labels.get(SKIP) == "true" or not turn.free):
            return
        if step == "upgrade-required":
            self._was_closed = bool(node["spec"].get("unschedulable"))
        elif step == "cordon-required":
            node["spec"]["unschedulable"] = True
        elif step == "pod-deletion-required":
            effects.delete_gpu_pods = True
        elif step == "pod-restart-required":
            effects.restart_driver = True
        elif step == "validation-required" and not (ready.get("driver") and ready.get("operator-validator")):
            return
        elif step == "uncordon-required" and not self._was_closed:
            node["spec"].pop("unschedulable", None)
        following = UPGRADE_STEPS[UPGRADE_STEPS.index(step) + 1]
        labels[UPGRADE], self._step, self._step_since = following, following, now


def _set_clients(labels: dict[str, str], value: str) -> None:
    for client in CLIENTS:
        key = f"nvidia.com/gpu.deploy.{client}"
        if labels.get(key) in ("true", PAUSED):
            labels[key] = value


def _of_gpu(gpu: SimGpu) -> Division:
    return gpu.mig_on, tuple(sorted((each.profile.name, each.start) for each in gpu.mig))


def _layout(hardware: SimNode) -> Layout:
    return tuple(_of_gpu(gpu) for gpu in hardware.gpus)


def layouts(hardware: SimNode) -> dict[str, dict[int, Division]]:
    """The node's file of mig-parted, by name and index; its present layout, where it has one, has a name of its own."""
    boards = [gpu for gpu in hardware.gpus if gpu.board.mig]
    if not boards:
        return {}
    plain = [f"all-{name}" for name in mig.profiles_of(boards[0].board) if "+" not in name]
    found: dict[str, dict[int, Division]] = {}
    if any(gpu.mig for gpu in boards):
        found[f"custom-{hardware.name}"] = {gpu.index: _of_gpu(gpu) for gpu in boards}
    for name in ("all-disabled", "all-enabled", "all-balanced", *plain):
        made = _named(name, boards[0])
        if made is not None:
            found[name] = {gpu.index: made for gpu in boards}
    return found


def _named(layout: str, gpu: SimGpu) -> Division | None:
    """What a layout of mig-parted's file is on one GPU; None for a name that is not in it."""
    word = layout.removeprefix("all-")
    profiles = mig.profiles_of(gpu.board)
    if layout == "all-disabled":
        return False, ()
    if layout == "all-enabled":
        return True, ()
    if layout == "all-balanced":
        names = [next(name for name in profiles if name.startswith(f"{size}.")) for size in BALANCED]
    elif word in profiles:
        names = [word] * (mig.SLICES // profiles[word].slices)
    else:
        return None
    used: set[int] = set()
    placed = []
    for name in names:
        profile = profiles[name]
        free = [
            start
            for start in mig.STARTS[profile.profile_id]
            if not used.intersection(range(start, start + profile.size))
        ]
        if free:
            placed.append((name, free[-1]))
            used.update(range(free[-1], free[-1] + profile.size))
    return True, tuple(sorted(placed))
