"""Since when a finding is so: the time of the event itself, and when it was so before."""

from __future__ import annotations

import dataclasses

import pytest

from backends.domain import Earlier, Ecc, EccCounts, Fleet, Gpu, Pcie
from backends.triage.engine import Triager
from backends.triage.memory import STEADY_SECONDS, NodeMemory
from tests.triage.makers import NOW, fleet, gpu, links, live, node, only, told, view, xid
from tests.triage.test_engine import BAD, SPEC, lasting
from tests.triage.test_grouping import CRITICAL, grouped


def remembering(*readings: tuple[float, Gpu]) -> NodeMemory:
    """What is remembered of a node that showed one GPU at those seconds after NOW."""
    memory = NodeMemory()
    for seconds, value in readings:
        memory.observe(node(value), NOW + seconds)
    return memory


def replaying(count: int) -> Gpu:
    return gpu(pcie=Pcie(5, 16, 5, 16, count))


def linked(errors: int) -> Gpu:
    first, *rest = links()
    return gpu(links=(dataclasses.replace(first, replay_errors=errors), *rest))


@pytest.mark.parametrize(("rule", "shows"), [("pcie-replays", replaying), ("nvlink-errors", linked)])
def test_a_counter_tells_when_it_began_to_grow_not_when_its_window_begins(rule: str, shows: object) -> None:
    assert callable(shows)
    growing = [(500.0 + second, shows(20 * second)) for second in range(1, 20)]
    memory = remembering((0, shows(0)), (400, shows(0)), *growing)
    found = only(view(shows(380), memory=memory, now=NOW + 520), rule)
    assert found.since == NOW + 501


def test_a_counter_that_stood_still_for_long_begins_anew() -> None:
    memory = remembering(
        (0, replaying(0)), (10, replaying(1)), (20, replaying(2)), (20 + STEADY_SECONDS + 1, replaying(90))
    )
    now = NOW + 20 + STEADY_SECONDS + 1
    grown = memory.increase(gpu().key, "pcie_replays", now, 7200)
    assert grown is not None
    assert (grown.count, grown.began_at) == (90, now)
    steady = memory.increase(gpu().key, "ecc_corrected", now, 7200)
    assert steady is None or steady.began_at is None


def test_errors_of_the_memory_begin_with_their_xid_and_without_one_when_they_were_counted() -> None:
    at = NOW - 3600
    assert only(view(gpu(ecc=BAD), events=[xid(48, at=at)]), "ecc-uncorrected").since == at
    memory = remembering((0, gpu()), (300, gpu(ecc=BAD)), (400, gpu(ecc=BAD)))
    assert only(view(gpu(ecc=BAD), memory=memory, now=NOW + 400), "ecc-uncorrected").since == NOW + 300


def test_a_storm_of_an_xid_began_with_its_first() -> None:
    storm = dataclasses.replace(xid(79, at=NOW - 10), count=400, first_at=NOW - 70)
    assert only(view(gpu(lost=False), events=[storm]), "xid").since == NOW - 70


def test_an_xid_that_came_again_tells_both_times() -> None:
    events = [xid(119, at=NOW - 9000), xid(119, at=NOW - 8990), xid(119, at=NOW - 20)]
    found = only(view(gpu(recovery_action=None), events=events), "xid")
    assert (found.since, found.begun_at) == (NOW - 9000, NOW - 20)
    assert found.earlier == (Earlier(NOW - 9000, NOW - 8990),)


def test_what_recovered_and_came_back_tells_when_it_was_so_before() -> None:
    triager = Triager(SPEC)
    bad, good = fleet(live(node(gpu(ecc=BAD)))), fleet(live(node(gpu())))
    lasting(triager, bad, NOW, 5)
    lasting(triager, good, NOW + 10, 40)
    (again,) = lasting(triager, bad, NOW + 100, 5).findings
    assert (again.begun_at, again.earlier) == (NOW + 100, (Earlier(NOW, NOW + 10),))
    over = lasting(triager, good, NOW + 200, 40)
    assert over.recovered[0].earlier == (Earlier(NOW, NOW + 10),)
    (third,) = lasting(triager, bad, NOW + 300, 5).findings
    assert third.earlier == (Earlier(NOW, NOW + 10), Earlier(NOW + 100, NOW + 200))
    assert triager.acknowledge(third.id, "alice", "", NOW + 306) is not None
    (seen,) = lasting(triager, bad, NOW + 310, 5).findings
    assert len(seen.earlier) == 2


def test_what_stood_for_days_does_not_date_what_takes_it_in() -> None:
    lost = told("gpu-lost", gpu_index=3, severity=CRITICAL, since=NOW)
    worn = told("row-remap-pending", gpu_index=3, since=NOW - 3 * 86_400)
    (found,) = grouped(lost, worn)
    assert (found.rule, found.since) == ("gpu-lost", NOW)
    (found,) = grouped(lost, told("nvml-stall", gpu_index=3, since=NOW - 30))
    assert found.since == NOW - 30


def test_an_old_xid_dates_the_state_that_a_console_finds_when_it_starts() -> None:
    pending = told("row-remap-pending", gpu_index=3, since=NOW)
    (found,) = grouped(pending, told("xid-63", gpu_index=3, since=NOW - 7200))
    assert (found.rule, found.since) == ("row-remap-pending", NOW - 7200)


def test_corrected_errors_that_grow_faster_than_on_the_peers_began_when_they_grew() -> None:
    triager, names = Triager(SPEC), [f"n{number}" for number in range(1, 3)]
    for second in range(0, 1400, 20):
        count = 0 if second < 400 else second
        worn = [gpu(index, ecc=Ecc(True, True, EccCounts(count if index == 1 else 0, 0))) for index in range(8)]
        sound = [gpu(index, "n2") for index in range(8)]
        values = [node(*worn, name=names[0]), node(*sound, name=names[1])]
        triage = triager.run(Fleet(tuple(live(value, NOW + second) for value in values)), (), NOW + second)
    (found,) = triage.findings
    assert (found.rule, found.since) == ("radar-ecc", NOW + 400)
