"""The degradation radar: each GPU against the same boards that do the same.

Peers are GPUs of the same model in the same load class (idle, busy, at their power limit, as the driver's clock event
reasons tell), MIG apart. A figure is an outlier when it lies outside both a share of the peers' median and a multiple
of their spread (median absolute deviation). No utilisation is compared: it does not tell what a GPU gets done.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backends.domain import Evidence, Finding, Gpu, Severity, plural
from backends.triage import hits, steps
from backends.triage.memory import Increase
from backends.triage.rule import PART_GPUS, SiteJudge, finding, of_gpu, parts
from backends.triage.rules.clocks import is_slowed
from backends.triage.state import NodeView, Peer, PeerClass, SiteState, load_class
from backends.triage.words import duration

MIN_PEERS = 7
"""Other GPUs in the class: an eight-GPU node has as many. Below it nothing is claimed."""
SPREADS = 6.0
"""A figure must lie so many robust standard deviations from the median."""
FEW_SHARE = 0.25
"""More outliers than this share are no outliers: the class holds two kinds."""
MAD_TO_SIGMA = 1.4826
"""Median absolute deviation times this estimates the standard deviation of normal data."""
SLOPE_SECONDS = 3600.0
SLOPE_WATCHED_SECONDS = 600.0
SLOPE_ERRORS = 100
"""Corrected ECC errors within an hour; below it a rate means nothing."""
SLOPE_FACTOR = 10.0
"""How many times the rate of the worst but one of the peers."""
COUNT_FACTOR = 20.0
WORKING = ("busy", "power-capped")
PEERS = "gpudeck: peers"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that is alike on GPUs that do the same."""

    rule: str
    label: str
    unit: str
    value: Callable[[Gpu], float | None]
    classes: tuple[str, ...]
    low_is_bad: bool
    share: float
    """The least distance from the median, as a share of it."""
    least: float
    """The least distance in the figure's unit."""
    severity: Severity
    claim: str
    cause: str
    raise_seconds: float = 20.0
    first_seconds: float = 4.0
    """See `Rule`: heat comes minutes after work, a clock at once."""


def _working_clock(gpu: Gpu) -> float | None:
    """The SM clock of a GPU in a performance state for work, that no heat, power brake or setting holds down."""
    reasons = gpu.clocks.event_reasons or ()
    if is_slowed(gpu) or "applications_clocks_setting" in reasons or (gpu.performance_state or 0) > 2:
        return None
    return gpu.clocks.sm_mhz


def _working_memory_clock(gpu: Gpu) -> float | None:
    return None if (gpu.performance_state or 0) > 2 else gpu.clocks.memory_mhz


METRICS: tuple[Metric, ...] = (
    Metric(
        "radar-clock", "SM clock", "MHz", _working_clock, ("busy",), True, 0.2, 100.0, Severity.WARNING,
        "runs at {value} MHz where its {peers} run at {median}",
        "likely a board that is ill or starved of power, or clocks locked by hand: the driver gives no reason",
    ),
    Metric(
        "radar-memory-clock", "memory clock", "MHz", _working_memory_clock, ("busy",), True, 0.1, 100.0,
        Severity.WARNING, "runs its memory at {value} MHz where its {peers} run at {median}",
        "likely a board that is ill, or clocks that were locked by hand",
    ),
    Metric(
        "radar-temperature", "temperature", "°C", lambda gpu: gpu.temperature.gpu_celsius, ("power-capped",), False,
        0.0, 15.0, Severity.INFO, "is at {value} °C where its {peers} at full power are at {median}",
        "likely its place in the air flow, a fan, or a heat sink that has come loose", 300.0, 300.0,
    ),
    Metric(
        "radar-memory-size", "memory", "GiB", lambda gpu: _gib(gpu.memory.total_bytes), ("idle", *WORKING), True, 0.01,
        0.2, Severity.WARNING, "has {value} GiB of memory where its {peers} have {median}",
        "likely memory that the driver took out of use after errors",
    ),
    Metric(
        "radar-power-limit", "power limit", "W", lambda gpu: gpu.power.limit_watts, ("idle", *WORKING), True, 0.05,
        5.0, Severity.INFO, "may draw {value} W where its {peers} may draw {median}",
        "likely a limit set by hand (nvidia-smi -pl), or by the machine",
    ),
)  # fmt: skip
"""What is compared over the whole site."""


def _gib(count: int | None) -> float | None:
    return None if count is None else round(count / 1024**3, 1)


def judge(metric: Metric) -> Callable[[SiteState], Iterator[Finding]]:
    """The rule of a metric."""

    def outliers(state: SiteState) -> Iterator[Finding]:
        for peer_class, peers in state.peers.items():
            if peer_class.load in metric.classes:
                yield from _outliers(metric, peer_class, peers)

    return outliers


def counts(metric: Metric) -> Callable[[NodeView], int]:
    def count(view: NodeView) -> int:
        return sum(load_class(gpu) in metric.classes and metric.value(gpu) is not None for gpu in view.gpus)

    return count


def _outliers(metric: Metric, peer_class: PeerClass, peers: Sequence[Peer]) -> Iterator[Finding]:
    measured = [(peer, value) for peer in peers if (value := metric.value(peer.gpu)) is not None]
    if len(measured) <= MIN_PEERS:
        return
    values = [value for _, value in measured]
    if min(values) == max(values):
        return
    median = statistics.median(values)
    bound = _bound(values, median, metric)
    outside = [
        (peer, value) for peer, value in measured if (median - value if metric.low_is_bad else value - median) > bound
    ]
    if len(outside) <= FEW_SHARE * len(measured):
        for peer, value in outside:
            yield _outlier(metric, peer_class, peer, value, median, values)


def _bound(values: Sequence[float], median: float, metric: Metric) -> float:
    """How far from the median a figure must lie."""
    spread = statistics.median(abs(value - median) for value in values)
    return max(SPREADS * MAD_TO_SIGMA * spread, metric.share * abs(median), metric.least)


def _outlier(
    metric: Metric, peer_class: PeerClass, peer: Peer, value: float, median: float, values: Sequence[float]
) -> Finding:
    view, gpu = peer
    peers = plural(len(values) - 1, "peer")
    return finding(
        metric.rule,
        metric.severity,
        of_gpu(view, gpu),
        metric.claim.format(value=f"{value:g}", median=f"{median:g}", peers=peers),
        view.now,
        evidence=[
            Evidence(f"{metric.label} {value:g} {metric.unit}", None, "nvml"),
            Evidence(
                f"{peers} ({peer_class.name}, {peer_class.load}): median {median:g},"
                f" from {min(values):g} to {max(values):g} {metric.unit}",
                None,
                "peers",
            ),
        ],
        cause=metric.cause,
        hits=hits.of_gpu(gpu),
        steps=[
            steps.command(f"on {view.name}: everything the driver says", f"nvidia-smi -q -i {gpu.index}"),
            steps.open_gpu(view, gpu, "charts"),
        ],
        source=PEERS,
    )


STRAGGLER_SHARE = 0.8


def stragglers(view: NodeView) -> Iterator[Finding]:
    """The one slow GPU of a job over all GPUs of a node: the same user's same command runs on each of them."""
    gangs: defaultdict[tuple[str | None, str], list[tuple[Gpu, float]]] = defaultdict(list)
    for gpu in view.gpus:
        clock = _working_clock(gpu)
        if clock is not None and gpu.processes and len(gpu.processes) == 1 and load_class(gpu) == "power-capped":
            process = gpu.processes[0]
            if process.command is not None:
                gangs[process.user, process.command].append((gpu, clock))
    for members in gangs.values():
        if len(members) <= MIN_PEERS:
            continue
        median = statistics.median(clock for _, clock in members)
        for gpu, clock in members:
            if clock < STRAGGLER_SHARE * median:
                yield _straggler(view, gpu, clock, median, len(members) - 1)


def _straggler(view: NodeView, gpu: Gpu, clock: float, median: float, peers: int) -> Finding:
    return finding(
        "radar-straggler",
        Severity.WARNING,
        of_gpu(view, gpu),
        f"holds its job back: {clock:g} MHz where the {peers} other GPUs of the job run at {median:g}",
        view.now,
        evidence=[
            Evidence(f"SM clock {clock:g} MHz at its power limit", None, "nvml"),
            Evidence(f"{peers} GPUs with the same command: median {median:g} MHz", None, "peers"),
        ],
        cause="likely a board that needs more power for the same clock, or whose limit is lower",
        hits=hits.of_gpu(gpu),
        steps=[
            steps.command(f"on {view.name}: its limits", f"nvidia-smi -q -d POWER,CLOCK,PERFORMANCE -i {gpu.index}"),
            steps.open_gpu(view, gpu),
        ],
        source=PEERS,
    )


def ecc_slope(state: SiteState) -> Iterator[Finding | None]:
    """Corrected errors that grow much faster than on every peer: cells that are about to fail."""
    by_model: defaultdict[str, list[tuple[Peer, Increase]]] = defaultdict(list)
    for peer_class, peers in state.peers.items():
        for some in parts(peers, PART_GPUS):
            yield None
            for peer in some:
                grown = peer.view.memory.increase(peer.gpu.key, "ecc_corrected", state.now, SLOPE_SECONDS)
                if grown is not None:
                    by_model[peer_class.name].append((peer, grown))
    for members in by_model.values():
        if len(members) <= MIN_PEERS:
            continue
        second = sorted(grown.count for _, grown in members)[-2]
        least = max(SLOPE_ERRORS, SLOPE_FACTOR * second)
        yield None
        for peer, grown in members:
            count, seconds = grown.count, grown.seconds
            if count >= least and seconds >= SLOPE_WATCHED_SECONDS:
                yield _error_outlier(
                    "radar-ecc",
                    peer,
                    f"corrects {count:,} memory errors within {duration(seconds)}; no peer more than {second:,}",
                    f"{count:,} corrected ECC errors within {duration(seconds)}",
                    f"{plural(len(members) - 1, 'peer')}: at most {second:,}",
                    "likely memory cells that are about to fail",
                    since=grown.began_at,
                )


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of errors that stands near zero on a sound board."""

    rule: str
    label: str
    name: str
    """In `backends.triage.memory.COUNTERS`."""
    least: int
    cause: str
    since: str = "the driver was loaded"

    def value(self, view: NodeView, gpu: Gpu) -> int | None:
        return view.memory.latest(gpu.key, self.name)


COUNTERS: tuple[Counter, ...] = (
    Counter(
        "radar-ecc-count", "corrected ECC errors", "ecc_corrected", 1000,
        "likely memory cells that are about to fail",
    ),
    Counter(
        "radar-replays", "PCIe replays", "pcie_replays", 1000,
        "likely a PCIe link at the edge: seating, riser, cable or slot",
    ),
    Counter(
        "radar-link-errors", "NVLink errors", "link_errors", 1000,
        "likely an NVLink at the edge: bridge, cable, connector or switch port", "the links came up",
    ),
)  # fmt: skip
"""Totals since the driver was loaded or the links came up: a note, because nobody knows when they came."""


def judge_count(counter: Counter) -> SiteJudge:
    def outliers(state: SiteState) -> Iterator[Finding | None]:
        by_model: defaultdict[str, list[tuple[Peer, int]]] = defaultdict(list)
        for peer_class, peers in state.peers.items():
            for some in parts(peers, PART_GPUS):
                yield None
                by_model[peer_class.name] += [
                    (peer, value) for peer in some if (value := counter.value(*peer)) is not None
                ]
        for members in by_model.values():
            yield None
            if len(members) > MIN_PEERS:
                yield from _count_outliers(counter, members)

    return outliers


def counts_of(counter: Counter) -> Callable[[NodeView], int]:
    return lambda view: sum(counter.value(view, gpu) is not None for gpu in view.gpus)


def _count_outliers(counter: Counter, members: Sequence[tuple[Peer, int]]) -> Iterator[Finding]:
    ordered = sorted(value for _, value in members)
    usual = ordered[int(0.9 * (len(ordered) - 1))]
    least = max(counter.least, COUNT_FACTOR * usual, usual + 1)
    for peer, value in members:
        if value >= least:
            yield _error_outlier(
                counter.rule,
                peer,
                f"counts {value:,} {counter.label}; 9 of 10 peers at most {usual:,}",
                f"{value:,} {counter.label} since {counter.since}",
                f"{plural(len(members) - 1, 'peer')}: 9 of 10 at most {usual:,}, the worst {ordered[-1]:,}",
                counter.cause,
                Severity.INFO,
            )


def _error_outlier(
    rule: str,
    peer: Peer,
    claim: str,
    own: str,
    others: str,
    cause: str,
    severity: Severity = Severity.WARNING,
    since: float | None = None,
) -> Finding:
    view, gpu = peer
    return finding(
        rule,
        severity,
        of_gpu(view, gpu),
        claim,
        view.now if since is None else since,
        evidence=[Evidence(own, None, "nvml"), Evidence(others, None, "peers")],
        cause=cause,
        hits=hits.of_gpu(gpu),
        steps=[
            steps.command(f"on {view.name}: everything the driver says", f"nvidia-smi -q -i {gpu.index}"),
            steps.open_gpu(view, gpu),
        ],
        source=PEERS,
    )


def ecc_off(state: SiteState) -> Iterator[Finding]:
    """ECC switched off on a board whose peers run with it."""
    by_model: defaultdict[str, list[Peer]] = defaultdict(list)
    for peer_class, peers in state.peers.items():
        by_model[peer_class.name] += [peer for peer in peers if peer.gpu.ecc.enabled is not None]
    for members in by_model.values():
        off = [peer for peer in members if peer.gpu.ecc.enabled is False]
        if not off or len(members) <= MIN_PEERS or len(members) - len(off) < 0.75 * (len(members) - 1):
            continue
        for peer in off:
            yield _error_outlier(
                "ecc-off",
                peer,
                "runs without ECC, its peers with it",
                "ECC mode is off",
                f"on for {len(members) - len(off)} of {plural(len(members) - 1, 'peer')}",
                "likely switched off by hand: memory errors go unnoticed",
            )
