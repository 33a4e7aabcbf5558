"""Which NVLinks of a node should be up and are not: one judgement for triage and for every screen.

Links without a bridge or a switch are down by design: four cards of twelve links each with no bridge between them are
well, and so are cards that use four of them. A link is missed when it worked before, or when it works on nearly all
boards of the same model on the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from backends.domain import Gpu, Link

MIN_PEERS = 3
"""Other boards of the model on the node; with fewer only a link that worked before is missed."""
USUAL_SHARE = 0.75


@dataclass(slots=True)
class _Usual:
    """What the boards of one model on a node tell of their links."""

    boards: int = 0
    active: Counter[int] = field(default_factory=Counter)
    """Link -> boards on which it is active."""


def missed_links(
    gpus: Sequence[Gpu], worked_before: Callable[[str], Collection[int]] = lambda key: ()
) -> dict[str, tuple[Link, ...]]:
    """`Gpu.key` -> the links that should be up and say that they are not; GPUs that miss none are left out.

    `gpus` are those of one node; a lost one is not judged and judges nobody. `worked_before` of a key tells the numbers
    of the links that have been seen active, where somebody has looked before.
    """
    answering = [gpu for gpu in gpus if not gpu.lost]
    usual: dict[str | None, _Usual] | None = None
    found: dict[str, tuple[Link, ...]] = {}
    for gpu in answering:
        inactive = _inactive(gpu)
        if not inactive:
            continue
        usual = _usual(answering) if usual is None else usual
        own, before = usual[gpu.name], worked_before(gpu.key)
        peers = own.boards - 1
        missed = tuple(
            link
            for link in inactive
            if link.index in before or (peers >= MIN_PEERS and own.active[link.index] >= USUAL_SHARE * peers)
        )
        if missed:
            found[gpu.key] = missed
    return found


def misses_links(gpu: Gpu, around: Sequence[Gpu]) -> tuple[Link, ...]:
    """Those that `gpu` misses, as the boards of its node tell: `around`, itself among them."""
    return missed_links(around).get(gpu.key, ()) if not gpu.lost and _inactive(gpu) else ()


def _inactive(gpu: Gpu) -> list[Link]:
    return [link for link in gpu.links or () if link.active is False]


def _usual(gpus: Sequence[Gpu]) -> dict[str | None, _Usual]:
    models: dict[str | None, _Usual] = {}
    for gpu in gpus:
        if gpu.links:
            usual = models.setdefault(gpu.name, _Usual())
            usual.boards += 1
            usual.active.update(link.index for link in gpu.links if link.active)
    return models
