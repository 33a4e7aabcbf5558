"""What a step of a change is, and the kinds there are.

A step does one thing that can be named exactly, done, looked at, and mostly undone. A platform writes its own: a frozen
dataclass that inherits `Step`, and one line in `KINDS`. Its JSON goes into the journal, so that a crash can be told and
mended by another process: it holds everything needed to rebuild the step, and no secret.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from backends.changes.change import BlastRadius, Permission, Preview, Undetermined
from backends.contract import GpudeckError
from backends.domain import SiteSpec
from backends.feed import Clock

GROUP = "gpudeck.step"
"""Entry-point group of steps that come from other packages: kind = "module:Class"."""
POLL_SECONDS = 2.0
PLATFORM = "platform"
"""The place of what is done through the site's platform."""

Told = Callable[[str], None]
"""Hears how far a step is, one line at a time."""


class Ran(Protocol):
    """A command that ran to its end."""

    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> str: ...
    @property
    def status(self) -> int | None:
        """None when a signal or a lost connection ended it."""
        ...


class Runner(Protocol):
    """The way to one node; the site's transports are that."""

    async def run(self, command: str, *, timeout: float, limit: int) -> Ran: ...


class Reach(Protocol):
    """What a step acts through. It is given to each call, so that a step itself is a plain value."""

    @property
    def clock(self) -> Clock: ...

    @property
    def spec(self) -> SiteSpec: ...

    def transport(self, node: str) -> Runner:
        """The way to a node of the site; raises GpudeckError for a name the site does not have."""
        ...

    def client(self, name: str) -> Any:
        """Something else that the site is changed through; raises GpudeckError where the site has none.

        "platform" is `backends.platform.Platform`: its `backend()` has the capabilities of `backends.contract`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the present state says."""

    holds: bool | None
    """Whether the step's effect is there; None when it cannot be told."""
    evidence: str
    """One line: what was seen."""


class Hopeless(Verdict):
    """The effect is not there and will not come: waiting longer is of no use."""


class Step(ABC):
    """One step. `apply` raises StepFailed; whatever else it raises counts as an unknown effect.

    What is refused now and may be allowed in a moment is AskAgain, and never a loop of its own: the engine applies the
    step again within `apply_seconds`, and ends that when it is asked to stop.
    """

    kind: ClassVar[str]
    """Its name in the journal; stable over versions."""
    apply_seconds: float = 60.0
    """Longest time of `apply`."""
    verify_seconds: float = 30.0
    """Longest time until the effect must be seen."""
    repeatable: bool = False
    """`apply` may run again on a half-done or finished step without harm."""
    tells_all_hits: bool = False
    """Nobody's work ends by it but what `hits` tells, `ends_work` for what it cannot see. Else a change that wanted a
    name at first wants it again, whatever is seen."""

    @property
    def place(self) -> str:
        """What it acts on: `node dgx07` as the site names it, or PLATFORM; empty where that is not told."""
        return ""

    @property
    def checked(self) -> bool:
        """`check` can tell whether the effect is there. Without it, a step is applied and never verified."""
        return True

    @property
    def final(self) -> bool:
        """Once its effect is seen nothing takes it back: `undo` is for the time before."""
        return False

    @property
    def undo_note(self) -> str:
        """Why there is no undo, or what it does not bring back."""
        return ""

    @abstractmethod
    def describe(self) -> str:
        """Exactly what will be done: the command line, the API call with its body, the patch."""

    @abstractmethod
    def verified_by(self) -> str:
        """One line: what is looked at afterwards."""

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        """What the step needs, and whether it is granted; asks, and changes nothing."""
        del reach
        return ()

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        """Whom these steps, all of this class, hit as things are now; one look serves them all. Changes nothing."""
        del steps, reach
        return BlastRadius(undetermined=(Undetermined("whom it hits now", f"a step {cls.kind} cannot tell"),))

    @classmethod
    async def foreseen(cls, steps: Sequence[Self], reach: Reach) -> Sequence[Self]:
        """These steps, all of this class and in order, as they will find things when those before them are done.

        For those whose commands follow from that. Changes nothing; raises GpudeckError when it cannot look.
        """
        del reach
        return steps

    async def preview(self, reach: Reach) -> Preview:
        """A dry run where the API has one, else a look at what is there; changes nothing."""
        del reach
        return Preview()

    @abstractmethod
    async def apply(self, reach: Reach, told: Told) -> str:
        """Does it; returns one line of what was answered."""

    @abstractmethod
    async def check(self, reach: Reach) -> Verdict:
        """One look at whether the effect is there. Never changes anything; raises GpudeckError when it cannot look."""

    async def verify(self, reach: Reach, told: Told) -> Verdict:
        """Looks again until the effect is there or `verify_seconds` are over; a step that can watch overrides this."""
        deadline = reach.clock.monotonic() + self.verify_seconds
        while True:
            verdict = await _looked(self, reach)
            if verdict.holds or not self.checked or reach.clock.monotonic() >= deadline:
                return verdict
            told(f"not yet: {verdict.evidence}")
            await reach.clock.sleep(min(POLL_SECONDS, max(0.0, deadline - reach.clock.monotonic())))

    def undo(self) -> Step | None:
        """The step that takes this one back; its own `check` holds when things are as before. None: there is none."""
        return None

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything `from_json` needs, as JSON values; no secret."""

    @classmethod
    @abstractmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for a document that is none of this kind."""


async def _looked(step: Step, reach: Reach) -> Verdict:
    try:
        return await step.check(reach)
    except GpudeckError as error:
        return Verdict(None, error.message)


KINDS: dict[str, str] = {
    "command": "backends.changes.command:CommandStep",
    "mig": "backends.changes.mig:MigStep",
    "mig-layout": "backends.changes.mig_undo:MigLayoutStep",
    "mig-reset": "backends.changes.mig_reset:MigResetStep",
    "restart-pod": "backends.changes.pod_steps:RestartStep",
    "evict-pod": "backends.changes.pod_steps:EvictStep",
    "drained": "backends.changes.pod_steps:DrainedStep",
    "cordon": "backends.changes.node_steps:CordonStep",
    "mig-label": "backends.changes.node_steps:MigLabelStep",
    "upgrade-pause": "backends.changes.upgrade_steps:UpgradePauseStep",
    "upgrade-start": "backends.changes.upgrade_steps:UpgradeStartStep",
    "upgrade-back": "backends.changes.upgrade_steps:UpgradeBackStep",
}
"""Kind -> where its class is; imported when a journal names it."""


def kind_of(name: str) -> type[Step]:
    """The class of a kind; raises GpudeckError for one that is not installed."""
    place = KINDS.get(name)
    try:
        if place is None:
            from importlib.metadata import entry_points

            found = next((point for point in entry_points(group=GROUP) if point.name == name), None)
            loaded = None if found is None else found.load()
        else:
            module, _, attribute = place.partition(":")
            loaded = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise GpudeckError(f"the step kind {name!r} cannot be loaded: {error}") from error
    if loaded is None:
        raise GpudeckError(f"no step is of the kind {name!r}", "it may come from a newer version or a missing plug-in")
    return loaded  # type: ignore[no-any-return]


def step_json(step: Step) -> dict[str, Any]:
    return {"kind": step.kind, **step.to_json()}


def step_from_json(document: Mapping[str, Any]) -> Step:
    """Raises GpudeckError when the step cannot be rebuilt."""
    kind = kind_of(str(document.get("kind")))
    try:
        return kind.from_json(document)
    except (ValueError, KeyError, TypeError) as error:
        raise GpudeckError(
            f"the step {document.get('kind')!r} of the journal cannot be rebuilt: {type(error).__name__}: {error}"
        ) from error
