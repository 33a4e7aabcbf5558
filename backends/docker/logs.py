"""The log of one container as a stream of batches; a cut connection and a container that starts again are outlived."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from backends.contract import Clock, Unreachable
from backends.docker.engine import Engine
from backends.domain import clean
from backends.domain.log import LogBatch, LogLine, LogQuery
from backends.feed import Backoff, Stamps

BATCH_LINES = 500
LINE_LIMIT = 4096
RESTART_SECONDS = 1.0
"""Between two looks at a container that is about to start again."""
STOPPED_LOOKS = 10
"""At one that Podman calls `stopped`: it ended, and in a moment is either `exited` or started again."""


async def tail(engine: Engine, clock: Clock, name: str, query: LogQuery) -> AsyncGenerator[LogBatch, None]:
    """See `TailsLogs.logs`."""
    stamps, backoff, reached = Stamps(), Backoff(first=0.5, most=15.0), False
    while True:
        try:
            async with contextlib.aclosing(engine.log(name, _parameters(name, query, stamps, clock))) as arriving:
                reached = True
                async for received in arriving:
                    backoff.reset()
                    for start in range(0, len(received), BATCH_LINES):
                        yield LogBatch(tuple(_lines(received[start : start + BATCH_LINES], name, stamps)))
            looks = 0
            while query.follow and (state := await engine.state(name)) in ("restarting", "stopped"):
                looks += 1
                if state == "restarting":
                    yield LogBatch(problem=f"{name} is {state}; its next run is followed", retried=True)
                elif looks > STOPPED_LOOKS:
                    return
                await clock.sleep(RESTART_SECONDS)
            if not query.follow or state != "running":
                return
        except Unreachable as error:
            if not query.follow or not (reached and stamps.last):
                raise
            yield LogBatch(problem=error.message, retried=True)
            await clock.sleep(backoff.next())
        stamps.cut()


def _parameters(name: str, query: LogQuery, stamps: Stamps, clock: Clock) -> dict[str, str]:
    """Those of the API's `/containers/NAME/logs`."""
    wanted = {"follow": "1" if query.follow else "0"}
    last = stamps.at(stamps.last)
    if last is None:
        last = dict(query.resume).get(name)
    if last is not None:
        # From the whole second on: a float has no nanoseconds. `Stamps` knows what was told of it.
        return {**wanted, "tail": "all", "since": str(int(last))}
    wanted["tail"] = "all" if query.tail_lines is None else str(query.tail_lines)
    if query.since_seconds is not None:
        wanted["since"] = str(int(clock.now()) - query.since_seconds)
    return wanted


def _lines(received: list[bytes], container: str, stamps: Stamps) -> list[LogLine]:
    lines = []
    for raw in received:
        text = raw.decode("utf-8", "replace")
        stamp, space, rest = text.partition(" ")
        at = stamps.at(stamp) if space else None
        if at is None:
            lines.append(LogLine(clean(text, LINE_LIMIT), container))
        elif stamps.fresh(stamp):
            lines.append(LogLine(clean(rest, LINE_LIMIT), container, at))
    return lines
