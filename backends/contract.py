"""The errors every reader raises, and what a platform plug-in promises.

GpudeckError                    message + hint (+ code, + exit code of the command line)
├── ConfigError                 the configuration file is wrong
├── Unreachable                 a node or a service cannot be reached
│   ├── ConnectTimeout
│   ├── HostKeyUnknown          the host key is not in known_hosts
│   ├── HostKeyChanged          known_hosts holds another key
│   ├── HostKeyRevoked          known_hosts marks the key as @revoked
│   └── AuthRefused             no offered key was accepted
├── ProbeFailed                 the node answers, but cannot be read
│   ├── NoPython                no usable python3: nvidia-smi is tried instead
│   ├── NoDriver                no NVML and no nvidia-smi
│   ├── ProbeCut                the probe ended or sent half a line
│   ├── ProbeSilent             the probe stopped sending
│   │   └── DriverHangs         NVML holds a call since before the first reading
│   └── VersionMismatch         the probe speaks another protocol
├── NotAllowed                  the platform's API forbids it; names the permission
├── Refused                     the platform's API will not do it: a conflict, an invalid value, a full quota
│   └── Held                    a PodDisruptionBudget forbids an eviction now; later it may not
├── Gone                        the object is not there (any more)
├── ChangeRefused               a change may not be made: window, permission, limit, another console
├── StepFailed                  a step of a change did not do what it should
│   └── AskAgain                nothing was done, and in a moment it may be: the step is applied again
├── JournalFailed               a change cannot be written down: nothing is done that is not
├── BackendFailed               a backend raised something else: a defect of its own
└── BackendMissing              no installed backend has that name
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from backends.domain import (
        AccessReview,
        Act,
        ApiRequest,
        Container,
        ContainerUsage,
        DrainPlan,
        Fleet,
        GpuLayout,
        Identity,
        LogBatch,
        LogQuery,
        LogSource,
        NodeControl,
        NodeSpec,
        Permission,
        PodControl,
        SiteSpec,
        Stack,
        Workloads,
    )


class GpudeckError(Exception):
    """One sentence for a person, and a hint of what to do."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(GpudeckError):
    code = "config"
    exit_code = 2


class Unreachable(GpudeckError):
    code = "unreachable"
    exit_code = 3


class ConnectTimeout(Unreachable):
    code = "connect-timeout"


class HostKeyUnknown(Unreachable):
    code = "host-key-unknown"


class HostKeyChanged(Unreachable):
    code = "host-key-changed"


class HostKeyRevoked(Unreachable):
    code = "host-key-revoked"


class AuthRefused(Unreachable):
    code = "auth-refused"


class ProbeFailed(GpudeckError):
    code = "probe-failed"
    exit_code = 3


class NoPython(ProbeFailed):
    code = "no-python"


class NoDriver(ProbeFailed):
    code = "no-driver"


class ProbeCut(ProbeFailed):
    code = "probe-cut"


class ProbeSilent(ProbeFailed):
    code = "probe-silent"


class DriverHangs(ProbeSilent):
    code = "driver-hangs"


class VersionMismatch(ProbeFailed):
    code = "version-mismatch"


class NotAllowed(GpudeckError):
    """The user lacks a right; `permission` is the one, where it is known."""

    code = "not-permitted"

    def __init__(self, message: str, hint: str = "", *, permission: Permission | None = None) -> None:
        super().__init__(message, hint)
        self.permission = permission


class Refused(GpudeckError):
    code = "refused"


class Held(Refused):
    code = "held"


class Overtaken(Refused):
    """Somebody else has changed by now what this was to change; nothing was done."""

    code = "overtaken"


class Gone(GpudeckError):
    code = "gone"


class ChangeRefused(GpudeckError):
    code = "change-refused"


class StepFailed(GpudeckError):
    """`untouched` says that nothing was changed; without it the effect is not known."""

    code = "step-failed"

    def __init__(self, message: str, hint: str = "", *, untouched: bool = False) -> None:
        super().__init__(message, hint)
        self.untouched = untouched


class AskAgain(StepFailed):
    """Nothing was changed: the step is to be applied again in a moment, as long as its time and the change go on."""

    code = "ask-again"

    def __init__(self, message: str, hint: str = "", *, seconds: float, progress: Callable[[float], str]) -> None:
        """`seconds` is the pause; `progress` tells the wait, with the seconds that are left for it."""
        super().__init__(message, hint, untouched=True)
        self.seconds = seconds
        self.progress = progress


class JournalFailed(GpudeckError):
    code = "journal-failed"


class BackendFailed(GpudeckError):
    code = "backend-failed"


class BackendMissing(GpudeckError):
    code = "backend-missing"
    exit_code = 2


class Clock(Protocol):
    """Time as a dependency, so that tests own it."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class NodeAccess(Protocol):
    """The way to one node that the site already has: SSH, or this machine. See `backends.nodes.transport`."""

    async def open(self, command: str) -> object: ...

    async def run(self, command: str, *, timeout: float, limit: int) -> object: ...

    async def socket(self, path: str) -> Path:
        """A unix socket on this machine that leads to `path` on the node; raises `GpudeckError`."""
        ...


async def _at_once() -> None:
    return


@dataclass(frozen=True, slots=True)
class SiteContext:
    """What a backend is opened with."""

    site: SiteSpec
    clock: Clock
    node: Callable[[NodeSpec], NodeAccess]
    """The way to a node; what it shares with the site's own readers is closed by the site."""
    fleet: Callable[[], Fleet]
    """The nodes as they were read last."""
    answered: Callable[[], Awaitable[None]] = _at_once
    """Has the site's own readers at work, and waits, not for ever, until each node has told a value or an error."""


@runtime_checkable
class Backend(Protocol):
    """A platform plug-in, registered in the entry-point group `gpudeck.backend`.

    It makes no connection before it is first asked for something, and imports its SDK no earlier. What a backend can do
    beyond this is told by the capability protocols below that it also implements: one that it lacks hides its actions.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @classmethod
    def open(cls, context: SiteContext) -> Self:
        """A backend for one site; looks at nothing yet. Raises ConfigError for settings that cannot be right."""
        ...

    async def probe(self) -> str | None:
        """The platform's version when it is there, None when it is not; raises `GpudeckError` when it cannot tell."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Identifies(Protocol):
    async def identity(self) -> Identity:
        """Which one of its kind this platform is, the same for every user. Raises `GpudeckError`."""
        ...


@runtime_checkable
class ReportsStack(Protocol):
    def stack(self) -> AsyncIterator[Stack]:
        """The GPU stack as soon as all of it was read once, then whenever it changed, until the reader leaves.

        What may not be read is told in `Stack.not_permitted`. Raises `GpudeckError` when the platform cannot be
        reached at first; later failures are outlived, and raised only while nothing can be read any more.
        """
        ...


@runtime_checkable
class ListsWorkloads(Protocol):
    def workloads(self) -> AsyncIterator[Workloads]:
        """What uses or asks for GPUs; the same promises as `ReportsStack.stack`."""
        ...


@runtime_checkable
class TailsLogs(Protocol):
    def logs(self, source: LogSource, query: LogQuery) -> AsyncIterator[LogBatch]:
        """Batches until the log ends or the reader leaves; bounded however fast the log is. Raises `GpudeckError`."""
        ...


@runtime_checkable
class ListsContainers(Protocol):
    async def containers(self, source: LogSource) -> tuple[Container, ...]:
        """Those whose logs may be read in place of `source`'s: its pod's in the order they start, its engine's by name.

        Raises `GpudeckError`, `Gone` without such a pod.
        """
        ...


@runtime_checkable
class MeasuresContainers(Protocol):
    def usage(self, source: LogSource) -> AsyncIterator[ContainerUsage]:
        """What one container uses, a value every few seconds until it is gone or the reader leaves; measured only then.

        Raises `GpudeckError`, `Gone` without such a container.
        """
        ...


@runtime_checkable
class ReviewsAccess(Protocol):
    async def review(self, permissions: Sequence[Permission]) -> tuple[AccessReview, ...]:
        """Whether this user has each of these rights, in their order; asked, never guessed."""
        ...


@runtime_checkable
class RestartsPods(Protocol):
    async def restart_pod(self, namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        """Deletes the pod, so that its controller makes it anew. With `uid` only that very pod.

        Raises `GpudeckError`, `Gone` without such a pod, `Refused` when the pod of that name has another uid.
        """
        ...


@runtime_checkable
class CordonsNodes(Protocol):
    async def cordon(self, node: str, on: bool, *, dry_run: bool = False) -> bool:
        """Keeps new pods off the node, or lets them on again; returns whether it was otherwise before."""
        ...


@runtime_checkable
class DrainsNodes(Protocol):
    async def drain_plan(self, node: str) -> DrainPlan:
        """What a drain would evict, what it would leave, and what forbids it. Changes nothing."""
        ...

    async def evict(self, namespace: str, name: str, *, uid: str | None = None, dry_run: bool = False) -> None:
        """Asks for one pod's eviction, with `uid` only for that very pod.

        Raises `GpudeckError`, `Held` while a PodDisruptionBudget forbids it, `Gone` without such a pod, `Refused` when
        the pod of that name has another uid.
        """
        ...


@runtime_checkable
class PartitionsGpus(Protocol):
    async def set_mig_layout(
        self,
        node: str,
        layout: str | None,
        *,
        only_from: Collection[str | None] | None = None,
        dry_run: bool = False,
    ) -> str | None:
        """Asks for a MIG layout of the whole node by its name; returns the former one, None where there was none.

        A layout that is asked for already is not sent. With `only_from` no other layout is replaced, not even one that
        comes at the same moment: raises `Overtaken`.
        """
        ...


@runtime_checkable
class ListsMigLayouts(Protocol):
    async def mig_layouts(self, node: str, like: Sequence[GpuLayout] = ()) -> tuple[str, ...]:
        """The names that make sense for `set_mig_layout`, sorted; with `like` those that make these GPUs so, and all.

        Raises `GpudeckError`, `Gone` without a list.
        """
        ...


@runtime_checkable
class UpgradesDrivers(Protocol):
    async def pause_driver_upgrade(self, node: str, paused: bool, *, dry_run: bool = False) -> bool:
        """Leaves the node out of driver upgrades, or takes it in again; returns whether it was left out before."""
        ...

    async def start_driver_upgrade(self, node: str, *, dry_run: bool = False) -> str:
        """Sets the node's upgrade to its first step, also after a failure; returns the step it was at."""
        ...

    async def take_back_driver_upgrade(self, node: str, former: str, *, dry_run: bool = False) -> None:
        """Sets the upgrade back to the step `former`, empty: to none. Raises `Refused` once it has begun."""
        ...


@runtime_checkable
class TellsRequests(Protocol):
    async def request(self, act: Act) -> ApiRequest:
        """What would be sent for `act`, and the rights it takes. Changes nothing."""
        ...


@runtime_checkable
class FollowsNodes(Protocol):
    def follow_node(self, node: str) -> AsyncIterator[NodeControl]:
        """The node as it is now, then at every change. Raises `GpudeckError`, `Gone` without such a node."""
        ...


@runtime_checkable
class FollowsPods(Protocol):
    def follow_pods(self, node: str, namespace: str | None = None) -> AsyncIterator[tuple[PodControl, ...]]:
        """The node's pods as they are now, then at every change; of one namespace where that is all one may read.

        Raises `GpudeckError`.
        """
        ...


CAPABILITIES: dict[str, type] = {
    "identity": Identifies,
    "stack": ReportsStack,
    "workloads": ListsWorkloads,
    "logs": TailsLogs,
    "containers": ListsContainers,
    "usage": MeasuresContainers,
    "access reviews": ReviewsAccess,
    "restart": RestartsPods,
    "cordon": CordonsNodes,
    "drain": DrainsNodes,
    "mig": PartitionsGpus,
    "mig layouts": ListsMigLayouts,
    "driver upgrade": UpgradesDrivers,
    "requests": TellsRequests,
    "node watch": FollowsNodes,
    "pod watch": FollowsPods,
}
"""By the word that `gpudeck backends` lists them under."""


def capabilities(backend: Backend | type[Backend]) -> tuple[str, ...]:
    """The words of what `backend` can do, a class or an opened one, in the order of `CAPABILITIES`."""
    kind = backend if isinstance(backend, type) else type(backend)
    return tuple(word for word, protocol in CAPABILITIES.items() if issubclass(kind, protocol))
