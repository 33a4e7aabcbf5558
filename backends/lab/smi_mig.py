"""`nvidia-smi` as it changes things: the MIG commands of a simulated node, in the words of the real tool."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.lab import mig
from backends.lab.hardware import SimGpu, SimMig, devices

if TYPE_CHECKING:
    from backends.lab.session import Node

CHANGE_SECONDS = 0.4
"""The driver takes its time to change something; a real MIG mode change takes seconds."""

Answer = tuple[int, str]
"""Exit status and output."""

_GI_TABLE = (
    "+-------------------------------------------------------+",
    "| GPU instances:                                        |",
    "| GPU   Name             Profile  Instance   Placement  |",
    "|                          ID       ID       Start:Size |",
    "|=======================================================|",
)
_CI_TABLE = (
    "+--------------------------------------------------------------------+",
    "| Compute instances:                                                 |",
    "| GPU     GPU       Name             Profile   Instance   Placement  |",
    "|       Instance                       ID        ID       Start:Size |",
    "|         ID                                                         |",
    "|====================================================================|",
)
_USAGE = "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"


@dataclass(frozen=True, slots=True)
class _Call:
    """One command line, taken apart."""

    node: Node
    words: tuple[str, ...]
    gpus: tuple[SimGpu, ...]
    at: float

    def option(self, *names: str) -> str | None:
        """The word behind an option, "" for none; None where it is not given."""
        for place, word in enumerate(self.words):
            key, equals, value = word.partition("=")
            if key in names:
                following = self.words[place + 1] if place + 1 < len(self.words) else "-"
                return value if equals else ("" if following.startswith("-") else following)
        return None

    def chosen(self, gpu: SimGpu) -> list[SimMig]:
        """The GPU instances that `-gi` names, all without it."""
        named = self.option("-gi")
        wanted = None if not named else {int(word) for word in named.split(",") if word.isdigit()}
        return [each for each in gpu.mig if wanted is None or each.gi in wanted]


def changes(line: str) -> bool:
    """Whether a command line changes something, and so takes its time."""
    return any(word in _CHANGING_WORDS for word in line.split())


def answer(node: Node, line: str) -> Answer | None:
    """What nvidia-smi answers to a MIG command or a query; None for a line that is neither."""
    words = tuple(word for word in shlex.split(line) if word not in ("sudo", "-n"))
    if words[:1] != ("nvidia-smi",):
        return None
    call = _Call(node, words, (), node.clock.now())
    named = call.option("-i", "--id")
    gpus = tuple(gpu for gpu in node.hardware.gpus if named in (None, str(gpu.index), gpu.uuid, gpu.pci_bus_id))
    call = _Call(node, words, gpus, node.clock.now())
    for names, run in _VERBS:
        if call.option(*names) is not None:
            return _checked(call, run) if gpus else (mig.NOT_FOUND, "No devices were found\n")
    return (mig.INVALID, _USAGE) if words[1:2] == ("mig",) else None


def _checked(call: _Call, run: Callable[[_Call], Answer]) -> Answer:
    if any(gpu.faults.lost for gpu in call.gpus):
        return 15, "Unable to determine the device handle: GPU is lost.  Reboot the system to recover this GPU\n"
    if run in _CHANGING and not call.node.hardware.machine.privileged:
        return mig.NO_PERMISSION, "Insufficient Permissions\n"
    return run(call)


# What is asked


def _query(call: _Call) -> Answer:
    fields = (call.option("--query-gpu") or "").split(",")
    known: dict[str, Callable[[SimGpu], str]] = {
        "index": lambda gpu: str(gpu.index),
        "uuid": lambda gpu: gpu.uuid,
        "name": lambda gpu: gpu.name,
        "mig.mode.current": lambda gpu: _mode(gpu, gpu.mig_on),
        "mig.mode.pending": lambda gpu: _mode(gpu, gpu.mig_wanted),
    }
    unknown = [field for field in fields if field.strip() not in known]
    if unknown:
        return mig.INVALID, f'Field "{unknown[0]}" is not a valid field to query.\n'
    return 0, "".join(", ".join(known[field.strip()](gpu) for field in fields) + "\n" for gpu in call.gpus)


def _mode(gpu: SimGpu, on: bool) -> str:
    return ("Enabled" if on else "Disabled") if gpu.board.mig else "[N/A]"


def _query_apps(call: _Call) -> Answer:
    processes = [process for gpu in call.gpus for process in call.node.meter.read(gpu, call.at).processes]
    return 0, "".join(f"{each.pid}, {each.command.split(' ')[0]}\n" for each in processes)


def _list_instances(call: _Call) -> Answer:
    rows = [
        f"|{gpu.index:4d}  MIG {each.profile.name:<15}{each.profile.profile_id:3d}{each.gi:9d}"
        f"{each.start:11d}:{each.profile.size:<6d}|"
        for gpu in call.gpus
        for each in gpu.mig
    ]
    return _table(call, _GI_TABLE, rows, "No GPU instances found: Not Found")


def _list_computes(call: _Call) -> Answer:
    rows = [
        f"|{gpu.index:4d}{each.gi:7d}       MIG {each.profile.name:<15}{each.profile.slices - 1:3d}{0:10d}"
        f"{0:11d}:{each.profile.slices:<6d}|"
        for gpu in call.gpus
        for each in devices(gpu)
    ]
    return _table(call, _CI_TABLE, rows, "No compute instances found: Not Found")


def _table(call: _Call, head: Sequence[str], rows: list[str], none: str) -> Answer:
    if not any(gpu.mig_on for gpu in call.gpus):
        return mig.NOT_FOUND, "No MIG-enabled devices found.\n"
    if not rows:
        return mig.NOT_FOUND, f"{none}\n"
    rule = head[0]
    return 0, "\n".join([*head, *(line for row in rows for line in (row, rule))]) + "\n"


# What is changed


def _set_mode(call: _Call) -> Answer:
    asked = call.option("-mig", "--multi-instance-gpu")
    if asked not in ("0", "1"):
        return mig.INVALID, _USAGE
    lines = []
    word = "enable" if asked == "1" else "disable"
    for gpu in call.gpus:
        if not gpu.board.mig:
            return 3, f"Unable to {word} MIG Mode for GPU {gpu.pci_bus_id}: Not Supported\n"
        if mig.set_mode(gpu, asked == "1", call.node.meter, call.at):
            lines.append(f"{word.capitalize()}d MIG Mode for GPU {gpu.pci_bus_id}")
        else:
            lines.append(
                f"Warning: MIG mode is in pending {word} state for GPU {gpu.pci_bus_id}:In use by another client"
            )
    return 0, "\n".join([*lines, "All done."]) + "\n"


def _create(call: _Call) -> Answer:
    compute, lines = "-C" in call.words, []
    for gpu in call.gpus:
        for word in (call.option("-cgi", "--create-gpu-instance") or "").split(","):
            name, _, start = word.partition(":")
            profile = mig.find_profile(gpu.board, name)
            made = mig.create(gpu, profile, int(start) if start.isdigit() else None, call.at, compute=compute)
            lines.append(
                f"Successfully created GPU instance ID {made.gi:2d} on GPU {gpu.index:2d} "
                f"using profile MIG {profile.name} (ID {profile.profile_id:2d})"
            )
            if compute:
                lines.append(_made_compute(gpu, made))
    return 0, "\n".join(lines) + "\n"


def _made_compute(gpu: SimGpu, made: SimMig) -> str:
    return (
        f"Successfully created compute instance ID  0 on GPU {gpu.index:2d} GPU instance ID {made.gi:2d} "
        f"using profile MIG {made.profile.name} (ID {made.profile.slices - 1:2d})"
    )


def _create_compute(call: _Call) -> Answer:
    lines = []
    for gpu in call.gpus:
        for instance in call.chosen(gpu):
            if instance.compute:
                raise mig.Refused(mig.NO_ROOM, "Unable to create a compute instance: Insufficient Resources")
            mig.set_compute(gpu, instance, True, call.node.meter, call.at)
            lines.append(_made_compute(gpu, instance))
    return 0, "\n".join(lines) + "\n"


def _destroy_compute(call: _Call) -> Answer:
    lines = []
    for gpu in call.gpus:
        for instance in [each for each in call.chosen(gpu) if each.compute]:
            mig.set_compute(gpu, instance, False, call.node.meter, call.at)
            lines.append(
                f"Successfully destroyed compute instance ID  0 from GPU {gpu.index:2d} "
                f"GPU instance ID {instance.gi:2d}"
            )
    return (0, "\n".join(lines) + "\n") if lines else (mig.NOT_FOUND, "No compute instances found: Not Found\n")


def _destroy(call: _Call) -> Answer:
    lines = []
    for gpu in call.gpus:
        for instance in call.chosen(gpu):
            mig.destroy(gpu, instance)
            lines.append(f"Successfully destroyed GPU instance ID {instance.gi:2d} from GPU {gpu.index:2d}")
    return (0, "\n".join(lines) + "\n") if lines else (mig.NOT_FOUND, "No GPU instances found: Not Found\n")


def _refusable(run: Callable[[_Call], Answer], failed: str) -> Callable[[_Call], Answer]:
    """A MIG verb: it needs MIG mode, and what it did before it was refused stays done."""

    def call_it(call: _Call) -> Answer:
        if not all(gpu.mig_on for gpu in call.gpus):
            return mig.NOT_FOUND, "No MIG-enabled devices found.\n"
        try:
            return run(call)
        except mig.Refused as refused:
            reason = refused.words.rpartition(": ")[2]
            return refused.status, f"{refused.words}\nFailed to {failed}: {reason}\n"

    return call_it


_VERBS: tuple[tuple[tuple[str, ...], Callable[[_Call], Answer]], ...] = (
    (("--query-gpu",), _query),
    (("--query-compute-apps",), _query_apps),
    (("-lgi", "--list-gpu-instances"), _list_instances),
    (("-lci", "--list-compute-instances"), _list_computes),
    (("-mig", "--multi-instance-gpu"), _set_mode),
    (("-cgi", "--create-gpu-instance"), _refusable(_create, "create GPU instances")),
    (("-cci", "--create-compute-instance"), _refusable(_create_compute, "create compute instances")),
    (("-dci", "--destroy-compute-instance"), _refusable(_destroy_compute, "destroy compute instances")),
    (("-dgi", "--destroy-gpu-instance"), _refusable(_destroy, "destroy GPU instances")),
)
"""The first option that is given names the verb."""
_CHANGING_WORDS = frozenset(name for names, _ in _VERBS[4:] for name in names)
_CHANGING = frozenset(run for _, run in _VERBS[4:])
