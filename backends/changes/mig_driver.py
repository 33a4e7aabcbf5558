"""What the steps of a MIG change have in common: the looks before anything is done, the commands, what is seen."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from backends.changes.change import BlastRadius, Undetermined
from backends.changes.command import SUDO, how_it_ended, is_sudo, last_line, run
from backends.changes.mig_layout import MigLayout
from backends.changes.mig_state import Holder, MigGpu, MigState, in_the_way, processes_on, state_of
from backends.changes.step import Reach, Verdict
from backends.contract import GpudeckError, StepFailed

APPLY_SECONDS = 120.0
VERIFY_SECONDS = 6.0
"""nvidia-smi returns when it is done: what is not there soon never comes."""
END_FIRST = "end what runs there first: jobs, dcgm, dcgm-exporter, nvsm"
_NO_MORE = "nvidia-smi tells processes alone"


async def found_before(reach: Reach, gpu: MigGpu, prefix: Sequence[str]) -> MigState:
    """`state_of` before anything is done: a failure has changed nothing."""
    try:
        return await state_of(reach, gpu, prefix)
    except StepFailed:
        raise
    except GpudeckError as error:
        raise StepFailed(error.message, error.hint, untouched=True) from error


async def holders_in_the_way(
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


def prefix_of(argv: Sequence[str]) -> tuple[str, ...]:
    return SUDO if is_sudo(argv) else ()


def gpu_json(gpu: MigGpu) -> dict[str, Any]:
    return {"node": gpu.node, "index": gpu.index, "uuid": gpu.uuid}


def gpu_from_json(document: Mapping[str, Any]) -> MigGpu:
    return MigGpu(str(document["node"]), int(document["index"]), str(document["uuid"]))
