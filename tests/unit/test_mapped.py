"""A topic made of another's: it wants its source while it is wanted itself."""

from __future__ import annotations

from backends.domain import Problem
from backends.feed import Topic
from backends.feed.mapped import Mapped


def mapped() -> tuple[Topic[int], Topic[list[int]], list[int]]:
    source: Topic[int] = Topic("source")
    made: list[int] = []

    def make(value: int) -> list[int]:
        made.append(value)
        return [value]

    return source, Mapped("mapped", source, make).topic, made


def test_nothing_is_wanted_or_made_before_somebody_looks() -> None:
    source, topic, made = mapped()
    source.publish(1000, 1.0)
    assert (source.demand, made, topic.reading.value) == (0, [], None)
    unwatch = topic.watch(lambda _: None)
    assert (source.demand, topic.reading.value, topic.reading.at) == (1, [1000], 1.0)
    unwatch()
    assert source.demand == 0


def test_a_value_is_made_once_and_told_as_often_as_the_source_tells_it() -> None:
    source, topic, made = mapped()
    heard: list[object] = []
    topic.watch(lambda reading: heard.append(reading.value))
    value = 1000
    source.publish(value, 1.0)
    source.publish(value, 2.0)
    assert made == [1000]
    assert heard[0] is heard[1]
    assert topic.reading.at == 2.0


def test_an_error_stands_beside_the_last_value_and_is_over_with_the_next() -> None:
    source, topic, _ = mapped()
    topic.watch(lambda _: None)
    source.publish(1000, 1.0)
    source.fail(Problem("unreachable", "the API server cannot be reached", "", 2.0))
    assert topic.reading.value == [1000]
    assert topic.reading.error is not None
    source.publish(1001, 3.0)
    assert topic.reading.value == [1001]
    assert topic.reading.error is None


def test_who_comes_late_hears_what_was_told_meanwhile() -> None:
    source, topic, _ = mapped()
    topic.watch(lambda _: None)()
    source.publish(1000, 1.0)
    source.fail(Problem("unreachable", "gone", "", 2.0))
    topic.watch(lambda _: None)
    assert topic.reading.value == [1000]
    assert topic.reading.error is not None
