"""One simulated node's SSH server on loopback. Importing this loads asyncssh."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncssh

from backends.lab.session import Node, handle

if TYPE_CHECKING:
    from backends.lab.docker import DockerApi

DOCKER_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")

# Few and fast algorithms: a hundred handshakes at once share one core with the client.
_KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"]
_CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"]


def bind(port: int = 0) -> socket.socket:
    """A socket bound to loopback that does not listen: the port is taken and refuses connections."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


class NodeListener:
    """Listens while the node is reachable; holds the port while it is not, so that it can come back on the same one."""

    def __init__(self, node: Node, user_key: asyncssh.SSHKey, docker: DockerApi | None = None) -> None:
        self.node = node
        self.docker = docker
        """Behind the node's Docker socket; it is started when somebody asks for it. None on a node without Docker."""
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._allowed = user_key.public_data
        self._held: socket.socket | None = bind()
        self.port: int = self._held.getsockname()[1]
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._boots = node.hardware.boots

    def accepts(self, key: asyncssh.SSHKey) -> bool:
        return self.node.hardware.accepts_key and key.public_data == self._allowed

    async def refresh(self) -> None:
        """Makes the server match the node's state; a client that may no longer be there is dropped."""
        hardware = self.node.hardware
        if not (hardware.reachable and hardware.accepts_key) or hardware.boots != self._boots:
            self.drop()
        self._boots = hardware.boots
        if hardware.reachable and self._acceptor is None:
            await self._open()
        elif not hardware.reachable and self._acceptor is not None:
            self._shut()
            self._held = bind(self.port)

    async def _open(self) -> None:
        held, self._held = self._held or bind(self.port), None
        self._acceptor = await asyncssh.listen(
            sock=held,
            server_factory=lambda: _Gate(self),
            server_host_keys=[self.host_key],
            process_factory=self._process,
            encoding=None,
            kex_algs=_KEX,
            encryption_algs=_CIPHERS,
            compression_algs=None,
            allow_scp=False,
            line_editor=False,
            login_timeout=30,
        )

    async def _process(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        await handle(self.node, process)

    def _shut(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None

    def drop(self) -> None:
        """Ends every connection at once, as a node that loses power."""
        for connection in tuple(self.connections):
            connection.abort()

    async def close(self) -> None:
        acceptor = self._acceptor
        self._shut()
        self.drop()
        if self.docker is not None:
            await self.docker.close()
        if self._held is not None:
            self._held.close()
            self._held = None
        if acceptor is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(acceptor.wait_closed(), 2)


async def _to_docker(docker: DockerApi, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    """One connection to the node's Docker socket, carried to the API until either side ends it."""
    await docker.start()
    inward, outward = await asyncio.open_connection("127.0.0.1", docker.port)

    async def carry(source: Any, target: Any) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        with contextlib.suppress(OSError, asyncssh.Error):
            target.write_eof()

    try:
        await asyncio.gather(carry(reader, outward), carry(inward, writer))
    finally:
        outward.close()
        writer.close()


class _Gate(asyncssh.SSHServer):
    """Lets the lab's one user key in."""

    def __init__(self, listener: NodeListener) -> None:
        self._listener = listener
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._listener.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._listener.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def unix_connection_requested(self, dest_path: str) -> bool | Callable[[Any, Any], Awaitable[None]]:
        docker = self._listener.docker
        if docker is None or dest_path not in DOCKER_SOCKETS:
            return False
        return partial(_to_docker, docker)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._listener.accepts(key)
