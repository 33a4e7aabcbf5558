"""What comes first of the findings of a site."""

from __future__ import annotations

import dataclasses

from backends.domain import Acknowledgement, Finding, Hit, Memory, Severity
from backends.triage.engine import Triager
from backends.triage.impact import HELD_SECONDS, Impacts, impact_of
from tests.triage.makers import NOW, failed, fleet, gpu, live, node, told
from tests.triage.test_engine import BAD, SPEC, lasting

CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def work(count: int) -> tuple[Hit, ...]:
    return tuple(Hit(f"job {number}", owner=f"Job {number}", workload=f"team/{number}-0") for number in range(count))


def hitting(finding: Finding, count: int) -> Finding:
    return dataclasses.replace(finding, hits=work(count))


def placed(*findings: Finding, nodes: dict[str, int] | None = None) -> list[str]:
    impacts = Impacts()
    for each in findings:
        impacts.note(each, (nodes or {}).get(each.rule, 0), NOW)
    return [each.rule for each in sorted(findings, key=impacts.place)]


def test_the_worst_comes_first_then_what_hits_the_most_work() -> None:
    findings = [
        told("vbios-drift", "a", severity=INFO, since=NOW),
        hitting(told("hw-thermal", "b", 0, severity=WARNING, since=NOW - 9000), 3),
        told("pcie-width", "c", 0, severity=WARNING, since=NOW - 10),
        hitting(told("power-brake", "c", 0, severity=WARNING, since=NOW - 10), 1),
        told("gpu-lost", "d", 0, severity=CRITICAL, since=NOW - 1000),
    ]
    assert placed(*findings) == ["gpu-lost", "hw-thermal", "power-brake", "pcie-width", "vbios-drift"]


def test_what_hits_nobody_knows_whom_comes_before_what_hits_nobody_and_as_one_workload_at_least() -> None:
    unknown = dataclasses.replace(told("gpu-lost", "a", 0, since=NOW - 900), hits_known=False)
    findings = [
        told("pcie-width", "b", 0, since=NOW),
        unknown,
        hitting(told("hw-thermal", "c", 0, since=NOW - 1000), 1),
        hitting(told("power-brake", "d", 0, since=NOW - 2000), 2),
    ]
    assert placed(*findings) == ["power-brake", "gpu-lost", "hw-thermal", "pcie-width"]
    assert placed(hitting(unknown, 3), findings[3]) == ["gpu-lost", "power-brake"], "what is known of it counts"
    assert impact_of((), 1, known=False) == (1, 1)


def test_of_the_same_work_the_one_of_more_nodes_comes_first_and_then_the_newest() -> None:
    findings = [
        told("xid-79", "a", 0, since=NOW - 100),
        told("gpu-lost", "a", 0, since=NOW - 5),
        told("disk-full", "b", since=NOW - 9000),
        told("node-access", None, since=NOW - 9000),
    ]
    told_order = placed(*findings, nodes={"disk-full": 1, "node-access": 7})
    assert told_order == ["node-access", "disk-full", "gpu-lost", "xid-79"]


def test_what_began_again_counts_from_then() -> None:
    again = dataclasses.replace(told("xid-48", "a", 0, since=NOW - 9000), again_at=NOW - 1)
    assert placed(told("xid-79", "a", 1, since=NOW - 60), again) == ["xid-48", "xid-79"]


def test_an_acknowledged_one_comes_after_every_open_one() -> None:
    seen = dataclasses.replace(
        hitting(told("gpu-lost", "a", 0, severity=CRITICAL), 9), acknowledged=Acknowledgement("alice", "", NOW)
    )
    assert placed(seen, told("vbios-drift", "b", severity=INFO)) == ["vbios-drift", "gpu-lost"]


def test_work_is_counted_by_its_owner() -> None:
    replicas = [Hit("r", owner="Deployment llama", workload=f"search/llama-{number}") for number in range(8)]
    assert impact_of(replicas, 0).work == 1
    elsewhere = Hit("r", owner="Deployment llama", workload="ads/llama-0")
    assert impact_of([*replicas, elsewhere], 0).work == 2
    ranks = [Hit(f"rank {pid}", "alice", pid, command="python train.py") for pid in range(2)]
    assert impact_of(ranks, 0).work == 1
    assert [impact_of(work(count), 0).work for count in (0, 1, 2, 4, 5, 16)] == [0, 1, 2, 2, 3, 3]


def test_a_process_that_comes_and_goes_moves_nothing() -> None:
    impacts = Impacts()
    flickers, steady = told("hw-thermal", "a", 0, since=NOW - 100), told("pcie-width", "b", 0, since=NOW)
    first = []
    for second in range(60):
        impacts.note(hitting(flickers, second % 2), 0, NOW + second)
        impacts.note(steady, 0, NOW + second)
        first.append(min((flickers, steady), key=impacts.place).rule)
    assert first == ["pcie-width"] + 59 * ["hw-thermal"]
    impacts.note(flickers, 0, NOW + 60 + HELD_SECONDS)
    assert min((flickers, steady), key=impacts.place) is steady


def test_one_that_is_gone_is_forgotten() -> None:
    impacts = Impacts()
    once = told("hw-thermal", "a", 0)
    impacts.note(hitting(once, 3), 0, NOW)
    impacts.keep(set())
    assert impacts.place(once)[2] == 0


def test_the_triage_is_in_that_order_and_stays_so_when_one_is_acknowledged() -> None:
    idle_bad = node(gpu(ecc=BAD, node="n2", processes=(), memory=Memory()), name="n2")
    triager = Triager(SPEC)
    triage = lasting(triager, fleet(live(node(gpu(ecc=BAD))), live(idle_bad)), NOW, 5)
    assert [each.subject.node for each in triage.findings] == ["n1", "n2"]
    seen = triager.acknowledge(triage.findings[0].id, "alice", "", NOW + 6)
    assert seen is not None
    assert [each.subject.node for each in seen.findings] == ["n2", "n1"]
    opened = triager.unacknowledge(triage.findings[0].id)
    assert opened is not None
    assert [each.subject.node for each in opened.findings] == ["n1", "n2"]


def test_a_node_that_nobody_can_reach_comes_before_one_of_its_gpus() -> None:
    down = failed("unreachable", node(gpu(node="n2"), gpu(1, node="n2"), name="n2"), name="n2", at=NOW - 9000)
    triage = lasting(Triager(SPEC), fleet(live(node(gpu(ecc=BAD))), down), NOW, 5)
    assert [each.rule for each in triage.findings] == ["node-unreachable", "ecc-uncorrected"]
