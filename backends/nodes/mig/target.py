"""The GPU a plan is made for: its board, what stands on it now, and who uses it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from backends.domain import Gpu, GpuProcess, Memory, MigInstance, Node, Service, Workload
from backends.nodes.mig.catalogue import Board, Profile, UnknownBoard, board_for, board_named, has_no_mig
from backends.nodes.mig.geometry import Layout, Placement, Wanted, arrangements, faults
from backends.ownership import NOBODY, Ownership
from backends.resets import OF_ALL, Reset, reset_of

OPERATOR_PLATFORMS = ("kubernetes", "openshift")
UNPLACED_NOTE = (
    "where the GPU instances stand could not be read (root only): unless all stay, all of them have to go; "
    "read as root, some might stay"
)


@dataclass(frozen=True, slots=True)
class GpuInstance:
    """A GPU instance with its compute instances, which share its memory and its place."""

    profile: str | None
    """3g.40gb, of the GPU instance also where its compute instances are smaller; None where it was not told."""
    gi: int | None = None
    placement: tuple[int, int] | None = None
    """(start, size); None where it could not be read."""
    cis: tuple[int, ...] = ()
    memory: Memory = field(default_factory=Memory)
    multiprocessors: int | None = None
    """Of its compute instances together."""
    uuids: tuple[str, ...] = ()
    processes: tuple[GpuProcess, ...] | None = ()
    """None where the GPU's processes could not be read."""

    @property
    def name(self) -> str:
        """3g.40gb (gi 2), for sentences."""
        known = self.profile or "an instance"
        return known if self.gi is None else f"{known} (gi {self.gi})"


@dataclass(frozen=True, slots=True)
class Target:
    """One GPU as the planner sees it. Without a node it is any GPU of the model, MIG off and nothing on it."""

    board: Board | None
    """None on a GPU without MIG that the table does not know."""
    index: int = 0
    name: str | None = None
    node: str | None = None
    platform: str | None = None
    """docker, kubernetes or openshift; None where it is not known."""
    enabled: bool | None = False
    """MIG mode; None where the GPU has none."""
    pending: bool | None = False
    """MIG mode after the next reset."""
    instances: tuple[GpuInstance, ...] = ()
    processes: tuple[GpuProcess, ...] | None = ()
    """None where they could not be read."""
    processes_omitted: int = 0
    privileged: bool | None = None
    services: tuple[Service, ...] | None = None
    driver: str | None = None
    virtualization: str | None = None
    compute_mode: str | None = None
    lost: bool = False
    neighbours: tuple[tuple[int, bool, tuple[GpuInstance, ...]], ...] = ()
    """The node's other GPUs that have MIG: index, mode, instances."""

    owners: Mapping[str, Workload] = field(default_factory=dict)
    """Container id -> whose it is, of the processes that a platform knows."""
    reset: Reset | None = None
    """Which GPUs its reset takes; None without a node."""
    bus_id: str | None = None

    @property
    def address(self) -> str:
        """What names it to nvidia-smi: its bus id, which no GPU that falls off shifts; the index of one of a model."""
        return self.bus_id or str(self.index)

    @property
    def reset_command(self) -> str:
        return f"{OF_ALL} -i {self.address}" if self.reset is None else self.reset.command

    @property
    def reset_with(self) -> tuple[Gpu, ...]:
        """The other GPUs of the node that a reset of this one takes."""
        return () if self.reset is None else self.reset.others

    @property
    def layout(self) -> Layout | None:
        """What stands where; None where a place is not known. An instance of an unknown profile keeps its place."""
        if self.board is None or any(each.placement is None for each in self.instances):
            return None
        return tuple(placed(self.board, each) for each in self.instances)

    @property
    def standing(self) -> tuple[GpuInstance, ...]:
        """What stands: nothing while MIG is off."""
        return self.instances if self.enabled else ()

    @property
    def on_operator(self) -> bool:
        """The GPU Operator's MIG Manager divides the GPUs of such a platform."""
        return self.platform in OPERATOR_PLATFORMS

    @property
    def stray_processes(self) -> tuple[GpuProcess, ...]:
        """Those of which it was not told in which GPU instance they are."""
        known = {each.gi for each in self.instances if each.gi is not None}
        return tuple(each for each in self.processes or () if each.gi not in known)


def placed(board: Board, instance: GpuInstance) -> Placement:
    """The instance as something that stands; its place must be known."""
    assert instance.placement is not None, "asked for only when every place is known"
    start, size = instance.placement
    profile = board.profile(instance.profile or "")
    if profile is None or profile.size != size:
        profile = _foreign(instance.profile, start, size)
    return Placement(profile, start)


def _foreign(name: str | None, start: int, size: int) -> Profile:
    """A profile that the table does not have, as far as its instance tells."""
    slices = re.match(r"(\d+)g\.", name or "")
    return Profile(name or "n/a", int(slices[1]) if slices else 0, size, (start,), max_instances=size)


def target_of_model(model: str, index: int = 0) -> Target:
    """Any GPU of a model, also of one that has no MIG; raises `UnknownBoard` for a name that nobody knows."""
    try:
        return Target(board_named(model), index, model)
    except UnknownBoard:
        if not has_no_mig(model):
            raise
        return Target(None, index, model, enabled=None, pending=None)


def target_of(node: Node, gpu: Gpu, platform: str | None = None, ownership: Ownership = NOBODY) -> Target:
    """A GPU as it was read; raises `UnknownBoard` for one that has MIG and is not in the table.

    `ownership` is what the site's platform tells of whose work runs where.
    """
    try:
        board = board_for(gpu.name, gpu.pci_device_id)
    except UnknownBoard:
        if gpu.mig.enabled is not None:
            raise
        board = None
    instances = gpu_instances(gpu.mig.instances, gpu.processes)
    reset = reset_of(gpu, node)
    return Target(
        board=board,
        index=gpu.index,
        name=gpu.name,
        node=node.name,
        platform=platform,
        enabled=gpu.mig.enabled,
        pending=gpu.mig.pending,
        instances=instances if board is None else deduced(board, instances),
        processes=gpu.processes,
        processes_omitted=gpu.processes_omitted,
        privileged=node.privileged,
        services=node.host.services,
        driver=node.driver,
        virtualization=gpu.vgpu.mode,
        compute_mode=gpu.compute_mode,
        lost=gpu.lost,
        owners={
            each.container_id or "": workload
            for one in (gpu, *reset.others)
            for each in one.processes or ()
            if (workload := ownership.of(each)) is not None
        },
        neighbours=tuple(
            (other.index, other.mig.enabled, gpu_instances(other.mig.instances, None))
            for other in node.gpus
            if other.index != gpu.index and other.mig.enabled is not None
        ),
        reset=reset,
        bus_id=gpu.pci_bus_id,
    )


def gpu_instances(instances: Sequence[MigInstance], processes: Sequence[GpuProcess] | None) -> tuple[GpuInstance, ...]:
    """MIG devices, which are compute instances, as the GPU instances they are parts of; in order of their places."""
    groups: dict[object, list[MigInstance]] = {}
    for position, each in enumerate(instances):
        groups.setdefault(("unknown", position) if each.gi is None else each.gi, []).append(each)
    found = [_gpu_instance(group, processes) for group in groups.values()]
    return tuple(sorted(found, key=lambda each: (each.placement or (99, 0), each.gi if each.gi is not None else 99)))


def _gpu_instance(group: Sequence[MigInstance], processes: Sequence[GpuProcess] | None) -> GpuInstance:
    gi = group[0].gi
    profile = next((each.profile for each in group if each.profile), None)
    counted = [each.multiprocessors for each in group if each.multiprocessors is not None]
    return GpuInstance(
        profile=None if profile is None else re.sub(r"^\d+c\.", "", profile),
        gi=gi,
        placement=next((each.placement for each in group if each.placement is not None), None),
        cis=tuple(sorted(each.ci for each in group if each.ci is not None)),
        memory=next((each.memory for each in group if each.memory.total_bytes is not None), Memory()),
        multiprocessors=sum(counted) if counted else None,
        uuids=tuple(each.uuid for each in group if each.uuid is not None),
        processes=None if gi is None or processes is None else tuple(each for each in processes if each.gi == gi),
    )


def deduced(board: Board, instances: tuple[GpuInstance, ...]) -> tuple[GpuInstance, ...]:
    """Places filled in where the table leaves only one: one 4g and one 3g can stand in one way only."""
    if all(each.placement is not None for each in instances):
        return instances
    layouts = possible_layouts(board, instances)
    names = [each.profile for each in instances]
    if len(layouts) != 1 or len(set(names)) < len(names):
        return instances
    place = {each.profile.name: (each.start, each.size) for each in layouts[0]}
    return tuple(replace(each, placement=place[_name(board, each)]) for each in instances)


def possible_layout(board: Board, instances: tuple[GpuInstance, ...]) -> tuple[GpuInstance, ...] | None:
    """The instances at places where they could stand, for drawing; None where the table allows none. Never a fact."""
    first = next(iter(possible_layouts(board, instances)), None)
    if first is None:
        return None
    left = list(first)
    placed = []
    for each in instances:
        place = next(one for one in left if one.profile.name == _name(board, each))
        left.remove(place)
        placed.append(replace(each, placement=(place.start, place.size)))
    return tuple(placed)


def _name(board: Board, instance: GpuInstance) -> str:
    profile = board.profile(instance.profile or "")
    return "" if profile is None else profile.name


def possible_layouts(board: Board, instances: Sequence[GpuInstance]) -> Sequence[Layout]:
    """Every layout that agrees with what is known; none where a profile is not in the table."""
    wanted = []
    for each in instances:
        profile = board.profile(each.profile or "")
        if profile is None:
            return ()
        wanted.append(Wanted(profile, None if each.placement is None else each.placement[0]))
    return [layout for layout in arrangements(board, wanted) if not faults(board, layout)]
