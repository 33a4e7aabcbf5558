"""One node's engine: the connection to its API, and the few questions that are put to it.

aiodocker is loaded when the first question is put. Every answer is bounded in time; every failure is a `GpudeckError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.contract import Gone, GpudeckError, NotAllowed, Unreachable
from backends.docker.about import About, about, is_podman
from backends.docker.changes import FILTERS, Gathered
from backends.docker.containers import moment
from backends.docker.listing import Listing, listing
from backends.docker.multiplex import Demultiplexer
from backends.docker.pods import PATH, pods_of
from backends.domain import clean

if TYPE_CHECKING:
    import aiohttp
    from aiodocker import Docker
    from aiohttp import BaseConnector

ANSWER_SECONDS = 10.0
ERROR_BYTES = 65_536
NO_CONNECTION = 900
"""aiodocker's status of a DockerError that is no answer of the engine."""
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError)
"""What aiodocker raises of an answer that is not what the API promises: HTML, null, JSON that is cut or too deep."""

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

    def __init__(self, node: str, locate: Locate, tls: Tls | None = None, unit: str = "docker") -> None:
        """`unit` is the systemd unit that serves the API."""
        self.node = node
        self._unit = f"on the node: systemctl status {unit}"
        self._locate = locate
        self._tls = tls
        self._docker: Docker | None = None
        self._is_podman: bool | None = None
        """None: it was not asked since the connection was made."""
        self._lock = asyncio.Lock()
        self._closed = False

    async def version(self) -> dict[str, Any]:
        async with self._asking("/version") as docker:
            return _document(await docker.version())

    async def info(self) -> dict[str, Any]:
        async with self._asking("/info") as docker:
            return _document(await docker.system.info())

    async def about(self) -> About:
        """What it is, and how its containers can have GPUs."""
        return about(await self.info(), await self.version())

    async def ids(self) -> Listing:
        """Of all containers, stopped ones too."""
        async with self._asking("/containers/json") as docker:
            return listing([(each.id, _state(each)) for each in await docker.containers.list(all=True)])

    async def inspect(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Their inspect documents by id; one that went away meanwhile is left out."""
        asked = list(ids)
        found = await asyncio.gather(*(self._inspect(each) for each in asked))
        return {each: document for each, document in zip(asked, found, strict=True) if document is not None}

    async def containers(self) -> list[dict[str, Any]]:
        """The inspect documents of all containers."""
        return list((await self.inspect((await self.ids()).ids)).values())

    async def _inspect(self, identity: str) -> dict[str, Any] | None:
        try:
            async with self._asking(f"/containers/{identity[:12]}/json") as docker:
                return _document(await docker.containers.container(identity).show())
        except Gone:
            return None

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
                    ended = ConnectionResetError("the stream of events ended")
                    raise self._explain(running.exception() or ended, "/events")
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

    async def pods(self) -> dict[str, str]:
        """The name of its pod by container id; empty where the engine has none, or does not tell them."""
        try:
            if self._is_podman is None:
                self._is_podman = is_podman(await self.version())
            if not self._is_podman:
                return {}
            async with asyncio.timeout(ANSWER_SECONDS), self._reading(PATH) as arriving:
                return pods_of(json.loads(await arriving.read()))
        except (GpudeckError, TimeoutError):
            return {}

    async def state(self, name: str) -> str:
        """running, restarting, exited, ...; raises `GpudeckError`, also for a container that is not there."""
        async with self._asking(f"/containers/{clean(name, 64)}/json") as docker:
            state = _document(await docker.containers.container(name).show()).get("State")
            return clean(str(_document(state).get("Status") or ""), 32)

    async def log(self, name: str, parameters: Mapping[str, str]) -> AsyncGenerator[list[bytes], None]:
        """Lines of a container's log as they arrive, each with its RFC 3339 time before it; raises `GpudeckError`.

        `parameters` are those of the API's `/containers/NAME/logs`.
        """
        wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", **parameters}
        container = await self._shown(name)
        config = container.get("Config")
        demultiplexer = Demultiplexer(terminal=isinstance(config, dict) and bool(config.get("Tty")))
        async with self._reading("/containers/{}/logs", name, container["Id"], wanted) as arriving:
            async for received in arriving.iter_any():
                yield demultiplexer.feed(received)
            yield demultiplexer.rest()

    async def stats(self, name: str) -> AsyncGenerator[dict[str, Any], None]:
        """What a container uses, once a second and every five of Podman, as `/containers/NAME/stats` tells it; raises
        `GpudeckError`."""
        container = await self._shown(name)
        async with self._reading("/containers/{}/stats", name, container["Id"], {"stream": "1"}) as arriving:
            while True:
                async with asyncio.timeout(ANSWER_SECONDS):
                    line = await arriving.readline()
                if not line:
                    return
                yield _document(json.loads(line))

    async def _shown(self, name: str) -> dict[str, Any]:
        """The inspect document of a container, by name or id; raises `GpudeckError`."""
        async with self._asking(f"/containers/{clean(name, 64)}/json") as docker:
            document = _document(await docker.containers.container(name).show())
            if not isinstance(document["Id"], str):
                raise ValueError("a container without an id")
            return document

    @contextlib.asynccontextmanager
    async def _reading(
        self, path: str, name: str = "", identity: str = "", parameters: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The body of a long answer, or of one that aiodocker has no question for; `path` has a place for the id.

        The request is made here: aiodocker leaves the connection of an answer open that its reader leaves.
        """
        import aiohttp

        asked = path.format(clean(name, 64))
        try:
            address, connector = self._session_of(await self._locate())
            async with (
                aiohttp.ClientSession(
                    connector=connector, timeout=aiohttp.ClientTimeout(connect=ANSWER_SECONDS)
                ) as session,
                session.get(address + path.format(identity), params=parameters) as response,
            ):
                if response.status >= 400:
                    raise self._refused(response.status, await response.content.read(ERROR_BYTES))
                yield response.content
        except (OSError, aiohttp.ClientError, *UNREADABLE) as error:
            raise self._explain(error, asked) from None

    def _refused(self, status: int, body: bytes) -> GpudeckError:
        """What the engine says in place of a long answer."""
        where = f"the container engine of {self.node}"
        said = clean(_message(body.decode("utf-8", "replace")), 200) or f"status {status}"
        if status in (401, 403):
            return NotAllowed(f"{where} refuses this user: {said}", "")
        return (Gone if status == 404 else GpudeckError)(f"{where}: {said}", "")

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
        if self._docker is not None:
            await self._leave(self._docker)

    async def _leave(self, docker: Docker) -> None:
        """The next question makes a new connection: the way to the node may be another by then."""
        if self._docker is docker:
            self._docker = self._is_podman = None
        await docker.close()

    @contextlib.asynccontextmanager
    async def _asking(self, asked: str) -> AsyncIterator[Docker]:
        """The client for one question, a path of the API: it and its answer in time, or `GpudeckError`."""
        docker = await self._connect()
        import aiohttp
        from aiodocker.exceptions import DockerError

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                yield docker
        except (DockerError, OSError, aiohttp.ClientError, *UNREADABLE) as error:
            if getattr(error, "status", NO_CONNECTION) == NO_CONNECTION and not _is_unreadable(error):
                await self._leave(docker)
            raise self._explain(error, asked) from None

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

    def _explain(self, error: BaseException, asked: str) -> GpudeckError:
        """`error` in a sentence that names the node and what was `asked`, with what to do."""
        where = f"the container engine of {self.node}"
        status = getattr(error, "status", None)
        said = clean(_message(str(getattr(error, "message", "") or error)), 200)
        if status in (401, 403):
            return NotAllowed(f"{where} refuses this user: {said}", "")
        if isinstance(error, TimeoutError):
            return Unreachable(f"{where} gave no answer to {asked} in {ANSWER_SECONDS:.0f} s", self._unit)
        if status == 404:
            return Gone(f"{where}: {said}", "")
        if _is_unreadable(error):
            return GpudeckError(
                f"{where} gave an answer to {asked} that cannot be read: {said or type(error).__name__}",
                "does a container engine answer there, or something before it?",
            )
        return Unreachable(f"{where} cannot be asked for {asked}: {said or type(error).__name__}", self._unit)


def _state(listed: Any) -> Any:
    """running, exited, ... of a container in the list; None where it is not told."""
    try:
        return listed["State"]
    except KeyError:
        return None


def _message(text: str) -> str:
    """What the engine says of a refusal: aiodocker leaves it in its JSON where the content type names a charset."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return str(document["message"]) if isinstance(document, dict) and "message" in document else text


def _is_unreadable(error: BaseException) -> bool:
    """The engine answered, with something else; an error of a certificate is a ValueError too."""
    import aiohttp

    return isinstance(error, UNREADABLE) and not isinstance(error, OSError | aiohttp.ClientError)


def _document(value: Any) -> dict[str, Any]:
    """Raises ValueError for what is no JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} in place of an object")
    return value


def _load() -> Any:
    import aiodocker

    return aiodocker
