"""Pods that OpenShift's security context constraints refuse before they exist."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from backends.domain import Finding, Hit, NextStep, SccRefusal, Severity, Stack, Subject, clean
from backends.triage import refusals, steps
from backends.triage.hits import HITS_KEPT, TEXT_LIMIT
from backends.triage.rule import EVIDENCE_KEPT, STEPS_KEPT, finding
from backends.triage.rules.stack import GRAVE
from backends.triage.state import SiteState
from backends.triage.words import listed

NAMES_TOLD = 2


def refused(state: SiteState) -> Iterator[Finding]:
    """One finding for each namespace: its service accounts are whom SCCs are given to.

    What an operand that blocks a node has no pod for is told there.
    """
    stack = state.stack
    if stack is None:
        return
    blocking = _blocking(stack)
    apart = [each for each in stack.refused if each not in blocking]
    for namespace, group in groupby(apart, key=lambda each: each.namespace):
        yield _finding(state, namespace, list(group))


def _blocking(stack: Stack) -> list[SccRefusal]:
    found = (refusals.of_operand(stack, node.blocker.state) for node in stack.nodes if node.blocker is not None)
    return [refusal for refusal in found if refusal is not None]


def _finding(state: SiteState, namespace: str, group: list[SccRefusal]) -> Finding:
    group.sort(key=lambda each: (-_severity(each).rank, each.title))
    first, alike = group[0], len({each.why for each in group}) == 1
    if len(group) == 1:
        claim = f"SCCs refuse the pods of {first.title}: {first.why}"
    else:
        names = listed((f"{each.told.kind} {each.told.name}" for each in group), NAMES_TOLD)
        claim = f"SCCs refuse the pods of {len(group)} controllers of {namespace}, {names}" + (
            f": {first.why}" if alike else ""
        )
    return finding(
        "scc-refused",
        _severity(first),
        Subject(),
        claim,
        min(state.now, *(each.since for each in group if each.since is not None)),
        evidence=[line for each in group for line in refusals.evidence(each)][:EVIDENCE_KEPT],
        cause=refusals.cause(first),
        hits=[_hit(each) for each in group if each.operand is None][:HITS_KEPT],
        steps=[*_steps(group), steps.open_stack()],
        source=refusals.SOURCE,
        magnitude=float(len(group)),
        more=namespace,
    )


def _steps(group: list[SccRefusal]) -> list[NextStep]:
    found = dict.fromkeys(step for each in group for step in refusals.next_steps(each))
    return list(found)[: STEPS_KEPT - 1]


def _severity(refusal: SccRefusal) -> Severity:
    if refusal.operand in GRAVE:
        return Severity.CRITICAL
    return Severity.INFO if refusal.gpus is None else Severity.WARNING


def _hit(refusal: SccRefusal) -> Hit:
    missing = "" if refusal.missing is None else f" (lacks {refusal.missing} of {refusal.wanted} pods)"
    name = f"{refusal.told.kind} {refusal.told.name}"
    title = f"{refusal.namespace}/{refusal.name}"
    return Hit(clean(f"{title}{missing}, {name}", TEXT_LIMIT), processes=0, workload=title, owner=name)


def subjects(state: SiteState) -> int:
    """1 where the cluster is OpenShift and its events may be read."""
    stack = state.stack
    if stack is None or stack.platform != "openshift":
        return 0
    return int(all(each.permission.resource != "events" for each in stack.not_permitted))
