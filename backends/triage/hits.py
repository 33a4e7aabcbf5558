"""Whose work a trouble touches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from backends.domain import Event, Gpu, GpuProcess, Hit, Node, Workload, clean, plural
from backends.ownership import Ownership, owner_words
from backends.triage import instances
from backends.triage.words import gib

HITS_KEPT = 16
TOLD_APART = 2
"""So many processes of one command are named each; more are one line."""
CONTAINER_DIGITS = 12
"""As docker and crictl shorten an id."""
TEXT_LIMIT = 200
KERNEL_NAME = 15
"""Letters of a process name that the kernel keeps."""


def of_gpu(gpu: Gpu | None) -> tuple[Hit, ...]:
    """The processes on one GPU, most memory first."""
    return () if gpu is None else merged([[_hit(process) for process in gpu.processes or ()]])


def of_processes(processes: Iterable[GpuProcess]) -> tuple[Hit, ...]:
    return tuple(map(_hit, processes))


def of_xid(gpu: Gpu | None, events: Sequence[Event], at: float) -> tuple[Hit, ...]:
    """Whose work an error ended that touches one process: those the driver named; without names those that ran then,
    under MIG in the instances that it named.

    `at` is when the last of `events` happened by the clock of the node, as `GpuProcess.started_at`.
    """
    ran = {
        process.pid: process
        for process in (() if gpu is None else gpu.processes or ())
        if process.started_at is not None and process.started_at <= at
    }
    told = {event.pid: event.process for event in events if event.pid is not None}
    if not told:
        places = instances.named(events)
        return merged([[_hit(each) for each in ran.values() if not places or _is_in(each, places)]])
    known = {event.gi for event in events if event.pid is not None}
    places = instances.named(event for event in events if event.gi is not None and event.gi not in known)
    others = [_hit(each) for pid, each in ran.items() if pid not in told and _is_in(each, places)]
    mine = [_hit(ran[pid]) if pid in ran else _gone(pid, name) for pid, name in told.items()]
    return merged([[replace(hit, is_named=True) for hit in mine], others])


def _is_in(process: GpuProcess, places: Iterable[instances.Instance]) -> bool:
    return any(place.may_hold(process) for place in places)


def _gone(pid: int, name: str | None) -> Hit:
    """A process that is no longer there: the kernel log is all that is known of it."""
    command = clean(name, TEXT_LIMIT // 2) if name else None
    return Hit(f"{command or 'command n/a'} (pid {pid}), named in the kernel log", None, pid, None, command)


def is_same_work(named: Hit, other: Hit) -> bool:
    """Whether the process that the driver named belongs to what `other` stands for.

    Of one that is gone there is but its name as the kernel cuts it, without its arguments.
    """
    if any(
        mine is not None and mine == its
        for mine, its in ((named.pid, other.pid), (named.container_id, other.container_id))
    ):
        return True
    if named.user is not None:
        return (named.user, named.command) == (other.user, other.command)
    mine, its = _kernel_name(named.command), _kernel_name(other.command)
    return bool(mine and its) and (mine.startswith(its) or its.startswith(mine))


def _kernel_name(command: str | None) -> str:
    """`python` of `/usr/bin/python train.py`."""
    return (command or "").partition(" ")[0].rpartition("/")[2][:KERNEL_NAME]


def of_node(node: Node | None) -> tuple[Hit, ...]:
    """The processes on all GPUs of a node."""
    return () if node is None else merged(of_gpu(gpu) for gpu in node.gpus)


def are_known(node: Node | None) -> bool:
    """Every GPU of the node has told its processes."""
    return node is not None and all(gpu.processes is not None for gpu in node.gpus)


def merged(groups: Iterable[Iterable[Hit]]) -> tuple[Hit, ...]:
    """All hits, most memory first; the many processes of one command as one."""
    alike: dict[tuple[str | bool | None, ...], dict[Hit, None]] = {}
    for group in groups:
        for hit in group:
            alike.setdefault((hit.user, hit.command, hit.container_id, hit.workload, hit.is_named), {})[hit] = None
    hits: list[Hit] = []
    for same in alike.values():
        hits += [_sum(list(same))] if len(same) > TOLD_APART else same
    hits.sort(key=lambda hit: -(hit.memory_bytes or 0))
    return tuple(hits)[:HITS_KEPT]


def of_workloads(workloads: Iterable[Workload], how: str = "") -> tuple[Hit, ...]:
    """Workloads that hold GPUs, whether they run on them now or not; `how` it touches them stands first."""
    return tuple(_of_workload(workload, (), how) for workload in workloads)[:HITS_KEPT]


def named(hits: tuple[Hit, ...], ownership: Ownership) -> tuple[Hit, ...]:
    """`hits` with the processes of one workload as one; what the platform does not know stays as it is."""
    if not any(ownership.container(hit.container_id) for hit in hits):
        return hits
    mine: dict[str, tuple[Workload, list[Hit]]] = {}
    told: dict[str, None] = {}
    others: dict[str, Hit] = {}
    for number, hit in enumerate(hits):
        found = ownership.container(hit.container_id)
        if found is None:
            others[str(number)] = hit
            told[str(number)] = None
        else:
            mine.setdefault(found[0].uid, (found[0], []))[1].append(hit)
            told[found[0].uid] = None
    return tuple(others[key] if key in others else _of_workload(*mine[key]) for key in told)


def _of_workload(workload: Workload, hits: Iterable[Hit], how: str = "") -> Hit:
    own = list(hits)
    known = [hit.memory_bytes for hit in own if hit.memory_bytes is not None]
    memory = sum(known) if known else None
    count = sum(hit.processes for hit in own)
    user = workload.user or next((hit.user for hit in own if hit.user), None)
    owner = owner_words(workload) or None
    facts = [how or None, owner, user, plural(count, "process", "processes") if count else None]
    facts += [None if memory is None else gib(memory)]
    behind = ", ".join(fact for fact in facts if fact)
    text = clean(workload.title, TEXT_LIMIT - len(behind) - 3) + (f" ({behind})" if behind else "")
    return Hit(
        text=clean(text, TEXT_LIMIT),
        user=user,
        pid=own[0].pid if len(own) == 1 else None,
        container_id=own[0].container_id if own else None,
        command=own[0].command if own else None,
        memory_bytes=memory,
        processes=count,
        workload=workload.title,
        owner=owner,
    )


def _hit(process: GpuProcess) -> Hit:
    return _worded(process.user, process.command, process.memory_bytes, process.container_id, 1, process.pid)


def _sum(same: list[Hit]) -> Hit:
    known = [hit.memory_bytes for hit in same if hit.memory_bytes is not None]
    first, count = same[0], sum(hit.processes for hit in same)
    total = _worded(first.user, first.command, sum(known) if known else None, first.container_id, count, None)
    return replace(total, is_named=first.is_named)


def _worded(
    user: str | None, command: str | None, memory: int | None, container: str | None, count: int, pid: int | None
) -> Hit:
    which = f"pid {pid}" if pid is not None else plural(count, "process", "processes")
    facts = which if memory is None else f"{which}, {gib(memory)}"
    where = f" in container {container[:CONTAINER_DIGITS]}" if container else ""
    text = f"{user or 'user n/a'}: {command or 'command n/a'}"
    # What follows the command must not be lost to a long one.
    text = f"{clean(text, TEXT_LIMIT - len(facts) - len(where) - 3)} ({facts}){where}"
    return Hit(text, user, pid, container, command, memory, count)
