"""Pods that are made anew, and pods that are taken off a node."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

from backends.changes import budgets
from backends.changes.change import BlastRadius, Permission, Preview
from backends.changes.platform_step import (
    PlatformStep,
    WatchedStep,
    backend_for,
    common,
    drain_plan,
    gpu_pods,
    named,
    radius_of_pods,
    reviewed,
)
from backends.changes.step import Hopeless, Reach, Told, Verdict
from backends.contract import (
    AskAgain,
    DrainsNodes,
    FollowsPods,
    Gone,
    Held,
    NotAllowed,
    Refused,
    RestartsPods,
    StepFailed,
)
from backends.domain import DrainPlan, DrainPod, Owner, PodControl
from backends.domain import Permission as Right
from backends.feed import closing

HELD_SECONDS = 180.0
"""How long an eviction that a PodDisruptionBudget forbids is asked for again."""
AGAIN_SECONDS = 5.0
GIVEN_UP = "CrashLoopBackOff"
"""In how a pod does: the kubelet has seen it fail more than once, and waits longer each time."""
DRAINED_SECONDS = 600.0
"""The longest wait for pods that were evicted and take their time to end, unless one may take longer."""
MARGIN_SECONDS = 60.0
"""Beyond a pod's own grace period: until the kubelet has killed it, and its volumes are off."""


@dataclass(frozen=True, slots=True)
class PodRef:
    """That very pod: its uid tells it from a successor of the same name."""

    namespace: str
    name: str
    uid: str

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}"

    def to_json(self) -> list[str]:
        return [self.namespace, self.name, self.uid]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartStep(PlatformStep):
    """Deletes the pod of an operand; its DaemonSet makes another one on the same node, which must become Ready."""

    kind: ClassVar[str] = "restart-pod"
    repeatable = True  # it deletes that very pod, by its uid
    tells_all_hits = True

    pod: PodRef
    controller: Owner
    operand: str
    ends_gpu_pods: bool = False
    """Pods that use GPUs may end with it, or hold it up."""
    warnings: tuple[str, ...] = ()
    """What else it does to the node."""

    @property
    def what_for(self) -> str:
        return f"{self.operand} on {self.node}"

    @property
    def undo_note(self) -> str:
        return "a restart is not taken back: the former pod is gone"

    def verified_by(self) -> str:
        return (
            f"another pod of {self.controller.kind} {self.controller.name} on {self.node} is Ready "
            f"(within {self.verify_seconds / 60:.0f} min)"
        )

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        nodes = dict.fromkeys(step.node for step in steps if step.ends_gpu_pods)
        own = {step.pod.title for step in steps}
        pods = [pod for node in nodes for pod in await gpu_pods(reach, node) if pod.title not in own]
        return replace(radius_of_pods(pods), ends_work=bool(nodes))

    async def preview(self, reach: Reach) -> Preview:
        found = await PlatformStep.preview(self, reach)
        return Preview(found.effects, (*found.warnings, *self.warnings), found.obstacles)

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        backend = await backend_for(reach, RestartsPods)
        try:
            await backend.restart_pod(self.pod.namespace, self.pod.name, uid=self.pod.uid, dry_run=dry_run)
        except Gone as error:
            if not dry_run:
                return f"the pod {self.pod.title} is gone already"
            raise Refused(f"the pod {self.pod.title} is not there any more", "look at the stack again") from error
        return f"the pod {self.pod.title} {'would be' if dry_run else 'is'} deleted"

    async def looks(self, reach: Reach) -> AsyncIterator[Verdict]:
        backend = await backend_for(reach, FollowsPods)
        async with closing(backend.follow_pods(self.node, self.pod.namespace)) as moments:
            async for pods in moments:
                yield self._judge(pods, reach)

    def _judge(self, pods: Sequence[PodControl], reach: Reach) -> Verdict:
        own = [pod for pod in pods if pod.controller == self.controller]
        if any(pod.uid == self.pod.uid for pod in own):
            return Verdict(False, f"{self.pod.name} is still there")
        newest = next((pod for pod in own if not pod.going), None)
        if newest is None:
            return Verdict(False, f"{self.controller.name} has no pod on {self.node} yet")
        if GIVEN_UP in newest.said:
            log = reach.spec.command("logs", newest.title)
            return Hopeless(False, f"{newest.name}: {newest.said}; its log says why: {log}")
        return Verdict(newest.ready, f"{newest.name}: {'Ready' if newest.ready else newest.said}")

    def to_json(self) -> dict[str, Any]:
        return {
            **self._json(),
            "pod": self.pod.to_json(),
            "controller": [self.controller.kind, self.controller.name],
            "operand": self.operand,
            "ends_gpu_pods": self.ends_gpu_pods,
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            **common(document),
            pod=PodRef(*map(str, document["pod"])),
            controller=Owner(*map(str, document["controller"])),
            operand=str(document["operand"]),
            ends_gpu_pods=bool(document["ends_gpu_pods"]),
            warnings=tuple(map(str, document["warnings"])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictStep(PlatformStep):
    """Asks for the eviction of one pod, again while its PodDisruptionBudget forbids it. Done when it is on its way."""

    kind: ClassVar[str] = "evict-pod"
    repeatable = True
    tells_all_hits = True

    pod: PodRef
    comes_back: bool = True
    """A controller makes another one somewhere else."""
    apply_seconds: float = HELD_SECONDS

    @property
    def what_for(self) -> str:
        return f"{self.pod.title} on {self.node}"

    @property
    def undo_note(self) -> str:
        if self.comes_back:
            return "this pod does not come back: its controller makes another one where there is room"
        return "this pod does not come back, and nothing makes another one"

    def verified_by(self) -> str:
        return f"{self.pod.title} is gone from {self.node}, or ends"

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        plans = [await drain_plan(reach, node) for node in dict.fromkeys(step.node for step in steps)]
        there = {pod.uid: pod for plan in plans for pod in (*plan.evicts, *plan.needs_force)}
        return radius_of_pods([there[step.pod.uid] for step in steps if step.pod.uid in there])

    async def preview(self, reach: Reach) -> Preview:
        try:
            await self._evict(reach, dry_run=True)
        except Held as error:
            waits = f"it is asked for again for {budgets.span(self.apply_seconds)}, then the drain stops"
            said = budgets.refusal(error.message)
            return Preview((), (f"{self.pod.title} may not be evicted now: {said}; {waits}",))
        except Gone:
            return Preview((f"{self.pod.title} is gone already",))
        except NotAllowed as error:
            return Preview(obstacles=(error.message,))
        except Refused as error:
            return Preview(obstacles=(f"the server's dry run refuses {self.pod.title}: {error.message}",))
        return Preview(("the server's dry run accepts it",))

    async def apply(self, reach: Reach, told: Told) -> str:
        """One request; raises AskAgain while a budget forbids it."""
        del told
        try:
            return await self._send(reach, dry_run=False)
        except Held as error:
            said = f"{self.pod.title} may not be evicted: {budgets.refusal(error.message)}"
            hint = f"asked for {self.apply_seconds:.0f} s; {error.hint}"
            progress = partial(budgets.hold, error.message, self.apply_seconds)
            raise AskAgain(said, hint, seconds=AGAIN_SECONDS, progress=progress) from error
        except (NotAllowed, Refused) as error:
            raise StepFailed(error.message, error.hint, untouched=True) from error

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        try:
            await self._evict(reach, dry_run=dry_run)
        except Gone:
            return f"{self.pod.title} was gone already"
        return f"{self.pod.title} is evicted"

    async def _evict(self, reach: Reach, *, dry_run: bool) -> None:
        backend = await backend_for(reach, DrainsNodes)
        await backend.evict(self.pod.namespace, self.pod.name, uid=self.pod.uid, dry_run=dry_run)

    async def looks(self, reach: Reach) -> AsyncIterator[Verdict]:
        backend = await backend_for(reach, FollowsPods)
        async with closing(backend.follow_pods(self.node, self.pod.namespace)) as moments:
            async for pods in moments:
                found = next((pod for pod in pods if pod.uid == self.pod.uid), None)
                if found is None:
                    yield Verdict(True, f"{self.pod.title} is gone from {self.node}")
                else:
                    yield Verdict(found.going, f"{self.pod.title}: {found.said}")

    def to_json(self) -> dict[str, Any]:
        return {**self._json(), "pod": self.pod.to_json(), "comes_back": self.comes_back}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            **common(document),
            pod=PodRef(*map(str, document["pod"])),
            comes_back=bool(document["comes_back"]),
        )


@dataclass(frozen=True, slots=True)
class DrainedStep(WatchedStep):
    """The end of a drain: sends nothing, and waits until every pod that a drain takes is gone."""

    kind: ClassVar[str] = "drained"
    repeatable = True
    tells_all_hits = True

    node: str
    force: bool = False
    verify_seconds: float = DRAINED_SECONDS

    @property
    def undo_note(self) -> str:
        return "it only waits"

    def describe(self) -> str:
        return f"wait until no pod that a drain takes is left on {self.node}"

    def verified_by(self) -> str:
        within = f"within {self.verify_seconds / 60:.0f} min"
        return f"only DaemonSets, mirror pods and pods that have ended are left on {self.node} ({within})"

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return await reviewed(reach, (Right("list", "pods"), Right("watch", "pods")), self.node)

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        del steps, reach
        return BlastRadius()

    async def preview(self, reach: Reach) -> Preview:
        """What a drain leaves, and why it cannot be done as it is: as kubectl drain has it."""
        plan = await drain_plan(reach, self.node)
        left = [f"{pod.title} ({pod.reason})" for pod in plan.stays]
        effects = [f"stays: {named(left)}"] if left else []
        warnings = [] if plan.budgets_known else ["the PodDisruptionBudgets may not be read: more may be held"]
        slowest = plan.slowest(force=self.force)
        if slowest is not None and slowest.grace_seconds is not None:
            takes = f"{slowest.title} may take {slowest.grace_seconds} s to end (terminationGracePeriodSeconds)"
            effects.append(f"waits at most {self.verify_seconds / 60:.0f} min: {takes}")
            if slowest.grace_seconds > self.verify_seconds:
                warnings.append(f"{takes}, longer than the drain waits: plan it again")
        forced = [f"{pod.title}: {pod.reason}" for pod in plan.needs_force]
        if forced and self.force:
            warnings.append(f"taken by force: {'; '.join(forced)}")
        obstacles = () if self.force else tuple(f"a drain leaves {each}; --force takes it" for each in forced)
        return Preview(tuple(effects), tuple(warnings), obstacles)

    async def apply(self, reach: Reach, told: Told) -> str:
        del reach, told
        return "nothing to send"

    async def looks(self, reach: Reach) -> AsyncIterator[Verdict]:
        backend = await backend_for(reach, FollowsPods)
        async with closing(backend.follow_pods(self.node)) as moments:
            async for pods in moments:
                left = [pod.title for pod in pods if self._counts(pod)]
                yield Verdict(not left, named(left) if left else f"{self.node} is empty but for what a drain leaves")

    def _counts(self, pod: PodControl) -> bool:
        if pod.going:
            return pod.controller is None or pod.controller.kind != "DaemonSet"
        return pod.stays is None and (self.force or pod.needs_force is None)

    def to_json(self) -> dict[str, Any]:
        return {"node": self.node, "force": self.force, "verify_seconds": self.verify_seconds}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(str(document["node"]), bool(document["force"]), float(document["verify_seconds"]))


def wait_seconds(plan: DrainPlan, *, force: bool) -> float:
    """How long a drain waits for the pods to end: no less than the slowest of them may take."""
    slowest = plan.slowest(force=force)
    grace = 0 if slowest is None else slowest.grace_seconds or 0
    return max(DRAINED_SECONDS, grace + MARGIN_SECONDS)


def evicted(plan: DrainPlan, *, force: bool) -> tuple[tuple[DrainPod, bool], ...]:
    """The pods a drain takes, those that a budget holds last, each with whether something makes another one."""
    held = {pod.uid for pod in plan.held}
    free = [pod for pod in plan.evicts if pod.uid not in held]
    forced = plan.needs_force if force else ()
    return tuple((pod, pod.owner is not None) for pod in (*free, *forced, *plan.held))
