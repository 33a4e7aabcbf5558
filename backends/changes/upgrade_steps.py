"""What is asked of the operator's driver upgrade of a node: leave it out, take it in again, begin, take that back."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Preview
from backends.changes.node_steps import NodeStep
from backends.changes.platform_step import (
    PlatformStep,
    WatchedStep,
    backend_for,
    common,
    drain_plan,
    gpu_pods,
    radius_of_pods,
)
from backends.changes.stack_look import stack_now
from backends.changes.step import Hopeless, Reach, Step, Told, Verdict
from backends.contract import FollowsNodes, NotAllowed, Refused, StepFailed, UpgradesDrivers
from backends.domain import (
    ApiRequest,
    DrainPod,
    NodeControl,
    OperandPhase,
    SiteSpec,
    Stack,
    StackNode,
    UpgradePolicy,
    plural,
)
from backends.feed import closing

UPGRADE_SECONDS = 3600.0
"""A driver that is compiled on the node takes up to 20 minutes, after everything that holds a GPU has ended."""
FIRST_STEP, DONE, FAILED = "upgrade-required", "upgrade-done", "upgrade-failed"
ENDED = frozenset({"", DONE, FAILED})
"""Steps at which no upgrade is under way; the empty one is no step."""
OFF = "driver.upgradePolicy.autoUpgrade is off"
QUEUE_SECONDS = 15.0
"""How often the other nodes are looked at while a node waits for its turn."""
AT_ONCE = 1
"""The operator's own maxParallelUpgrades where the policy has none."""


# What the operator does to a node that it upgrades


def policy_of(stack: Stack | None) -> UpgradePolicy:
    """How drivers are upgraded, as the ClusterPolicy that is in force says: the others are `ignored`."""
    policies = () if stack is None else stack.policies
    found = (each for each in policies if each.kind == "ClusterPolicy" and each.state != "ignored")
    return next((each.upgrades for each in found if each.upgrades is not None), UpgradePolicy())


async def ends(nodes: Iterable[str], reach: Reach) -> BlastRadius:
    """Whom an upgrade of the nodes may end: the pods that use GPUs, and all that a drain takes where it may drain."""
    nodes = list(dict.fromkeys(nodes))
    drains = bool(nodes) and policy_of(await stack_now(reach)).drains
    pods: list[DrainPod] = []
    for node in nodes:
        pods += await gpu_pods(reach, node)
        plan = await drain_plan(reach, node) if drains else None
        pods += [] if plan is None else [*plan.evicts, *plan.needs_force]
    found = radius_of_pods(list({pod.uid or pod.title: pod for pod in pods}.values()))
    return replace(found, ends_work=bool(nodes))


def _warnings(policy: UpgradePolicy) -> tuple[str, ...]:
    found = ["the operator cordons the node, and ends the pods that use GPUs, as its upgrade policy says"]
    if policy.drains:
        found.append("its upgrade policy has drain on: it may drain the node of all pods, not only of those with GPUs")
    elif policy.drains is None:
        found.append("whether its upgrade policy has drain on is not known: then all pods of the node may be drained")
    return tuple(found)


def queue_said(node: str, stack: Stack | None) -> str:
    """Why a node is still at the first step, as far as the stack tells."""
    if stack is None:
        return "the operator has not begun it"
    begun = [_begun(each) for each in stack.nodes if each.name != node and _begun(each)]
    if not begun:
        return "the operator has not begun it, and upgrades no other node"
    at_once = policy_of(stack).at_once
    at_once = AT_ONCE if at_once is None else at_once
    most = "" if at_once == 0 else f" of {at_once}"
    shown = ", ".join(begun[:4]) + (f" and {len(begun) - 4} more" if len(begun) > 4 else "")
    verb = "is" if len(begun) == 1 else "are"
    full = 0 < at_once <= len(begun)
    said = f"{plural(len(begun), 'upgrade')}{most} {verb} under way ({shown})"
    return f"queued: {said}" if full else f"the operator has not begun it; {said}"


def already_there(node: StackNode | None, stack: Stack | None, site: SiteSpec) -> str | None:
    """Why an upgrade would change nothing on `node` of `site`; None where it may, or where that is not known.

    The operator goes by revisions of the driver's DaemonSet (`podInSyncWithDS` of k8s-operator-libs): a driver pod of
    the latest one is not made anew, whatever was ended for it. What is seen here are versions: all that are asked for
    must be the one that runs.
    """
    driver = None if node is None else node.get("driver")
    if stack is None or node is None or driver is None or driver.phase is not OperandPhase.READY:
        return None
    wanted = {each.driver_version for each in stack.policies if each.state not in {"ignored", "disabled"}}
    runs = node.driver_version
    if runs is None or wanted != {runs}:
        return None
    restart = site.command("stack", "restart", "driver", "--node", node.name)
    other = f"other settings of it are taken over by a restart: {restart}"
    return f"{node.name} runs the driver {runs} already, as is asked for: only its GPU pods would end; {other}"


def _begun(node: StackNode) -> str:
    """The node's name where its upgrade takes one of the places; a failed one keeps its place until it is mended."""
    step = "" if node.upgrade is None else node.upgrade.step
    if step in {"", DONE, FIRST_STEP}:
        return ""
    return f"{node.name}, failed" if step == FAILED else node.name


# The steps


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradePauseStep(NodeStep):
    """Leaves the node out of driver upgrades, or takes it in again: an upgrade that waits for that begins then."""

    kind: ClassVar[str] = "upgrade-pause"

    paused: bool
    back: ApiRequest

    def verified_by(self) -> str:
        return f"{self.node} is {_left_out(self.paused)}"

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        taken_in = [step for step in steps if not step.paused]
        if not taken_in:
            return BlastRadius(spares_work=True)
        return await ends([step.node for step in taken_in if (await step.now(reach)).upgrade_step not in ENDED], reach)

    async def preview(self, reach: Reach) -> Preview:
        found = await PlatformStep.preview(self, reach)
        step = (await self.now(reach)).upgrade_step
        said: tuple[str, ...] = ()
        if self.paused and step not in {*ENDED, FIRST_STEP}:
            said = (f"the upgrade is at {step}: the operator looks at this only before it begins, and finishes it",)
        elif not self.paused and step not in ENDED:
            begins = f"the upgrade of {self.node} is at {step}: it goes on once the node is taken in again"
            said = (begins, *_warnings(policy_of(await stack_now(reach))))
        return Preview(found.effects, (*found.warnings, *said), found.obstacles)

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        backend = await backend_for(reach, UpgradesDrivers)
        await backend.pause_driver_upgrade(self.node, self.paused, dry_run=dry_run)
        return ""

    def judge(self, node: NodeControl) -> Verdict:
        return Verdict(node.upgrade_skipped is self.paused, f"{node.name} is {_left_out(node.upgrade_skipped)}")

    def undo(self) -> Step | None:
        return UpgradePauseStep(request=self.back, back=self.request, node=self.node, paused=not self.paused)

    def to_json(self) -> dict[str, Any]:
        return {**self._json(), "paused": self.paused, "back": self.back.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**common(document), paused=bool(document["paused"]), back=ApiRequest.from_json(document["back"]))


def _left_out(skipped: bool) -> str:
    return "left out of driver upgrades" if skipped else "part of driver upgrades"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeStartStep(NodeStep):
    """Sets the node's driver upgrade to its first step, and follows the operator through it.

    The operator leaves a node there while as many others are upgraded as its policy allows: that is waiting, and no
    failure.
    """

    kind: ClassVar[str] = "upgrade-start"
    repeatable = False

    former: str
    """The step that the upgrade was at before."""
    back: ApiRequest
    verify_seconds: float = UPGRADE_SECONDS

    @property
    def final(self) -> bool:
        return True

    @property
    def undo_note(self) -> str:
        return "an upgrade that the operator has begun is not taken back"

    def verified_by(self) -> str:
        return f"the operator brings the upgrade to upgrade-done (within {self.verify_seconds / 60:.0f} min)"

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        return await ends([step.node for step in steps], reach)

    async def preview(self, reach: Reach) -> Preview:
        found = await PlatformStep.preview(self, reach)
        node, stack = await self.now(reach), await stack_now(reach)
        policy = policy_of(stack)
        obstacles = list(found.obstacles)
        if node.upgrade_skipped:
            obstacles.append(_skipped(self.node))
        if policy.automatic is False:
            obstacles.append(f"{OFF}: the operator upgrades no node, and takes the label away again")
        current = already_there(None if stack is None else stack.get(self.node), stack, reach.spec)
        if current is not None and node.upgrade_step != FAILED:
            obstacles.append(current)
        queue = queue_said(self.node, stack)
        waits = (f"{queue}: the node waits for its turn",) if queue.startswith("queued") else ()
        effects = (*found.effects, f"{node.upgrade_step or 'no upgrade yet'} -> {FIRST_STEP}")
        return Preview(effects, (*found.warnings, *_warnings(policy), *waits), tuple(obstacles))

    async def apply(self, reach: Reach, told: Told) -> str:
        """Done when the label is seen: until then the former `upgrade-done` would read as a success."""
        backend = await backend_for(reach, FollowsNodes)
        async with closing(backend.follow_node(self.node)) as moments:
            if (await anext(moments)).upgrade_skipped:
                resume = reach.spec.command("stack", "upgrade", "resume", "--node", self.node)
                raise StepFailed(_skipped(self.node), resume, untouched=True)
            try:
                await self._send(reach, dry_run=False)
            except (NotAllowed, Refused) as error:
                raise StepFailed(error.message, error.hint, untouched=True) from error
            async for node in moments:
                told(f"the upgrade is at {node.upgrade_step or 'no step'}")
                if node.upgrade_step != self.former or self.former == FIRST_STEP:
                    return f"it is asked for: {node.upgrade_step or 'no step'}"
        raise StepFailed("the watch of the node ended")

    async def check(self, reach: Reach) -> Verdict:
        """An end that was there before says nothing: only `verify`, behind an `apply` that saw it begin, can tell."""
        verdict = await WatchedStep.check(self, reach)
        told_before = verdict.holds and self.former == DONE
        return Verdict(None, f"{verdict.evidence}, as it was before") if told_before else verdict

    async def looks(self, reach: Reach) -> AsyncIterator[Verdict]:
        """While the node waits, the others are looked at now and then too: the queue moves without it."""
        backend = await backend_for(reach, FollowsNodes)
        async with closing(backend.follow_node(self.node)) as moments:
            coming = asyncio.ensure_future(anext(moments))
            node = None
            try:
                while True:
                    waits = node is not None and node.upgrade_step == FIRST_STEP
                    done, _ = await asyncio.wait({coming}, timeout=QUEUE_SECONDS if waits else None)
                    if done:
                        node = coming.result()
                        coming = asyncio.ensure_future(anext(moments))
                    if node is not None:
                        yield await self._verdict(node, reach)
            finally:
                coming.cancel()
                await asyncio.wait({coming})

    async def _verdict(self, node: NodeControl, reach: Reach) -> Verdict:
        if node.upgrade_step != FIRST_STEP:
            return self.judge(node)
        if node.upgrade_skipped:
            return Verdict(False, _skipped(self.node))
        return Verdict(False, f"the upgrade is at {FIRST_STEP}: {queue_said(self.node, await stack_now(reach))}")

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        await (await backend_for(reach, UpgradesDrivers)).start_driver_upgrade(self.node, dry_run=dry_run)
        return ""

    def judge(self, node: NodeControl) -> Verdict:
        if not node.upgrade_step:
            return Hopeless(False, f"refused: the operator took the label away: {OFF}")
        kind = Hopeless if node.upgrade_step == FAILED else Verdict
        return kind(node.upgrade_step == DONE, f"the upgrade is at {node.upgrade_step}")

    def undo(self) -> Step | None:
        return UpgradeBackStep(
            request=self.back,
            back=self.request,
            node=self.node,
            former=self.former,
            upgrade_seconds=self.verify_seconds,
        )

    def to_json(self) -> dict[str, Any]:
        return {**self._json(), "former": self.former, "back": self.back.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**common(document), former=str(document["former"]), back=ApiRequest.from_json(document["back"]))


def _skipped(node: str) -> str:
    return f"{node} is left out of driver upgrades: the upgrade would begin once it is taken in again, so do that first"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeBackStep(NodeStep):
    """Takes back an upgrade that was asked for and that the operator has not begun."""

    kind: ClassVar[str] = "upgrade-back"

    former: str
    """The step that it goes back to; empty: the label is taken away."""
    back: ApiRequest
    upgrade_seconds: float = UPGRADE_SECONDS

    def verified_by(self) -> str:
        return f"the upgrade of {self.node} is at {self.former or 'no step'}, as before"

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        backend = await backend_for(reach, UpgradesDrivers)
        await backend.take_back_driver_upgrade(self.node, self.former, dry_run=dry_run)
        return ""

    async def check(self, reach: Reach) -> Verdict:
        """A former end may be a new one just as well: whether it was taken back, only `verify` behind `apply` tells."""
        verdict = await WatchedStep.check(self, reach)
        if verdict.holds and (await self.now(reach)).upgrade_step:
            return Verdict(None, f"{verdict.evidence}: as it was before, or an upgrade that ended since")
        return verdict

    def judge(self, node: NodeControl) -> Verdict:
        said = f"the upgrade is at {node.upgrade_step}" if node.upgrade_step else "no upgrade is asked for"
        return Verdict(node.upgrade_step in {"", self.former}, said)

    def undo(self) -> Step | None:
        return UpgradeStartStep(
            request=self.back,
            back=self.request,
            node=self.node,
            former=self.former,
            verify_seconds=self.upgrade_seconds,
        )

    def to_json(self) -> dict[str, Any]:
        own = {"former": self.former, "back": self.back.to_json(), "upgrade_seconds": self.upgrade_seconds}
        return {**self._json(), **own}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            **common(document),
            former=str(document["former"]),
            back=ApiRequest.from_json(document["back"]),
            upgrade_seconds=float(document["upgrade_seconds"]),
        )
