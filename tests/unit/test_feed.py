"""Topics, collectors and derived topics, on a clock the tests own."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import AuthRefused
from backends.domain import Problem
from backends.feed import Backoff, Collector, Derived, ManualClock, Reading, Topic, problem_of


def test_a_failure_keeps_the_last_good_value_and_a_value_ends_the_failure() -> None:
    topic: Topic[int] = Topic("t")
    problem = Problem("x", "broken", "mend it", at=2.0)
    topic.publish(1, at=1.0)
    topic.fail(problem)
    assert (topic.reading.value, topic.reading.at, topic.reading.error) == (1, 1.0, problem)
    topic.publish(2, at=3.0)
    assert (topic.reading.value, topic.reading.at, topic.reading.error) == (2, 3.0, None)


def test_demand_counts_watchers_and_tells_of_the_first_and_the_last() -> None:
    wanted: list[bool] = []
    topic: Topic[int] = Topic("t", wanted.append)
    first = topic.watch(lambda reading: None)
    second = topic.watch(lambda reading: None)
    assert topic.demand == 2
    first()
    first()
    second()
    assert topic.demand == 0
    assert wanted == [True, False]


def test_a_listener_may_unwatch_while_it_is_told() -> None:
    topic: Topic[int] = Topic("t")
    heard: list[int | None] = []

    def once(reading: Reading[int]) -> None:
        heard.append(reading.value)
        unwatch()

    unwatch = topic.watch(once)
    topic.publish(1, at=0.0)
    topic.publish(2, at=0.0)
    assert heard == [1]


async def test_a_collector_sleeps_without_demand_and_never_overlaps() -> None:
    clock = ManualClock()
    running = 0
    fetched = 0

    async def fetch() -> int:
        nonlocal running, fetched
        running += 1
        assert running == 1
        await clock.sleep(3)
        running -= 1
        fetched += 1
        return fetched

    collector = Collector("c", fetch, period=1.0, timeout=60, clock=clock)
    collector.start()
    await clock.advance(10)
    assert fetched == 0
    unwatch = collector.topic.watch(lambda reading: None)
    await clock.advance(11)
    assert fetched == 3  # three seconds each, one between
    unwatch()
    await clock.advance(30)
    assert fetched <= 4
    await collector.close()


async def test_a_collector_backs_off_and_keeps_the_time_of_the_first_failure() -> None:
    clock = ManualClock()
    attempts: list[float] = []

    async def fetch() -> int:
        attempts.append(clock.now())
        raise AuthRefused("no", "add a key")

    collector = Collector(
        "c", fetch, period=1.0, timeout=5, clock=clock, backoff=Backoff(first=1, most=8, rng=random.Random(1))
    )
    collector.start()
    collector.topic.watch(lambda reading: None)
    await clock.advance(60)
    waits = [after - before for before, after in itertools.pairwise(attempts)]
    assert waits[-1] > waits[0]
    assert max(waits) <= 8
    error = collector.topic.reading.error
    assert error is not None
    assert (error.code, error.hint, error.at) == ("auth-refused", "add a key", attempts[0])
    await collector.close()


async def test_a_fetch_that_hangs_is_cut_by_its_timeout() -> None:
    async def fetch() -> int:
        await asyncio.Event().wait()
        return 1

    collector = Collector("c", fetch, period=1.0, timeout=0.01)
    await collector.collect_once()
    assert collector.topic.reading.error is not None
    assert collector.topic.reading.error.code == "timeout"


async def test_a_burst_of_inputs_costs_one_computation() -> None:
    clock = ManualClock()
    inputs: list[Topic[int]] = [Topic(str(number)) for number in range(50)]
    computed: list[int] = []

    def total() -> int:
        computed.append(sum(topic.reading.value or 0 for topic in inputs))
        return computed[-1]

    derived = Derived("sum", total, inputs, quiet_seconds=0.1, clock=clock)
    for topic in inputs:
        topic.publish(1, at=clock.now())
    await clock.advance(0.2)
    assert computed == [50]
    inputs[0].publish(2, at=clock.now())
    await clock.advance(0.2)
    assert computed == [50, 51]
    derived.close()
    inputs[0].publish(3, at=clock.now())
    await clock.advance(1)
    assert computed == [50, 51]


@given(st.integers(0, 40))
def test_backoff_never_exceeds_its_bound(failures: int) -> None:
    backoff = Backoff(first=1, most=30)
    waits = [backoff.next() for _ in range(failures)]
    assert all(0 < wait <= 30 for wait in waits)
    backoff.reset()
    assert backoff.next() <= 1


def test_an_unexpected_exception_is_named_as_a_defect() -> None:
    problem = problem_of(ZeroDivisionError("division by zero"), at=5.0)
    assert problem.code == "internal"
    assert "ZeroDivisionError" in problem.message
    assert "defect" in problem.hint


async def test_manual_clock_wakes_sleepers_in_order() -> None:
    clock = ManualClock(start=0)
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.now())

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await clock.advance(2.5)
    assert woken == [1, 2]
    assert clock.sleepers == 1
    await clock.advance(1)
    assert woken == [1, 2, 3]
    await asyncio.gather(*tasks)
    assert clock.monotonic() == pytest.approx(3.5)
