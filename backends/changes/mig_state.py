"""How a GPU is cut up now, and who holds it, as nvidia-smi on its node says."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from backends.changes.command import how_it_ended, run
from backends.changes.mig_layout import MigLayout, parse_instances, parse_mode
from backends.changes.step import Reach
from backends.contract import GpudeckError, StepFailed
from backends.domain import clean, plural

LOOK_SECONDS = 30.0
NO_INSTANCES = 6
"""nvidia-smi's exit status where there is nothing to list (NVML_ERROR_NOT_FOUND)."""
TOLD = 4
"""As many processes are named."""
_SECTION = re.compile(r"<gpu id=.*?</gpu>", re.DOTALL)
_PROCESSES = re.compile(r"<processes>(.*?)</processes>|<processes\s*/>", re.DOTALL)
_PROCESS = re.compile(r"<process_info>(.*?)</process_info>", re.DOTALL)
_TAG = re.compile(r"<(\w+)>([^<]*)</\1>")
SERVED_BY: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(process, re.IGNORECASE), re.compile(unit, re.IGNORECASE))
    for process, unit in (
        (r"nv-hostengine|dcgm", r"dcgm"),
        (r"nvidia-persistenced", r"persistenced"),
        (r"nvsm", r"nvsm"),
    )
)
"""A process that holds the GPU for its service, and the units that end it (MIG user guide, "In use by another
client")."""


@dataclass(frozen=True, slots=True)
class MigGpu:
    """The GPU that is cut up. The index is what the commands name; the UUID is what it must be."""

    node: str
    index: int
    uuid: str

    @property
    def label(self) -> str:
        return f"{self.node} gpu{self.index}"

    def mode_argv(self, enabled: bool) -> tuple[str, ...]:
        """The command that asks for a MIG mode; asking for the one that is there takes a pending one back."""
        return ("nvidia-smi", "-i", str(self.index), "-mig", str(int(enabled)))


@dataclass(frozen=True, slots=True)
class Holder:
    """A process on a GPU."""

    pid: int
    name: str
    gi: int | None = None
    """The GPU instance that it is in; None without MIG, or where it is not told."""

    @property
    def words(self) -> str:
        """`4242 python`"""
        return clean(f"{self.pid} {self.name}", 120)


@dataclass(frozen=True, slots=True)
class MigState:
    """What the driver says of one GPU."""

    layout: MigLayout
    """As it is now, whatever is pending."""
    pending: bool | None = None
    """The mode that the GPU's next reset brings; None: none waits."""

    def told(self, gpu: MigGpu) -> str:
        """One line; of a pending mode also how it is taken back, which is safe while work runs."""
        if self.pending is None:
            return self.layout.words
        back = shlex.join(gpu.mode_argv(self.layout.enabled))
        return (
            f"MIG mode of {gpu.label} is {_on(self.layout.enabled)} and {_on(self.pending)} is pending: the GPU's next "
            f"reset brings it; taken back by: {back}"
        )


async def state_of(reach: Reach, gpu: MigGpu, prefix: Sequence[str] = ()) -> MigState:
    """The GPU as the driver has it now; raises GpudeckError, also when the index is another GPU by now."""
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
    enabled, wanted = mode
    pending = None if wanted is enabled else wanted
    if not enabled:
        return MigState(MigLayout(enabled=False), pending)
    mig = (*prefix, "nvidia-smi", "mig", "-i", str(gpu.index))
    instances = await _answer(reach, gpu.node, (*mig, "-lgi"), (0, NO_INSTANCES))
    computes = await _answer(reach, gpu.node, (*mig, "-lci"), (0, NO_INSTANCES))
    return MigState(MigLayout(True, parse_instances(instances, computes, gpu.index)), pending)


async def processes_on(reach: Reach, gpu: MigGpu) -> list[Holder]:
    """The processes on the GPU. Raises GpudeckError, also where they are not told."""
    argv = ("nvidia-smi", "-q", "-x", "-i", str(gpu.index))
    found = parse_holders(await _answer(reach, gpu.node, argv), gpu.uuid)
    if found is None:
        raise GpudeckError(f"{shlex.join(argv)} on {gpu.node} tells no processes of {gpu.label}")
    return found


def parse_holders(xml: str, uuid: str) -> list[Holder] | None:
    """The processes of one GPU in the answer of `nvidia-smi -q -x` (nvsmi_device DTD); None where they are not told."""
    section = next((each for each in _SECTION.findall(xml) if f"<uuid>{uuid}</uuid>" in each), "")
    listed = _PROCESSES.search(section)
    content = "" if listed is None else listed[1] or ""
    if listed is None or (not _PROCESS.search(content) and content.strip()):
        return None
    found = []
    for process in _PROCESS.findall(content):
        told = {tag: html.unescape(text).strip() for tag, text in _TAG.findall(process)}
        if told.get("pid", "").isdecimal():
            gi = told.get("gpu_instance_id", "")
            name = clean(told.get("process_name", "")) or "n/a"
            found.append(Holder(int(told["pid"]), name, int(gi) if gi.isdecimal() else None))
    return found


def in_the_way(
    processes: Sequence[Holder], *, ended: Collection[int] | None, stopped: Sequence[str] = ()
) -> list[Holder]:
    """Those that keep the driver from ending these GPU instances, None: the whole GPU.

    Of one that does not tell its instance nobody knows that it is in another. Services that are stopped before are
    not in the way.
    """
    if ended is not None and not ended:
        return []
    return [
        each
        for each in processes
        if (ended is None or each.gi is None or each.gi in ended) and not _ends(each, stopped)
    ]


def _ends(process: Holder, stopped: Sequence[str]) -> bool:
    name = process.name.partition(" ")[0].rpartition("/")[2]
    return any(of.search(name) and any(unit.search(each) for each in stopped) for of, unit in SERVED_BY)


def busy_words(gpu: MigGpu, processes: Sequence[Holder]) -> str:
    """Why nothing is done while `processes` hold the GPU."""
    named = ", ".join(clean(process.words, 60) for process in processes[:TOLD])
    more = f" and {len(processes) - TOLD} more" if len(processes) > TOLD else ""
    number = plural(len(processes), "process", "processes")
    return f"{number} on {gpu.label}, and the driver refuses while there is any: {named}{more}"


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"


async def _answer(reach: Reach, node: str, argv: Sequence[str], statuses: tuple[int, ...] = (0,)) -> str:
    ran = await run(reach, node, argv, LOOK_SECONDS)
    if ran.status not in statuses:
        raise GpudeckError(f"{shlex.join(argv)} on {node} {how_it_ended(ran)}")
    return ran.stdout.decode("utf-8", "replace")
