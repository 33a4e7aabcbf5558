"""The same on several GPUs of a node, and on a good part of the site: one finding.

`Rule.together` and `Rule.across` say of which rules, and how it is worded. What is gone and still watched counts no
more, but goes as the one finding that it was told as.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from backends.domain import Finding, NextStep, Subject
from backends.triage import hits, steps_together
from backends.triage.rule import EVIDENCE_KEPT, FOLDED_KEPT, STEPS_KEPT, Rule, identity

TOGETHER_GPUS = 3


@dataclass(slots=True)
class Group:
    """A finding to show."""

    finding: Finding
    causes: frozenset[str]
    """Ids of what it stands for, one or the same on many; without what follows from it."""
    nodes: int
    """How many whole nodes it is about; 0: a part of one."""


def together(
    groups: Sequence[Group], rule_of: Callable[[Finding], Rule], gpus_of: Mapping[str, int], told: Collection[str]
) -> list[Group]:
    """The same on several GPUs of a node."""
    kinds: defaultdict[tuple[str, str], list[Group]] = defaultdict(list)
    for each in groups:
        subject = each.finding.subject
        if subject.node is not None and subject.gpu_key is not None:
            kinds[each.finding.rule, subject.node].append(each)
    merged: dict[int, Group] = {}
    gone: set[int] = set()
    for (rule_id, node), same in kinds.items():
        worded = rule_of(same[0].finding).together
        total, name = gpus_of.get(node, 0), identity(rule_id, Subject(node))
        is_many = len(same) >= TOGETHER_GPUS or 1 < len(same) == total
        if worded is None or not (is_many or _is_fading(same, name, told)):
            continue
        claim = worded(_worst(same)).format(count=len(_still(same)), total=max(total, len(same)))
        look = NextStep("screen", f"look at {node}", node)
        merged[id(same[0])] = _merged(same, name, Subject(node), claim, look)
        gone.update(id(each) for each in same[1:])
    return [merged.get(id(each), each) for each in groups if id(each) not in gone]


def across(
    groups: Sequence[Group], rule_of: Callable[[Finding], Rule], nodes: int, told: Collection[str]
) -> list[Group]:
    """The same on a good part of the site's nodes."""
    kinds: defaultdict[str, list[Group]] = defaultdict(list)
    names: set[str] = set()
    for each in groups:
        template = _across_claim(each.finding, rule_of)
        if template is not None:
            kinds[template].append(each)
    merged: dict[int, Group] = {}
    gone: set[int] = set()
    for template, same in sorted(kinds.items()):
        worst = _worst(same)
        name = identity(worst.rule, Subject())
        if not (_is_across(rule_of(worst), len(same), nodes) or _is_fading(same, name, told)):
            continue
        claim = template.format(count=len(_still(same)), total=max(nodes, len(same)))
        look = NextStep("screen", "look at the fleet", "fleet")
        if name in names:
            name = identity(worst.rule, Subject(), str(len(names)))
        names.add(name)
        merged[id(same[0])] = _merged(same, name, Subject(), claim, look)
        gone.update(id(each) for each in same[1:])
    return [merged.get(id(each), each) for each in groups if id(each) not in gone]


def wide(findings: Iterable[Finding], rule_of: Callable[[Finding], Rule], nodes: int) -> frozenset[str]:
    """Ids of what is so on a good part of the site."""
    kinds: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        template = _across_claim(finding, rule_of)
        if template is not None:
            kinds[template].append(finding)
    return frozenset(
        finding.id for same in kinds.values() if _is_across(rule_of(same[0]), len(same), nodes) for finding in same
    )


def _across_claim(finding: Finding, rule_of: Callable[[Finding], Rule]) -> str | None:
    """What makes it one with those of other nodes; None where it is told on its own."""
    across = rule_of(finding).across
    if across is None or finding.subject.node is None or finding.subject.gpu_key is not None:
        return None
    return across(finding)


def _is_across(rule: Rule, count: int, nodes: int) -> bool:
    return count >= rule.across_nodes and count >= rule.across_share * nodes


def _is_fading(same: Sequence[Group], name: str, told: Collection[str]) -> bool:
    """What was told as one under `name` goes as one."""
    return name in told and all(each.finding.gone_at is not None for each in same)


def _still(same: Sequence[Group]) -> Sequence[Group]:
    """Those that are so now, where any is; the others are only watched."""
    return [each for each in same if each.finding.gone_at is None] or same


def _worst(groups: Sequence[Group]) -> Finding:
    return max((each.finding for each in groups), key=lambda finding: finding.severity.rank)


def _merged(same: Sequence[Group], name: str, subject: Subject, claim: str, look: NextStep) -> Group:
    still = _still(same)
    findings = sorted((each.finding for each in still), key=lambda finding: _place(finding.subject))
    worst = _worst(still)
    evidence = [
        replace(line, text=f"{within(finding, subject)}: {line.text}")
        for finding in findings
        for line in finding.evidence[:2]
    ]
    told = (text for finding in findings for text in (f"{within(finding, subject)}: {finding.claim}", *finding.folded))
    magnitudes = [finding.magnitude for finding in findings if finding.magnitude is not None]
    merged = replace(
        worst,
        id=name,
        subject=subject,
        claim=claim,
        since=min(each.finding.since for each in same),
        evidence=tuple(evidence[:EVIDENCE_KEPT]),
        hits=hits.merged(finding.hits for finding in findings),
        hits_known=all(finding.hits_known for finding in findings),
        steps=(*_steps(worst, findings, subject)[: STEPS_KEPT - 1], look),
        folded=tuple(dict.fromkeys(told))[:FOLDED_KEPT],
        others=() if subject.node is None else subjects_of(findings),
        magnitude=sum(magnitudes) if magnitudes else float(len(findings)),
        gone_at=None if worst.gone_at is None else max(finding.gone_at or 0.0 for finding in findings),
        settles_at=None if worst.gone_at is None else max(finding.settles_at or 0.0 for finding in findings),
    )
    causes = frozenset(cause for each in same for cause in each.causes)
    return Group(merged, causes, len({finding.subject.node for finding in findings}))


def _steps(worst: Finding, findings: Sequence[Finding], subject: Subject) -> tuple[NextStep, ...]:
    """Of each GPU of a node; of many nodes those of the one that stands for all. Their own screens are many."""
    if subject.node is not None:
        return steps_together.merged(sorted(findings, key=lambda each: -each.severity.rank))
    return tuple(dict.fromkeys(step for step in worst.steps if step.kind != "screen"))


def subjects_of(findings: Iterable[Finding]) -> tuple[Subject, ...]:
    """The GPUs that `findings` are about, each once."""
    subjects = (each for finding in findings for each in (finding.subject, *finding.others))
    return tuple(dict.fromkeys(each for each in subjects if each.gpu_key is not None))[:FOLDED_KEPT]


def _place(subject: Subject) -> tuple[str, int]:
    return (subject.node or "", -1 if subject.gpu_index is None else subject.gpu_index)


def within(finding: Finding, subject: Subject) -> str:
    """Which part of `subject` the finding is about: `gpu3` of a node, a node of the site."""
    own = finding.subject
    return own.label if subject.node is None or own.gpu_index is None else f"gpu{own.gpu_index}"
