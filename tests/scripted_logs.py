"""A backend whose logs say what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from backends.domain import Container, LogBatch, LogLine, LogQuery, LogSource

SOURCE = LogSource("talker", "logs", ("main",))


def batch(*texts: str, at: float | None = None, **more: Any) -> LogBatch:
    return LogBatch(
        tuple(LogLine(text, "main", None if at is None else at + index) for index, text in enumerate(texts)), **more
    )


class Scripted:
    """A backend whose logs say what the test puts in; None ends one, an error is raised."""

    name: ClassVar[str] = "scripted"
    summary: ClassVar[str] = ""

    def __init__(self) -> None:
        self.says: asyncio.Queue[LogBatch | Exception | None] = asyncio.Queue()
        self.asked: list[tuple[LogSource, LogQuery]] = []
        self.found: tuple[Container, ...] = (Container("main"),)

    @classmethod
    def open(cls, _context: object) -> Scripted:
        return cls()

    async def probe(self) -> str | None:
        return "1"

    async def close(self) -> None:
        return

    async def containers(self, _source: LogSource) -> tuple[Container, ...]:
        return self.found

    async def logs(self, source: LogSource, query: LogQuery) -> AsyncIterator[LogBatch]:
        self.asked.append((source, query))
        while (said := await self.says.get()) is not None:
            if isinstance(said, Exception):
                raise said
            yield said
