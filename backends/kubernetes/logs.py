"""The logs of a pod's containers as one stream of batches, bounded however fast they are.

Every container has a connection of its own. Lines go into one bounded buffer; what does not fit because the reader is
slow is dropped and counted, the oldest first. A cut stream is resumed at the last time that was seen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from backends.contract import Clock, Gone, GpudeckError, NotAllowed, Refused
from backends.domain import Container, LogBatch, LogLine, LogQuery, LogSource, clean
from backends.feed import Backoff, Stamps, end
from backends.kubernetes.api import Api
from backends.kubernetes.errors import from_exception
from backends.kubernetes.fields import table, word
from backends.kubernetes.keeping import pod_of
from backends.kubernetes.objects import LeanContainer
from backends.kubernetes.resources import PODS
from backends.kubernetes.workloads import container_of

LINE_LIMIT = 4096
"""Characters kept of a line."""
BUFFER_LINES = 20_000
BATCH_LINES = 2_000
"""What a reader gets at once: it draws for a few milliseconds only."""
CHUNK_BYTES = 65_536
PENDING_BYTES = 1 << 20
"""Of a line without an end; the rest of it is thrown away."""
NOT_STARTED_SECONDS = 2.0
"""Between tries of a container that has not started yet."""


class Lines:
    """The bounded buffer between the streams and the reader."""

    def __init__(self) -> None:
        self._waiting: deque[LogLine] = deque()
        self._dropped = 0
        self._problems: deque[tuple[str, bool]] = deque(maxlen=32)
        self._filled = asyncio.Event()
        self._open = 0

    def opened(self) -> None:
        self._open += 1

    def closed(self) -> None:
        self._open -= 1
        self._filled.set()

    def put(self, lines: list[LogLine]) -> None:
        self._waiting.extend(lines)
        while len(self._waiting) > BUFFER_LINES:
            self._waiting.popleft()
            self._dropped += 1
        self._filled.set()

    def complain(self, problem: str, *, retried: bool) -> None:
        self._problems.append((problem, retried))
        self._filled.set()

    async def take(self) -> LogBatch | None:
        """The next lines; None when every stream has ended and all was taken."""
        while not self._waiting and not self._problems:
            if not self._open:
                return None
            self._filled.clear()
            await self._filled.wait()
        lines = [self._waiting.popleft() for _ in range(min(BATCH_LINES, len(self._waiting)))]
        dropped, self._dropped = self._dropped, 0
        problem, retried = self._problems.popleft() if self._problems and not self._waiting else (None, False)
        return LogBatch(tuple(lines), dropped, problem, retried)


async def tail(api: Api, clock: Clock, source: LogSource, query: LogQuery) -> AsyncIterator[LogBatch]:
    """See `TailsLogs.logs`."""
    names = source.containers or tuple(each.name for each in await containers_of(api, source))
    lines = Lines()
    for _ in names:
        lines.opened()
    tasks = [
        asyncio.create_task(_Stream(api, clock, source, name, query, lines).run(), name=f"log {source.name} {name}")
        for name in names
    ]
    try:
        while (batch := await lines.take()) is not None:
            yield batch
    finally:
        await end(tasks)


async def containers_of(api: Api, source: LogSource) -> tuple[Container, ...]:
    """The pod's containers as they are now, init containers first. Raises `GpudeckError`."""
    return tuple(container_of(each) for each in (await _pod(api, source))[1])


async def last_lines(
    api: Api, namespace: str, pod: str, container: str, *, lines: int, previous: bool = False
) -> tuple[str, ...]:
    """The end of a container's log, oldest first. Raises `GpudeckError`."""
    query: dict[str, str | int] = {"container": container, "tailLines": lines, "limitBytes": lines * LINE_LIMIT}
    if previous:
        query["previous"] = "true"
    raw = await api.raw("GET", PODS.path(namespace, pod, "log"), query=query, accept="*/*")
    text = raw.decode("utf-8", "replace")
    return tuple(clean(line, LINE_LIMIT) for line in text.splitlines()[-lines:])


class _Stream:
    """One container's log."""

    def __init__(
        self, api: Api, clock: Clock, source: LogSource, container: str, query: LogQuery, lines: Lines
    ) -> None:
        self._api = api
        self._clock = clock
        self._source = source
        self._container = container
        self._query = query
        self._lines = lines
        self._backoff = Backoff(first=0.5, most=15.0)
        self._stamps = Stamps()
        self._told = ""
        """What the reader was told last of why there is nothing to read."""

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._read()
                    if not self._follows or await self._is_over():
                        break
                except GpudeckError as error:
                    wait = self._wait_after(error)
                    if wait is None:
                        break
                    await self._clock.sleep(wait)
                self._stamps.cut()
        finally:
            self._lines.closed()

    def _wait_after(self, error: GpudeckError) -> float | None:
        """Seconds until the next try; None when there is to be none."""
        if isinstance(error, Refused) and self._follows:  # "waiting to start"
            self._tell_once(error.message)
            return NOT_STARTED_SECONDS
        final = not self._follows or isinstance(error, Gone | NotAllowed | Refused)
        self._lines.complain(f"{self._container}: {error.message}", retried=not final)
        return None if final else self._backoff.next()

    async def _is_over(self) -> bool:
        """Whether the log has ended with its stream; waits while the container is to run again."""
        while True:
            policy, containers = await _pod(self._api, self._source)
            mine = next((each for each in containers if each.name == self._container), None)
            if mine is None or mine.state == "running":
                return mine is None
            if mine.state != "waiting" and not _runs_again(policy, mine):
                return True
            self._tell_once(f"it does not run ({mine.reason or mine.state}); its next run is followed")
            await self._clock.sleep(NOT_STARTED_SECONDS)

    def _tell_once(self, problem: str) -> None:
        if problem != self._told:
            self._told = problem
            self._lines.complain(f"{self._container}: {problem}", retried=True)

    @property
    def _follows(self) -> bool:
        return self._query.follow and not self._query.previous

    async def _read(self) -> None:
        import aiohttp

        path = PODS.path(self._source.namespace, self._source.name, "log")
        async with self._api.response("GET", path, query=self._parameters(), accept="*/*") as response:
            pending = b""
            try:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    self._backoff.reset()
                    self._told = ""
                    pending = self._split(pending + chunk)
                    # A stream that never pauses must not keep the event loop from its other work.
                    await asyncio.sleep(0)
            except (OSError, TimeoutError, aiohttp.ClientError) as error:
                raise from_exception(error, self._api.host) from None
            if pending:
                self._split(pending + b"\n")

    def _parameters(self) -> dict[str, str | int]:
        query = self._query
        parameters: dict[str, str | int] = {"container": self._container, "timestamps": "true"}
        if self._follows:
            parameters["follow"] = "true"
        if query.previous:
            parameters["previous"] = "true"
        resume = dict(query.resume).get(self._container)
        if self._stamps.last:
            parameters["sinceTime"] = self._stamps.last
        elif resume is not None:
            # In whole seconds: a kubelet does not look at the fraction.
            parameters["sinceTime"] = f"{datetime.fromtimestamp(int(resume), UTC):%Y-%m-%dT%H:%M:%SZ}"
        else:
            if query.tail_lines is not None:
                parameters["tailLines"] = query.tail_lines
            if query.since_seconds is not None:
                parameters["sinceSeconds"] = query.since_seconds
        return parameters

    def _split(self, data: bytes) -> bytes:
        """Hands on the whole lines of `data`; returns the rest."""
        *whole, rest = data.split(b"\n")
        if len(rest) > PENDING_BYTES:
            rest = rest[: LINE_LIMIT * 4]
        if whole:
            lines = [line for raw in whole if (line := self._line(raw)) is not None]
            self._lines.put(lines)
        return rest

    def _line(self, raw: bytes) -> LogLine | None:
        """`2026-11-25T08:31:17.123456789Z text`; None for a line that was told before the stream was cut."""
        stamp, separator, text = raw[: LINE_LIMIT * 4].decode("utf-8", "replace").partition(" ")
        at = self._stamps.at(stamp)
        if not separator or at is None:
            return LogLine(clean(stamp + separator + text, LINE_LIMIT), self._container)
        if not self._stamps.fresh(stamp):
            return None
        return LogLine(clean(text, LINE_LIMIT), self._container, at)


async def _pod(api: Api, source: LogSource) -> tuple[str, tuple[LeanContainer, ...]]:
    """The restart policy of the pod, and its containers. Raises `GpudeckError`."""
    raw = await api.get(PODS.path(source.namespace, source.name))
    return word(table(raw, "spec"), "restartPolicy") or "Always", pod_of(raw).containers


def _runs_again(policy: str, container: LeanContainer) -> bool:
    """Whether the kubelet starts a container that has ended once more."""
    if container.init and not container.sidecar:
        return policy != "Never" and container.exit_code != 0
    return policy == "Always" or (policy == "OnFailure" and container.exit_code != 0)
