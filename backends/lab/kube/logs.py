"""What the containers of the simulated cluster wrote."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from backends.lab.kube.store import rfc3339

LINES_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Container:
    """Whose log it is."""

    namespace: str
    pod: str
    name: str


@dataclass(slots=True)
class _Log:
    lines: deque[tuple[int, float, str]] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    """(number, at, text)"""
    written: int = 0
    previous: tuple[tuple[int, float, str], ...] = ()
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()


class LogBook:
    """Logs by container; a follower gets lines as they are written."""

    def __init__(self) -> None:
        self._logs: dict[Container, _Log] = {}

    def write(self, container: Container, at: float, *lines: str) -> None:
        log = self._logs.setdefault(container, _Log())
        for text in lines:
            log.written += 1
            log.lines.append((log.written, at, text))
        log.wake()

    def restart(self, container: Container) -> None:
        """The container starts again: what it wrote becomes the previous log."""
        log = self._logs.setdefault(container, _Log())
        log.previous = tuple(log.lines)
        log.lines.clear()
        log.wake()

    def forget(self, namespace: str, pod: str) -> None:
        """The pod is gone: its followers end."""
        for container in [each for each in self._logs if (each.namespace, each.pod) == (namespace, pod)]:
            log = self._logs.pop(container)
            log.ended = True
            log.wake()

    def has(self, container: Container) -> bool:
        return container in self._logs

    def read(
        self, container: Container, *, tail: int | None = None, since: float | None = None, previous: bool = False
    ) -> list[tuple[int, float, str]]:
        """(number, at, text), oldest first; `since` is a time, `tail` counts lines from the end."""
        log = self._logs.get(container, _Log())
        lines = [line for line in (log.previous if previous else log.lines) if since is None or line[1] >= since]
        return lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]

    async def follow(self, container: Container, after: int) -> AsyncIterator[tuple[int, float, str]]:
        """Lines written behind number `after`, until the pod is gone."""
        log = self._logs.setdefault(container, _Log())
        while True:
            news = log.news
            for line in [line for line in log.lines if line[0] > after]:
                after = line[0]
                yield line
            if log.ended:
                return
            await news.wait()


def formatted(line: tuple[int, float, str], timestamps: bool) -> bytes:
    _, at, text = line
    return (f"{rfc3339(at)[:-1]}.000000000Z {text}\n" if timestamps else f"{text}\n").encode()
