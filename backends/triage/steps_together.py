"""The next steps of the same trouble on several GPUs of a node: each GPU has its own, and none is lost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from backends.domain import Finding, NextStep
from backends.triage.words import listed

_ANY = "\0"
"""In the place of the GPU's number, and of what names it to nvidia-smi."""
_NAMED = re.compile(r"(?<= -i )\S+")


class _Many(NamedTuple):
    """One step, and whose it is."""

    step: NextStep
    """With `_ANY` for the GPU."""
    place: int
    """How late it comes at most among a GPU's steps."""
    gpus: dict[int, str]
    """Number -> what names it in the command; empty: the command names none."""


def merged(findings: Sequence[Finding]) -> tuple[NextStep, ...]:
    """Those of `findings`, each about one GPU, the worst first: what names the GPU names all of them, `-i 1,4,6`;
    what is not the same for all says for which it is. Screens are left out: each is of one GPU."""
    indices = [each.subject.gpu_index for each in findings if each.subject.gpu_index is not None]
    found: dict[NextStep, _Many] = {}
    for finding in findings:
        for place, step in enumerate(each for each in finding.steps if each.kind != "screen"):
            index = finding.subject.gpu_index
            shape = step if index is None else _shape(step, index)
            known = found.get(shape, _Many(shape, 0, {}))
            named = _NAMED.search(step.target)
            gpus = {} if index is None else {index: named[0] if named else ""}
            found[shape] = _Many(shape, max(place, known.place), known.gpus | gpus)
    in_order = sorted(found.values(), key=lambda many: many.place)
    return tuple(_told(many, indices) for many in in_order)


def _shape(step: NextStep, index: int) -> NextStep:
    return replace(
        step,
        text=re.sub(rf"\bGPU {index}\b", f"GPU {_ANY}", step.text),
        target=_NAMED.sub(_ANY, step.target),
    )


def _told(many: _Many, all_of: Iterable[int]) -> NextStep:
    numbers = sorted(many.gpus)
    text, target = many.step.text, many.step.target
    if _ANY in text and len(numbers) > 1:
        text = re.sub(r"\breset it\b", "reset them", text.replace(f"GPU {_ANY}", f"GPUs {listed(numbers)}"))
    elif _ANY in text:
        text = text.replace(_ANY, str(numbers[0]))
    elif numbers and set(numbers) != set(all_of):
        text = f"{listed(f'gpu{number}' for number in numbers)}: {text}"
    return replace(many.step, text=text, target=target.replace(_ANY, ",".join(many.gpus[each] for each in numbers)))
