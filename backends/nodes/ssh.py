"""Nodes over SSH: one connection each, opened on demand, reused by every channel.

The OpenSSH configuration says host, user, port, keys, certificates, agent and jump hosts (`ssh_config`). asyncssh is
loaded on the first connect, in a thread, because importing it takes longer than a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backends.contract import GpudeckError, ProbeFailed, Unreachable
from backends.domain import NodeSpec, SshSpec, clean
from backends.nodes.pipes import Lines, Tail, read_bounded
from backends.nodes.ssh_config import SYSTEM_DIRECTORY
from backends.nodes.ssh_dial import Dialler
from backends.nodes.ssh_errors import explain
from backends.nodes.ssh_jumps import CLOSE_SECONDS, Lease, close_in_time
from backends.nodes.transport import Channel, Completed

if TYPE_CHECKING:
    import asyncssh

CHANNELS_PER_CONNECTION = 8
"""OpenSSH allows 10 sessions per connection (MaxSessions) by default."""


class SshPool:
    """The SSH connections of one site; at most `parallel_connects` are being made at a time."""

    def __init__(self, spec: SshSpec, *, system: Path = SYSTEM_DIRECTORY) -> None:
        self._spec = spec
        self._dialler = Dialler(spec, system)
        self._connecting = asyncio.Semaphore(spec.parallel_connects)
        self._transports: list[SshTransport] = []

    def transport(self, node: NodeSpec) -> SshTransport:
        made = SshTransport(node, self._spec, self._connecting, self._dialler)
        self._transports.append(made)
        return made

    async def close(self) -> None:
        await asyncio.gather(*(transport.close() for transport in self._transports))


class SshTransport:
    """The way to one node."""

    def __init__(self, node: NodeSpec, spec: SshSpec, connecting: asyncio.Semaphore, dialler: Dialler) -> None:
        self._node = node
        self._spec = spec
        self._connecting = connecting
        self._dialler = dialler
        self._channels = asyncio.Semaphore(CHANNELS_PER_CONNECTION)
        self._lock = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._hops: list[Lease] = []
        self._sockets: dict[str, tuple[asyncssh.SSHClientConnection, Path]] = {}
        """Path on the node -> the connection that carries it, and its end on this machine."""
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    async def open(self, command: str) -> Channel:
        await self._channels.acquire()
        try:
            process = await self._start(command)
        except BaseException:
            self._channels.release()
            raise
        return SshChannel(process, self._channels)

    async def run(self, command: str, *, timeout: float, limit: int) -> Completed:
        channel = await self.open(command)
        assert isinstance(channel, SshChannel)
        try:
            async with asyncio.timeout(timeout):
                channel.end_input()
                stdout = await read_bounded(channel.stdout, limit)
                return Completed(stdout, await channel.stderr_tail(), await channel.wait())
        except TimeoutError:
            raise ProbeFailed(f"the command took more than {timeout:.0f} s on {self._node.name}", "") from None
        finally:
            await channel.close()

    async def socket(self, path: str) -> Path:
        connection = await self._connect()
        known = self._sockets.get(path)
        if known is not None and known[0] is connection:
            return known[1]
        import asyncssh

        try:
            async with asyncio.timeout(self._spec.connect_timeout_seconds):
                # Asked once by itself: through a forwarded socket a refusal would be a connection that just ends.
                _, writer = await connection.open_unix_connection(path, encoding=None)
                writer.close()
                if self._directory is None:
                    self._directory = tempfile.TemporaryDirectory(prefix="gpudeck-")
                end = Path(self._directory.name) / str(len(self._sockets))
                end.unlink(missing_ok=True)
                await connection.forward_local_path(str(end), path)
        except asyncssh.ChannelOpenError as error:
            said = clean(error.reason, 120)
            raise GpudeckError(
                f"{path} of {self._node.name} cannot be reached: {said}",
                "is it there, may this login open it, and does sshd allow AllowStreamLocalForwarding?",
            ) from None
        except (TimeoutError, OSError, asyncssh.Error) as error:
            raise explain(error, self._node, self._spec, None) from None
        self._sockets[path] = (connection, end)
        return end

    async def close(self) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.cleanup()
        connection, self._connection = self._connection, None
        hops, self._hops = self._hops, []
        if connection is not None:
            await close_in_time(connection)
        await _leave(hops)

    async def _start(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        connection = await self._connect()
        import asyncssh

        try:
            async with asyncio.timeout(self._spec.connect_timeout_seconds):
                return await connection.create_process(command, encoding=None)
        except (TimeoutError, OSError, asyncssh.Error) as error:
            if connection.is_closed():
                raise Unreachable(f"the connection to {self._node.name} was lost", "it is opened again") from None
            raise explain(error, self._node, self._spec, None) from None

    async def _connect(self) -> asyncssh.SSHClientConnection:
        async with self._lock:
            if self._connection is not None and not self._connection.is_closed():
                return self._connection
            async with self._connecting:
                self._connection = await self._connect_once()
            return self._connection

    async def _connect_once(self) -> asyncssh.SSHClientConnection:
        hops: list[Lease] = []
        try:
            connection = await self._dialler.dial(self._node, hops)
        except BaseException:
            await _leave(hops)
            raise
        await _leave(self._hops)
        self._hops = hops
        return connection


async def _leave(hops: list[Lease]) -> None:
    """In the reverse order of dialling."""
    for hop in reversed(hops):
        await hop.close()


class SshChannel:
    def __init__(self, process: asyncssh.SSHClientProcess[bytes], slot: asyncio.Semaphore) -> None:
        self._process = process
        self._slot: asyncio.Semaphore | None = slot
        self.stdout = process.stdout
        self._lines = Lines(process.stdout)
        self._stderr = Tail(process.stderr)

    async def send(self, payload: bytes) -> None:
        import asyncssh

        try:
            self._process.stdin.write(payload)
            await self._process.stdin.drain()
        except (OSError, asyncssh.Error):
            raise ProbeFailed("the command ended before it had read its input", "") from None

    async def readline(self, limit: int) -> bytes:
        import asyncssh

        try:
            return await self._lines.readline(limit)
        except (OSError, asyncssh.Error) as error:
            raise Unreachable(f"the connection was lost: {error}", "it is opened again") from None

    async def stderr_tail(self) -> str:
        return await self._stderr.text()

    async def wait(self) -> int | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._process.wait_closed()
        return self._process.exit_status

    def end_input(self) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.write_eof()

    async def close(self) -> None:
        if self._slot is None:
            return
        slot, self._slot = self._slot, None
        try:
            self.end_input()
            with contextlib.suppress(TimeoutError, OSError, GpudeckError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    # Draining opens the window of a command that still writes, so that it sees the EOF.
                    while await self.stdout.read(65_536):
                        pass
            self._process.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._process.wait_closed()
        finally:
            self._stderr.cancel()
            slot.release()
