"""The change that cuts a GPU up anew, made of the commands of whoever planned it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from backends.changes.change import Change, Target, new_id
from backends.changes.command import SUDO, Check, CommandStep
from backends.changes.mig import MigStep
from backends.changes.mig_commands import NO_NAMES, after, option
from backends.changes.mig_holders import NOT_ASKED, radius
from backends.changes.mig_layout import MigLayout, Place
from backends.changes.mig_reset import MigResetStep
from backends.changes.mig_state import MigGpu
from backends.changes.step import Step
from backends.contract import ConfigError
from backends.domain import Gpu
from backends.ownership import Ownership

_LOOKS = frozenset({"-L", "-lgi", "-lci", "-lgip", "-lgipp", "--query-gpu", "-q"})
"""nvidia-smi options that only look: each step does that by itself."""


def mig_change(
    *,
    site: str,
    node: str,
    gpu: Gpu,
    lines: Sequence[str],
    reason: str,
    now: float,
    sudo: bool = False,
    old: MigLayout | None = None,
    wish: str | None = None,
    names: Mapping[str, str] = NO_NAMES,
    ownership: Ownership | None = None,
    unasked: str = NOT_ASKED,
) -> Change:
    """The change that runs `lines`, a planner's commands in order, on a GPU.

    Besides nvidia-smi's MIG commands these may be `nvidia-smi --gpu-reset` and `systemctl stop|start` of what holds the
    GPU open; lines that only look are left out. `old` is the layout to start from, by default the one of `gpu`'s
    reading; `wish` is what the title says; `names` are the board's profiles by their ids, which steps tell where their
    command has the id; `sudo` puts `sudo -n` before each, as a line does that begins with sudo itself; `ownership` is
    what the site's platform tells of the node, None where it told nothing, for the reason `unasked`. Raises ConfigError
    for any other command, and for one that does not name this GPU alone.
    """
    if gpu.uuid is None:
        raise ConfigError(f"gpu{gpu.index} of {node} has told no UUID", "it cannot be told apart from its neighbours")
    place = MigGpu(node, gpu.index, gpu.uuid)
    layout = old or MigLayout.of(gpu.mig)
    steps, layout = _steps(place, gpu, lines, layout, names, sudo=sudo)
    if not steps:
        raise ConfigError(f"{place.label} needs no change", f"it has {layout.words}")
    cuts = [step for step in steps if isinstance(step, MigStep)]
    ended: list[set[int] | None] = [step.instances for step in cuts]
    resets = any(isinstance(step, MigResetStep) for step in steps)
    return Change(
        id=new_id(now),
        title=f"MIG layout of {place.label}: {wish or layout.short}",
        reason=reason,
        site=site,
        targets=(Target("gpu", place.label, node, gpu.key, gpu.index),),
        steps=tuple(steps),
        radius=radius(
            place.label, gpu, [*ended, None] if resets else ended, node=node, ownership=ownership, unasked=unasked
        ),
        disruptive=resets or any(step.instances != set() for step in cuts if step.before.places),
    )


def _steps(
    place: MigGpu, gpu: Gpu, lines: Sequence[str], layout: MigLayout, names: Mapping[str, str], *, sudo: bool
) -> tuple[list[Step], MigLayout]:
    """The steps of the command lines, and the layout behind the last of them; raises ConfigError."""
    steps: list[Step] = []
    stopped: list[str] = []
    taken: dict[Place, Place] = {}
    """GPU instance without its compute instances -> as it was."""
    pending = gpu.mig.pending
    for line in lines:
        words = tuple(word for word in shlex.split(line) if word not in SUDO)
        by_root = sudo or len(words) < len(shlex.split(line))
        step, layout = _step(place, gpu, words, layout, SUDO if by_root else (), pending, names)
        if isinstance(step, MigResetStep) or (isinstance(step, MigStep) and step.sets_mode):
            pending = None  # nothing waits any longer
        if isinstance(step, MigStep):
            step = replace(step, stopped=tuple(stopped), restores=_restored(step, taken))
            taken |= {replace(place, computes=()): place for place in step.before.places if place.computes}
        elif isinstance(step, MigResetStep):
            step = replace(step, stopped=tuple(stopped))
        elif words[:2] == ("systemctl", "stop"):
            stopped += words[2:]
        elif words[:2] == ("systemctl", "start"):
            stopped = [unit for unit in stopped if unit not in words[2:]]
        if step is not None:
            steps.append(step)
    return steps, layout


def _restored(step: MigStep, taken: Mapping[Place, Place]) -> MigLayout | None:
    """What its undo makes, where it destroys GPU instances that steps before it have emptied."""
    whole = (place if place in step.after.places else taken.get(place, place) for place in step.before.places)
    layout = replace(step.before, places=tuple(whole))
    return None if layout == step.before else layout


def _step(
    gpu: MigGpu,
    reading: Gpu,
    words: tuple[str, ...],
    layout: MigLayout,
    prefix: tuple[str, ...],
    pending: bool | None,
    names: Mapping[str, str],
) -> tuple[Step | None, MigLayout]:
    """The step of one command, None for one that only looks; and the layout behind it. `pending`: see `Mig`."""
    if words[:1] == ("systemctl",):
        return _service(gpu.node, words, prefix), layout
    if words[:1] == ("nvidia-smi",) and _LOOKS.intersection(word.partition("=")[0] for word in words):
        return None, layout
    named = option(words, "-i", "--id")
    if words[:1] != ("nvidia-smi",) or not named or named not in (str(gpu.index), gpu.uuid, reading.pci_bus_id):
        raise ConfigError(
            f"{shlex.join(words)!r} is not about gpu{gpu.index} alone", f"it must be nvidia-smi ... -i {gpu.index}"
        )
    if option(words, "--gpu-reset", "-r") is not None:
        # Instances do not outlive a reset, and a mode that was pending is there afterwards.
        fresh = MigLayout(layout.enabled if pending is None else pending)
        return MigResetStep(gpu, (*prefix, *words), layout, fresh), fresh
    left = after(layout, words, names)
    if left is None:
        raise ConfigError(
            f"{shlex.join(words)!r} is no MIG command that can be followed", "-mig, -cgi, -cci, -dci and -dgi can"
        )
    return MigStep(gpu, (*prefix, *words), layout, left, reading.architecture), left


def _service(node: str, words: tuple[str, ...], prefix: tuple[str, ...]) -> CommandStep:
    verb, units = words[1:2], words[2:]
    if verb not in (("stop",), ("start",)) or not units or any(unit.startswith("-") for unit in units):
        raise ConfigError(f"{shlex.join(words)!r} is no systemctl stop or start", "only those can be undone")
    look = ("systemctl", "is-active", *units)
    # One word a unit; "inactive" does not contain "active" as a word. Statuses: active, not active, no such unit.
    running = Check(look, pattern=r"\A(active\s*)+\Z", statuses=(0,), words=_must(units, "run"))
    stopped = Check(look, pattern=r"\A(?!(.|\n)*\bactive\b)", statuses=(0, 3, 4), words=_must(units, "be stopped"))
    stops = verb == ("stop",)
    return CommandStep(
        node,
        (*prefix, *words),
        check_after=stopped if stops else running,
        undo_argv=(*prefix, "systemctl", "start" if stops else "stop", *units),
        undo_check=running if stops else stopped,
        needs_root=True,
        repeatable=True,
    )


def _must(units: Sequence[str], be: str) -> str:
    return f"{'each ' if len(units) > 1 else ''}must {be}"
