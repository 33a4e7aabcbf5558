"""The engine's log stream taken apart: frames of stdout and stderr, then lines. Pure.

A container without a terminal sends frames of an 8-byte header (stream, three zeros, length big-endian) and a payload
that is one line, or a part of one where the writer did not end it; with a terminal it sends the bytes as they are.
Every frame begins with its time where times were asked for. Docker sends a part for each 16 KiB of a line, Podman for
each write, as of a progress bar.
"""

from __future__ import annotations

import re

HEADER = 8
FRAME_LIMIT = 1 << 20
LINE_BYTES = 16_384
"""A longer line is cut here; the rest of it is dropped."""
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) ")
"""Before a payload (RFC 3339)."""


class Demultiplexer:
    """Feed it what arrives; it gives whole lines without their ends."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._raw = b""
        self._parts: dict[int, bytes] = {}

    def feed(self, received: bytes) -> list[bytes]:
        """The lines that are complete now, in order; raises ValueError for what is no frame."""
        if self._terminal:
            return self._lines(0, received)
        raw, at, lines = self._raw + received, 0, []
        while len(raw) - at >= HEADER:
            stream, length = raw[at], int.from_bytes(raw[at + 4 : at + HEADER], "big")
            if stream > 2 or raw[at + 1 : at + 4] != b"\0\0\0" or length > FRAME_LIMIT:
                raise ValueError("not a frame of a log")
            if len(raw) - at - HEADER < length:
                break
            payload = raw[at + HEADER : at + HEADER + length]
            if self._parts.get(stream) and (time := _TIME.match(payload)):
                payload = payload[time.end() :]
            lines += self._lines(stream, payload)
            at += HEADER + length
        self._raw = raw[at:]
        return lines

    def rest(self) -> list[bytes]:
        """What was not ended by a line end when the stream was."""
        found = [part for part in self._parts.values() if part]
        self._parts.clear()
        return found

    def _lines(self, stream: int, payload: bytes) -> list[bytes]:
        *whole, part = (self._parts.get(stream, b"") + payload).split(b"\n")
        self._parts[stream] = part[:LINE_BYTES]
        return [line[:LINE_BYTES].removesuffix(b"\r") for line in whole]
