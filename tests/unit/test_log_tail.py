"""A log read in the background: its states, its pauses, what it says of a platform that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from backends.contract import Backend, GpudeckError, NotAllowed
from backends.domain import LogBatch, LogLine, LogQuery
from backends.feed import ManualClock
from backends.logs import LogTail, TailState
from tests.scripted_logs import SOURCE, Scripted, batch


class Watched:
    """A tail, and what a test waits for."""

    def __init__(self, query: LogQuery | None = None) -> None:
        self.backend = Scripted()
        self.clock = ManualClock(1000.0)
        self.tail = LogTail(self._open, SOURCE, query or LogQuery(), self.clock, self._changed)
        self._news = asyncio.Event()

    async def _open(self) -> Backend:
        return self.backend

    def _changed(self) -> None:
        self._news.set()

    @property
    def texts(self) -> Sequence[str]:
        return [line.text for line in self.tail.store.between(0, 10**6)]

    async def until(self, state: TailState, lines: int = 0) -> None:
        async with asyncio.timeout(5):
            while self.tail.state is not state or len(self.tail.store) < lines:
                self._news.clear()
                await self._news.wait()


async def test_it_follows_until_the_log_ends() -> None:
    watched = Watched()
    watched.tail.start()
    watched.backend.says.put_nowait(batch("one", "two"))
    await watched.until(TailState.FOLLOWING, 2)
    watched.backend.says.put_nowait(None)
    await watched.until(TailState.ENDED)
    assert watched.texts == ["one", "two"]
    await watched.tail.close()


async def test_an_interruption_is_told_in_its_place_and_over_with_the_next_line() -> None:
    watched = Watched()
    watched.tail.start()
    watched.backend.says.put_nowait(batch("one"))
    watched.backend.says.put_nowait(LogBatch(problem="main: the connection was lost", retried=True))
    await watched.until(TailState.WAITING, 2)
    assert watched.tail.problem == "main: the connection was lost"
    watched.backend.says.put_nowait(batch("two"))
    await watched.until(TailState.FOLLOWING, 3)
    assert not watched.tail.problem
    assert watched.texts == ["one", "main: the connection was lost", "two"]
    await watched.tail.close()


async def test_a_platform_that_stays_away_is_told_once_until_it_comes_back() -> None:
    watched = Watched()
    watched.tail.start()
    away = LogBatch(problem="main: cannot be reached", retried=True)
    for said in (batch("one"), away, away, away, batch("two"), away):
        watched.backend.says.put_nowait(said)
    await watched.until(TailState.WAITING, 4)
    assert watched.texts == ["one", "main: cannot be reached", "two", "main: cannot be reached"]
    await watched.tail.close()


async def test_a_refusal_names_the_right_that_is_missing() -> None:
    watched = Watched()
    watched.tail.start()
    watched.backend.says.put_nowait(NotAllowed("may not", "needs: get pods/log in logs"))
    await watched.until(TailState.FAILED)
    assert (watched.tail.problem, watched.tail.hint) == ("may not", "needs: get pods/log in logs")
    assert watched.tail.not_permitted
    await watched.tail.close()


async def test_a_log_of_which_no_line_could_be_read_has_failed_and_not_ended() -> None:
    watched = Watched()
    watched.tail.start()
    watched.backend.says.put_nowait(LogBatch(problem="main: no such container"))
    watched.backend.says.put_nowait(None)
    await watched.until(TailState.FAILED)
    assert watched.tail.problem == "main: no such container"
    await watched.tail.close()


async def test_a_defect_is_told_and_kills_nothing() -> None:
    watched = Watched()
    watched.tail.start()
    watched.backend.says.put_nowait(ZeroDivisionError("oops"))
    await watched.until(TailState.FAILED)
    assert "ZeroDivisionError" in (watched.tail.problem or "")
    await watched.tail.close()


async def test_after_a_pause_it_goes_on_where_it_was() -> None:
    watched = Watched()
    watched.tail.start()
    watched.backend.says.put_nowait(batch("one", "two", at=990.0))
    await watched.until(TailState.FOLLOWING, 2)
    await watched.tail.pause()
    assert watched.tail.state is TailState.PAUSED
    await watched.clock.advance(100.0)
    watched.tail.start()
    watched.backend.says.put_nowait(batch("one", "two", "three", at=990.0))
    await watched.until(TailState.FOLLOWING, 3)
    assert watched.texts == ["one", "two", "three"]
    assert watched.backend.asked[1][1] == LogQuery(resume=(("main", 991.0),))
    await watched.tail.close()


@pytest.mark.parametrize("ahead", [-3600.0, 30.0, 3600.0])
async def test_a_node_s_clock_that_is_off_loses_no_line_of_a_pause(ahead: float) -> None:
    watched = Watched(LogQuery(since_seconds=60))
    watched.tail.start()
    last = watched.clock.now() + ahead
    watched.backend.says.put_nowait(batch("one", at=last))
    await watched.until(TailState.FOLLOWING, 1)
    await watched.tail.pause()
    await watched.clock.advance(40.0)
    watched.tail.start()
    watched.backend.says.put_nowait(batch("two", "three", at=last + 5))
    await watched.until(TailState.FOLLOWING, 3)
    assert watched.texts == ["one", "two", "three"]
    assert watched.backend.asked[1][1].resume == (("main", last),)
    await watched.tail.close()


async def test_each_container_of_a_pod_goes_on_where_it_was_itself() -> None:
    watched = Watched()
    watched.tail.start()
    quiet, busy = LogLine("a", "quiet", 900.0), LogLine("b", "busy", 990.0)
    watched.backend.says.put_nowait(LogBatch((quiet, busy)))
    await watched.until(TailState.FOLLOWING, 2)
    await watched.tail.pause()
    watched.tail.start()
    watched.backend.says.put_nowait(LogBatch((quiet, LogLine("c", "quiet", 950.0), busy, LogLine("d", "new", 800.0))))
    await watched.until(TailState.FOLLOWING, 4)
    assert watched.texts == ["a", "b", "c", "d"]
    assert watched.backend.asked[1][1].resume == (("busy", 990.0), ("quiet", 900.0))
    await watched.tail.close()


async def test_lines_of_one_moment_are_neither_lost_nor_told_twice() -> None:
    watched = Watched()
    watched.tail.start()
    told = tuple(LogLine(text, "main", 990.5) for text in ("one", "two"))
    watched.backend.says.put_nowait(LogBatch(told))
    await watched.until(TailState.FOLLOWING, 2)
    await watched.tail.pause()
    watched.tail.start()
    earlier, later = LogLine("before", "main", 990.25), LogLine("three", "main", 990.5)
    watched.backend.says.put_nowait(LogBatch((earlier, *told, later)))
    await watched.until(TailState.FOLLOWING, 3)
    assert watched.texts == ["one", "two", "three"]
    await watched.tail.close()


async def test_a_log_that_has_ended_is_not_read_again_by_a_pause() -> None:
    watched = Watched()
    watched.tail.start()
    watched.backend.says.put_nowait(None)
    await watched.until(TailState.ENDED)
    await watched.tail.pause()
    watched.tail.start()
    assert watched.tail.state is TailState.ENDED
    assert len(watched.backend.asked) == 1


async def test_the_rate_is_that_of_the_last_seconds() -> None:
    watched = Watched()
    watched.tail.start()
    for _ in range(4):
        watched.backend.says.put_nowait(batch(*["x"] * 100, at=watched.clock.now()))
        await watched.until(TailState.FOLLOWING, watched.tail.received + 100)
        await watched.clock.advance(1.0)
    assert 66 <= watched.tail.rate <= 150
    await watched.clock.advance(1000.0)
    assert watched.tail.rate < 1
    assert watched.tail.lag == pytest.approx(1000.0, abs=105)
    await watched.tail.close()


async def test_without_the_capability_it_says_so() -> None:
    class Mute:
        name, summary = "mute", ""

    async def mute() -> Any:
        return Mute()

    news = asyncio.Event()
    tail = LogTail(mute, SOURCE, LogQuery(), ManualClock(0.0), news.set)
    tail.start()
    await asyncio.wait_for(news.wait(), 5)
    assert tail.problem == "the backend mute reads no logs"
    with pytest.raises(GpudeckError, match="lists no containers"):
        await tail.containers()
    await tail.close()
