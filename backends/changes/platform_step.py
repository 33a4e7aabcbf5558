"""What the steps that go through a platform's backend have in common: request, rights, looks that are watched."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from backends.changes.change import BlastRadius, Permission, Preview, Undetermined
from backends.changes.step import PLATFORM, Hopeless, Reach, Step, Told, Verdict
from backends.contract import DrainsNodes, GpudeckError, NotAllowed, Overtaken, Refused, ReviewsAccess, StepFailed
from backends.domain import ApiRequest, DrainPlan, DrainPod, plural
from backends.domain import Permission as Right
from backends.feed import closing

ASKED = "SelfSubjectAccessReview"
NO_MODELS = Undetermined("the models they serve", "no Triton server was asked")

T = TypeVar("T")


async def backend_for(reach: Reach, capability: type[T]) -> T:
    """The site's platform with that capability. Raises StepFailed: nothing was changed then."""
    try:
        backend = await reach.client(PLATFORM).backend()
    except GpudeckError as error:
        raise StepFailed(error.message, error.hint, untouched=True) from error
    if not isinstance(backend, capability):
        raise StepFailed(f"the platform {backend.name} cannot do this", "see: gpudeck backends", untouched=True)
    return backend


async def reviewed(reach: Reach, rights: Sequence[Right], what_for: str) -> tuple[Permission, ...]:
    """Whether each right is granted, as the platform itself says; `what_for` stands beside the answer."""
    backend = await reach.client(PLATFORM).backend()
    if not isinstance(backend, ReviewsAccess):
        return tuple(Permission(str(right), None, "the platform cannot be asked") for right in rights)
    found = []
    for answer in await backend.review(rights):
        said = f"{ASKED}: {answer.reason}" if answer.reason else ASKED
        found.append(Permission(str(answer.permission), answer.allowed, f"{said}, for {what_for}"))
    return tuple(found)


class WatchedStep(Step):
    """A step through the platform, whose effect is seen in a stream of looks, not by asking again and again."""

    @property
    def place(self) -> str:
        return PLATFORM

    @abstractmethod
    def looks(self, reach: Reach) -> AsyncIterator[Verdict]:
        """Whether the effect is there: now, then at every change. Raises GpudeckError."""

    async def check(self, reach: Reach) -> Verdict:
        async with closing(self.looks(reach)) as verdicts:
            return await anext(verdicts)

    async def verify(self, reach: Reach, told: Told) -> Verdict:
        last = Verdict(None, "nothing was seen")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.verify_seconds), closing(self.looks(reach)) as verdicts:
                async for verdict in verdicts:
                    if verdict.holds or isinstance(verdict, Hopeless):
                        return verdict
                    if verdict != last:
                        told(f"not yet: {verdict.evidence}")
                    last = verdict
        return last


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformStep(WatchedStep):
    """One request of the platform's API about one node."""

    request: ApiRequest
    node: str
    apply_seconds: float = 60.0
    verify_seconds: float = 30.0

    @property
    def what_for(self) -> str:
        """What the rights are needed for, beside them."""
        return self.node

    def describe(self) -> str:
        return self.request.text

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return await reviewed(reach, self.request.needs, self.what_for)

    async def preview(self, reach: Reach) -> Preview:
        """The server's own dry run, and what there is to say besides."""
        try:
            said = await self._send(reach, dry_run=True)
        except NotAllowed as error:
            return Preview(obstacles=(error.message,))
        except Overtaken as error:
            return Preview(obstacles=(f"{error.message} ({error.hint})",))
        except GpudeckError as error:
            return Preview(obstacles=(f"the server's dry run refuses it: {error.message}",))
        return Preview((f"the server's dry run accepts it{f': {said}' if said else ''}",))

    async def apply(self, reach: Reach, told: Told) -> str:
        del told
        try:
            return await self._send(reach, dry_run=False) or "accepted"
        except (NotAllowed, Refused) as error:
            raise StepFailed(error.message, error.hint, untouched=True) from error

    @abstractmethod
    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        """Sends the request, or the server's dry run of it; one line about the answer. Raises GpudeckError."""

    def _json(self) -> dict[str, Any]:
        return {
            "request": self.request.to_json(),
            "node": self.node,
            "apply_seconds": self.apply_seconds,
            "verify_seconds": self.verify_seconds,
        }


def common(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of every platform step, from its JSON."""
    return {
        "request": ApiRequest.from_json(document["request"]),
        "node": str(document["node"]),
        "apply_seconds": float(document["apply_seconds"]),
        "verify_seconds": float(document["verify_seconds"]),
    }


# Whom a step hits


async def drain_plan(reach: Reach, node: str) -> DrainPlan:
    """What runs on the node, with owners and budgets. Raises GpudeckError."""
    return await (await backend_for(reach, DrainsNodes)).drain_plan(node)


async def gpu_pods(reach: Reach, node: str) -> tuple[DrainPod, ...]:
    """The pods on the node that hold GPUs and have not ended. Raises GpudeckError."""
    plan = await drain_plan(reach, node)
    running = [*plan.evicts, *plan.needs_force, *(pod for pod in plan.stays if pod.reason != "ended")]
    return tuple(pod for pod in running if pod.gpus)


def radius_of_pods(pods: Sequence[DrainPod]) -> BlastRadius:
    """GPUs and MIG instances as the platform counts them: which ones they are, only the node knows."""
    gpus: Counter[str] = Counter()
    instances: Counter[str] = Counter()
    for pod in pods:
        for request in pod.gpus:
            held = gpus if request.mig_profile is None else instances
            held[request.resource] += request.count or 1
    return BlastRadius(
        pods=tuple(pod.title for pod in pods),
        users=tuple(dict.fromkeys(pod.user for pod in pods if pod.user)),
        owners=tuple(dict.fromkeys(f"{pod.owner.kind} {pod.namespace}/{pod.owner.name}" for pod in pods if pod.owner)),
        gpus=_counted(gpus),
        gpu_count=gpus.total(),
        instances=_counted(instances),
        instance_count=instances.total(),
        undetermined=(NO_MODELS,) if pods else (),
    )


def _counted(held: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{count} x {resource}" for resource, count in sorted(held.items()))


def named(pods: Sequence[str], most: int = 4) -> str:
    """`3 pods: a, b, c`; a long list is cut."""
    more = f" and {len(pods) - most} more" if len(pods) > most else ""
    return f"{plural(len(pods), 'pod')}: {', '.join(pods[:most])}{more}"
