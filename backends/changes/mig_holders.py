"""Whom a MIG change hits, as far as a reading of the node and the site's platform tell.

A container that was given a GPU, or an instance of it, is hit also while it runs nothing there: its device goes, and
with the UUID that it was given it does not start again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backends.changes.change import BlastRadius, Undetermined
from backends.changes.platform_step import NO_MODELS
from backends.domain import Gpu, GpuRequest, Workload, plural
from backends.ownership import Ownership

HELD_BYTES = 2 * 1024**3
"""The driver's own share of a GPU is below this."""

NOT_ASKED = "no platform was asked"
_CDI = "nvidia.com/gpu="
_UUID_LEAST = len("GPU-12345678")
"""The NVIDIA runtime takes the beginning of a UUID as well; what is shorter names nothing here."""


def radius(
    label: str,
    gpu: Gpu,
    ended: Iterable[set[int] | None],
    *,
    node: str,
    ownership: Ownership | None = None,
    unasked: str = NOT_ASKED,
) -> BlastRadius:
    """Whose work and devices go with these GPU instances, None: with the whole GPU.

    `ownership` is what the platform tells of the node; None: it told nothing, and `unasked` says why.
    """
    instances: set[int] | None = set()
    for each in ended:
        instances = None if instances is None or each is None else instances | each
    if instances is not None and not instances:
        return BlastRadius(gpus=(label,))
    processes = [each for each in gpu.processes or () if instances is None or each.gi in instances]
    running = () if ownership is None else (ownership.of(each) for each in processes)
    working = {each.uid: each for each in running if each is not None}
    idle = [each for each in _holders(ownership, node) if each.uid not in working and given(each, gpu, instances)]
    workloads = [*working.values(), *idle]
    known = {container.id for each in workloads for container in each.containers}
    strange = dict.fromkeys(
        each.container_id for each in processes if each.container_id and each.container_id not in known
    )
    users = (*(each.user for each in processes), *(each.user for each in workloads))
    return BlastRadius(
        pods=tuple(each.title for each in workloads if each.platform != "docker"),
        containers=(
            *(each.title for each in workloads if each.platform == "docker"),
            *(identity[:12] for identity in strange if identity),
        ),
        processes=tuple(
            f"{each.pid} {each.user or 'n/a'} {each.command or 'n/a'}" for each in processes if not each.container_id
        ),
        users=tuple(dict.fromkeys(user for user in users if user)),
        owners=tuple(dict.fromkeys(_owner(each) for each in workloads if each.owner is not None)),
        gpus=(label,),
        undetermined=tuple(_unknown(gpu, len(strange), bool(processes or idle), ownership, node, unasked)),
    )


def _holders(ownership: Ownership | None, node: str) -> Sequence[Workload]:
    return () if ownership is None else [each for each in ownership.holders(node) if each.phase == "Running"]


def given(workload: Workload, gpu: Gpu, instances: set[int] | None) -> bool:
    """Whether it was given the GPU, or one of these instances of it, by a name that its engine tells."""
    return any(_names(word, gpu, instances) for request in workload.gpus for word in _words(request))


def _words(request: GpuRequest) -> Sequence[str]:
    """What names its devices; none of a resource that a scheduler counts."""
    if "/" in request.resource:
        return ()
    if request.devices:
        return [device.removeprefix(_CDI) for device in request.devices]
    # Docker gives the first ones to who asks for a number of them.
    return ["all"] if request.count is None else [str(index) for index in range(request.count)]


def _names(word: str, gpu: Gpu, instances: set[int] | None) -> bool:
    """Whether a device's name is of the GPU or of these instances: index, `0:1`, UUID, `MIG-GPU-.../1/0`, or all."""
    if word in ("all", str(gpu.index)) or _is_uuid(word, "GPU-", gpu.uuid):
        return True
    for position, instance in enumerate(gpu.mig.instances):
        old_name = f"MIG-{gpu.uuid}/{instance.gi}/{instance.ci}"
        named = word in (f"{gpu.index}:{position}", old_name) or _is_uuid(word, "MIG-", instance.uuid)
        if named and (instances is None or instance.gi is None or instance.gi in instances):
            return True
    return False


def _is_uuid(word: str, kind: str, uuid: str | None) -> bool:
    if uuid is None or not word.startswith(kind):
        return False
    return word == uuid or (len(word) >= _UUID_LEAST and uuid.startswith(word))


def _owner(workload: Workload) -> str:
    assert workload.owner is not None
    where = "" if workload.namespace is None else f"{workload.namespace}/"
    return f"{workload.owner.kind} {where}{workload.owner.name}"


def _unknown(
    gpu: Gpu, strange: int, works: bool, ownership: Ownership | None, node: str, unasked: str
) -> Iterable[Undetermined]:
    if gpu.processes is None:
        yield Undetermined("the processes on the GPU", "they could not be read", uncounted=True)
    if not gpu.processes and not gpu.mig.enabled and (gpu.memory.used_bytes or 0) >= HELD_BYTES:
        held = f"{(gpu.memory.used_bytes or 0) / 1024**3:.1f} GiB"
        why = "it may be of a process that this login does not see, or of one that died"
        yield Undetermined(f"who holds {held} of its memory", why, uncounted=True)
    if gpu.processes_omitted:
        yield Undetermined(f"{gpu.processes_omitted} more processes", "the probe lists no more", uncounted=True)
    if strange:
        why = unasked if ownership is None else ownership.gap_on(node) or "the platform does not know them"
        yield Undetermined(f"the pods and owners of {plural(strange, 'container')}", why)
    if ownership is None:
        yield Undetermined("containers that hold it and run nothing", unasked)
    elif (gap := ownership.gap_on(node)) is not None:
        yield Undetermined("containers that hold it and run nothing", gap, uncounted=True)
    elif not ownership.knows(node):
        yield Undetermined("containers that hold it and run nothing", "the platform tells of none on the node")
    if works:
        yield NO_MODELS
