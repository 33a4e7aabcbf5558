"""PCIe links that are narrower or slower than they should be, and links that repeat packets.

A GPU's link is compared with its own maximum and with the same boards around it: a machine whose slots are all narrow
was built so, unless others of its make are not. An idle GPU lowers its generation; so does no board under load.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from backends.domain import Evidence, Finding, Gpu, NextStep, Severity, plural
from backends.triage import hits, steps
from backends.triage.rule import GPUDECK, PART_NODES, finding, of_gpu
from backends.triage.state import Machine, NodeView, SiteState, load_class, machine_of
from backends.triage.words import duration

MIN_PEERS = 3
"""Other GPUs of the same model on the node: with fewer, what is usual there is not known."""
MIN_NODES = 3
"""Other machines of the same make, where the node itself does not tell what is usual."""
USUAL_SHARE = 0.75
REPLAYS_SECONDS = 600.0
REPLAYS_MANY = 60
"""In ten minutes; a sound link repeats none for days."""
REPLAYS_WATCHED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Figure:
    """Width or generation of a link."""

    rule: str
    word: str
    """Before its number."""
    value: Callable[[Gpu], int | None]
    """None where it tells nothing now."""
    most: Callable[[Gpu], int | None]


WIDTH = Figure("pcie-width", "x", lambda gpu: gpu.pcie.width, lambda gpu: gpu.pcie.max_width)
GENERATION = Figure(
    "pcie-generation",
    "generation ",
    lambda gpu: gpu.pcie.generation if load_class(gpu) in ("busy", "power-capped") else None,
    lambda gpu: gpu.pcie.max_generation,
)


def narrow(state: SiteState) -> Iterator[Finding | None]:
    return _judged(state, WIDTH)


def slow_generation(state: SiteState) -> Iterator[Finding | None]:
    """Only under load, told by the clock event reasons."""
    return _judged(state, GENERATION)


def has_width(gpu: Gpu) -> bool:
    return gpu.pcie.width is not None and gpu.pcie.max_width is not None and not gpu.vgpu.is_guest


def has_generation(gpu: Gpu) -> bool:
    return gpu.pcie.generation is not None and gpu.pcie.max_generation is not None and not gpu.vgpu.is_guest


def has_replays(gpu: Gpu) -> bool:
    return gpu.pcie.replay_count is not None


def _judged(state: SiteState, figure: Figure) -> Iterator[Finding | None]:
    """Nothing where the same boards in machines of the same make are no better: it was built so."""
    makes: dict[_Make, _Values] | None = None
    for place, view in enumerate(state.views):
        if place % PART_NODES == 0:
            yield None
        slow = [gpu for gpu in view.gpus if _is_slow(gpu, figure)]
        machine = machine_of(view) if slow else None
        for gpu in slow:
            around = _around(view, gpu, figure)
            own = figure.value(gpu) or 0
            if len(around) >= MIN_PEERS and max(around) > own:
                if 2 * sum(value > own for value in around) >= len(around):
                    usual = Counter(around).most_common(1)[0][0]
                    told = f"its {plural(len(around), 'peer')} on the node: {figure.word}{usual}"
                    yield _slow(view, gpu, figure, told, Severity.WARNING)
                continue
            if makes is None:
                makes = _makes(state, figure)
            elsewhere = makes[_make(view, machine, gpu)].but(view.name)
            if elsewhere.nodes >= MIN_NODES:
                usual, count = elsewhere.values.most_common(1)[0]
                total = elsewhere.values.total()
                if usual > own and count >= USUAL_SHARE * total:
                    told = f"{figure.word}{usual} on {count} of {plural(total, 'board')} in other machines of its make"
                    yield _slow(view, gpu, figure, told, Severity.WARNING)
            elif len(around) < MIN_PEERS:
                few = f"{plural(len(around), 'peer')} on the node, {plural(elsewhere.nodes, 'other node')} of its make"
                yield _slow(view, gpu, figure, f"{few}: too few to tell whether it was built so", Severity.INFO)


def _is_slow(gpu: Gpu, figure: Figure) -> bool:
    now, most = figure.value(gpu), figure.most(gpu)
    return bool(now and most and now < most) and not gpu.vgpu.is_guest


def _around(view: NodeView, gpu: Gpu, figure: Figure) -> list[int]:
    """The figure of the other boards of the model on the node."""
    values = (figure.value(peer) for peer in view.gpus if peer is not gpu and peer.name == gpu.name)
    return [value for value in values if value is not None]


_Make: TypeAlias = tuple[Machine | None, str | None, int]
"""Of a machine, and the model of the board in it; with how many boards, for they share the lanes."""


def _make(view: NodeView, machine: Machine | None, gpu: Gpu) -> _Make:
    return (machine, gpu.name, 0 if view.node is None else len(view.node.gpus))


class _Values:
    """A figure of the boards of one make: how many show which, by node and in all."""

    def __init__(self) -> None:
        self.by_node: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.all: Counter[int] = Counter()

    def but(self, node: str) -> _Elsewhere:
        own = self.by_node.get(node, Counter())
        return _Elsewhere(len(self.by_node) - (node in self.by_node), self.all - own)


class _Elsewhere(NamedTuple):
    nodes: int
    values: Counter[int]


def _makes(state: SiteState, figure: Figure) -> dict[_Make, _Values]:
    makes: defaultdict[_Make, _Values] = defaultdict(_Values)
    for view in state.views:
        machine = machine_of(view)
        for gpu in view.gpus:
            value = figure.value(gpu)
            if value is not None:
                values = makes[_make(view, machine, gpu)]
                values.by_node[view.name][value] += 1
                values.all[value] += 1
    return makes


def _slow(view: NodeView, gpu: Gpu, figure: Figure, compared: str, severity: Severity) -> Finding:
    now, most = f"{figure.word}{figure.value(gpu)}", f"{figure.word}{figure.most(gpu)}"
    return finding(
        figure.rule,
        severity,
        of_gpu(view, gpu),
        f"runs its PCIe link at {now} of {most}",
        view.now,
        evidence=[
            Evidence(f"{now}, at most {most}", None, "nvml"),
            Evidence(compared, None, "peers"),
            *_replay_evidence(view, gpu),
        ],
        cause="likely the card or its riser is not well seated, or a lane of the slot is bad",
        hits=hits.of_gpu(gpu),
        steps=_what_to_do(view, gpu),
        source="gpudeck: peers",
    )


def replays(view: NodeView) -> Iterator[Finding]:
    if not view.memory.has_growth:
        return
    for gpu in view.gpus:
        grown = view.memory.increase(gpu.key, "pcie_replays", view.now, REPLAYS_SECONDS)
        if grown is None or grown.count < REPLAYS_MANY or grown.seconds < REPLAYS_WATCHED_SECONDS:
            continue
        yield finding(
            "pcie-replays",
            Severity.WARNING,
            of_gpu(view, gpu),
            "repeats packets on its PCIe link",
            view.now if grown.began_at is None else grown.began_at,
            evidence=_replay_evidence(view, gpu),
            cause="likely a link at the edge: seating, riser, cable or slot",
            hits=hits.of_gpu(gpu),
            steps=_what_to_do(view, gpu),
            source=GPUDECK,
        )


def _replay_evidence(view: NodeView, gpu: Gpu) -> list[Evidence]:
    count = gpu.pcie.replay_count
    if not count:
        return []
    lines = [Evidence(f"{plural(count, 'replay')} counted", None, "nvml")]
    grown = view.memory.increase(gpu.key, "pcie_replays", view.now, REPLAYS_SECONDS)
    if grown is not None and grown.count:
        lines.append(Evidence(f"{grown.count:,} of them within {duration(grown.seconds)}", None, "nvml"))
    return lines


def _what_to_do(view: NodeView, gpu: Gpu) -> list[NextStep]:
    slot = (gpu.pci_bus_id or "").partition(":")[2]
    return [
        steps.command(
            f"on {view.name}: what the slot and the card agreed on",
            f"lspci -s {slot} -vv | grep -E 'LnkCap|LnkSta'" if slot else "nvidia-smi -q -d PCIE",
        ),
        steps.drain(view),
        steps.advice("power the machine off, seat the card and its riser anew"),
        steps.open_gpu(view, gpu),
    ]
