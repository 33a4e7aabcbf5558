"""A stream runs while somebody looks, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backends.contract import Unreachable
from backends.feed import Backoff, Follow, ManualClock

LINGER = 60.0


class Source:
    """A stream that a test feeds."""

    def __init__(self) -> None:
        self.opened = 0
        self.running = 0
        self._values: asyncio.Queue[int | Exception | None] = asyncio.Queue()

    def say(self, *values: int | Exception | None) -> None:
        """An exception is raised, None ends the stream."""
        for value in values:
            self._values.put_nowait(value)

    async def stream(self) -> AsyncIterator[int]:
        self.opened += 1
        self.running += 1
        try:
            while (value := await self._values.get()) is not None:
                if isinstance(value, Exception):
                    raise value
                yield value
        finally:
            self.running -= 1


class Followed:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.source = Source()
        self.follow = Follow(
            "numbers", self.source.stream, clock=self.clock, backoff=Backoff(1.0, 8.0), linger_seconds=LINGER
        )
        self.heard: list[int | None] = []
        self.follow.start()

    def watch(self) -> object:
        return self.follow.topic.watch(lambda reading: self.heard.append(reading.value))


@pytest.fixture
async def followed() -> AsyncIterator[Followed]:
    made = Followed()
    yield made
    await made.follow.close()
    assert made.source.running == 0


async def test_nothing_is_opened_before_somebody_looks(followed: Followed) -> None:
    await followed.clock.advance(1000)
    assert followed.source.opened == 0
    followed.watch()
    followed.source.say(1, 2)
    await followed.clock.advance(0)
    assert followed.heard == [1, 2]


async def test_it_lingers_for_a_reader_who_comes_back_and_then_ends(followed: Followed) -> None:
    unwatch = followed.follow.topic.watch(lambda reading: None)
    await followed.clock.advance(0)
    unwatch()
    await followed.clock.advance(LINGER - 1)
    again = followed.follow.topic.watch(lambda reading: None)
    await followed.clock.advance(LINGER * 3)
    assert (followed.source.opened, followed.source.running) == (1, 1)
    again()
    await followed.clock.advance(LINGER + 1)
    assert followed.source.running == 0
    followed.watch()
    followed.source.say(5)
    await followed.clock.advance(0)
    assert followed.source.opened == 2
    assert followed.heard == [5]


async def test_an_error_is_told_beside_the_last_value_and_the_stream_is_opened_again(followed: Followed) -> None:
    followed.watch()
    followed.source.say(1, Unreachable("the API server cannot be reached", "is it up?"))
    await followed.clock.advance(0)
    reading = followed.follow.topic.reading
    assert reading.value == 1
    assert reading.error is not None
    assert (reading.error.code, reading.error.hint) == ("unreachable", "is it up?")
    followed.source.say(2)
    await followed.clock.advance(2)
    assert (followed.follow.topic.reading.value, followed.follow.topic.reading.error) == (2, None)


async def test_a_stream_that_ends_is_opened_again_after_a_wait(followed: Followed) -> None:
    followed.watch()
    followed.source.say(None)
    await followed.clock.advance(0.1)
    assert followed.source.opened == 1
    await followed.clock.advance(1)
    assert followed.source.opened == 2
