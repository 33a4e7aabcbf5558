"""Nodes that nobody can reach, one or all: what stood before stays told, and what answers again is said at once."""

from __future__ import annotations

import dataclasses

from backends.domain import Ecc, EccCounts, Finding, Fleet, Node, NodeReading, NodeSpec, SiteSpec, Triage
from backends.triage.engine import Triager
from tests.triage.makers import NOW, failed, gpu, live, node, xid
from tests.triage.test_engine import BAD, lasting

SOUND = Ecc(True, True, EccCounts(0, 0))
NAMES = tuple(f"n{number}" for number in range(12))
SITE = SiteSpec("site", nodes=tuple(map(NodeSpec, NAMES)))
GONE = NOW + 700
"""When the outage begins."""


def machines(*sick: str) -> dict[str, Node]:
    """Twelve nodes, those of `sick` with memory errors."""
    return {name: node(gpu(node=name, ecc=BAD if name in sick else SOUND), name=name) for name in NAMES}


def up(values: dict[str, Node], *names: str) -> list[NodeReading]:
    return [live(values[name]) for name in names or NAMES]


def down(values: dict[str, Node], *names: str) -> list[NodeReading]:
    return [failed("unreachable", values[name], name=name, at=GONE) for name in names or NAMES]


def by_rule(triage: Triage) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in triage.findings:
        found.setdefault(each.rule, []).append(each)
    return found


def test_what_stood_before_a_whole_site_went_away_stays_its_own_finding() -> None:
    triager, values = Triager(SITE), machines("n3")
    events = (xid(95, at=NOW - 100, node="n3"), xid(119, at=GONE - 300, node="n7"))
    lasting(triager, Fleet(tuple(up(values))), NOW, 30, events)
    lasting(triager, Fleet(tuple(up(values))), GONE - 20, 20, events)
    away = lasting(triager, Fleet(tuple(down(values))), GONE, 60, events)
    outage, crash, ecc = away.findings
    assert (outage.claim, outage.since, outage.folded[0]) == (
        "12 of 12 nodes cannot be reached",
        GONE,
        "n0: cannot be reached",
    )
    assert len(outage.folded) == 12
    assert (ecc.rule, ecc.subject.node, ecc.unseen_since) == ("ecc-uncorrected", "n3", GONE)
    assert ecc.since < NOW + 1
    assert (crash.rule, crash.subject.node, crash.unseen_since) == ("xid-119", "n7", GONE)
    assert away.recovered == ()
    back = lasting(triager, Fleet(tuple(up(values))), GONE + 61, 30, events)
    assert [(each.rule, each.unseen_since) for each in back.findings] == [("ecc-uncorrected", None), ("xid-119", None)]
    assert [each.rule for each in back.recovered] == ["node-unreachable"]


def test_what_stood_for_long_on_a_node_that_went_away_is_no_consequence_of_that() -> None:
    triager, values = Triager(SITE), machines("n3")
    others = [name for name in NAMES if name != "n3"]
    lasting(triager, Fleet(tuple(up(values))), NOW, 30)
    lasting(triager, Fleet(tuple(up(values))), GONE - 10, 10)
    away = by_rule(lasting(triager, Fleet((*up(values, *others), *down(values, "n3"))), GONE, 60))
    assert away["node-unreachable"][0].since == GONE
    assert away["node-unreachable"][0].folded == ()
    assert away["ecc-uncorrected"][0].unseen_since == GONE


def test_nodes_that_answer_again_are_no_longer_counted_and_the_last_ones_are_told_as_back() -> None:
    triager, values = Triager(SITE), machines()
    lasting(triager, Fleet(tuple(up(values))), NOW, 30)
    lasting(triager, Fleet(tuple(down(values))), GONE, 60)
    first, rest = NAMES[:5], NAMES[5:]
    part = triager.run(_at(GONE + 61, *up(values, *first), *down(values, *rest)), (), GONE + 61)
    (outage,) = part.findings
    assert (outage.claim, outage.gone_at) == ("7 of 12 nodes cannot be reached", None)
    whole = triager.run(_at(GONE + 62, *up(values)), (), GONE + 62)
    (outage,) = whole.findings
    assert (outage.gone_at, outage.settles_at) == (GONE + 62, GONE + 67)
    assert whole.nodes_seen == 12
    over = lasting(triager, Fleet(tuple(up(values))), GONE + 63, 5)
    assert over.findings == ()
    assert over.recovered[0].recovered_at == GONE + 62
    assert over.recovered[0].gone_at is None


def _at(now: float, *readings: NodeReading) -> Fleet:
    return Fleet(tuple(dataclasses.replace(each, at=now) if each.problem is None else each for each in readings))
