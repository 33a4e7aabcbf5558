"""A change as a value: what it will do, to what, whom it hits, and what is known of all that."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from backends.domain import plural

if TYPE_CHECKING:
    from backends.changes.step import Step

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """What is changed. `name` is also what a person types to confirm a change that ends workloads."""

    kind: str
    """gpu, node, pod, container, operand, model, ..."""
    name: str
    """`dgx07 gpu3`, `team-search/llama-70b-2`."""
    node: str | None = None
    gpu_key: str | None = None
    """`Gpu.key`"""
    gpu_index: int | None = None


@dataclass(frozen=True, slots=True)
class Undetermined:
    """Something about the blast radius that could not be found out; it is told, never left out."""

    what: str
    """`the pods of 2 containers`"""
    why: str
    """`no cluster is configured`"""
    uncounted: bool = False
    """More workloads or GPUs may be hit than are listed: with a limit, the change is refused."""


@dataclass(frozen=True, slots=True)
class ReplicasLeft:
    """How many replicas of a model serve while the change runs."""

    model: str
    left: int
    of: int


INSTANCE = "MIG instance"
SPARED = "what runs there is not touched"


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """Whom a change hits. A workload stands in one list only: as its pod, else its container, else its process."""

    pods: tuple[str, ...] = ()
    """namespace/name"""
    containers: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()
    """One line each: pid, user, command, memory."""
    users: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    """Deployment, Job, StatefulSet ... of the pods: `Deployment team-search/llama-70b`."""
    models: tuple[str, ...] = ()
    replicas: tuple[ReplicasLeft, ...] = ()
    gpus: tuple[str, ...] = ()
    """`dgx07 gpu3`; `2 x nvidia.com/gpu` where a platform counts them and names none."""
    gpu_count: int | None = None
    """How many `gpus` stands for; None: one each."""
    instances: tuple[str, ...] = ()
    """MIG instances, which no GPU is counted for: `2 x nvidia.com/mig-1g.10gb`."""
    instance_count: int = 0
    """How many `instances` stands for."""
    undetermined: tuple[Undetermined, ...] = ()
    ends_work: bool = False
    """It ends workloads even where none is seen now: those that come meanwhile."""
    spares_work: bool = False
    """Whatever runs goes on: it says only what may start."""

    @property
    def workloads(self) -> int:
        return len(self.pods) + len(self.containers) + len(self.processes)

    @property
    def gpu_number(self) -> int:
        return len(self.gpus) if self.gpu_count is None else self.gpu_count

    @property
    def lines(self) -> tuple[str, ...]:
        """One line a kind; what could not be found out is a line as well."""
        kinds = (
            ("pod", self.pods),
            ("container", self.containers),
            ("user", self.users),
            ("owner", self.owners),
            ("model", self.models),
        )
        return (
            *(() if self.workloads or self.undetermined else (SPARED if self.spares_work else "no workloads seen",)),
            *((f"{plural(len(self.processes), 'process', 'processes')}:",) if self.processes else ()),
            *(f"  {process}" for process in self.processes),
            *(f"{plural(len(names), kind)}: {', '.join(names)}" for kind, names in kinds if names),
            *((f"{plural(self.gpu_number, 'GPU')}: {', '.join(self.gpus)}",) if self.gpus else ()),
            *((f"{plural(self.instance_count, INSTANCE)}: {', '.join(self.instances)}",) if self.instances else ()),
            *(f"{each.model}: {each.left} of {each.of} replicas left" for each in self.replicas),
            *(f"not known: {each.what} ({each.why})" for each in self.undetermined),
        )

    def more_than(self, before: BlastRadius) -> tuple[str, ...]:
        """What is hit now and was not `before`, one line each; both as the same steps tell it."""
        kinds = (
            ("pod", self.pods, before.pods),
            ("container", self.containers, before.containers),
            ("process", self.processes, before.processes),
        )
        new = [f"{kind} {name}" for kind, names, known in kinds for name in names if name not in known]
        if self.gpu_number > before.gpu_number:
            new.append(f"{plural(self.gpu_number, 'GPU')} instead of {before.gpu_number}")
        if self.instance_count > before.instance_count:
            new.append(f"{plural(self.instance_count, INSTANCE)} instead of {before.instance_count}")
        known = {each.what for each in before.undetermined if each.uncounted}
        new += [
            f"not known: {each.what} ({each.why})"
            for each in self.undetermined
            if each.uncounted and each.what not in known
        ]
        if self.ends_work and not before.ends_work:
            new.append("whoever works there meanwhile")
        return tuple(new)

    def beyond(self, limit: int | None) -> str | None:
        """Why `limit` forbids this, with the numbers; None when it does not."""
        if limit is None:
            return None
        held = ("GPU or MIG instance", "GPUs and MIG instances") if self.instances else ("GPU", "GPUs")
        over = [
            plural(count, *noun)
            for count, noun in (
                (self.workloads, ("workload", "workloads")),
                (self.gpu_number + self.instance_count, held),
            )
            if count > limit
        ]
        if over:
            return f"it touches {' and '.join(over)}; the limit of this site is {limit}"
        unknown = [each for each in self.undetermined if each.uncounted]
        if unknown:
            return (
                f"it cannot be told whether it stays within the limit of {limit}: {unknown[0].what} ({unknown[0].why})"
            )
        return None


def together(radii: Iterable[BlastRadius]) -> BlastRadius:
    """Whom several steps hit, each workload once."""
    listed = list(radii)

    def every(names: Callable[[BlastRadius], tuple[T, ...]]) -> tuple[T, ...]:
        return tuple(dict.fromkeys(name for each in listed for name in names(each)))

    gpus = every(lambda each: each.gpus)
    total = max((each.gpu_number for each in listed), default=0)
    return BlastRadius(
        pods=every(lambda each: each.pods),
        containers=every(lambda each: each.containers),
        processes=every(lambda each: each.processes),
        users=every(lambda each: each.users),
        owners=every(lambda each: each.owners),
        models=every(lambda each: each.models),
        replicas=every(lambda each: each.replicas),
        gpus=gpus,
        gpu_count=None if all(each.gpu_count is None for each in listed) else max(total, len(gpus)),
        instances=every(lambda each: each.instances),
        instance_count=max((each.instance_count for each in listed), default=0),
        undetermined=every(lambda each: each.undetermined),
        ends_work=any(each.ends_work for each in listed),
        spares_work=bool(listed) and all(each.spares_work for each in listed),
    )


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether the caller may do what a step needs."""

    what: str
    """`root on dgx07`, `patch nodes`."""
    granted: bool | None
    """None: it could not be asked."""
    why: str = ""
    """Who said so, or why nobody could be asked."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a dry run, or a look at the present state, tells before anything is done."""

    effects: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    """Why the step would fail for certain: the change is refused."""
    there: str = ""
    """What is seen of its effect where that is there already, so that nothing would be sent; empty where it is not."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing a person wants done, as steps in order."""

    id: str
    title: str
    """`MIG layout of dgx07 gpu3: 3g.40gb, 3g.40gb`"""
    reason: str
    """Why, in the words of the person; kept in journal and audit."""
    site: str
    targets: tuple[Target, ...]
    steps: tuple[Step, ...]
    radius: BlastRadius = field(default_factory=BlastRadius)
    limit: int | None = None
    """Most workloads or GPUs that may be touched; the site's own limit holds as well."""
    disruptive: bool = False
    """It ends workloads even where none is seen now."""
    in_doubt: frozenset[int] = frozenset()
    """Indexes of steps that were begun before: what came of them is looked at first, and no dry run can tell it."""
    backwards: bool = False
    """Its steps take back others: one whose effect is there already is not sent."""

    @property
    def typed_name(self) -> str | None:
        """What must be typed to confirm; None where a button is enough. Whom nobody can count may be somebody."""
        uncounted = any(each.uncounted for each in self.radius.undetermined)
        ends_work = self.disruptive or self.radius.ends_work or self.radius.workloads > 0 or uncounted
        return self.targets[0].name if ends_work and self.targets else None


def new_id(now: float) -> str:
    """A name for a change that sorts by time and is a file name: `20260808T021503.418-9f2c`."""
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return f"{moment[:23].replace('-', '').replace(':', '')}-{secrets.token_hex(2)}"
