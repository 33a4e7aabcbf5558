"""MIG changes over SSH, for nodes without an operator that does it: `nvidia-smi mig`, step by step, with the way back.

The commands come from whoever plans; here each is bound to the GPU's UUID, checked against the layout it must find and
must leave, and undone by making the layout before it again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from backends.changes.change import BlastRadius, Permission, Preview, Undetermined, counted
from backends.changes.command import SUDO, argv_of, contact, how_it_ended, is_sudo, last_line, root_permission, run
from backends.changes.mig_layout import (
    MigLayout,
    commands,
    count_computes,
    hits,
    option,
    parse_instances,
    parse_mode,
)
from backends.changes.step import Reach, Step, Told, Verdict
from backends.contract import GpudeckError, StepFailed
from backends.domain import clean

APPLY_SECONDS = 120.0
LOOK_SECONDS = 30.0
VERIFY_SECONDS = 6.0
"""nvidia-smi returns when it is done: what is not there soon never comes."""
NO_INSTANCES = 6
"""nvidia-smi's exit status where there is nothing to list (NVML_ERROR_NOT_FOUND)."""
MODE_COSTS = (
    "changing the MIG mode resets the GPU on Ampere; on Hopper and later the mode lasts until the driver is reloaded"
)


@dataclass(frozen=True, slots=True)
class MigGpu:
    """The GPU that is cut up. The index is what the commands name; the UUID is what it must be."""

    node: str
    index: int
    uuid: str

    @property
    def label(self) -> str:
        return f"{self.node} gpu{self.index}"


class MigPending(GpudeckError):
    """The MIG mode waits for a reset; neither the old layout nor the new one is there."""


async def layout_of(reach: Reach, gpu: MigGpu, prefix: Sequence[str] = ()) -> MigLayout:
    """The layout as the driver has it now; raises GpudeckError, also when the index is another GPU by now."""
    ask = ("nvidia-smi", "-i", str(gpu.index), "--format=csv,noheader")
    identity = await _answer(reach, gpu.node, (*ask, "--query-gpu=uuid"))
    if identity.strip() != gpu.uuid:
        raise StepFailed(
            f"gpu{gpu.index} of {gpu.node} is {clean(identity.strip(), 60)}, not {gpu.uuid}",
            "the order of the GPUs has changed since this was planned: plan it again",
            untouched=True,
        )
    mode = parse_mode(await _answer(reach, gpu.node, (*ask, "--query-gpu=mig.mode.current,mig.mode.pending")))
    if mode is None:
        raise StepFailed(f"{gpu.label} has no MIG mode", "", untouched=True)
    enabled, pending = mode
    if enabled != pending:
        raise MigPending(
            f"MIG mode of {gpu.label} is {_on(enabled)} and {_on(pending)} is pending",
            "stop what uses the GPU (dcgm, nvsm, jobs), then reset it: nvidia-smi --gpu-reset, or reboot",
        )
    if not enabled:
        return MigLayout(enabled=False)
    mig = (*prefix, "nvidia-smi", "mig", "-i", str(gpu.index))
    instances = await _answer(reach, gpu.node, (*mig, "-lgi"), (0, NO_INSTANCES))
    computes = await _answer(reach, gpu.node, (*mig, "-lci"), (0, NO_INSTANCES))
    return MigLayout(True, parse_instances(instances, gpu.index), count_computes(computes, gpu.index))


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"


async def _answer(reach: Reach, node: str, argv: Sequence[str], statuses: tuple[int, ...] = (0,)) -> str:
    ran = await run(reach, node, argv, LOOK_SECONDS)
    if ran.status not in statuses:
        raise GpudeckError(f"{shlex.join(argv)} on {node} {how_it_ended(ran)}")
    return ran.stdout.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class MigStep(Step):
    """One nvidia-smi command, from the layout `before` to `after`."""

    kind: ClassVar[str] = "mig"

    gpu: MigGpu
    argv: tuple[str, ...]
    before: MigLayout
    after: MigLayout
    apply_seconds: float = APPLY_SECONDS
    verify_seconds: float = VERIFY_SECONDS

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
        return await _on_gpus([step.gpu for step in steps], reach)

    async def preview(self, reach: Reach) -> Preview:
        effects = (f"{self.before.words} -> {self.after.words}",)
        warnings: list[str] = []
        if option(self.argv, "-mig") is not None:
            warnings.append(MODE_COSTS)
        if hits(self.argv) is None:
            apps = await _apps(reach, self.gpu)
            if apps:
                named = ", ".join(clean(app, 60) for app in apps[:4])
                number = counted(len(apps), "process", "processes")
                warnings.append(f"{number} on the GPU; the driver refuses until none is: {named}")
        return Preview(effects, tuple(warnings))

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.gpu.node, told)
        found = await _found(reach, self.gpu, _prefix(self.argv))
        if not found.is_like(self.before):
            raise StepFailed(
                f"{self.gpu.label} is not as planned: {found.words}, expected {self.before.words}",
                "somebody else has changed it: plan it again",
                untouched=True,
            )
        return await _run(reach, self.gpu, self.argv, self.apply_seconds)

    async def check(self, reach: Reach) -> Verdict:
        found = await layout_of(reach, self.gpu, _prefix(self.argv))
        return Verdict(found.is_like(self.after), found.words)

    def undo(self) -> Step | None:
        if not self.before.restorable:
            return None
        return MigLayoutStep(self.gpu, self.before, self.after, sudo=is_sudo(self.argv))

    def to_json(self) -> dict[str, Any]:
        return {
            **_gpu_json(self.gpu),
            "argv": list(self.argv),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "apply_seconds": self.apply_seconds,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            _gpu(document),
            argv_of(document["argv"]),
            MigLayout.from_json(document["before"]),
            MigLayout.from_json(document["after"]),
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
    apply_seconds: float = 3 * APPLY_SECONDS
    verify_seconds: float = VERIFY_SECONDS
    repeatable: bool = True

    def describe(self) -> str:
        lines = self._commands(self.expected)
        return "\n".join(f"on {self.gpu.node}: {shlex.join(line)}" for line in lines) or "nothing: it is so already"

    def verified_by(self) -> str:
        return f"nvidia-smi shows {self.layout.words}"

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [await root_permission(reach, self.gpu.node, sudo=self.sudo)]

    @classmethod
    async def hits(cls, steps: Sequence[Self], reach: Reach) -> BlastRadius:
        return await _on_gpus([step.gpu for step in steps], reach)

    async def preview(self, reach: Reach) -> Preview:
        found = await layout_of(reach, self.gpu, self._prefix)
        return Preview((f"{found.words} -> {self.layout.words}",))

    async def apply(self, reach: Reach, told: Told) -> str:
        await contact(reach, self.gpu.node, told)
        try:
            found = await layout_of(reach, self.gpu, self._prefix)
        except MigPending:
            # A mode that was asked for and never came is taken back by asking for the one that is wanted.
            mode = ("nvidia-smi", "-i", str(self.gpu.index), "-mig", str(int(self.layout.enabled)))
            await _run(reach, self.gpu, (*self._prefix, *mode), APPLY_SECONDS)
            found = await layout_of(reach, self.gpu, self._prefix)
        said = "it was so already"
        for argv in self._commands(found):
            told(shlex.join(argv))
            said = await _run(reach, self.gpu, argv, APPLY_SECONDS)
        return said

    async def check(self, reach: Reach) -> Verdict:
        found = await layout_of(reach, self.gpu, self._prefix)
        return Verdict(found.is_like(self.layout), found.words)

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
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            _gpu(document),
            MigLayout.from_json(document["layout"]),
            MigLayout.from_json(document["expected"]),
            bool(document["sudo"]),
        )


async def _apps(reach: Reach, gpu: MigGpu) -> list[str]:
    """`4242 python` of each process on the GPU. Raises GpudeckError."""
    ask = ("nvidia-smi", "-i", str(gpu.index), "--query-compute-apps=pid,name", "--format=csv,noheader")
    lines = (await _answer(reach, gpu.node, ask)).splitlines()
    return [clean(line.replace(",", ""), 120) for line in lines if line.strip()]


async def _on_gpus(gpus: Sequence[MigGpu], reach: Reach) -> BlastRadius:
    each = list(dict.fromkeys(gpus))
    apps = [app for gpu in each for app in await _apps(reach, gpu)]
    unknown = Undetermined("their users, pods and models", "nvidia-smi tells processes alone")
    return BlastRadius(
        processes=tuple(apps), gpus=tuple(gpu.label for gpu in each), undetermined=(unknown,) if apps else ()
    )


async def _found(reach: Reach, gpu: MigGpu, prefix: Sequence[str]) -> MigLayout:
    """`layout_of` before anything is done: a failure has changed nothing."""
    try:
        return await layout_of(reach, gpu, prefix)
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
        return "end what runs on the GPU first: jobs, dcgm, dcgm-exporter, nvsm"
    if "insufficient resources" in said.lower():
        return "there is no room for these instances in this order: plan another layout"
    return ""


def _prefix(argv: Sequence[str]) -> tuple[str, ...]:
    return SUDO if is_sudo(argv) else ()


def _gpu_json(gpu: MigGpu) -> dict[str, Any]:
    return {"node": gpu.node, "index": gpu.index, "uuid": gpu.uuid}


def _gpu(document: Mapping[str, Any]) -> MigGpu:
    return MigGpu(str(document["node"]), int(document["index"]), str(document["uuid"]))
