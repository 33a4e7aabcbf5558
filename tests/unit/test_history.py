"""Histories: what is kept of a series, what is a gap, how far it reaches back, and that memory is bounded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.domain import Clocks, Ecc, EccCounts, Gpu, Memory, Node, Power, Temperature, Utilization
from backends.domain.gpu_series import GPU_COUNTERS, GPU_SERIES, series_key
from backends.feed import History, Point, Step, window_start
from backends.feed.gpu_history import GPUS_KEPT, GpuHistory

START = 1_700_000_000.0 - 1_700_000_000.0 % 3600


def filled(
    history: History, key: str, values: Sequence[float | None], start: float = START, beat: float = 1.0
) -> float:
    """One sample per beat; returns the time of the last one."""
    for number, value in enumerate(values):
        history.push(key, start + number * beat, value)
    return start + (len(values) - 1) * beat


# The last five minutes


def test_a_bucket_holds_the_mean_and_a_bucket_without_samples_is_a_gap() -> None:
    history = History(capacity=4, bucket_seconds=5, minute_buckets=4)
    history.push("a", 0, 10)
    history.push("a", 4, 20)
    history.push("a", 11, 40)
    assert history.series("a", now=12) == (None, 15.0, None, 40.0)
    assert history.series("a", now=21) == (15.0, None, 40.0, None)
    assert history.series("unknown", now=12) == ()


def test_what_was_not_measured_is_a_gap_and_no_number_is_none() -> None:
    history = History()
    for value in (None, math.nan, math.inf, 1e9):
        history.push("a", START, value)
    assert history.window("a", START, 60, 4) == (None,) * 4
    history.push("a", START + 5, 0.0)
    assert history.series("a", START + 5)[-2:] == (None, 0.0)


def test_a_group_that_never_measured_anything_is_not_kept() -> None:
    history = History({"power": 0.25, "heat": 0.1}, ["errors"])
    history.record("n/gpu", START, (None, None), (None,))
    assert len(history) == 0
    history.record("n/gpu", START, (None, 50.0), (None,))
    assert not history.measured("n/gpu/power")
    assert history.measured("n/gpu/heat")
    assert history.series("n/gpu/power", START) == ()


def test_a_column_measured_later_leaves_the_others_as_they_were() -> None:
    history = History({"power": 0.25, "heat": 0.1})
    for second in range(600):
        history.record("g", START + second, (float(second % 100) if second >= 400 else None, 50.0 + second % 7))
    alone = History({"heat": 0.1})
    for second in range(600):
        alone.record("g", START + second, (50.0 + second % 7,))
    for seconds, points in ((300, 60), (3600, 60)):
        assert history.window("g/heat", START + 599, seconds, points) == alone.window(
            "g/heat", START + 599, seconds, points
        )
    assert history.window("g/power", START + 599, 600, 10)[:5] == (None,) * 5
    assert history.window("g/power", START + 599, 600, 10)[-1] == Point(40.0, 69.5, 99.0)


# The last hours


def test_a_spike_of_one_second_survives_for_hours() -> None:
    history = History()
    last = filled(history, "a", [20.0] * 100 + [97.0] + [20.0] * 7000)
    hours = history.window("a", last, 3 * 3600, 90)
    assert max(point.high for point in hours if point) == pytest.approx(97.0)
    spiked = next(point for point in hours if point and point.high > 90)
    assert spiked.low == pytest.approx(20.0)
    assert spiked.mean == pytest.approx(20.0 + 77 / 60, abs=0.8)


def test_an_hour_of_silence_is_a_gap_with_data_on_both_sides() -> None:
    history = History()
    filled(history, "a", [10.0] * 600)
    last = filled(history, "a", [30.0] * 600, START + 4200)
    told = history.window("a", last, 4800, 80)
    assert [point is None for point in told] == [False] * 10 + [True] * 60 + [False] * 10
    assert told[0] == (10.0, 10.0, 10.0)
    assert told[-1] == (30.0, 30.0, 30.0)


def test_the_spans_stay_what_they_are_while_time_goes_on() -> None:
    history = History()
    last = filled(history, "a", [float(number % 50) for number in range(1200)])
    before, after = history.window("a", last, 900, 60), history.window("a", last + 15, 900, 60)
    assert before[1:-1] == after[:-2]
    assert after[-1] is None
    assert window_start(last + 15, 900, 60) - window_start(last, 900, 60) == 15


def test_the_running_minute_is_told_in_the_longest_window() -> None:
    history = History()
    last = filled(history, "a", [10.0] * 7000 + [90.0] * 10)
    assert history.window("a", last, 6 * 3600, 40)[-1] is not None
    assert max(point.high for point in history.window("a", last, 6 * 3600, 40) if point) == 90.0


def test_what_is_older_than_is_kept_is_a_gap() -> None:
    history = History(minutes_kept=30)
    last = filled(history, "a", [10.0] * 4000)
    told = history.window("a", last, 3600, 60)
    assert sum(point is not None for point in told) in (30, 31)
    assert all(point is not None for point in told[-30:])


# Clocks


def test_a_clock_that_steps_back_a_little_is_waited_for() -> None:
    history = History(capacity=3, bucket_seconds=1, minute_buckets=3)
    history.push("n/a", 10, 5)
    history.push("n/a", 8, 99)
    assert history.series("n/a", 10) == (None, None, 5.0)


def test_a_clock_that_steps_back_an_hour_goes_on_from_there() -> None:
    history = History()
    last = filled(history, "a", [50.0] * 5000)
    back = filled(history, "a", [70.0] * 120, last - 3600)
    told = history.window("a", back, 1200, 20)
    assert all(point is not None for point in told)
    assert [point.mean for point in told[-2:] if point] == [70.0, 70.0]
    assert {point.mean for point in told[:-4] if point} == {50.0}
    assert history.window("a", last, 900, 30) == (None,) * 30, "the time that is to come again"


# Counters


def test_only_the_changes_of_a_counter_are_kept() -> None:
    history = History({"heat": 0.1}, ["ecc", "replays"])
    counts = ((0, None), (0, 7), (2, 7), (2, 8), (2, 9), (0, 9))
    for number, (ecc, replays) in enumerate(counts):
        history.record("g", START + number * 30, (1.0,), (ecc, replays))
    assert history.steps("g/ecc") == (
        Step(START + 60, START + 60, 0, 2),
        Step(START + 150, START + 150, 2, 0),
    )
    assert history.steps("g/replays") == (Step(START + 90, START + 120, 7, 9),), "a rise that goes on is one"
    assert history.steps("unknown/ecc") == ()


def test_a_counter_that_could_not_be_read_for_a_while_has_not_changed() -> None:
    history = History({"heat": 0.1}, ["ecc"])
    for number, count in enumerate((3, None, 3, None, 5)):
        history.record("g", START + number, (1.0,), (count,))
    assert [(step.before, step.after) for step in history.steps("g/ecc")] == [(3, 5)]


def test_a_counter_that_changes_all_the_time_keeps_its_last_steps() -> None:
    history = History({"heat": 0.1}, ["ecc"])
    for number in range(500):
        history.record("g", START + number * 120, (1.0,), (number,))
    steps = history.steps("g/ecc")
    assert 1 < len(steps) < 20
    assert steps[-1].after == 499


# Memory


def held_bytes(history: History) -> int:
    """What the rows of all groups take."""
    return sum(2 * (len(track._fine) + len(track._minutes) + len(track._pending)) for track in history._tracks.values())


def test_more_groups_reach_less_far_back_and_the_budget_holds() -> None:
    history = History({"a": 0.1, "b": 0.1}, minutes_kept=100, budget_bytes=140_000)
    reaches = []
    for minute in range(120):
        for group in range(min(minute, 40)):
            history.record(f"g{group}", START + minute * 60, (1.0, 2.0))
        reaches.append(history.minutes)
        assert held_bytes(history) <= 140_000
    assert reaches == sorted(reaches, reverse=True)
    assert 10 < history.minutes < 100
    last = START + 119 * 60
    told = [history.window(f"g{group}/b", last, 6000, 100) for group in range(20)]
    assert {sum(point is not None for point in window) for window in told} == {history.minutes + 1}
    history.forget("g1")
    assert len(history) == 29
    assert history.minutes > reaches[-1]


def test_a_group_that_is_silent_makes_room_and_a_live_one_does_not() -> None:
    history = History(budget_bytes=2 * 2500)
    history.push("old", START, 1)
    history.push("live", START + 3600, 1)
    history.push("new", START + 3600, 1)
    assert history.groups() == ("live", "new")
    history.push("one too many", START + 3601, 1)
    assert history.groups() == ("live", "new")


VALUES = st.one_of(st.none(), st.floats(-200, 200), st.sampled_from([math.nan, math.inf, 1e300]))


@given(
    st.lists(st.tuples(st.floats(0, 4000), st.sampled_from("ab"), VALUES), max_size=80),
    st.integers(60, 9000),
    st.integers(1, 70),
)
def test_nothing_is_told_that_was_not_measured(
    samples: list[tuple[float, str, float | None]], seconds: int, points: int
) -> None:
    """Times go forward and back as they like: what is told lies between the samples, and memory stays bounded."""
    history = History({"a": 0.1, "b": 0.1}, minutes_kept=50, budget_bytes=20_000)
    now = START
    for step, column, value in samples:
        now = START + step
        history.push(f"g/{column}", now, value)
    assert held_bytes(history) <= 20_000
    for column in "ab":
        seen = [
            value
            for _, name, value in samples
            if name == column and value is not None and math.isfinite(value) and abs(value) < 3000
        ]
        told = history.window(f"g/{column}", now, seconds, points)
        assert len(told) == points
        for point in told:
            if point is not None:
                assert point.low - 1e-6 <= point.mean <= point.high + 1e-6
                assert min(seen) - 0.06 <= point.low
                assert point.high <= max(seen) + 0.06


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 100)), min_size=1, max_size=120))
def test_every_sample_of_a_forward_clock_is_inside_its_bucket(steps: list[tuple[int, float]]) -> None:
    history = History()
    times = list(itertools.accumulate((step for step, _ in steps), initial=START))[1:]
    for at, (_, value) in zip(times, steps, strict=True):
        history.push("k", at, value)
    told = history.window("k", times[-1], 3600, 720)
    begin = window_start(times[-1], 3600, 720)
    for at, (_, value) in zip(times, steps, strict=True):
        point = told[int((at - begin) // 5)]
        assert point is not None
        assert point.low - 0.06 <= value <= point.high + 0.06


# A site's GPUs


def whole(index: int = 0, busy: int | None = 40) -> Gpu:
    return Gpu(
        index=index,
        uuid=f"GPU-{index}",
        utilization=Utilization(busy),
        memory=Memory(total_bytes=80 << 30, used_bytes=20 << 30),
        power=Power(300.25, 700.0),
        temperature=Temperature(55, 60, 90),
        clocks=Clocks(sm_mhz=1980),
        ecc=Ecc(True, True, EccCounts(1, 0)),
    )


@pytest.mark.parametrize("series", GPU_SERIES, ids=lambda series: series.id)
def test_a_series_keeps_what_the_gpu_measures_and_nothing_else(series: object) -> None:
    assert series in GPU_SERIES
    history, gpu = GpuHistory(), whole()
    history.record_node("n", Node(name="n", gpus=(gpu,)), START)
    for each in GPU_SERIES:
        value, key = each.value(gpu), series_key("n", gpu, each.id)
        told = history.window(key, START, 60, 1)[0]
        assert (told is None) == (value is None), each.id
        if told is not None:
            assert value is not None
            assert told.mean == pytest.approx(value, abs=each.resolution), each.id
            assert each.bottom <= value <= (each.top(gpu) or math.inf), each.id
    assert history.series("n/GPU-0", START)[-1] == 40.0, "the GPU alone is its utilisation"


def test_a_gpu_that_measures_nothing_costs_nothing_and_breaks_nothing() -> None:
    history = GpuHistory()
    history.record_node("n", Node(name="n", gpus=(Gpu(index=0, uuid="GPU-x"),)), START)
    assert len(history) == 0
    for series in GPU_SERIES:
        assert series.value(Gpu()) is None, series.id
        assert series.limits(Gpu()) == (), series.id
    assert all(counter.value(Gpu()) is None for counter in GPU_COUNTERS)


def test_a_lost_gpu_is_a_gap() -> None:
    history, gpu = GpuHistory(), whole()
    for second in range(60):
        shown = replace(gpu, lost=True) if second >= 30 else gpu
        history.record_node("n", Node(name="n", gpus=(shown,)), START + second)
    told = history.window(series_key("n", gpu, "power"), START + 59, 60, 12)
    assert [point is None for point in told] == [False] * 6 + [True] * 6


def test_a_node_that_shows_ever_new_gpus_takes_the_room_of_no_other() -> None:
    history, steady = GpuHistory(), whole()
    for second in range(300):
        strangers = tuple(replace(steady, uuid=f"GPU-{second}-{number}") for number in range(100))
        history.record_node("evil", Node(name="evil", gpus=strangers), START + second)
        history.record_node("good", Node(name="good", gpus=(steady,)), START + second)
    assert len(history.groups("evil/")) <= GPUS_KEPT
    assert all(point is not None for point in history.window("good/GPU-0", START + 299, 300, 60))
