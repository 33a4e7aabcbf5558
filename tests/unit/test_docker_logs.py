"""A container's log through cuts and restarts of the container."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from backends.contract import GpudeckError, Unreachable
from backends.docker.engine import Engine
from backends.docker.logs import STOPPED_LOOKS, tail
from backends.domain import LogBatch, LogQuery
from backends.feed import SystemClock

STAMP = "2026-11-25T08:31:{:02}.000000001Z line {}"


class NapClock(SystemClock):
    async def sleep(self, seconds: float) -> None:
        return


class ScriptedEngine:
    """Each request for the log gets the next script: numbers of lines, then an error or a good end."""

    def __init__(self, *scripts: tuple[list[int], Exception | None], states: tuple[str, ...] = ()) -> None:
        self._scripts = list(scripts)
        self._states = list(states)
        self.asked: list[dict[str, str]] = []
        self.lines: list[list[str]] = []
        """In place of the numbers."""

    async def log(self, _name: str, parameters: dict[str, str]) -> AsyncIterator[list[bytes]]:
        self.asked.append(parameters)
        numbers, error = self._scripts.pop(0)
        if self.lines:
            yield [line.encode() for line in self.lines.pop(0)]
        if numbers:
            yield [STAMP.format(number, number).encode() for number in numbers]
        if error is not None:
            raise error

    async def state(self, _name: str) -> str:
        return self._states.pop(0) if self._states else "exited"


async def read(engine: ScriptedEngine, query: LogQuery) -> tuple[list[str], list[LogBatch]]:
    batches = [batch async for batch in tail(cast(Engine, engine), NapClock(), "c", query)]
    return [line.text for batch in batches for line in batch.lines], [each for each in batches if each.problem]


CUT = Unreachable("the container engine of dgx01 cannot be asked: cut", "")


async def test_a_cut_log_goes_on_without_a_line_lost_or_told_twice() -> None:
    engine = ScriptedEngine(([1, 2, 3], CUT), ([], CUT), ([1, 2, 3, 4], None))
    texts, problems = await read(engine, LogQuery(tail_lines=100))
    assert texts == ["line 1", "line 2", "line 3", "line 4"]
    assert [each.retried for each in problems] == [True, True]
    assert engine.asked[0] == {"follow": "1", "tail": "100"}
    assert engine.asked[1] == {"follow": "1", "tail": "all", "since": "1795595463"}


async def test_the_next_run_of_a_container_that_restarts_is_followed() -> None:
    engine = ScriptedEngine(([1], None), ([1, 2], None), states=("restarting", "running", "exited"))
    texts, problems = await read(engine, LogQuery())
    assert texts == ["line 1", "line 2"]
    assert [each.problem for each in problems] == ["c is restarting; its next run is followed"]


async def test_a_container_that_podman_has_yet_to_start_again_is_waited_for() -> None:
    engine = ScriptedEngine(([1], None), ([1, 2], None), states=("stopped", "stopped", "running", "exited"))
    assert await read(engine, LogQuery()) == (["line 1", "line 2"], [])
    never_cleaned_up = ScriptedEngine(([1], None), states=("stopped",) * (STOPPED_LOOKS + 1))
    assert await read(never_cleaned_up, LogQuery()) == (["line 1"], [])


async def test_lines_of_one_whole_second_as_podman_stamps_them_are_told_once_through_a_cut() -> None:
    second = ["2026-11-25T08:31:01Z a", "2026-11-25T08:31:01Z a", "2026-11-25T08:31:01Z b", "2026-11-25T08:31:02Z c"]
    engine = ScriptedEngine(([], CUT), ([], None))
    engine.lines = [second[:2], second]
    texts, _ = await read(engine, LogQuery())
    assert texts == ["a", "a", "b", "c"]


async def test_what_cannot_be_reached_at_first_or_is_not_followed_is_an_error() -> None:
    for query in (LogQuery(), LogQuery(follow=False)):
        with pytest.raises(Unreachable):
            await read(ScriptedEngine(([], CUT)), query)
    with pytest.raises(Unreachable):
        await read(ScriptedEngine(([1], CUT)), LogQuery(follow=False))


async def test_a_container_that_went_away_ends_the_log_with_the_reason() -> None:
    gone: Any = GpudeckError("the container engine of dgx01: No such container: c", "")
    with pytest.raises(GpudeckError, match="No such container"):
        await read(ScriptedEngine(([1], CUT), ([], gone)), LogQuery())


async def test_a_log_is_taken_up_where_its_reader_left_it() -> None:
    engine = ScriptedEngine(([4], None))
    await read(engine, LogQuery(tail_lines=100, since_seconds=60, resume=(("other", 5.0), ("c", 1_795_595_463.25))))
    assert engine.asked == [{"follow": "1", "tail": "all", "since": "1795595463"}]
