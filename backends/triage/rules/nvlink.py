"""NVLinks that are down or count errors.

Which links should be up is for `backends.nvlinks` to judge: those without a bridge or a switch are down by design.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backends.domain import Evidence, Finding, Gpu, Link, NextStep, Severity, plural
from backends.nvlinks import missed_links
from backends.triage import hits, steps, xids
from backends.triage.rule import GPUDECK, finding, of_gpu
from backends.triage.state import NodeView
from backends.triage.words import duration, ranges

ERRORS_SECONDS = 600.0
ERRORS_MANY = 100
"""New errors of all links of a GPU in ten minutes."""
ERRORS_WATCHED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Missed:
    """A GPU and those of its links that should be up."""

    gpu: Gpu
    links: tuple[Link, ...]
    ends: frozenset[str]
    """Bus ids of their other ends, as far as they were told while the links were up."""


def links_down(view: NodeView) -> Iterator[Finding]:
    """One finding for a link that both of its GPUs miss; a link to a lost GPU follows from the loss."""
    missed = _all_missed(view)
    lost = [gpu for gpu in view.node.gpus if gpu.lost] if view.node is not None and missed else []
    switched = any(link.remote_kind == "switch" for gpu in view.gpus for link in gpu.links or ()) if missed else False
    told: set[str] = set()
    for each in missed:
        if each.gpu.key in told:
            continue
        if lost and not switched and (not each.ends or each.ends & {gpu.pci_bus_id or "" for gpu in lost}):
            yield _down(view, each, "nvlink-down-peer", None)
            continue
        other = None if switched else _other_end(each, missed)
        if other is not None:
            told.add(other.gpu.key)
        yield _down(view, each, "nvlink-down", other)


def _all_missed(view: NodeView) -> list[_Missed]:
    if not any(view.memory.has_inactive_link(gpu.key) for gpu in view.gpus):
        return []
    missed = missed_links(view.gpus, view.memory.active_links)
    found = []
    for gpu in view.gpus:
        if gpu.key in missed:
            before = view.memory.active_links(gpu.key)
            ends = (before.get(link.index) for link in missed[gpu.key])
            found.append(_Missed(gpu, missed[gpu.key], frozenset(end for end in ends if end)))
    return found


def _other_end(one: _Missed, missed: list[_Missed]) -> _Missed | None:
    """The GPU at the other end of the same links: as they were told, or the only other one that misses as many."""
    for other in missed:
        if other is not one and (other.gpu.pci_bus_id in one.ends or one.gpu.pci_bus_id in other.ends):
            return other
    others = [other for other in missed if other is not one]
    alike = len(others) == 1 and len(others[0].links) == len(one.links) and not (one.ends or others[0].ends)
    return others[0] if alike else None


def _down(view: NodeView, one: _Missed, rule: str, other: _Missed | None) -> Finding:
    gpu, missed = one.gpu, one.links
    numbers = ranges(link.index for link in missed)
    claim = f"NVLink {numbers} {'is' if len(missed) == 1 else 'are'} down"
    evidence = [Evidence(f"link {numbers} of {len(gpu.links or ())} not active", None, "nvml")]
    if other is not None:
        claim += f", to GPU {other.gpu.index}"
        ends = ranges(link.index for link in other.links)
        evidence.append(Evidence(f"GPU {other.gpu.index} sees it too: link {ends} not active", None, "nvml"))
    elif one.ends:
        evidence.append(Evidence(f"led to {', '.join(sorted(one.ends))}", None, "nvml"))
    evidence.append(Evidence(f"{_peers(view, gpu)} of the same model on the node for comparison", None, "peers"))
    errors = sum(link.errors or 0 for link in missed)
    if errors:
        evidence.append(Evidence(f"{plural(errors, 'error')} counted there", None, "nvml"))
    return finding(
        rule,
        Severity.CRITICAL,
        of_gpu(view, gpu),
        claim,
        view.now,
        evidence=evidence,
        cause="likely one end of the link, or the bridge, cable or switch between",
        hits=hits.merged([hits.of_gpu(gpu), () if other is None else hits.of_gpu(other.gpu)]),
        steps=_what_to_do(view, gpu),
        source=xids.CATALOGUE,
        magnitude=float(len(missed)),
    )


def _peers(view: NodeView, gpu: Gpu) -> str:
    return plural(sum(peer is not gpu and peer.name == gpu.name for peer in view.gpus), "board")


def link_errors(view: NodeView) -> Iterator[Finding]:
    if not view.memory.has_growth:
        return
    for gpu in view.gpus:
        grown = view.memory.increase(gpu.key, "link_errors", view.now, ERRORS_SECONDS)
        if grown is None or grown.count < ERRORS_MANY or grown.seconds < ERRORS_WATCHED_SECONDS:
            continue
        worst = max(gpu.links or (), key=lambda link: link.errors or 0, default=None)
        where = "" if worst is None else f"; most on link {worst.index}: {worst.errors or 0:,}"
        yield finding(
            "nvlink-errors",
            Severity.WARNING,
            of_gpu(view, gpu),
            "its NVLinks count errors",
            view.now if grown.began_at is None else grown.began_at,
            evidence=[Evidence(f"{grown.count:,} new errors within {duration(grown.seconds)}{where}", None, "nvml")],
            cause="likely a link at the edge: bridge, cable, connector or switch port",
            hits=hits.of_gpu(gpu),
            steps=_what_to_do(view, gpu),
            source=GPUDECK,
        )


def has_links(gpu: Gpu) -> bool:
    return bool(gpu.links) and any(link.active is not None for link in gpu.links or ())


def counts_errors(gpu: Gpu) -> bool:
    return any(link.errors is not None for link in gpu.links or ())


def _what_to_do(view: NodeView, gpu: Gpu) -> list[NextStep]:
    return [
        steps.command(f"on {view.name}: links and their errors", f"nvidia-smi nvlink -s -e -i {gpu.index}"),
        steps.drain(view),
        *steps.reset_gpu(view, gpu),
        steps.advice("does it return on the same link? then check bridge, switch and cable"),
        steps.open_gpu(view, gpu, "topology"),
    ]
