"""This machine, read through a subprocess: the same commands, the same probe, no SSH."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from backends.contract import ProbeFailed
from backends.nodes.pipes import Lines, Tail, read_bounded
from backends.nodes.transport import Channel, Completed

CLOSE_SECONDS = 3.0


class LocalTransport:
    """Starts commands with `sh -c` on this machine."""

    async def open(self, command: str) -> Channel:
        return LocalChannel(await _spawn(command))

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        channel = LocalChannel(await _spawn(command))
        try:
            async with asyncio.timeout(timeout):
                channel.end_input()
                stdout = await read_bounded(channel.stdout, limit)
                return Completed(stdout, await channel.stderr_tail(), await channel.wait())
        except TimeoutError:
            raise ProbeFailed(f"the command took more than {timeout:.0f} s", "") from None
        finally:
            await channel.close()

    async def socket(self, path: str) -> Path:
        return Path(path)

    async def close(self) -> None:
        return


async def _spawn(command: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            # A session of its own: what the shell started can be ended with it.
            "sh",
            "-c",
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
    except OSError as error:
        raise ProbeFailed(f"no process could be started: {error.strerror}", "look at this machine's limits") from None


class LocalChannel:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.stdout = process.stdout
        self._lines = Lines(process.stdout)
        self._stderr = Tail(process.stderr)

    async def send(self, payload: bytes) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(payload)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise ProbeFailed("the command ended before it had read its input", "") from None

    async def readline(self, limit: int) -> bytes:
        return await self._lines.readline(limit)

    async def stderr_tail(self) -> str:
        return await self._stderr.text()

    async def wait(self) -> int | None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                status = await self._process.wait()
        except TimeoutError:
            return None
        return status if status >= 0 else None

    def end_input(self) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()

    async def close(self) -> None:
        self.end_input()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                # Draining keeps a command that still writes from blocking on a full pipe.
                while await self.stdout.read(65_536):
                    pass
                await self._process.wait()
        except TimeoutError:
            pass  # it did not end by itself
        finally:
            self._stderr.cancel()
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._process.wait()
