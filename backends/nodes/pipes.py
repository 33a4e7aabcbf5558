"""What both kinds of channel share: bounded reading of a command's output."""

from __future__ import annotations

import asyncio
from typing import Protocol

from backends.contract import ProbeFailed
from backends.domain import clean

STDERR_KEPT = 2_000


class ByteReader(Protocol):
    async def read(self, n: int = -1) -> bytes: ...


class Lines:
    """Lines of a byte stream, each bounded."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._buffer = bytearray()
        self._searched = 0

    async def readline(self, limit: int) -> bytes:
        """The next line with its end, b"" at EOF; raises ProbeFailed past `limit` bytes."""
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._buffer[: end + 1])
                del self._buffer[: end + 1]
                self._searched = 0
                return line
            self._searched = len(self._buffer)
            if len(self._buffer) > limit:
                raise ProbeFailed(
                    f"the node sent a line of more than {limit:,} bytes", "its output is not read further"
                )
            chunk = await self._reader.read(65_536)
            if not chunk:
                line, self._searched = bytes(self._buffer), 0
                self._buffer.clear()
                return line
            self._buffer += chunk


async def read_bounded(reader: ByteReader, limit: int) -> bytes:
    """Everything up to EOF; raises ProbeFailed past `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while chunk := await reader.read(65_536):
        size += len(chunk)
        if size > limit:
            raise ProbeFailed(f"the command printed more than {limit:,} bytes", "its output is not read further")
        parts.append(chunk)
    return b"".join(parts)


class Tail:
    """Drains a stream in the background and keeps its end."""

    def __init__(self, reader: ByteReader) -> None:
        self._kept = b""
        self._task = asyncio.create_task(self._drain(reader))

    async def _drain(self, reader: ByteReader) -> None:
        while chunk := await reader.read(65_536):
            self._kept = (self._kept + chunk)[-STDERR_KEPT * 4 :]

    async def text(self, patience: float = 0.2) -> str:
        """The end of what came; waits up to `patience` seconds for the stream to end."""
        await asyncio.wait([self._task], timeout=patience)
        return clean(self._kept.decode("utf-8", "replace")[-STDERR_KEPT:].strip(), STDERR_KEPT)

    def cancel(self) -> None:
        self._task.cancel()
