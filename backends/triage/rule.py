"""What a rule is, and how it makes findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

from backends.domain import Earlier, Evidence, Finding, Gpu, Hit, NextStep, NodeReading, Severity, Subject, clean
from backends.triage.state import NodeView, SiteState

CLAIM_LIMIT = 160
EVIDENCE_KEPT = 12
STEPS_KEPT = 8
FOLDED_KEPT = 32
EARLIER_KEPT = 8
"""Of one finding."""
PART_NODES = 64
PART_GPUS = 512
"""So many a rule over the whole site looks at, about a millisecond's work, before it lets others run."""
GPUDECK = "gpudeck"
NVML_H = "nvml.h"

T = TypeVar("T")

NodeJudge: TypeAlias = Callable[[NodeView], Iterable[Finding]]
SiteJudge: TypeAlias = Callable[[SiteState], Iterable[Finding | None]]
"""Of a whole site; None where it has looked at much and others may run."""
Count: TypeAlias = Callable[[NodeView], int]
SiteCount: TypeAlias = Callable[[SiteState], int]


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the registry. The rule itself is `judge`: a pure function of what it is given."""

    id: str
    """The `rule` of its findings, and the first part of their ids. A finding may add to it: xid makes xid-79."""
    title: str
    """For "checked: ..."."""
    severities: tuple[Severity, ...]
    """Those its findings can have."""
    subjects: Count
    """How many GPUs (nodes, ports, ...) of a node it could look at."""
    judge: NodeJudge | None = None
    """Of a rule that looks at one node at a time."""
    judge_site: SiteJudge | None = None
    """Of a rule that compares nodes."""
    timed: bool = False
    """Its result depends on the time or on the memory, not on the node's values alone."""
    about_values: bool = True
    """What it says needs current values: while the node does not answer, its findings are neither so nor over."""
    about_platform: Literal["stack", "workloads", "monitoring"] | None = None
    """What it says needs this answer of the platform: while there is none, its findings are neither so nor over."""
    recovers: bool = True
    """Its end is worth a line among what recovered."""
    dated: bool = False
    """When it began is told by its evidence, not by when the console first saw it."""
    tells_duration: bool = False
    """It claims that something has lasted for `raise_seconds`: one reading alone never shows that."""
    counts_gaps: bool = False
    """What comes and goes has lasted since it came first: a connection that is cut again and again is no better than
    one that stays away."""
    no_better: Callable[[NodeReading], bool] | None = None
    """While this holds of the node's reading, what the rule said is not over: another finding tells it got worse."""
    raise_seconds: float = 3.0
    """So long it must be so before it is a finding: what comes and goes is none."""
    first_seconds: float = 3.0
    """The same for what is so in the first reading of a node: slow and fast values are of one moment there."""
    clear_seconds: float = 20.0
    """So long it must be no longer so before it counts as recovered."""
    together: str | None = None
    """The claim when it is so of several GPUs of one node: one cause, one finding. `{count}` and `{total}` are filled
    in."""
    across: Callable[[Finding], str | None] | None = None
    """The claim when it is so of a good part of the site's nodes; the same for findings that belong together."""
    across_nodes: int = 3
    """So many nodes at least make one finding of `across`."""
    across_share: float = 0.25
    """And this share of the site's."""
    site_subjects: SiteCount | None = None
    """How much a rule about what the platform says could look at; `subjects` is not asked then."""


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Runs of `size`, the last one shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def identity(rule: str, subject: Subject, more: str = "") -> str:
    """`gpu-lost:dgx07:GPU-...`"""
    return ":".join(part for part in (rule, subject.node or "site", subject.gpu_key, more) if part)


def of_gpu(view: NodeView, gpu: Gpu) -> Subject:
    return Subject(view.name, gpu.key, gpu.index)


def of_node(view: NodeView) -> Subject:
    return Subject(view.name)


def finding(
    rule: str,
    severity: Severity,
    subject: Subject,
    claim: str,
    since: float,
    *,
    evidence: Iterable[Evidence] = (),
    cause: str | None = None,
    hits: Iterable[Hit] = (),
    hits_known: bool = True,
    steps: Iterable[NextStep] = (),
    source: str = GPUDECK,
    magnitude: float | None = None,
    again_at: float | None = None,
    earlier: Iterable[Earlier] = (),
    more: str = "",
    slot: str | None = None,
) -> Finding:
    """A finding with its stable id; `more` tells two of one rule and subject apart.

    `slot` stands for the GPU's key in the id where the key may be another after a restart: a lost GPU tells no UUID.
    """
    named = subject if slot is None else replace(subject, gpu_key=slot)
    return Finding(
        id=identity(rule, named, more),
        rule=rule,
        severity=severity,
        subject=subject,
        claim=clean(claim, CLAIM_LIMIT),
        since=since,
        evidence=tuple(evidence),
        cause=cause,
        hits=tuple(hits),
        hits_known=hits_known,
        steps=tuple(steps),
        advice_source=source,
        magnitude=magnitude,
        again_at=again_at,
        earlier=tuple(earlier)[-EARLIER_KEPT:],
    )


def gpus_where(holds: Callable[[Gpu], bool]) -> Count:
    """Counts the answering GPUs of a node for which `holds`."""
    return lambda view: sum(holds(gpu) for gpu in view.gpus)


def every_node(_view: NodeView) -> int:
    return 1


def nothing(_view: NodeView) -> int:
    """Of a rule that does not look at the nodes' own values."""
    return 0


def current_nodes(view: NodeView) -> int:
    return int(view.node is not None)
