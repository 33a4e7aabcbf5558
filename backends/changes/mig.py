"""MIG changes over SSH, for nodes without an operator that does it: `nvidia-smi mig`, step by step, with the way back.

The commands come from whoever plans; here each is bound to the GPU's UUID, checked against the layout it must find and
must leave, and undone by making what differs from the layout before it again. Nothing is begun while work holds what it
ends: a mode that is asked for then stays pending, and comes with the next reset when nobody expects it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Preview
from backends.changes.command import argv_of, contact, is_sudo
from backends.changes.mig_commands import hits, ids_moved, option
from backends.changes.mig_driver import (
    APPLY_SECONDS,
    VERIFY_SECONDS,
    MigCommandStep,
    found_before,
    gpu_from_json,
    on_gpus,
    run_on,
)
from backends.changes.mig_layout import MigLayout, not_made_again
from backends.changes.mig_state import MigGpu
from backends.changes.mig_undo import MigLayoutStep
from backends.changes.step import Reach, Step, Told
from backends.contract import StepFailed

_ENDS_AT_BOOT = "MIG mode lasts while the kernel modules stay loaded: it is off again after a reboot"
_RESETS = "the GPU is reset to change its MIG mode"
MODE_COSTS: dict[str | None, dict[bool, str]] = {
    "Ampere": {True: f"{_RESETS}, and keeps it over a reboot", False: _RESETS},
    "Hopper": {True: _ENDS_AT_BOOT},
    "Blackwell": {True: _ENDS_AT_BOOT},
    None: {
        True: f"if this is an Ampere board, {_RESETS}; on a later one the mode is off again after a reboot",
        False: f"if this is an Ampere board, {_RESETS}",
    },
}
"""Architecture as NVML tells it -> what it costs to switch MIG mode on and off (MIG user guide)."""


@dataclass(frozen=True, slots=True)
class MigStep(MigCommandStep):
    """One nvidia-smi command, from the layout `before` to `after`."""

    kind: ClassVar[str] = "mig"

    gpu: MigGpu
    argv: tuple[str, ...]
    before: MigLayout
    after: MigLayout
    architecture: str | None = None
    """As NVML tells it: what a change of mode costs depends on it."""
    stopped: tuple[str, ...] = ()
    """Services that an earlier step stops."""
    restores: MigLayout | None = None
    """What its undo makes, where that is more than `before`: GPU instances with the compute instances that steps
    before it took out of them, because the ids of instances that are made again are not known beforehand."""
    apply_seconds: float = APPLY_SECONDS
    verify_seconds: float = VERIFY_SECONDS

    @property
    def sets_mode(self) -> bool:
        return option(self.argv, "-mig", "--multi-instance-gpu") is not None

    @property
    def instances(self) -> set[int] | None:
        """GPU instances whose work it ends; None: of the whole GPU."""
        if self.sets_mode and self.before.enabled == self.after.enabled:
            return set()  # it takes back a mode that waits for a reset: nobody notices
        return hits(self.argv)

    @property
    def _back(self) -> MigLayout:
        return self.restores or self.before

    @property
    def undo_note(self) -> str:
        never = not_made_again(self._back, self.after)
        if never:
            return never
        return "" if all(place.start is not None for place in self.before.places) else "placements may differ"

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        return await on_gpus([(step.gpu, step.instances) for step in steps], reach)

    async def preview(self, reach: Reach) -> Preview:
        effect = f"{self.before.words} -> {self.after.words}"
        cost = None
        if self.sets_mode and self.before.enabled == self.after.enabled:
            effect = f"{self.after.words}; what waits for a reset is taken back"
        elif self.sets_mode:
            cost = MODE_COSTS.get(self.architecture, MODE_COSTS[None]).get(self.after.enabled)
        return Preview((effect,), () if cost is None else (cost,), await self.obstacles(reach, self.instances))

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.gpu.node, told)
        found = await found_before(reach, self.gpu, self.prefix)
        if not found.layout.is_like(self.before) or (found.pending is not None and not self.sets_mode):
            raise StepFailed(
                f"{self.gpu.label} is not as planned: {found.told(self.gpu)}, expected {self.before.words}",
                found.layout.hidden_words or "somebody else has changed it: plan it again",
                untouched=True,
            )
        moved = ids_moved(self.argv, self.before, found.layout)
        if moved:
            named = f"GPU instance id {', '.join(map(str, moved))} of {self.gpu.label}"
            raise StepFailed(
                f"{named} is not the instance that was planned: {found.layout.words}",
                "instances were made anew and have other ids: plan it again",
                untouched=True,
            )
        await self.need_nobody(reach, self.instances)
        return await run_on(reach, self.gpu, self.argv, self.apply_seconds)

    def undo(self) -> Step | None:
        if not_made_again(self._back, self.after):
            return None
        return MigLayoutStep(
            self.gpu,
            self._back,
            self.after,
            None if self.restores is None else self.before,
            sudo=is_sudo(self.argv),
            stopped=self.stopped,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **MigCommandStep.to_json(self),
            "architecture": self.architecture,
            "restores": None if self.restores is None else self.restores.to_json(),
            "apply_seconds": self.apply_seconds,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            gpu_from_json(document),
            argv_of(document["argv"]),
            MigLayout.from_json(document["before"]),
            MigLayout.from_json(document["after"]),
            document.get("architecture"),
            argv_of(document.get("stopped", ())),
            None if document.get("restores") is None else MigLayout.from_json(document["restores"]),
            float(document["apply_seconds"]),
        )
