"""What a filter may ask a finding for."""

from __future__ import annotations

from collections.abc import Callable

from screens.triage_rows import FindingItem, state_word
from tui.widgets.filter.fields import SECONDS, Field, FieldTable
from tui.widgets.glyphs import SEVERITIES


def _severity(item: FindingItem) -> frozenset[str]:
    severity = item.finding.severity
    return frozenset({str(severity), SEVERITIES[severity][1]})


def _users(item: FindingItem) -> frozenset[str] | None:
    """None where workloads are hit and nobody knows whose they are."""
    hits = item.finding.hits
    users = frozenset(hit.user for hit in hits if hit.user)
    return users if users or not hits else None


def _hit_count(item: FindingItem) -> int | None:
    """None where nobody is known to be hit, and it cannot be told whether somebody is."""
    return len(item.finding.hits) or (0 if item.finding.hits_known else None)


def _of_hits(name: str) -> Callable[[FindingItem], frozenset[str]]:
    return lambda item: frozenset(told for hit in item.finding.hits if (told := getattr(hit, name)))


FINDING_FIELDS = FieldTable(
    (
        Field(
            "severity",
            "text",
            _severity,
            "how bad it is",
            "severity=critical",
            choices=tuple(word for _, word in SEVERITIES.values()),
        ),
        Field(
            "state",
            "text",
            lambda item: state_word(item.finding),
            "whether anybody has to look",
            "state=open",
            choices=("open", "acked", "recovered", "abandoned"),
        ),
        Field("node", "text", lambda item: item.finding.subject.node, "name of the node", "node~dgx-0"),
        Field(
            "gpu",
            "number",
            lambda item: item.finding.subject.gpu_index,
            "index of the GPU on its node",
            "gpu=3",
            ("index",),
        ),
        Field("rule", "text", lambda item: item.finding.rule, "what found it", "rule~ecc"),
        Field("claim", "text", lambda item: item.finding.claim, "what is so", "claim~slow", ("finding",)),
        Field("cause", "text", lambda item: item.finding.cause, "what is likely behind it", "cause~cable"),
        Field("workload", "text", _of_hits("workload"), "pod or container it hits", "workload~llama", ("pod",)),
        Field("owner", "text", _of_hits("owner"), "what owns the work it hits", "owner~triton"),
        Field(
            "namespace",
            "text",
            lambda item: frozenset(
                hit.workload.partition("/")[0] for hit in item.finding.hits if hit.workload and "/" in hit.workload
            ),
            "namespace or project it hits",
            "namespace=team-a",
            ("project", "ns"),
        ),
        Field("user", "text", _users, "whose work it hits", "user=alice", ("users",)),
        Field("hits", "number", _hit_count, "how many workloads it hits", "hits>0"),
        Field(
            "age",
            "number",
            lambda item: max(0.0, item.now - item.finding.begun_at),
            "how long it lasts: s, m, h or d",
            "age<1h",
            unit=SECONDS,
            of_the_moment=True,
        ),
    ),
    words={},
)
