"""What the steps of a MIG change have in common: the looks before anything is done, the commands, what is seen."""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from backends.changes.change import BlastRadius, Permission, Undetermined
from backends.changes.command import SUDO, how_it_ended, is_sudo, last_line, root_permission, run
from backends.changes.mig_layout import MigLayout
from backends.changes.mig_state import Holder, MigGpu, MigState, busy_words, in_the_way, processes_on, state_of
from backends.changes.step import Reach, Step, Verdict
from backends.contract import GpudeckError, StepFailed

APPLY_SECONDS = 120.0
VERIFY_SECONDS = 6.0
"""nvidia-smi returns when it is done: what is not there soon never comes."""
END_FIRST = "end what runs there first: jobs, dcgm, dcgm-exporter, nvsm"
_NO_MORE = "nvidia-smi tells processes alone"


class MigGpuStep(Step):
    """What every step on one GPU shares."""

    gpu: MigGpu
    stopped: tuple[str, ...]
    """Services that an earlier step stops."""

    @property
    def place(self) -> str:
        return f"node {self.gpu.node}"

    @property
    @abstractmethod
    def prefix(self) -> tuple[str, ...]:
        """What stands before each command: sudo, or nothing."""

    async def permissions(self, reach: Reach) -> Sequence[Permission]:
        return [await root_permission(reach, self.gpu.node, sudo=bool(self.prefix))]

    async def obstacles(self, reach: Reach, ended: Collection[int] | None) -> tuple[str, ...]:
        """Who is in these GPU instances, None: on the whole GPU, and is not stopped by then."""
        return await self.obstacles_on(self.gpu, reach, ended)

    async def obstacles_on(self, gpu: MigGpu, reach: Reach, ended: Collection[int] | None) -> tuple[str, ...]:
        busy = await _holders(reach, gpu, ended, self.stopped)
        return (f"{busy_words(gpu, busy)}; {END_FIRST}",) if busy else ()

    async def need_nobody(self, reach: Reach, ended: Collection[int] | None, gpu: MigGpu | None = None) -> None:
        """Right before the first command: one that the driver refuses half-way leaves half a layout.

        `gpu` is the one that is looked at, by default the step's own. Raises StepFailed where somebody is in these GPU
        instances, None: on the whole GPU.
        """
        looked_at = self.gpu if gpu is None else gpu
        busy = await _holders(reach, looked_at, ended)
        if busy:
            raise StepFailed(busy_words(looked_at, busy), END_FIRST, untouched=True)


class MigCommandStep(MigGpuStep):
    """One nvidia-smi command, from the layout `before` to `after`."""

    argv: tuple[str, ...]
    before: MigLayout
    after: MigLayout

    @property
    def prefix(self) -> tuple[str, ...]:
        return SUDO if is_sudo(self.argv) else ()

    def describe(self) -> str:
        return f"on {self.gpu.node}: {shlex.join(self.argv)}"

    def verified_by(self) -> str:
        return f"nvidia-smi shows {self.after.words}"

    async def check(self, reach: Reach) -> Verdict:
        return verdict_of(await state_of(reach, self.gpu, self.prefix), self.gpu, self.after)

    def to_json(self) -> dict[str, Any]:
        return {
            **gpu_json(self.gpu),
            "argv": list(self.argv),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "stopped": list(self.stopped),
        }


async def found_before(reach: Reach, gpu: MigGpu, prefix: Sequence[str]) -> MigState:
    """`state_of` before anything is done: a failure has changed nothing."""
    try:
        return await state_of(reach, gpu, prefix)
    except StepFailed:
        raise
    except GpudeckError as error:
        raise StepFailed(error.message, error.hint, untouched=True) from error


async def _holders(
    reach: Reach, gpu: MigGpu, ended: Collection[int] | None, stopped: Sequence[str] = ()
) -> list[Holder]:
    """The processes that keep the driver from ending these GPU instances, None: the whole GPU.

    `stopped` are services that are stopped before. Raises StepFailed: a look changes nothing.
    """
    if ended is not None and not ended:
        return []
    try:
        return in_the_way(await processes_on(reach, gpu), ended=ended, stopped=stopped)
    except GpudeckError as error:
        raise StepFailed(error.message, error.hint, untouched=True) from error


async def on_gpus(ending: Sequence[tuple[MigGpu, set[int] | None]], reach: Reach) -> BlastRadius:
    """Whose processes are in the GPU instances that steps end; None: of a whole GPU. Raises GpudeckError."""
    apps: list[Holder] = []
    unknown: list[Undetermined] = []
    for gpu in dict.fromkeys(gpu for gpu, _ in ending):
        ends = [instances for each, instances in ending if each == gpu]
        ended = None if None in ends else {gi for instances in ends for gi in instances or ()}
        if ended != set():
            apps += in_the_way(await processes_on(reach, gpu), ended=ended)
            unknown = [Undetermined("containers that hold it and run nothing", _NO_MORE)]
    if apps:
        unknown = [Undetermined("their users, pods and models", _NO_MORE), *unknown]
    return BlastRadius(
        processes=tuple(app.words for app in apps),
        gpus=tuple(dict.fromkeys(gpu.label for gpu, _ in ending)),
        undetermined=tuple(unknown),
    )


async def run_on(reach: Reach, gpu: MigGpu, argv: Sequence[str], seconds: float) -> str:
    """What the command says last. Raises StepFailed."""
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


def verdict_of(found: MigState, gpu: MigGpu, *wanted: MigLayout) -> Verdict:
    """Whether the GPU has one of the layouts; one whose mode waits for a reset has none that lasts."""
    there = found.pending is None and any(found.layout.is_like(each) for each in wanted)
    return Verdict(there, found.told(gpu))


def gpu_json(gpu: MigGpu) -> dict[str, Any]:
    return {"node": gpu.node, "index": gpu.index, "uuid": gpu.uuid}


def gpu_from_json(document: Mapping[str, Any]) -> MigGpu:
    return MigGpu(str(document["node"]), int(document["index"]), str(document["uuid"]))
