"""The reset of a GPU, which brings the MIG mode that waits for it: it ends what is on the GPU and is not taken back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Preview
from backends.changes.command import argv_of, contact
from backends.changes.mig_driver import (
    APPLY_SECONDS,
    MigCommandStep,
    found_before,
    gpu_from_json,
    gpu_json,
    on_gpus,
    run_on,
)
from backends.changes.mig_layout import MigLayout
from backends.changes.mig_state import MigGpu
from backends.changes.step import Reach, Told, Verdict
from backends.contract import StepFailed


@dataclass(frozen=True, slots=True)
class MigResetStep(MigCommandStep):
    """`nvidia-smi --gpu-reset`, from the layout `before` to `after`: the GPU's mode, and no instances."""

    kind: ClassVar[str] = "mig-reset"

    gpu: MigGpu
    argv: tuple[str, ...]
    before: MigLayout
    after: MigLayout
    stopped: tuple[str, ...] = ()
    """Services that an earlier step stops."""
    others: tuple[MigGpu, ...] = ()
    """The other GPUs of the node, which the same command resets."""
    apply_seconds: float = APPLY_SECONDS
    verify_seconds: float = 30.0

    @property
    def checked(self) -> bool:
        """A reset that changes no layout leaves nothing to be seen."""
        return not self.before.is_like(self.after)

    @property
    def undo_note(self) -> str:
        return "a reset is not taken back"

    def verified_by(self) -> str:
        return MigCommandStep.verified_by(self) if self.checked else "nothing: a reset leaves nothing to be seen"

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        return await on_gpus([(gpu, None) for step in steps for gpu in (step.gpu, *step.others)], reach)

    async def preview(self, reach: Reach) -> Preview:
        effects = [f"the GPU is reset: {self.before.words} -> {self.after.words}"]
        if self.others:
            named = ", ".join(f"gpu{other.index}" for other in self.others)
            effects.append(f"the node's other GPUs are reset as well, and their MIG instances go: {named}")
        return Preview(tuple(effects), (), await self.obstacles(reach, None))

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.gpu.node, told)
        found = await found_before(reach, self.gpu, self.prefix)
        brings = found.layout.enabled if found.pending is None else found.pending
        if not found.layout.is_like(self.before) or brings != self.after.enabled:
            raise StepFailed(
                f"{self.gpu.label} is not as planned: {found.told(self.gpu)}, expected {self.before.words} and a reset "
                f"that brings {self.after.words}",
                found.layout.hidden_words or "somebody else has changed it: plan it again",
                untouched=True,
            )
        for gpu in (self.gpu, *self.others):
            await self.need_nobody(reach, None, gpu)
        return await run_on(reach, self.gpu, self.argv, self.apply_seconds)

    async def obstacles(self, reach: Reach, ended: Collection[int] | None) -> tuple[str, ...]:
        found = [await self.obstacles_on(gpu, reach, ended) for gpu in (self.gpu, *self.others)]
        return tuple(each for obstacles in found for each in obstacles)

    async def check(self, reach: Reach) -> Verdict:
        if not self.checked:
            return Verdict(None, "a reset leaves nothing to be seen")
        return await MigCommandStep.check(self, reach)

    def to_json(self) -> dict[str, Any]:
        return {**MigCommandStep.to_json(self), "others": [gpu_json(other) for other in self.others]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            gpu_from_json(document),
            argv_of(document["argv"]),
            MigLayout.from_json(document["before"]),
            MigLayout.from_json(document["after"]),
            argv_of(document.get("stopped", ())),
            tuple(gpu_from_json(other) for other in document.get("others", ())),
        )
