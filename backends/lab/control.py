"""Steering a running lab: newline-delimited JSON over a unix socket in the lab's directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from backends.contract import GpudeckError
from backends.lab.files import LabFiles

REPLY_SECONDS = 10.0
_REQUEST_LIMIT = 4096
_PATH_LIMIT = 100
"""sun_path holds 108 bytes; a longer path is reached through the descriptor of its directory."""

Answer = Callable[[str, str | None], Awaitable[dict[str, Any]]]


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    text = str(path.absolute())
    if len(os.fsencode(text)) <= _PATH_LIMIT:
        yield text
        return
    directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


async def command(out: Path, op: str, scenario: str | None = None) -> dict[str, Any]:
    """Sends `on`, `off` or `list` to the lab that runs in `out`; returns its reply.

    The reply holds `active` (names) and `scenarios` (name -> summary). Raises GpudeckError when no lab runs there or
    when it refuses.
    """
    try:
        reply = await asyncio.wait_for(_exchange(LabFiles(out).socket, op, scenario), REPLY_SECONDS)
    except TimeoutError as error:
        raise GpudeckError(f"the lab in {out} does not answer", "Stop it and start it again.") from error
    except (OSError, ValueError) as error:
        hint = f"Start one: gpudeck lab --out {out}"
        raise GpudeckError(f"no lab runs in {out}", hint) from error
    if "error" in reply:
        raise GpudeckError(str(reply["error"]), str(reply.get("hint", "")))
    return reply


async def _exchange(path: Path, op: str, scenario: str | None) -> dict[str, Any]:
    with _short(path) as short:
        reader, writer = await asyncio.open_unix_connection(short)
    try:
        writer.write(json.dumps({"op": op, "scenario": scenario}).encode() + b"\n")
        await writer.drain()
        reply = json.loads(await reader.readline())
        if not isinstance(reply, dict):
            raise ValueError("not an object")
        return reply
    finally:
        writer.close()


class ControlServer:
    """Listens on the socket of a lab's directory; the caller holds the lab's lock, so that a socket there is stale."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode comes before the first client can connect.
        with _short(self._path) as short:
            listening.bind(short)
        self._path.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=_REQUEST_LIMIT)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reply = await self._reply(await reader.readline())
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            # A request over the limit, or a client that left: it gets no answer.
            return
        finally:
            writer.close()

    async def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            op, scenario = request["op"], request.get("scenario")
        except (ValueError, TypeError, KeyError, AttributeError):
            return {"error": "a request is one JSON object with op and scenario"}
        try:
            return await self._answer(op, scenario)
        except GpudeckError as error:
            return {"error": error.message, "hint": error.hint}
