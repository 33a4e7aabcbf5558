"""What a change costs, and who has to go first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from backends.domain import Gpu, GpuProcess, Service, clean
from backends.domain.text import NAME_LIMIT
from backends.nodes.mig.geometry import Layout, Wanted
from backends.nodes.mig.plan import Blocker, Cost
from backends.nodes.mig.target import GpuInstance, Target
from backends.ownership import owner_words

CLIENTS = re.compile(r"(nvidia-)?(dcgm|nvsm|persistenced)|nv-hostengine", re.IGNORECASE)
"""Services and commands that keep a GPU open: MIG user guide, "In use by another client"."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a plan does, without how."""

    target: Target
    enabled: bool
    """MIG mode afterwards."""
    destroys: tuple[GpuInstance, ...] = ()
    creates: Layout = ()
    adds: tuple[Wanted, ...] = ()
    """Made where the driver finds a place."""

    @property
    def makes(self) -> bool:
        return bool(self.creates or self.adds)

    @property
    def changes_instances(self) -> bool:
        return self.makes or bool(self.destroys)

    @property
    def switches_mode(self) -> bool:
        """The GPU has to leave its MIG mode, or to come out of a change that waits for a reset."""
        return self.target.enabled != self.enabled

    @property
    def anything(self) -> bool:
        takes_back = self.target.pending is not None and self.target.pending != self.enabled
        return bool(self.switches_mode or takes_back or self.changes_instances)

    @property
    def may_be_hidden(self) -> bool:
        """A GPU instance without a compute instance would be in the way, and no step takes it: NVML lists none such."""
        target = self.target
        takes_all = bool(self.destroys) and len(self.destroys) == len(target.instances)
        there = bool(target.enabled) and target.node is not None
        return there and not takes_all and not self.waits_for_reset and (self.makes or self.switches_mode)

    @property
    def disturbs(self) -> bool:
        """Something that may be in use goes."""
        return self.switches_mode or bool(self.destroys)

    @property
    def on_operator(self) -> bool:
        return self.target.on_operator

    @property
    def resets(self) -> bool:
        board = self.target.board
        return self.switches_mode and (self.waits_for_reset or (board is not None and board.resets_on_mode_change))

    @property
    def waits_for_reset(self) -> bool:
        """The wanted mode is set already and becomes real at the next reset."""
        return self.switches_mode and self.target.pending == self.enabled

    @property
    def reset_with(self) -> tuple[Gpu, ...]:
        """The node's other GPUs that the reset which it waits for takes."""
        return self.target.reset_with if self.waits_for_reset else ()


_COSTS: tuple[tuple[str, Callable[[Change], bool], str], ...] = (
    (
        "gpu-reset",
        lambda change: change.resets,
        "the GPU is reset: everything on it ends; a reset fails while nvidia_drm or any client holds the GPU",
    ),
    (
        "reset-together",
        lambda change: bool(change.reset_with),
        (
            "every GPU of the node is reset with it, as Fabric Manager does not run: all work on the node's GPUs ends, "
            "and every MIG layout goes"
        ),
    ),
    (
        "mode-not-persistent",
        lambda change: change.switches_mode and change.enabled and not _resets(change),
        "MIG mode lasts only while the kernel modules stay loaded: it is off again after a reboot",
    ),
    (
        "instances-not-persistent",
        lambda change: change.makes,
        (
            "the instances are gone after a reboot or a reset of the GPU: something must make them again, as "
            "nvidia-mig-manager.service or MIG Manager does"
        ),
    ),
    (
        "instances-destroyed",
        lambda change: bool(change.destroys),
        "the memory of the instances that go is lost",
    ),
    (
        "no-peer-access",
        lambda change: change.switches_mode and change.enabled,
        (
            "while MIG is on: no NVLink and no peer access between instances, no graphics but in +gfx profiles, and no "
            "utilisation of the whole GPU"
        ),
    ),
    (
        "no-cuda-device",
        lambda change: change.enabled and not change.makes and len(change.destroys) == len(change.target.instances),
        "without an instance the GPU runs no CUDA work",
    ),
    (
        "drain",
        lambda change: change.on_operator and change.disturbs,
        "the node is cordoned and drained: nobody evicts pods that sit on the GPU for this change",
    ),
    (
        "device-plugin",
        lambda change: change.on_operator and change.anything,
        "the device plugin and GPU feature discovery must restart to offer what is new",
    ),
    (
        "mig-manager",
        lambda change: change.on_operator and change.anything,
        (
            "MIG Manager applies its label nvidia.com/mig.config again and undoes what was made by hand: change the "
            "label instead, or remove it first"
        ),
    ),
    (
        "mig-manager-service",
        lambda change: change.anything and not change.on_operator and _has_mig_manager(change.target.services),
        "nvidia-mig-manager.service applies its own configuration again when the node boots: change that too",
    ),
    (
        "exporter",
        lambda change: change.changes_instances and not change.switches_mode and bool(_clients(change.target.services)),
        "DCGM and its exporter see the new instances after their restart",
    ),
    (
        "vm-reboot",
        lambda change: change.target.virtualization == "passthrough" and change.switches_mode,
        "a virtual machine that owns the GPU may have to reboot for the mode to change",
    ),
    (
        "exclusive-process",
        lambda change: change.target.compute_mode == "exclusive_process" and change.enabled,
        "compute mode EXCLUSIVE_PROCESS with MPS does not work on MIG",
    ),
)
"""Code, when it holds, the sentence (MIG user guide; MIG Manager of the GPU Operator)."""


def _resets(change: Change) -> bool:
    return change.target.board is not None and change.target.board.resets_on_mode_change


def costs(change: Change) -> tuple[Cost, ...]:
    if not change.anything:
        return ()
    return tuple(Cost(code, text) for code, holds, text in _COSTS if holds(change))


def _has_mig_manager(services: tuple[Service, ...] | None) -> bool:
    return any(each.name == "nvidia-mig-manager" and each.state not in (None, "missing") for each in services or ())


def _clients(services: tuple[Service, ...] | None) -> list[Service]:
    return [each for each in services or () if each.state == "active" and CLIENTS.search(each.name)]


def clients(change: Change) -> tuple[str, ...]:
    """Services to be stopped before the mode can change: those that run and keep the GPU open."""
    return tuple(each.name for each in _clients(change.target.services)) if change.switches_mode else ()


def blockers(change: Change) -> tuple[Blocker, ...]:
    """Who holds what has to go: everybody on the GPU for a change of mode, else those in instances that go."""
    if not change.disturbs:
        return ()
    target = change.target
    found: list[Blocker] = []
    if target.processes is None:
        found.append(Blocker("unknown", "the processes on this GPU could not be read: look before you change it"))
    elif change.switches_mode:
        found += [_process(target, each, "") for each in target.processes]
    else:
        for instance in change.destroys:
            found += [_process(target, each, f" in {instance.name}") for each in instance.processes or ()]
        # A process whose instance was not told may sit in one that goes.
        found += [_process(target, each, "") for each in target.stray_processes]
    if target.processes_omitted:
        found.append(Blocker("unknown", f"and {target.processes_omitted} more processes that were not read"))
    for other in change.reset_with:
        found += _on_other(target, other)
    found += [Blocker("monitoring", f"service {name} keeps the GPU open", service=name) for name in clients(change)]
    if change.switches_mode and target.node is not None and target.services is None:
        found.append(
            Blocker("unknown", "the node's services were not read: dcgm, nvsm and persistenced keep a GPU open")
        )
    return tuple(found)


def _on_other(target: Target, other: Gpu) -> list[Blocker]:
    """Who holds another GPU that is reset as well."""
    if other.processes is None:
        return [Blocker("unknown", f"the processes on GPU {other.index}, which is reset as well, could not be read")]
    found = [_process(target, each, f" on GPU {other.index}") for each in other.processes]
    if other.processes_omitted:
        more = f"and {other.processes_omitted} more processes on GPU {other.index} that were not read"
        found.append(Blocker("unknown", more))
    return found


def _process(target: Target, process: GpuProcess, where: str) -> Blocker:
    """`where` it is, with a space before; nothing: on the GPU that is changed."""
    command = process.command or "n/a"
    kind = "display" if process.kind == "graphics" else "process"
    if CLIENTS.search(command.split(" ")[0]):
        kind = "monitoring"
    workload = target.owners.get(process.container_id or "")
    owner = None if workload is None else owner_words(workload) or None
    inside = f", container {process.container_id[:12]}" if process.container_id else ""
    if workload is not None:
        behind = f" ({owner})" if owner else ""
        inside = f", {'pod' if target.on_operator else 'container'} {clean(workload.title, NAME_LIMIT)}{behind}"
    return Blocker(
        kind,
        f"pid {process.pid} {process.user or 'n/a'} {command}{where}{inside}",
        pid=process.pid,
        user=process.user,
        command=process.command,
        gi=process.gi,
        container_id=process.container_id,
        workload=None if workload is None else workload.title,
        owner=owner,
    )
