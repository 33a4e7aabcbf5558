"""MIG changes over SSH, for nodes without an operator that does it: `nvidia-smi mig`, step by step, with the way back.

The commands come from whoever plans; here each is bound to the GPU's UUID, checked against the layout it must find and
must leave, and undone by making the layout before it again. Nothing is begun while work holds the GPU: a mode that is
asked for then stays pending, and comes with the next reset when nobody expects it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Permission, Preview, Undetermined
from backends.changes.command import SUDO, argv_of, contact, how_it_ended, is_sudo, last_line, root_permission, run
from backends.changes.mig_layout import MigLayout, commands, hits, option
from backends.changes.mig_state import MigGpu, MigState, busy_words, in_the_way, processes_on, state_of
from backends.changes.step import Reach, Step, Told, Verdict
from backends.contract import GpudeckError, StepFailed

APPLY_SECONDS = 120.0
VERIFY_SECONDS = 6.0
"""nvidia-smi returns when it is done: what is not there soon never comes."""
END_FIRST = "end what runs there first: jobs, dcgm, dcgm-exporter, nvsm"
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
class MigStep(Step):
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
    held_by: tuple[int, ...] = ()
    """Pids in the GPU instances it takes away, as they were read when it was planned."""
    apply_seconds: float = APPLY_SECONDS
    verify_seconds: float = VERIFY_SECONDS

    @property
    def place(self) -> str:
        return f"node {self.gpu.node}"

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
    def undo_note(self) -> str:
        if self.before.restorable:
            return "" if all(place.start is not None for place in self.before.places) else "placements may differ"
        return "GPU instances with several compute instances are not made again"

    def describe(self) -> str:
        return f"on {self.gpu.node}: {shlex.join(self.argv)}"

    def verified_by(self) -> str:
        return f"nvidia-smi shows {self.after.words}"

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [await root_permission(reach, self.gpu.node, sudo=is_sudo(self.argv))]

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        """Everything on the GPUs: nvidia-smi tells no instance beside a process."""
        ending = [step.gpu for step in steps if step.instances != set()]
        return await _on_gpus(ending, [step.gpu for step in steps], reach)

    async def preview(self, reach: Reach) -> Preview:
        effect = f"{self.before.words} -> {self.after.words}"
        cost = None
        if self.sets_mode and self.before.enabled == self.after.enabled:
            effect = f"{self.after.words}; what waits for a reset is taken back"
        elif self.sets_mode:
            cost = MODE_COSTS.get(self.architecture, MODE_COSTS[None]).get(self.after.enabled)
        busy = await self._in_the_way(reach, self.stopped)
        obstacles = (f"{busy_words(self.gpu, busy)}; {END_FIRST}",) if busy else ()
        return Preview((effect,), () if cost is None else (cost,), obstacles)

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.gpu.node, told)
        found = await _found(reach, self.gpu, _prefix(self.argv))
        if not found.layout.is_like(self.before) or (found.pending is not None and not self.sets_mode):
            raise StepFailed(
                f"{self.gpu.label} is not as planned: {found.told(self.gpu)}, expected {self.before.words}",
                found.layout.hidden_words or "somebody else has changed it: plan it again",
                untouched=True,
            )
        busy = await self._in_the_way(reach, ())
        if busy:
            raise StepFailed(busy_words(self.gpu, busy), END_FIRST, untouched=True)
        return await _run(reach, self.gpu, self.argv, self.apply_seconds)

    async def _in_the_way(self, reach: Reach, stopped: Sequence[str]) -> list[str]:
        """The processes that keep the driver from it. Raises StepFailed: a look changes nothing."""
        ends = self.instances
        if ends == set():
            return []
        try:
            processes = await processes_on(reach, self.gpu)
        except GpudeckError as error:
            raise StepFailed(error.message, error.hint, untouched=True) from error
        return in_the_way(processes, pids=None if ends is None else self.held_by, stopped=stopped)

    async def check(self, reach: Reach) -> Verdict:
        return _verdict(await state_of(reach, self.gpu, _prefix(self.argv)), self.after, self.gpu)

    def undo(self) -> Step | None:
        if not self.before.restorable:
            return None
        return MigLayoutStep(self.gpu, self.before, self.after, sudo=is_sudo(self.argv), stopped=self.stopped)

    def to_json(self) -> dict[str, Any]:
        return {
            **_gpu_json(self.gpu),
            "argv": list(self.argv),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "architecture": self.architecture,
            "stopped": list(self.stopped),
            "held_by": list(self.held_by),
            "apply_seconds": self.apply_seconds,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            _gpu(document),
            argv_of(document["argv"]),
            MigLayout.from_json(document["before"]),
            MigLayout.from_json(document["after"]),
            document.get("architecture"),
            argv_of(document.get("stopped", ())),
            tuple(int(pid) for pid in document.get("held_by", ())),
            float(document["apply_seconds"]),
        )


@dataclass(frozen=True, slots=True)
class MigLayoutStep(Step):
    """Makes a whole layout, whatever is there; the undo of every `MigStep`. Its commands follow from what it finds."""

    kind: ClassVar[str] = "mig-layout"

    gpu: MigGpu
    layout: MigLayout
    expected: MigLayout
    """What is there as far as the plan knows: the commands it tells beforehand are those from here."""
    sudo: bool = False
    stopped: tuple[str, ...] = ()
    """Services that are stopped when it comes to this step."""
    apply_seconds: float = 3 * APPLY_SECONDS
    verify_seconds: float = VERIFY_SECONDS
    repeatable: bool = True

    @property
    def place(self) -> str:
        return f"node {self.gpu.node}"

    def describe(self) -> str:
        lines = self._commands(self.expected)
        return "\n".join(f"on {self.gpu.node}: {shlex.join(line)}" for line in lines) or "nothing: it is so already"

    def verified_by(self) -> str:
        return f"nvidia-smi shows {self.layout.words}"

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [await root_permission(reach, self.gpu.node, sudo=self.sudo)]

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        ending = [step.gpu for step in steps if await step.ends_work(reach)]
        return await _on_gpus(ending, [step.gpu for step in steps], reach)

    async def preview(self, reach: Reach) -> Preview:
        """What it does when the steps before it have come to where they should."""
        found = await state_of(reach, self.gpu, self._prefix)
        if found.pending is not None:
            return Preview((found.told(self.gpu),))
        effects = (f"{self.expected.words} -> {self.layout.words}",)
        if not self._disturbs(found):
            return Preview(effects)
        busy = in_the_way(await processes_on(reach, self.gpu), pids=None, stopped=self.stopped)
        return Preview(effects, obstacles=(f"{busy_words(self.gpu, busy)}; {END_FIRST}",) if busy else ())

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.gpu.node, told)
        found = await _found(reach, self.gpu, self._prefix)
        said = "it was so already"
        if found.pending is not None:
            # Asking for the mode that is there takes a pending one back.
            argv = (*self._prefix, *self.gpu.mode_argv(found.layout.enabled))
            told(shlex.join(argv))
            said = await _run(reach, self.gpu, argv, APPLY_SECONDS)
        for argv in self._commands(found.layout):
            told(shlex.join(argv))
            said = await _run(reach, self.gpu, argv, APPLY_SECONDS)
        return said

    async def check(self, reach: Reach) -> Verdict:
        return _verdict(await state_of(reach, self.gpu, self._prefix), self.layout, self.gpu)

    async def ends_work(self, reach: Reach) -> bool:
        """Whether anything that may be in use goes as things are now; raises GpudeckError."""
        return self._disturbs(await state_of(reach, self.gpu, self._prefix))

    def _disturbs(self, found: MigState) -> bool:
        return any(hits(argv) != set() for argv in self._commands(found.layout))

    @property
    def _prefix(self) -> tuple[str, ...]:
        return SUDO if self.sudo else ()

    def _commands(self, found: MigLayout) -> list[tuple[str, ...]]:
        return [(*self._prefix, *argv) for argv in commands(str(self.gpu.index), found, self.layout)]

    def to_json(self) -> dict[str, Any]:
        return {
            **_gpu_json(self.gpu),
            "layout": self.layout.to_json(),
            "expected": self.expected.to_json(),
            "sudo": self.sudo,
            "stopped": list(self.stopped),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            _gpu(document),
            MigLayout.from_json(document["layout"]),
            MigLayout.from_json(document["expected"]),
            bool(document["sudo"]),
            argv_of(document.get("stopped", ())),
        )


async def _on_gpus(ending: Sequence[MigGpu], gpus: Sequence[MigGpu], reach: Reach) -> BlastRadius:
    """Everything on the GPUs whose work is ended; `gpus` are all that are touched."""
    apps = [app for gpu in dict.fromkeys(ending) for app in await processes_on(reach, gpu)]
    unknown = Undetermined("their users, pods and models", "nvidia-smi tells processes alone")
    return BlastRadius(
        processes=tuple(apps),
        gpus=tuple(gpu.label for gpu in dict.fromkeys(gpus)),
        undetermined=(unknown,) if apps else (),
    )


def _verdict(found: MigState, wanted: MigLayout, gpu: MigGpu) -> Verdict:
    """Whether the GPU has the layout; one whose mode waits for a reset has none that lasts."""
    return Verdict(found.pending is None and found.layout.is_like(wanted), found.told(gpu))


async def _found(reach: Reach, gpu: MigGpu, prefix: Sequence[str]) -> MigState:
    """`state_of` before anything is done: a failure has changed nothing."""
    try:
        return await state_of(reach, gpu, prefix)
    except StepFailed:
        raise
    except GpudeckError as error:
        raise StepFailed(error.message, error.hint, untouched=True) from error


async def _run(reach: Reach, gpu: MigGpu, argv: Sequence[str], seconds: float) -> str:
    ran = await run(reach, gpu.node, argv, seconds)
    if ran.status != 0:
        raise StepFailed(f"{shlex.join(argv)} {how_it_ended(ran)}", _hint(last_line(ran)))
    return last_line(ran) or "exit status 0"


def _hint(said: str) -> str:
    if "in use" in said.lower():
        return END_FIRST
    if "insufficient resources" in said.lower():
        return "there is no room for these instances in this order: plan another layout"
    return ""


def _prefix(argv: Sequence[str]) -> tuple[str, ...]:
    return SUDO if is_sudo(argv) else ()


def _gpu_json(gpu: MigGpu) -> dict[str, Any]:
    return {"node": gpu.node, "index": gpu.index, "uuid": gpu.uuid}


def _gpu(document: Mapping[str, Any]) -> MigGpu:
    return MigGpu(str(document["node"]), int(document["index"]), str(document["uuid"]))
