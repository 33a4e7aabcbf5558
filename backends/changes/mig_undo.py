"""The way back of a MIG change: what differs from the layout before a step is taken away and made again.

GPU instances that the step left alone are left alone, with the work in them: one that is made anew has another UUID,
and containers that were given the old one do not start again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Preview
from backends.changes.command import SUDO, argv_of, contact
from backends.changes.mig_commands import all_hits, commands, reached
from backends.changes.mig_driver import (
    APPLY_SECONDS,
    VERIFY_SECONDS,
    MigGpuStep,
    found_before,
    gpu_from_json,
    gpu_json,
    on_gpus,
    run_on,
    verdict_of,
)
from backends.changes.mig_layout import MigLayout, not_made_again, paired
from backends.changes.mig_state import MigGpu, MigState, state_of
from backends.changes.step import Reach, Told, Verdict
from backends.contract import StepFailed

OTHER_UUIDS = "GPU instances that are made again have other UUIDs: what was given the old ones must be given the new"


@dataclass(frozen=True, slots=True)
class MigLayoutStep(MigGpuStep):
    """Leads to a layout from whatever the step that it takes back has left; its commands follow from what it finds."""

    kind: ClassVar[str] = "mig-layout"

    gpu: MigGpu
    layout: MigLayout
    expected: MigLayout
    """What the step that it takes back leaves: GPU instances that are neither here nor in `layout` are not its own."""
    enough: MigLayout | None = None
    """As it was before that step, where `layout` is more: what lacks then comes with the undo of the steps before."""
    sudo: bool = False
    stopped: tuple[str, ...] = ()
    """Services that are stopped when it comes to this step."""
    seen: MigState | None = None
    """What it will find as things are now, with the ids that are known; None: nobody has looked."""
    apply_seconds: float = 3 * APPLY_SECONDS
    verify_seconds: float = VERIFY_SECONDS
    repeatable: bool = True

    def describe(self) -> str:
        lines = self._commands(self._foreseen)
        # No word of these commands needs quotes; the name of an id that is not known yet would get some.
        return "\n".join(f"on {self.gpu.node}: {' '.join(line)}" for line in lines) or "nothing: it is so already"

    def verified_by(self) -> str:
        return f"nvidia-smi shows {self.layout.words}"

    @classmethod
    async def foreseen(cls, steps: Sequence[Self], reach: Reach) -> Sequence[Self]:
        """Each with the layout it will find when those before it are done. Raises GpudeckError."""
        now: dict[MigGpu, MigState] = {}
        found = []
        for step in steps:
            if step.gpu not in now:
                now[step.gpu] = await state_of(reach, step.gpu, step.prefix)
            found.append(replace(step, seen=now[step.gpu]))
            now[step.gpu] = step.left(now[step.gpu])
        return found

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        return await on_gpus([(step.gpu, step.instances) for step in await cls.foreseen(steps, reach)], reach)

    @property
    def instances(self) -> set[int] | None:
        """GPU instances whose work it ends, as far as it is foreseen; None: of the whole GPU."""
        return self._ended(self._foreseen)

    def left(self, found: MigState) -> MigState:
        """What is there afterwards, with the ids that are known."""
        there = self._is_there(found.layout)
        return MigState(found.layout if there else reached(found.layout, self.layout))

    async def preview(self, reach: Reach) -> Preview:
        """What it does when the steps before it have come to where they should."""
        at = self.seen
        if at is None:
            now = await state_of(reach, self.gpu, self.prefix)
            at = self._foreseen if now.pending is None else now
        if at.pending is not None:
            return Preview((at.told(self.gpu),))
        if self._is_there(at.layout):
            return Preview((f"it is so already by then: {at.layout.words}",))
        effects = (f"{at.layout.words} -> {self.layout.words}",)
        obstacle = self._refusal(at.layout)
        obstacles = [obstacle] if obstacle else []
        obstacles += await self.obstacles(reach, self._ended(at))
        makes = any("-cgi" in argv for argv in self._commands(at))
        return Preview(effects, (OTHER_UUIDS,) if makes else (), tuple(obstacles))

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.gpu.node, told)
        found = await found_before(reach, self.gpu, self.prefix)
        obstacle = self._refusal(found.layout)
        if obstacle:
            raise StepFailed(obstacle, "", untouched=True)
        await self.need_nobody(reach, self._ended(found))
        said = "it was so already"
        for argv in self._commands(found):
            told(shlex.join(argv))
            said = await run_on(reach, self.gpu, argv, APPLY_SECONDS)
        return said

    async def check(self, reach: Reach) -> Verdict:
        return verdict_of(await state_of(reach, self.gpu, self.prefix), self.gpu, *self._good)

    @property
    def _good(self) -> tuple[MigLayout, ...]:
        return (self.layout,) if self.enough is None else (self.layout, self.enough)

    def _is_there(self, found: MigLayout) -> bool:
        return any(found.is_like(each) for each in self._good)

    def _refusal(self, found: MigLayout) -> str:
        """Why nothing is done: what would go is somebody else's, or what would be made cannot be; else empty."""
        made = paired(self.expected, self.layout).here
        surplus = MigLayout(True, paired(found, self.layout).here)
        foreign = paired(surplus, MigLayout(True, made)).here
        if foreign:
            words = ", ".join(place.words for place in foreign)
            return f"{self.gpu.label} has {words}, which this change did not make: it would be destroyed"
        return "" if self._is_there(found) else not_made_again(self.layout, found)

    def _ended(self, found: MigState) -> set[int] | None:
        """The GPU instances whose work ends; None: of the whole GPU."""
        return all_hits(self._commands(MigState(found.layout)))

    @property
    def _foreseen(self) -> MigState:
        return self.seen or MigState(self.expected)

    @property
    def prefix(self) -> tuple[str, ...]:
        return SUDO if self.sudo else ()

    def _commands(self, found: MigState) -> list[tuple[str, ...]]:
        """Asking for the mode that is there takes a pending one back, which is safe while work runs."""
        waits = found.pending is not None
        lines = [self.gpu.mode_argv(found.layout.enabled)] if waits else []
        if not self._is_there(found.layout):
            lines += commands(str(self.gpu.index), found.layout, self.layout)
        return [(*self.prefix, *argv) for argv in lines]

    def to_json(self) -> dict[str, Any]:
        return {
            **gpu_json(self.gpu),
            "layout": self.layout.to_json(),
            "expected": self.expected.to_json(),
            "enough": None if self.enough is None else self.enough.to_json(),
            "sudo": self.sudo,
            "stopped": list(self.stopped),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            gpu_from_json(document),
            MigLayout.from_json(document["layout"]),
            MigLayout.from_json(document["expected"]),
            None if document.get("enough") is None else MigLayout.from_json(document["enough"]),
            bool(document["sudo"]),
            argv_of(document.get("stopped", ())),
        )
