"""What is asked of a node: take no new pods, have another MIG layout, leave driver upgrades out or begin one."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Preview
from backends.changes.platform_step import (
    PlatformStep,
    WatchedStep,
    backend_for,
    closing,
    common,
    gpu_pods,
    named,
    radius_of_pods,
)
from backends.changes.step import Hopeless, Reach, Step, Told, Verdict
from backends.contract import (
    CordonsNodes,
    FollowsNodes,
    NotAllowed,
    PartitionsGpus,
    Refused,
    StepFailed,
    UpgradesDrivers,
)
from backends.domain import ApiRequest, NodeControl

MIG_SECONDS = 900.0
"""The MIG manager waits up to 5 minutes for its clients to leave, more than once."""
UPGRADE_SECONDS = 3600.0
"""A driver that is compiled on the node takes up to 20 minutes, after everything that holds a GPU has ended."""
FIRST_STEP, DONE, FAILED = "upgrade-required", "upgrade-done", "upgrade-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStep(PlatformStep):
    """A patch of the node; `judge` reads the node."""

    repeatable = True

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        del steps, reach
        return BlastRadius()

    def judge(self, node: NodeControl) -> Verdict:
        raise NotImplementedError

    async def looks(self, reach: Reach) -> AsyncIterator[Verdict]:
        backend = await backend_for(reach, FollowsNodes)
        async with closing(backend.follow_node(self.node)) as moments:
            async for node in moments:
                yield self.judge(node)

    async def now(self, reach: Reach) -> NodeControl:
        """The node as it is. Raises GpudeckError."""
        backend = await backend_for(reach, FollowsNodes)
        async with closing(backend.follow_node(self.node)) as moments:
            return await anext(moments)


@dataclass(frozen=True, slots=True, kw_only=True)
class CordonStep(NodeStep):
    """Keeps new pods off the node, or lets them on again."""

    kind: ClassVar[str] = "cordon"

    on: bool
    back: ApiRequest

    def verified_by(self) -> str:
        return f"{self.node} is {_cordoned(self.on)}"

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        await (await backend_for(reach, CordonsNodes)).cordon(self.node, self.on, dry_run=dry_run)
        return ""

    def judge(self, node: NodeControl) -> Verdict:
        return Verdict(node.schedulable is not self.on, f"{node.name} is {_cordoned(not node.schedulable)}")

    def undo(self) -> Step | None:
        return CordonStep(request=self.back, back=self.request, node=self.node, on=not self.on)

    def to_json(self) -> dict[str, Any]:
        return {**self._json(), "on": self.on, "back": self.back.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**common(document), on=bool(document["on"]), back=ApiRequest.from_json(document["back"]))


def _cordoned(on: bool) -> str:
    return "cordoned" if on else "open to new pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigLabelStep(NodeStep):
    """Asks the MIG manager for a layout of all GPUs of the node, and waits for its success."""

    kind: ClassVar[str] = "mig-label"

    layout: str | None
    former: str | None
    back: ApiRequest
    verify_seconds: float = MIG_SECONDS

    @property
    def undo_note(self) -> str:
        return "" if self.former is not None else "without the label the MIG manager leaves the GPUs as they are"

    def verified_by(self) -> str:
        if self.layout is None:
            return f"{self.node} has no nvidia.com/mig.config"
        return f"nvidia.com/mig.config.state is success for {self.layout} (within {self.verify_seconds / 60:.0f} min)"

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        nodes = dict.fromkeys(step.node for step in steps)
        return radius_of_pods([pod for node in nodes for pod in await gpu_pods(reach, node)])

    async def preview(self, reach: Reach) -> Preview:
        found = await PlatformStep.preview(self, reach)
        node = await self.now(reach)
        asked = None if node.mig is None else node.mig.requested
        obstacles = list(found.obstacles)
        if asked == self.layout:
            state = node.mig.state if node.mig is not None else None
            obstacles.append(f"{self.node} is asked for {self.layout} already, and its state is {state or 'not told'}")
        pods = [pod.title for pod in await gpu_pods(reach, self.node)]
        warnings = [f"the MIG manager evicts nothing and fails while a GPU is held: drain first; {named(pods)}"]
        effects = (*found.effects, f"{asked or 'no layout'} -> {self.layout or 'no layout'}")
        return Preview(effects, (*found.warnings, *(warnings if pods else ())), tuple(obstacles))

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        await (await backend_for(reach, PartitionsGpus)).set_mig_layout(self.node, self.layout, dry_run=dry_run)
        return ""

    def judge(self, node: NodeControl) -> Verdict:
        asked = None if node.mig is None else node.mig.requested
        if asked != self.layout:
            return Verdict(False, f"nvidia.com/mig.config is {asked or 'not set'}")
        if self.layout is None or node.mig is None:
            return Verdict(self.layout is None, "nvidia.com/mig.config is not set")
        state = node.mig.state
        kind = Hopeless if state == "failed" else Verdict
        return kind(state == "success", f"{self.layout}: {state or 'not taken up yet'}")

    def undo(self) -> Step | None:
        return MigLabelStep(
            request=self.back, back=self.request, node=self.node, layout=self.former, former=self.layout
        )

    def to_json(self) -> dict[str, Any]:
        own = {"layout": self.layout, "former": self.former, "back": self.back.to_json()}
        return {**self._json(), **own}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        layout, former = (None if document[key] is None else str(document[key]) for key in ("layout", "former"))
        return cls(**common(document), layout=layout, former=former, back=ApiRequest.from_json(document["back"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradePauseStep(NodeStep):
    """Leaves the node out of driver upgrades, or takes it in again."""

    kind: ClassVar[str] = "upgrade-pause"

    paused: bool
    back: ApiRequest

    def verified_by(self) -> str:
        return f"{self.node} is {_left_out(self.paused)}"

    async def preview(self, reach: Reach) -> Preview:
        found = await PlatformStep.preview(self, reach)
        step = (await self.now(reach)).upgrade_step
        under_way = self.paused and step not in {"", DONE, FAILED, FIRST_STEP}
        said = f"the upgrade is at {step}: the operator looks at this only before it begins, and finishes this one"
        return Preview(found.effects, (*found.warnings, *((said,) if under_way else ())), found.obstacles)

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
    """Sets the node's driver upgrade to its first step, and follows the operator through it."""

    kind: ClassVar[str] = "upgrade-start"
    repeatable = False

    former: str
    """The step that the upgrade was at before."""
    verify_seconds: float = UPGRADE_SECONDS

    @property
    def undo_note(self) -> str:
        return "an upgrade that the operator has taken up is not taken back"

    def verified_by(self) -> str:
        return f"the operator brings the upgrade to upgrade-done (within {self.verify_seconds / 60:.0f} min)"

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        nodes = dict.fromkeys(step.node for step in steps)
        return radius_of_pods([pod for node in nodes for pod in await gpu_pods(reach, node)])

    async def preview(self, reach: Reach) -> Preview:
        found = await PlatformStep.preview(self, reach)
        node = await self.now(reach)
        warnings = ["the operator evicts the pods that use GPUs, as its upgrade policy says, and cordons the node"]
        if node.upgrade_skipped:
            warnings.append(f"{self.node} is left out of driver upgrades: nothing happens before it is taken in again")
        effects = (*found.effects, f"{node.upgrade_step or 'no upgrade yet'} -> {FIRST_STEP}")
        return Preview(effects, (*found.warnings, *warnings), found.obstacles)

    async def apply(self, reach: Reach, told: Told) -> str:
        """Waits for the operator to take it up: until then the former `upgrade-done` would read as a success."""
        backend = await backend_for(reach, FollowsNodes)
        async with closing(backend.follow_node(self.node)) as moments:
            await anext(moments)
            try:
                await self._start(reach, dry_run=False)
            except (NotAllowed, Refused) as error:
                raise StepFailed(error.message, error.hint, untouched=True) from error
            try:
                async with asyncio.timeout(self.apply_seconds):
                    return await _taken_up(moments, told)
            except TimeoutError:
                said = f"the operator has not taken the upgrade of {self.node} up within {self.apply_seconds:.0f} s"
                raise StepFailed(said, "is autoUpgrade on in its policy, and the operator running?") from None

    async def check(self, reach: Reach) -> Verdict:
        """An end that was there before says nothing: only `verify`, behind an `apply` that saw it begin, can tell."""
        verdict = await WatchedStep.check(self, reach)
        told_before = verdict.holds and self.former == DONE
        return Verdict(None, f"{verdict.evidence}, as it was before") if told_before else verdict

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        await self._start(reach, dry_run=dry_run)
        return ""

    async def _start(self, reach: Reach, *, dry_run: bool) -> str:
        return await (await backend_for(reach, UpgradesDrivers)).start_driver_upgrade(self.node, dry_run=dry_run)

    def judge(self, node: NodeControl) -> Verdict:
        kind = Hopeless if node.upgrade_step == FAILED else Verdict
        return kind(node.upgrade_step == DONE, f"the upgrade is at {node.upgrade_step or 'no step'}")

    def to_json(self) -> dict[str, Any]:
        return {**self._json(), "former": self.former}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(**common(document), former=str(document["former"]))


async def _taken_up(moments: AsyncIterator[NodeControl], told: Told) -> str:
    """The first step behind the one that was asked for."""
    asked = False
    async for node in moments:
        told(f"the upgrade is at {node.upgrade_step}")
        if node.upgrade_step == FIRST_STEP:
            asked = True
        elif asked or node.upgrade_step != DONE:
            return f"the operator has taken it up: {node.upgrade_step}"
    raise StepFailed("the watch of the node ended")
