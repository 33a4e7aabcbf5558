"""One cause, one finding: what follows from another is folded into it.

`EXPLAINS` says which finding explains which, how far it reaches and within what time. `Rule.together` then makes one
finding of the same trouble on several GPUs of a node, `Rule.across` one of the same on a good part of the site.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase
from functools import lru_cache

from backends.domain import Evidence, Finding, NextStep
from backends.triage import hits
from backends.triage.alike import Group, across, together, wide
from backends.triage.rule import EVIDENCE_KEPT, FOLDED_KEPT, STEPS_KEPT, Rule
from backends.triage.rules.recovery import DRIVER

SOON = 120.0
"""What follows from a fault comes within two minutes of it."""


class Reach(Enum):
    GPU = "the same GPU"
    NODE = "any GPU of the node, and the node"
    HELD = "what was so on the node when it was last read, and had begun just before"


@dataclass(frozen=True, slots=True)
class Explains:
    causes: tuple[str, ...]
    """Rules that explain, with * as a wildcard."""
    follows: tuple[str, ...]
    reach: Reach
    within: float | None = None
    """Seconds between the beginnings of the two; None: whenever."""
    one_node: bool = False
    """Not where the cause is so on a good part of the site: what one of its nodes had before did not follow from it."""


_CHANNELS = ("xid-8", "xid-13", "xid-31", "xid-32", "xid-43", "xid-45", "xid-68", "xid-69", "xid-137")
"""Work that is torn down on GPUs which shared a job with the sick one."""
_MEMORY_XIDS = ("xid-48", "xid-63", "xid-64", "xid-94", "xid-95", "xid-140", "xid-171", "xid-172")
_LINK_XIDS = ("xid-74", "xid-136", "xid-14[4-9]", "xid-150", "xid-155")
_FIRMWARE_XIDS = ("xid-62", "xid-119", "xid-120", "xid-143")
_GRAVE_XIDS = (*_MEMORY_XIDS, *_LINK_XIDS, *_FIRMWARE_XIDS, "xid-46", "xid-79", "xid-109", "xid-110", "xid-15[678]")
_ASKED = ("recovery-action", "xid-154")
_PLUGIN = ("gpu-allocatable", "operand-device-plugin", "operand-validator")
"""What a sick GPU does to the platform: the device plugin takes it out, the validation on its node fails."""
_NODE_OF_PLATFORM = ("platform-node", "driver-upgrade", "mig-manager")
_HUNG = "nvml-stall"
_OWN_ALERT = ("monitoring-operator",)
"""What the GPU Operator's own alerts say half an hour later."""

EXPLAINS: tuple[Explains, ...] = (
    Explains(("gpu-lost",), ("*",), Reach.GPU),
    Explains(("gpu-lost",), ("nvlink-down-peer", "nvml-stall"), Reach.NODE),
    Explains(("gpu-lost",), (*_CHANNELS, *_LINK_XIDS, "xid-79", "fabric-unhealthy", "sxid-*"), Reach.NODE, SOON),
    Explains(("gpu-lost",), (*_PLUGIN, "operand-dcgm*", "alloc-idle"), Reach.NODE),
    Explains(("node-unreachable", "node-access"), ("operand-*", "gpu-allocatable", *_NODE_OF_PLATFORM), Reach.NODE),
    Explains(("operand-driver",), ("node-unreadable", "driver-upgrade", "gpu-allocatable"), Reach.NODE),
    Explains(("fabric-manager", "fabric-not-ready"), ("operand-fabric-manager", "operand-validator"), Reach.NODE),
    Explains(("platform-node",), ("operand-*", "gpu-allocatable", "driver-upgrade"), Reach.NODE),
    Explains(("operand-*",), ("gpu-allocatable", "alloc-idle"), Reach.NODE),
    Explains(("operand-*", "gpu-allocatable", "gpu-lost", "node-unreachable"), _OWN_ALERT, Reach.NODE),
    Explains(_NODE_OF_PLATFORM, _OWN_ALERT, Reach.NODE),
    Explains(("operator-component", "nfd", "operator-policy"), _OWN_ALERT, Reach.NODE),
    Explains(("operand-engine",), ("alloc-*",), Reach.NODE),
    Explains(("operator-component",), ("nfd", "operator-policy"), Reach.NODE),
    Explains(("nfd",), ("operator-policy",), Reach.NODE),
    Explains(("mig-manager",), ("mig-pending", "mig-stuck"), Reach.NODE),
    Explains(("sxid-fatal",), (*_LINK_XIDS, "nvlink-*", "fabric-*", "radar-link-errors", "sxid-nonfatal"), Reach.NODE),
    Explains(("sxid-fatal",), (*_CHANNELS, "recovery-action", "xid-154"), Reach.NODE, SOON),
    Explains(("xid-79",), ("sxid-*",), Reach.NODE, SOON),
    Explains(("gpu-missing",), ("nvlink-down*", "fabric-unhealthy", "xid-79"), Reach.NODE),
    Explains(("fabric-manager",), ("fabric-*", "nvlink-node", "nvlink-down"), Reach.NODE),
    Explains(("fabric-not-ready",), ("fabric-unhealthy", "nvlink-*"), Reach.NODE),
    Explains(("nvlink-node",), ("nvlink-*", "fabric-unhealthy"), Reach.NODE),
    Explains(("row-remap-failed",), ("row-remap-pending", "ecc-uncorrected", "radar-ecc*", *_MEMORY_XIDS), Reach.GPU),
    Explains(("ecc-uncorrected",), ("row-remap-pending", "page-*", "radar-ecc*", *_MEMORY_XIDS), Reach.GPU),
    Explains(("row-remap-pending", "page-retirement-pending"), ("xid-63", "xid-94", "radar-ecc*"), Reach.GPU),
    Explains(("nvlink-down",), ("nvlink-errors", "radar-link-errors", *_LINK_XIDS), Reach.GPU),
    Explains(("nvlink-down",), ("fabric-unhealthy",), Reach.NODE),
    Explains(("nvlink-down",), _LINK_XIDS, Reach.NODE, SOON),
    Explains(("row-remap-*", "ecc-uncorrected", "nvlink-down", *_GRAVE_XIDS), _PLUGIN, Reach.NODE),
    Explains(("xid-74",), ("nvlink-errors", "fabric-unhealthy", "radar-link-errors"), Reach.GPU),
    Explains(("xid-119", "xid-120"), ("nvml-stall", "node-slow"), Reach.NODE),
    Explains(("row-remap-*", "page-*", "ecc-uncorrected", "nvlink-down", *_GRAVE_XIDS), _ASKED, Reach.GPU),
    Explains(("row-remap-failed", "ecc-uncorrected", "nvlink-down", *_GRAVE_XIDS), _CHANNELS, Reach.NODE, SOON),
    Explains(("hw-thermal",), ("sw-thermal", "hw-slowdown", "radar-*clock", "radar-temperature"), Reach.GPU),
    Explains(("power-brake",), ("hw-slowdown", "radar-*clock", "radar-straggler"), Reach.GPU),
    Explains(("sw-thermal",), ("radar-*clock", "radar-temperature", "radar-straggler"), Reach.GPU),
    Explains(("radar-power-limit",), ("radar-straggler",), Reach.GPU),
    Explains(("radar-power-limit",), ("power-limit",), Reach.NODE),
    Explains(("pcie-width",), ("pcie-generation", "pcie-replays", "radar-replays"), Reach.GPU),
    Explains(("pcie-generation",), ("pcie-replays", "radar-replays"), Reach.GPU),
    Explains(("pcie-replays",), ("radar-replays",), Reach.GPU),
    Explains(("nvlink-errors",), ("radar-link-errors",), Reach.GPU),
    Explains(("radar-ecc",), ("radar-ecc-count",), Reach.GPU),
    Explains(("ecc-off",), ("radar-memory-size",), Reach.GPU),
    Explains(("mig-stuck",), ("mig-pending",), Reach.GPU),
    Explains(("fallback-transport",), ("kernel-log",), Reach.NODE),
    Explains(("node-unreachable", "node-unreadable"), ("xid-*", "sxid-*"), Reach.NODE, 600.0, one_node=True),
    Explains(("node-unreachable",), ("node-unreadable", "node-access"), Reach.NODE),
    Explains(("node-unreachable", "node-unreadable"), ("node-flapping", "node-slow", "nvml-stall"), Reach.NODE),
    Explains(("nvml-stall",), ("node-slow",), Reach.NODE),
    Explains(("node-*", "nvml-stall"), ("*",), Reach.HELD, SOON, one_node=True),
)
"""The first line that holds decides."""


def group(
    findings: Sequence[Finding],
    rule_of: Callable[[Finding], Rule],
    *,
    held: Collection[str] = frozenset(),
    gpus_of: Mapping[str, int],
    nodes: int,
    told: Collection[str] = frozenset(),
) -> list[Group]:
    """`findings` by cause. `held` are ids of those not told now, `gpus_of` the GPUs of each node, `nodes` their sum.

    `told` are ids of what was told last: what is gone stays what it was told as, and is not told anew.
    """
    groups = _folded(findings, held, nodes, rule_of)
    groups = together(groups, rule_of, gpus_of, told)
    groups = across(groups, rule_of, nodes, told)
    return [each for each in groups if each.finding.gone_at is None or each.finding.id in told]


# --- what follows from another ---------------------------------------------------------------------------------------


def _folded(
    findings: Sequence[Finding], held: Collection[str], nodes: int, rule_of: Callable[[Finding], Rule]
) -> list[Group]:
    many = wide(findings, rule_of, nodes)
    by_node: defaultdict[str | None, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_node[finding.subject.node].append(finding)
    causes: dict[str, Finding] = {}
    for finding in findings:
        cause = _cause(finding, by_node[finding.subject.node], held, many)
        if cause is not None:
            causes[finding.id] = cause
    followers: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        root = _root(finding, causes)
        if root is not finding:
            followers[root.id].append(finding)
    roots = [finding for finding in findings if _root(finding, causes) is finding]
    return [
        Group(_with(root, followers[root.id], rule_of), frozenset({root.id}), _extent(root, nodes)) for root in roots
    ]


def _extent(finding: Finding, nodes: int) -> int:
    """How many whole nodes of a site's `nodes` it is about."""
    if finding.subject.node is None:
        return nodes
    return int(finding.subject.gpu_key is None)


def _cause(finding: Finding, around: Sequence[Finding], held: Collection[str], many: Collection[str]) -> Finding | None:
    """What explains `finding`, among those of the same node."""
    if len(around) < 2:
        return None
    for line in _lines_of(finding.rule):
        for other in around:
            if other is finding or not _is_any(other.rule, line.causes) or (line.one_node and other.id in many):
                continue
            if _reaches(line, other, finding, held):
                return other
    return None


@lru_cache(maxsize=512)
def _lines_of(rule: str) -> tuple[Explains, ...]:
    return tuple(line for line in EXPLAINS if _is_any(rule, line.follows))


@lru_cache(maxsize=4096)
def _is_any(rule: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(rule, pattern) for pattern in patterns)


def _reaches(line: Explains, cause: Finding, finding: Finding, held: Collection[str]) -> bool:
    if line.within is not None and not _is_soon(cause, finding, line.within):
        return False
    match line.reach:
        case Reach.GPU:
            return cause.subject.gpu_key is not None and cause.subject.gpu_key == finding.subject.gpu_key
        case Reach.NODE:
            return cause.rule != finding.rule
        case Reach.HELD:
            # Something grave is not hidden behind something light, and what stood for long is no consequence.
            grave = finding.severity.rank > cause.severity.rank
            return finding.id in held and cause.id not in held and not grave


def _is_soon(cause: Finding, finding: Finding, within: float) -> bool:
    """Of what happens again and again the newest time decides: an older one had a cause of its own."""
    return any(abs(start - finding.begun_at) <= within for start in (cause.since, cause.begun_at))


def _root(finding: Finding, causes: Mapping[str, Finding]) -> Finding:
    """The end of the chain of causes; a ring ends where it began to repeat, at its first finding by id."""
    seen = [finding]
    while (cause := causes.get(seen[-1].id)) is not None:
        if cause in seen:
            return min(seen[seen.index(cause) :], key=lambda each: each.id)
        seen.append(cause)
    return seen[-1]


def _with(root: Finding, followers: Sequence[Finding], rule_of: Callable[[Finding], Rule]) -> Finding:
    if not followers:
        return root
    asked = [finding for finding in followers if finding.rule in _ASKED]
    # Where NVML hangs, nvidia-smi does too: what needs neither comes first.
    hung = [finding for finding in followers if finding.rule == _HUNG]
    first = [step for finding in (*hung, *asked) for step in finding.steps]
    return replace(
        root,
        severity=max((root, *followers), key=lambda each: each.severity.rank).severity,
        since=min((root.since, *(each.begun_at for each in followers if _dates(each, root, rule_of)))),
        evidence=_evidence((root, *followers)),
        hits=hits.merged(each.hits for each in (root, *followers) if each is root or not _is_told_by(root, each)),
        steps=_steps((*first, *root.steps)),
        advice_source=f"{DRIVER}, {root.advice_source}" if asked else root.advice_source,
        folded=tuple(_told(finding, root) for finding in followers)[:FOLDED_KEPT],
    )


def _dates(follower: Finding, root: Finding, rule_of: Callable[[Finding], Rule]) -> bool:
    """Whether the root began no later: its XID knows when, and what comes just before it belongs to its beginning."""
    if follower.rule in _ASKED:
        return False
    return rule_of(follower).dated or root.since - follower.begun_at <= SOON


def _is_told_by(root: Finding, follower: Finding) -> bool:
    """Of one GPU the root knows best whom it hits: a contained error ends one process, its row's remap none."""
    return bool(root.hits) and root.subject == follower.subject


def _evidence(findings: Iterable[Finding]) -> tuple[Evidence, ...]:
    """The root's own first, each line once."""
    return tuple(dict.fromkeys(line for finding in findings for line in finding.evidence))[:EVIDENCE_KEPT]


def _steps(steps: Iterable[NextStep]) -> tuple[NextStep, ...]:
    return tuple(dict.fromkeys(steps))[:STEPS_KEPT]


def _told(finding: Finding, root: Finding) -> str:
    same = finding.subject == root.subject
    return finding.claim if same else f"{finding.subject.label}: {finding.claim}"
