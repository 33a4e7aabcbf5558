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
from backends.domain import LogBatch, LogLine, LogQuery, LogSource, clean
from backends.feed import Backoff
from backends.kubernetes.api import Api
from backends.kubernetes.errors import from_exception
from backends.kubernetes.fields import entries, maps, table, word
from backends.kubernetes.resources import PODS
from backends.kubernetes.watchset import end

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
        self._problems: deque[str] = deque(maxlen=32)
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

    def complain(self, problem: str) -> None:
        self._problems.append(problem)
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
        return LogBatch(tuple(lines), dropped, self._problems.popleft() if self._problems else None)


async def tail(api: Api, clock: Clock, source: LogSource, query: LogQuery) -> AsyncIterator[LogBatch]:
    """See `TailsLogs.logs`."""
    containers = source.containers or await containers_of(api, source)
    lines = Lines()
    for _ in containers:
        lines.opened()
    tasks = [
        asyncio.create_task(_Stream(api, clock, source, name, query, lines).run(), name=f"log {source.name} {name}")
        for name in containers
    ]
    try:
        while (batch := await lines.take()) is not None:
            yield batch
    finally:
        await end(tasks)


async def containers_of(api: Api, source: LogSource) -> tuple[str, ...]:
    """The pod's containers, init containers first. Raises `GpudeckError`."""
    (spec,) = maps(await api.get(PODS.path(source.namespace, source.name)), "spec")
    return tuple(word(entry, "name") for key in ("initContainers", "containers") for entry in entries(spec, key))


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
        self._seconds: dict[str, float] = {}
        self._last_stamp = ""
        """Time of the last line as the API wrote it: where a cut stream is resumed."""
        self._known_until: str | None = None
        """Lines up to this time were told before the stream was cut; None once a later one came."""

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._read()
                    if not self._follows or not await self._runs():
                        break
                except GpudeckError as error:
                    wait = self._wait_after(error)
                    if wait is None:
                        break
                    await self._clock.sleep(wait)
                self._known_until = _sortable(self._last_stamp)
        finally:
            self._lines.closed()

    def _wait_after(self, error: GpudeckError) -> float | None:
        """Seconds until the next try; None when there is to be none."""
        if isinstance(error, Refused) and self._follows:
            return NOT_STARTED_SECONDS  # "waiting to start"
        self._lines.complain(f"{self._container}: {error.message}")
        if not self._follows or isinstance(error, Gone | NotAllowed | Refused):
            return None
        return self._backoff.next()

    async def _runs(self) -> bool:
        """Whether the container still runs, so that the end of its stream was not the end of its log."""
        (status,) = maps(await self._api.get(PODS.path(self._source.namespace, self._source.name)), "status")
        every = [*entries(status, "initContainerStatuses"), *entries(status, "containerStatuses")]
        mine = next((entry for entry in every if entry.get("name") == self._container), {})
        return bool(table(table(mine, "state"), "running"))

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
        if self._last_stamp:
            parameters["sinceTime"] = self._last_stamp
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
        at = self._time(stamp)
        if not separator or at is None:
            return LogLine(clean(stamp + separator + text, LINE_LIMIT), self._container)
        if self._known_until is not None:
            if _sortable(stamp) <= self._known_until:
                return None
            self._known_until = None
        self._last_stamp = stamp
        return LogLine(clean(text, LINE_LIMIT), self._container, at)

    def _time(self, stamp: str) -> float | None:
        """Parsed once a second: the fractions are added to it."""
        second, _, fraction = stamp.partition(".")
        known = self._seconds.get(second)
        if known is None:
            try:
                known = datetime.fromisoformat(second.removesuffix("Z")).replace(tzinfo=UTC).timestamp()
            except ValueError:
                return None
            self._seconds = {second: known}
        digits = fraction.removesuffix("Z")
        return known + (float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0)


def _sortable(stamp: str) -> str:
    """A time whose fraction always has nine digits: Go leaves trailing zeros out."""
    second, _, fraction = stamp.removesuffix("Z").partition(".")
    return f"{second}.{fraction:0<9}"
