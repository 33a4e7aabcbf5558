"""Nodes that nobody can reach, one or all: what stood before stays told, and what answers again is said at once."""

from __future__ import annotations

import dataclasses

from backends.domain import Ecc, EccCounts, Event, Finding, Fleet, Node, NodeReading, NodeSpec, SiteSpec, Triage
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


def test_a_connection_that_breaks_again_and_again_is_told_in_order_and_each_break_once() -> None:
    cut = failed("probe-cut", machines()["n0"], name="n0", at=NOW - 5)
    times = (NOW - 200, NOW - 150, NOW - 100, NOW - 50, NOW - 4.99)
    breaks = tuple(Event(at, "n0", "disconnected", "n0: probe-cut") for at in times)
    (told,) = Triager(SITE).run(Fleet((cut,)), breaks, NOW, at_once=True).findings
    assert told.rule == "node-unreadable"
    assert [(each.text, each.at) for each in told.evidence] == [
        *(("n0: probe-cut", at) for at in times[1:4]),
        ("last reading", NOW - 6),
        ("n0: probe-cut", NOW - 5),
    ]


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
    anew = {name: dataclasses.replace(value, slow_read_at=GONE + 61) for name, value in values.items()}
    back = lasting(triager, Fleet(tuple(up(anew))), GONE + 61, 30, events)
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


def test_what_is_no_longer_so_on_a_node_that_came_back_is_not_told_as_unseen() -> None:
    triager, sick, well = Triager(SITE), machines("n3"), machines()
    others = [name for name in NAMES if name != "n3"]
    lasting(triager, Fleet(tuple(up(sick))), NOW, 30)
    lasting(triager, Fleet(tuple(up(sick))), GONE - 10, 10)
    lasting(triager, Fleet((*up(sick, *others), *down(sick, "n3"))), GONE, 8)
    back = lasting(triager, Fleet(tuple(up(well))), GONE + 9, 3)
    ecc = by_rule(back)["ecc-uncorrected"][0]
    assert (ecc.gone_at, ecc.unseen_since) == (GONE + 9, None)
    away = by_rule(lasting(triager, Fleet((*up(well, *others), *down(well, "n3"))), GONE + 13, 3))
    assert (away["ecc-uncorrected"][0].gone_at, away["ecc-uncorrected"][0].unseen_since) == (GONE + 9, GONE + 12)


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
    assert (outage.claim, outage.gone_at, outage.settles_at) == (
        "12 of 12 nodes cannot be reached",
        GONE + 62,
        GONE + 67,
    )
    assert whole.nodes_seen == 12
    over = lasting(triager, Fleet(tuple(up(values))), GONE + 63, 5)
    assert over.findings == ()
    (recovered,) = over.recovered
    assert (recovered.claim, recovered.since) == ("12 of 12 nodes cannot be reached", GONE)
    assert (recovered.recovered_at, recovered.gone_at) == (GONE + 62, None)


def test_nodes_that_come_back_one_by_one_are_one_recovery() -> None:
    triager, values = Triager(SITE), machines()
    lasting(triager, Fleet(tuple(up(values))), NOW, 30)
    lasting(triager, Fleet(tuple(down(values))), GONE, 60)
    told = set()
    for second in range(24):
        back = NAMES[: 1 + second]
        now = GONE + 61 + second
        rest = [name for name in NAMES if name not in back]
        readings = [*up(values, *back), *(down(values, *rest) if rest else ())]
        triage = triager.run(_at(now, *readings), (), now)
        told |= {each.claim for each in triage.findings if each.gone_at is not None}
    assert triage.findings == ()
    assert "2 of 12 nodes cannot be reached" not in told
    assert [each.claim for each in triage.recovered][:1] == ["12 of 12 nodes cannot be reached"]
    assert len(triage.recovered) <= 3, "at most the last two nodes were told on their own"


def test_a_site_that_falls_silent_and_then_cannot_be_reached_is_one_finding_and_nothing_of_it_has_recovered() -> None:
    triager, values = Triager(SITE), machines()
    lasting(triager, Fleet(tuple(up(values))), NOW, 30)
    for second in range(20):
        slow = triager.run(Fleet(tuple(live(values[name], GONE) for name in NAMES)), (), GONE + second)
    assert [(each.rule, each.claim) for each in slow.findings] == [
        ("node-slow", "12 of 12 nodes have sent nothing for a while")
    ]
    silent = [failed("probe-silent", values[name], name=name, at=GONE + 20) for name in NAMES]
    unread = lasting(triager, Fleet(tuple(silent)), GONE + 20, 12)
    (first,) = unread.findings
    assert (first.claim, unread.recovered) == ("12 of 12 nodes have stopped answering the probe", ())
    away = [failed("connect-timeout", values[name], name=name, at=GONE + 40) for name in NAMES]
    gone = lasting(triager, Fleet(tuple(away)), GONE + 40, 40)
    (outage,) = gone.findings
    assert (outage.claim, outage.since) == ("12 of 12 nodes do not answer", first.since)
    assert gone.recovered == ()
    back = lasting(triager, Fleet(tuple(up(values))), GONE + 100, 30)
    assert (back.findings, [each.rule for each in back.recovered]) == ((), ["node-unreachable"])


def test_a_node_that_can_be_reached_again_and_refuses_the_key_is_no_longer_unreachable() -> None:
    triager, values = Triager(SITE), machines()
    others = up(values, *(name for name in NAMES if name != "n3"))
    lasting(triager, Fleet(tuple(up(values))), NOW, 30)
    lasting(triager, Fleet((*others, *down(values, "n3"))), GONE, 30)
    refused = failed("auth-refused", values["n3"], name="n3", at=GONE + 40)
    later = lasting(triager, Fleet((*others, refused)), GONE + 40, 30)
    assert [each.rule for each in later.findings] == ["node-access"]
    assert [each.rule for each in later.recovered] == ["node-unreachable"]


def _at(now: float, *readings: NodeReading) -> Fleet:
    return Fleet(tuple(dataclasses.replace(each, at=now) if each.problem is None else each for each in readings))
