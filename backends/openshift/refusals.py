"""The controllers that SCCs let make no pod: what their pods ask for, and whether they still miss some.

The events come from a watch. An event is kept for hours after what it tells is over, so each controller is read too,
on demand, a few at a time.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from backends.contract import Clock, Gone, GpudeckError, NotAllowed
from backends.domain import GpuRequest, NotPermitted, Owner, SccRefusal
from backends.feed import end
from backends.kubernetes.api import Api
from backends.kubernetes.fields import entries, maps, table, text, whole, word
from backends.kubernetes.keeping import owner_of, pod_of
from backends.kubernetes.operands import kind_of
from backends.kubernetes.resources import DAEMON_SETS, Resource
from backends.kubernetes.workloads import requests_of
from backends.openshift.scc import FailedCreate

CONTROLLERS: Mapping[str, Resource] = {
    "DaemonSet": DAEMON_SETS,
    "Job": Resource("jobs", "batch"),
    "ReplicaSet": Resource("replicasets", "apps"),
    "ReplicationController": Resource("replicationcontrollers"),
    "StatefulSet": Resource("statefulsets", "apps"),
}
"""Kind -> what is read of those that make pods by a template; of a DeploymentConfig it is its ReplicationController."""
MOST = 128
"""Controllers that are read, those that were refused last first."""
AT_ONCE = 6
FRESH_SECONDS = 15.0
RETRY_SECONDS = 1800.0
"""A controller tries again after 17 minutes at the latest: an event that is older tells of what is over."""
FOREIGN_SECONDS = 600.0
"""What has nothing to do with GPUs is read again so seldom."""


@dataclasses.dataclass(frozen=True, slots=True)
class Controller:
    """What is kept of a controller."""

    uid: str
    owner: Owner | None
    service_account: str
    gpus: tuple[GpuRequest, ...]
    claims: bool
    operand: str | None
    wanted: int
    missing: int


def controller_of(kind: str, raw: Mapping[str, Any]) -> Controller:
    metadata, spec, status = maps(raw, "metadata", "spec", "status")
    template = table(spec, "template")
    pod, owner = pod_of(template), owner_of(metadata)
    operand = kind_of(pod.labels) if kind == "DaemonSet" else None
    wanted, present = _counts(kind, spec, status)
    return Controller(
        uid=word(metadata, "uid"),
        owner=None if owner is None else Owner(owner.kind, owner.name),
        service_account=text(table(template, "spec"), "serviceAccountName") or "default",
        gpus=requests_of(pod.gpus),
        claims=pod.claims,
        operand=None if operand is None else operand.key,
        wanted=wanted,
        missing=max(0, wanted - present),
    )


def _counts(kind: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[int, int]:
    """How many pods it is to have now, and how many it has."""
    if kind == "DaemonSet":
        return whole(status.get("desiredNumberScheduled")), whole(status.get("currentNumberScheduled"))
    if kind != "Job":
        return whole(spec.get("replicas", 1)), whole(status.get("replicas"))
    over = any(each.get("type") in {"Complete", "Failed"} for each in entries(status, "conditions"))
    if over or spec.get("suspend") is True:
        return 0, 0
    parallel = whole(spec.get("parallelism", 1))
    left = whole(spec["completions"]) - whole(status.get("succeeded")) if "completions" in spec else parallel
    return min(parallel, max(0, left)), whole(status.get("active"))


class Refusals:
    """Remembers the controllers that it read; reads again in the background, and then calls `changed`."""

    def __init__(self, api: Api, clock: Clock, changed: Callable[[], None]) -> None:
        self._api = api
        self._clock = clock
        self._changed = changed
        self._known: dict[str, tuple[float, Controller | None]] = {}
        """uid -> when it was read, and what was; None: it is gone."""
        self._denied: dict[str, NotPermitted] = {}
        """uid -> the right that reading it needs."""
        self._reading: asyncio.Task[None] | None = None

    async def close(self) -> None:
        await end([self._reading])

    async def look(self, events: Iterable[FailedCreate], spaces: Collection[str], *, wait: float = 0.0) -> None:
        """Reads what `events` are about, where that was not done lately; waits for it up to `wait` seconds.

        `spaces` are the namespaces of the GPU stack: there every controller matters, elsewhere those that ask for GPUs.
        """
        chosen = refused(events)[:MOST]
        uids = {event.controller.uid for event in chosen}
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}
        self._denied = {uid: denied for uid, denied in self._denied.items() if uid in uids}
        due = [event for event in chosen if self._is_due(event, spaces)]
        if due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read(due), name="controllers that SCCs refuse")
        if wait and self._reading is not None:
            await asyncio.wait([self._reading], timeout=wait)

    def found(self, events: Iterable[FailedCreate], spaces: Collection[str]) -> tuple[SccRefusal, ...]:
        """Those that still miss pods and matter, or may not be read; by namespace, kind and name."""
        now = self._clock.now()
        recent = [event for event in refused(events)[:MOST] if event.at is None or now - event.at <= RETRY_SECONDS]
        told = [self._refusal(event, spaces) for event in recent]
        return tuple(
            sorted((each for each in told if each is not None), key=lambda each: (each.namespace, each.kind, each.name))
        )

    def denied(self) -> tuple[NotPermitted, ...]:
        return tuple({str(each.permission): each for each in self._denied.values()}.values())

    def left_out(self, events: Iterable[FailedCreate]) -> int:
        """How many refused controllers are not looked at."""
        return max(0, len(refused(events)) - MOST)

    def _refusal(self, event: FailedCreate, spaces: Collection[str]) -> SccRefusal | None:
        """None where it is over, does not matter, or was not read yet."""
        about = event.controller
        plain = SccRefusal(
            kind=about.kind,
            namespace=event.namespace,
            name=about.name,
            clauses=event.clauses,
            unusable=event.unusable,
            since=event.since,
            at=event.at,
            count=event.count,
        )
        if about.uid in self._denied or about.kind not in CONTROLLERS:
            return plain
        _, known = self._known.get(about.uid, (0.0, None))
        if known is None or known.uid != about.uid or not known.missing or not _matters(event, known, spaces):
            return None
        return dataclasses.replace(
            plain,
            owner=known.owner,
            service_account=known.service_account,
            gpus=known.gpus,
            claims=known.claims,
            wanted=known.wanted,
            missing=known.missing,
            operand=known.operand,
        )

    def _is_due(self, event: FailedCreate, spaces: Collection[str]) -> bool:
        at, known = self._known.get(event.controller.uid, (float("-inf"), None))
        foreign = known is not None and not _matters(event, known, spaces)
        age = self._clock.monotonic() - at
        return event.controller.kind in CONTROLLERS and age >= (FOREIGN_SECONDS if foreign else FRESH_SECONDS)

    async def _read(self, events: Iterable[FailedCreate]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(event: FailedCreate) -> bool:
            async with gate:
                return await self._read_one(event)

        if any(await asyncio.gather(*(one(event) for event in events))):
            self._changed()

    async def _read_one(self, event: FailedCreate) -> bool:
        """Whether there is news; what cannot be read now stays as it was."""
        about, former = event.controller, self._known.get(event.controller.uid)
        resource = CONTROLLERS[about.kind]
        known: Controller | None = None
        was_denied = self._denied.pop(about.uid, None)
        try:
            known = controller_of(about.kind, await self._api.get(resource.path(event.namespace, about.name)))
        except Gone:
            pass
        except NotAllowed:
            permission = resource.permission("get", event.namespace)
            self._denied[about.uid] = NotPermitted(f"{resource.qualified} of {event.namespace}", permission)
        except GpudeckError:
            return False
        self._known[about.uid] = (self._clock.monotonic(), known)
        return former is None or former[1] != known or (was_denied is None) is (about.uid in self._denied)


def _matters(event: FailedCreate, controller: Controller, spaces: Collection[str]) -> bool:
    return event.namespace in spaces or bool(controller.gpus) or controller.claims


def refused(events: Iterable[FailedCreate]) -> list[FailedCreate]:
    """The newest event of each controller, where the SCCs are what it tells of; the last one first."""
    newest: dict[str, FailedCreate] = {}
    for event in events:
        former = newest.get(event.controller.uid)
        if former is None or (event.at or 0.0) > (former.at or 0.0):
            newest[event.controller.uid] = event
    chosen = [event for event in newest.values() if event.refused]
    chosen.sort(key=lambda event: (-(event.at or 0.0), event.controller.uid))
    return chosen
