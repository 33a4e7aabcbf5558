"""One node's engine: the connection to its API, and the few questions that are put to it.

aiodocker is loaded when the first question is put. Every answer is bounded in time; every failure is a `GpudeckError`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from backends.contract import GpudeckError, NotAllowed, Unreachable
from backends.docker.changes import FILTERS, Gathered
from backends.docker.containers import moment
from backends.docker.multiplex import Demultiplexer
from backends.domain import clean

if TYPE_CHECKING:
    from aiodocker import Docker
    from aiohttp import BaseConnector

ANSWER_SECONDS = 10.0
CONTAINERS_LIMIT = 512
"""Of one node; a GPU server runs some dozens."""

T = TypeVar("T")
Locate = Callable[[], Awaitable[str]]
"""The engine's address as aiodocker takes it, unix://... or https://...; raises `GpudeckError`."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a client certificate, for an engine on TCP."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Raises GpudeckError naming the file that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            context.load_cert_chain(str(self.cert), str(self.key))
        except (OSError, ssl.SSLError) as error:
            raise GpudeckError(
                f"the TLS files of Docker cannot be used: {error}", f"look at {self.ca}, {self.cert} and {self.key}"
            ) from None
        return context


class Engine:
    """The engine of one node. The connection is made for the first question and anew after a failure."""

    def __init__(self, node: str, locate: Locate, tls: Tls | None = None) -> None:
        self.node = node
        self._locate = locate
        self._tls = tls
        self._docker: Docker | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def version(self) -> dict[str, Any]:
        async def ask(docker: Docker) -> dict[str, Any]:
            return dict(await docker.version())

        return await self._ask(ask)

    async def info(self) -> dict[str, Any]:
        return dict(await self._ask(lambda docker: docker.system.info()))

    async def ids(self) -> list[str]:
        """Of all containers, stopped ones too; the first `CONTAINERS_LIMIT` that the engine lists."""
        listed = await self._ask(lambda docker: docker.containers.list(all=True))
        return [each.id for each in listed[:CONTAINERS_LIMIT]]

    async def inspect(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Their inspect documents by id; one that went away meanwhile is left out."""
        docker, asked = await self._connect(), list(ids)
        found = await asyncio.gather(*(self._inspect(docker.containers.container(each)) for each in asked))
        return {each: document for each, document in zip(asked, found, strict=True) if document is not None}

    async def containers(self) -> list[dict[str, Any]]:
        """The inspect documents of all containers."""
        return list((await self.inspect(await self.ids())).values())

    async def _inspect(self, container: Any) -> dict[str, Any] | None:
        from aiodocker.exceptions import DockerError

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                document = await container.show()
        except DockerError as error:
            if error.status == 404:
                return None
            raise self._explain(error) from None
        except (TimeoutError, OSError) as error:
            raise self._explain(error) from None
        return document if isinstance(document, dict) else None

    async def changes(self) -> AsyncGenerator[frozenset[str] | None, None]:
        """None at the start, then the ids of containers that came, went or changed since the last that were taken.

        None is: any of them may have changed. A break raises `GpudeckError`. The events are read as they arrive and
        held as ids, however slowly this is iterated: aiodocker's queue of them has no bound.
        """
        since = await self._time()
        docker = await self._connect()
        subscriber = docker.events.subscribe(create_task=False)  # type: ignore[no-untyped-call]
        running = asyncio.ensure_future(docker.events.run(filters=FILTERS, **since))
        gathered = Gathered()

        async def gather() -> None:
            while (event := await subscriber.get()) is not None:
                gathered.add(event)

        gathering = asyncio.ensure_future(gather())
        try:
            yield None
            while True:
                waiting = asyncio.ensure_future(gathered.news.wait())
                await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    waiting.cancel()
                    raise self._explain(running.exception() or ConnectionResetError("the stream of events ended"))
                yield gathered.take()
        finally:
            running.cancel()
            gathering.cancel()
            await asyncio.gather(running, gathering, return_exceptions=True)

    async def _time(self) -> dict[str, Any]:
        """`since` of the events: the engine's own time, so that none is lost until the stream is open.

        Empty when the engine does not tell, or may not be asked.
        """
        try:
            at = moment((await self.info()).get("SystemTime"))
        except NotAllowed:
            return {}
        return {} if at is None else {"since": str(int(at))}

    async def state(self, name: str) -> str:
        """running, restarting, exited, ...; raises `GpudeckError`, also for a container that is not there."""

        async def ask(docker: Docker) -> str:
            document = await (await docker.containers.get(name)).show()
            return clean(str(document.get("State", {}).get("Status") or ""), 32)

        return await self._ask(ask)

    async def log(self, name: str, parameters: Mapping[str, str]) -> AsyncGenerator[list[bytes], None]:
        """Lines of a container's log as they arrive, each with its RFC 3339 time before it; raises `GpudeckError`.

        `parameters` are those of the API's `/containers/NAME/logs`. The request is made here: aiodocker leaves the
        connection of a log open that its reader leaves.
        """
        docker = await self._connect()
        import aiohttp
        from aiodocker.exceptions import DockerError

        wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", **parameters}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                container = await (await docker.containers.get(name)).show()
            demultiplexer = Demultiplexer(terminal=bool(container.get("Config", {}).get("Tty")))
            address, connector = self._session_of(await self._locate())
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=aiohttp.ClientTimeout(connect=ANSWER_SECONDS)
                ) as session,
                session.get(f"{address}/containers/{container['Id']}/logs", params=wanted) as response,
            ):
                if response.status >= 400:
                    raise GpudeckError(f"the log of {clean(name, 64)}: {clean(await response.text(), 200)}", "")
                async for received in response.content.iter_any():
                    yield demultiplexer.feed(received)
                yield demultiplexer.rest()
        except (DockerError, TimeoutError, OSError, ValueError, aiohttp.ClientError) as error:
            raise self._explain(error) from None

    def _session_of(self, url: str) -> tuple[str, BaseConnector]:
        """The address and the connector of plain HTTP requests to the engine."""
        import aiohttp

        if url.startswith("unix://"):
            return "http://engine", aiohttp.UnixConnector(url.removeprefix("unix://"))
        context = self._tls.context() if self._tls is not None else None
        scheme = "https" if context is not None else "http"
        return url.replace("tcp://", f"{scheme}://", 1), aiohttp.TCPConnector(ssl=context or True)

    async def close(self) -> None:
        """For good."""
        self._closed = True
        await self._leave()

    async def _leave(self) -> None:
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()

    async def _ask(self, question: Callable[[Docker], Awaitable[T]]) -> T:
        docker = await self._connect()
        from aiodocker.exceptions import DockerError

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await question(docker)
        except (DockerError, TimeoutError, OSError) as error:
            await self._leave()
            raise self._explain(error) from None

    async def _connect(self) -> Docker:
        async with self._lock:
            if self._closed:
                raise Unreachable(f"the connection to the container engine of {self.node} was closed", "")
            if self._docker is None:
                url = await self._locate()
                aiodocker = await asyncio.to_thread(_load)
                context = self._tls.context() if self._tls is not None else None
                # The address is ours: DOCKER_HOST of the user's shell is about another engine.
                self._docker = aiodocker.Docker(url=url, ssl_context=context)
            assert self._docker is not None
            return self._docker

    def _explain(self, error: BaseException) -> GpudeckError:
        """`error` in a sentence, with what to do."""
        where = f"the container engine of {self.node}"
        status = getattr(error, "status", None)
        said = clean(str(getattr(error, "message", "") or error), 200)
        if status in (401, 403):
            return NotAllowed(f"{where} refuses this user: {said}", "")
        if isinstance(error, TimeoutError):
            return Unreachable(f"{where} gave no answer in {ANSWER_SECONDS:.0f} s", "systemctl status docker")
        if status == 404:
            return GpudeckError(f"{where}: {said}", "")
        return Unreachable(f"{where} cannot be asked: {said or type(error).__name__}", "is dockerd running there?")


def _load() -> Any:
    import aiodocker

    return aiodocker
