"""What is asked of a node: take no new pods, have another MIG layout."""

# mypy: disable-error-code="type-abstract"

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Preview
from backends.changes.nearest import nearest
from backends.changes.platform_step import (
    PlatformStep,
    WatchedStep,
    backend_for,
    common,
    gpu_pods,
    named,
    radius_of_pods,
)
from backends.changes.stack_look import stack_now
from backends.changes.step import Already, Hopeless, Reach, Step, Told, Verdict
from backends.contract import (
    CordonsNodes,
    FollowsNodes,
    GpudeckError,
    ListsMigLayouts,
    PartitionsGpus,
    StepFailed,
    TellsRequests,
)
from backends.domain import Act, ApiRequest, NodeControl, Stack, Verb, clean
from backends.feed import closing

DONE_OR_BEGUN = frozenset({"success", "rebooting"})
"""States of a MIG layout that is not to be asked for again."""
MIG_SECONDS = 900.0
"""The MIG manager waits up to 5 minutes for its clients to leave, more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStep(PlatformStep):
    """A patch of the node; `judge` reads the node."""

    repeatable = True
    tells_all_hits = True

    async def preview(self, reach: Reach) -> Preview:
        """One that looks first says where its effect is there already."""
        verdict = await self.check(reach) if self.looks_first else Verdict(None, "")
        if verdict.holds:
            return Preview((Already.of(verdict.evidence),), there=verdict.evidence)
        return await PlatformStep.preview(self, reach)

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        del steps, reach
        return BlastRadius(spares_work=True)

    @abstractmethod
    def judge(self, node: NodeControl) -> Verdict:
        """Whether the effect is on the node, as it is now."""

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
    looks_first = True
    ends_nothing = True

    on: bool
    back: ApiRequest

    def verified_by(self) -> str:
        return f"{self.node} is {_cordoned(self.on)}"

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        otherwise = await (await backend_for(reach, CordonsNodes)).cordon(self.node, self.on, dry_run=dry_run)
        return "" if otherwise or dry_run else Already.of(f"{self.node} is {_cordoned(self.on)}")

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
    tells_all_hits = False  # work on the node that is none of the cluster's

    layout: str | None
    former: str | None
    back: ApiRequest
    away: ApiRequest | None = None
    """Takes the label away before it is set again: `layout` is asked for already, and the MIG manager gave it up. The
    manager acts on a change of the label only (`nvidia-mig-manager` of mig-parted). None: it is another layout as far
    as is known beforehand; what `apply` finds decides."""
    left: tuple[str | None, ...] = field(default=(), compare=False)
    """Layouts that abandoned changes may have left, which count as `former`; never in the journal."""
    verify_seconds: float = MIG_SECONDS

    def knowing(self, abandoned: Sequence[Step]) -> Self:
        asked = (each for each in abandoned if isinstance(each, MigLabelStep) and each.node == self.node)
        return replace(self, left=tuple(layout for each in asked for layout in (each.layout, each.former)))

    def describe(self) -> str:
        return self.request.text if self.away is None else f"{self.away.text}; then {self.request.text}"

    @property
    def undo_note(self) -> str:
        if self.former == self.layout:
            return "the layout was asked for before as well: there is nothing to take back"
        return "" if self.former is not None else "without the label the MIG manager leaves the GPUs as they are"

    def verified_by(self) -> str:
        if self.layout is None:
            return f"{self.node} has no nvidia.com/mig.config"
        return f"nvidia.com/mig.config.state is success for {self.layout} (within {self.verify_seconds / 60:.0f} min)"

    @classmethod
    async def foreseen(cls, steps: Sequence[Self], reach: Reach) -> Sequence[Self]:
        return [await step.as_found(reach) for step in steps]

    async def as_found(self, reach: Reach) -> Self:
        """As it will be done: with the label taken away first, where that is what `apply` would do now."""
        if self.away is not None or not self._given_up(await self.now(reach), reach):
            return self
        backend = await backend_for(reach, TellsRequests)
        return replace(self, away=await backend.request(Act(Verb.MIG, self.node, layout=None)))

    def _given_up(self, node: NodeControl, reach: Reach) -> bool:
        """Whether the layout is asked for already, and the MIG manager does no more about it."""
        mig = node.mig
        asked = mig is not None and self.layout is not None and mig.requested == self.layout
        return asked and mig is not None and (mig.state == "failed" or mig.stuck(reach.clock.now()))

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        nodes = dict.fromkeys(step.node for step in steps)
        return radius_of_pods([pod for node in nodes for pod in await gpu_pods(reach, node)])

    async def preview(self, reach: Reach) -> Preview:
        found = await PlatformStep.preview(self, reach)
        node = await self.now(reach)
        asked = None if node.mig is None else node.mig.requested
        obstacles = list(found.obstacles)
        state = None if node.mig is None else node.mig.state
        if asked == self.layout and (self.away is None or state in DONE_OR_BEGUN):
            obstacles.append(f"{self.node} is asked for {self.layout} already, and its state is {state or 'not told'}")
        unknown, unchecked = await self._known(reach)
        obstacles += unknown
        pods = [pod.title for pod in await gpu_pods(reach, self.node)]
        warnings = [f"the MIG manager evicts nothing and fails while a GPU is held: drain first; {named(pods)}"]
        change = f"{asked or 'no layout'} -> {self.layout or 'no layout'}"
        effects = (*found.effects, change if self.away is None else self._asked_again)
        return Preview(effects, (*found.warnings, *unchecked, *(warnings if pods else ())), tuple(obstacles))

    async def preview_begun(self, reach: Reach) -> Preview:
        begun = await NodeStep.preview_begun(self, reach)
        sent = await PlatformStep.preview(self, reach)
        if sent.obstacles or not self._given_up(await self.now(reach), reach):
            return replace(begun, obstacles=sent.obstacles)
        pods = [pod.title for pod in await gpu_pods(reach, self.node)]
        held = (f"the MIG manager fails again while a GPU is held: drain first; {named(pods)}",) if pods else ()
        return Preview((*begun.effects, self._asked_again), held)

    @property
    def _asked_again(self) -> str:
        return f"{self.layout} is asked for again: the label is taken away first, as the MIG manager acts on a change"

    async def _known(self, reach: Reach) -> tuple[list[str], list[str]]:
        """Obstacles and warnings about the layout's name: the server takes any, and the MIG manager fails at it."""
        backend = await backend_for(reach, PartitionsGpus)
        if self.layout is None or not isinstance(backend, ListsMigLayouts):
            return [], []
        asked = clean(self.layout, 64)
        try:
            known = await backend.mig_layouts(self.node)
        except GpudeckError as error:
            return [], [f"whether the MIG manager has the layout {asked} is not known: {error.message}"]
        if self.layout in known:
            return [], []
        return [f"the MIG manager has no layout {asked} for {self.node}: {nearest(self.layout, known)}"], []

    async def _send(self, reach: Reach, *, dry_run: bool) -> str:
        backend = await backend_for(reach, PartitionsGpus)
        node = await self.now(reach)
        if not self._given_up(node, reach):
            meant = (self.former, *((None,) if _taken_away(node) else ()), *self.left)
            before = await backend.set_mig_layout(self.node, self.layout, only_from=meant, dry_run=dry_run)
            return "not sent: asked for already" if before == self.layout else ""
        await backend.set_mig_layout(self.node, None, only_from=(self.layout,), dry_run=dry_run)
        if dry_run:
            return ""
        try:
            await backend.set_mig_layout(self.node, self.layout, only_from=(None,))
        except GpudeckError as error:
            raise StepFailed(
                f"nvidia.com/mig.config is taken away, and not set again: {error.message}", error.hint
            ) from error
        return "the MIG manager had given it up: the label was taken away and set again"

    async def verify(self, reach: Reach, told: Told) -> Verdict:
        """A failure with the reason that the MIG manager's log gives."""
        verdict = await WatchedStep.verify(self, reach, told)
        if not isinstance(verdict, Hopeless):
            return verdict
        stack = await stack_now(reach, lambda stack: _reason(stack, self.node) is not None)
        return verdict if stack is None else Hopeless(False, f"{verdict.evidence}: {_reason(stack, self.node)}")

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
        if self.former == self.layout:
            return None
        return MigLabelStep(
            request=self.back,
            back=self.request,
            node=self.node,
            layout=self.former,
            former=self.layout,
            left=self.left,
        )

    def to_json(self) -> dict[str, Any]:
        away = None if self.away is None else self.away.to_json()
        own = {"layout": self.layout, "former": self.former, "back": self.back.to_json(), "away": away}
        return {**self._json(), **own}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        layout, former = (None if document[key] is None else str(document[key]) for key in ("layout", "former"))
        back, away = ApiRequest.from_json(document["back"]), document.get("away")
        return cls(
            **common(document),
            layout=layout,
            former=former,
            back=back,
            away=None if away is None else ApiRequest.from_json(away),
        )


def _taken_away(node: NodeControl) -> bool:
    """Without the label, beside a state that is no success: it was taken away to be set again, and that was cut off."""
    mig = node.mig
    return mig is not None and mig.requested is None and mig.state not in (None, "success")


def _reason(stack: Stack, name: str) -> str | None:
    node = stack.get(name)
    return None if node is None or node.mig is None else node.mig.reason
