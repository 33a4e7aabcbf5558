"""Jump hosts: each is connected to once, for all nodes behind it.

A connection per node would be one login per node at the bastion, whose sshd drops them at random from the tenth on that
is not logged in yet (MaxStartups 10:30:100). Connections that go on from there are no sessions: MaxSessions is not met.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncssh

CLOSE_SECONDS = 3.0

Route = tuple[tuple[int, str], ...]
"""The jump hosts one behind the other, the last one being the one that is meant: its depth and its destination.

A jump host that has jump hosts of its own waits for these: they are one deeper, so that no two wait for each other.
"""
Dial = Callable[[list["Lease"]], Awaitable["asyncssh.SSHClientConnection"]]
"""Makes a connection; appends what it is reached through."""


class Jumps:
    """The jump hosts of one site that are in use."""

    def __init__(self) -> None:
        self._shared: dict[Route, _Shared] = {}

    async def lease(self, route: Route, dial: Dial) -> Lease:
        """The connection to the last one of `route`, made by `dial` where there is none.

        Who asks while it is being made waits with the others, and gets the same error.
        """
        shared = self._shared.get(route)
        if shared is None or shared.is_over:
            shared = self._shared[route] = _Shared(dial)
        shared.users += 1
        try:
            return Lease(route, await asyncio.shield(shared.dialling), shared)
        except BaseException:
            await shared.leave()
            raise


class Lease:
    """One user's share of a connection."""

    def __init__(self, route: Route, connection: asyncssh.SSHClientConnection, shared: _Shared) -> None:
        self.route = route
        self.connection = connection
        self._shared: _Shared | None = shared

    async def close(self) -> None:
        """The connection ends with its last user."""
        shared, self._shared = self._shared, None
        if shared is not None:
            await shared.leave()


class _Shared:
    def __init__(self, dial: Dial) -> None:
        self.users = 0
        self._was_left = False
        self._hops: list[Lease] = []
        self.dialling = asyncio.ensure_future(dial(self._hops))

    @property
    def is_over(self) -> bool:
        """Nobody can be led through it any more."""
        if self._was_left or not self.dialling.done():
            return self._was_left
        return self._failed or self.dialling.result().is_closed()

    @property
    def _failed(self) -> bool:
        return self.dialling.cancelled() or self.dialling.exception() is not None

    async def leave(self) -> None:
        self.users -= 1
        if self.users:
            return
        self._was_left = True
        self.dialling.cancel()
        await asyncio.wait([self.dialling])
        if not self._failed:
            await close_in_time(self.dialling.result())
        for hop in reversed(self._hops):
            await hop.close()


async def close_in_time(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
