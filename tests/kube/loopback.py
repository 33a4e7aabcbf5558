"""A TLS server of a test on loopback, with the test CA's certificate."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web


@contextlib.asynccontextmanager
async def serving(application: web.Application, certificates: Path) -> AsyncIterator[int]:
    """Yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    runner = web.AppRunner(application, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        assert runner.server is not None
        for connection in runner.server.connections:
            # A polite end of TLS would outlive the test's event loop.
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()
