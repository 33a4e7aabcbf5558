"""PCIe links that are narrower or slower than they should be, and links that repeat packets.

A GPU's link is compared with its own maximum and with the same boards around it: a machine whose slots are all narrow
was built so. An idle GPU lowers its generation; so does no board under load.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from backends.domain import Evidence, Finding, Gpu, NextStep, Severity
from backends.triage import hits, steps
from backends.triage.rule import GPUDECK, finding, of_gpu
from backends.triage.state import NodeView, is_guest, load_class
from backends.triage.words import duration, plural

MIN_PEERS = 3
"""Other GPUs of the same model on the node: with fewer, what is usual there is not known."""
REPLAYS_SECONDS = 600.0
REPLAYS_MANY = 60
"""In ten minutes; a sound link repeats none for days."""
REPLAYS_WATCHED_SECONDS = 60.0


def narrow(view: NodeView) -> Iterator[Finding]:
    for gpu in view.gpus:
        width, most = gpu.pcie.width, gpu.pcie.max_width
        if width and most and width < most and not is_guest(gpu):
            yield from _judged(view, gpu, "pcie-width", f"x{width}", f"x{most}")


def slow_generation(view: NodeView) -> Iterator[Finding]:
    """Only under load, told by the clock event reasons."""
    for gpu in view.gpus:
        now, most = gpu.pcie.generation, gpu.pcie.max_generation
        if now and most and now < most and load_class(gpu) in ("busy", "power-capped") and not is_guest(gpu):
            yield from _judged(view, gpu, "pcie-generation", f"generation {now}", f"generation {most}")


def has_width(gpu: Gpu) -> bool:
    return gpu.pcie.width is not None and gpu.pcie.max_width is not None and not is_guest(gpu)


def has_generation(gpu: Gpu) -> bool:
    return gpu.pcie.generation is not None and gpu.pcie.max_generation is not None and not is_guest(gpu)


def has_replays(gpu: Gpu) -> bool:
    return gpu.pcie.replay_count is not None


def _judged(view: NodeView, gpu: Gpu, rule: str, now: str, most: str) -> Iterator[Finding]:
    """Nothing when the node's other boards of the model are no better; a note when there are too few to tell."""
    by_width = rule == "pcie-width"
    peers = [
        peer
        for peer in view.gpus
        if peer is not gpu
        and peer.name == gpu.name
        and (peer.pcie.width if by_width else peer.pcie.generation) is not None
        and (by_width or load_class(peer) in ("busy", "power-capped"))
    ]
    own = gpu.pcie.width if by_width else gpu.pcie.generation
    values = Counter((peer.pcie.width if by_width else peer.pcie.generation) or 0 for peer in peers)
    better = sum(count for value, count in values.items() if own is not None and value > own)
    if len(peers) >= MIN_PEERS and better * 2 < len(peers):
        return
    known = len(peers) >= MIN_PEERS
    claim = f"runs its PCIe link at {now} of {most}"
    if known:
        usual = values.most_common(1)[0][0]
        compared = f"its {plural(len(peers), 'peer')} on the node: {'x' if by_width else 'generation '}{usual}"
    else:
        compared = f"{plural(len(peers), 'peer')} on the node to compare with: too few to tell whether it was built so"
    yield finding(
        rule,
        Severity.WARNING if known else Severity.INFO,
        of_gpu(view, gpu),
        claim,
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
            view.now - grown.seconds,
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
