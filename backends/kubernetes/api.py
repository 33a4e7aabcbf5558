"""The connection to one API server: requests and streams of plain JSON.

`kubernetes.aio` carries it (TLS, proxies, tokens); its models do not: the console keeps a few fields of each object,
and building thousands of models to drop them would cost more than reading them. The SDK is imported in a thread on
first use, because that takes longer than a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from backends.contract import AuthRefused, Clock, Gone
from backends.domain import KubernetesSpec
from backends.kubernetes import credentials
from backends.kubernetes.credentials import Credentials
from backends.kubernetes.errors import Throttled, from_exception, from_status
from backends.kubernetes.memory import no_collection, spare_what_is_there
from backends.kubernetes.proxies import proxy_for
from backends.kubernetes.resources import Resource

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
RENEW_SECONDS = 60.0
"""Credentials are renewed this long before they expire."""
RENEW_AGAIN_SECONDS = 5.0
"""Credentials that are refused when they are younger than this are not loaded again: a login plug-in may be slow, and
the server's answer would be the same."""
ERROR_BYTES = 1 << 20
PATIENT_TRIES = 4
READ_PATIENCE = 120.0
WRITE_PATIENCE = 30.0
"""Seconds that a request which the server has put off (429: nothing was done) waits in all; a step of a change has a
minute for its request."""
LISTS_AT_ONCE = 16
"""Pages of collections that are read at a time: who may read hundreds of namespaces asks for each."""
THREAD_BYTES = 65_536
"""Answers larger than this are parsed in a thread."""
KEEPALIVE = ((socket.TCP_KEEPIDLE, 20), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A watch may be silent for minutes: only the kernel's probes tell a quiet server from a dead one."""
JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True, slots=True)
class Bearer:
    """What shows a service of the cluster, other than its API server, who asks."""

    token: str | None = field(repr=False)
    """None: the user has none, but a client certificate or a password."""
    acts_for_another: bool
    """The kubeconfig impersonates somebody, which only the API server understands."""
    ca: str = field(repr=False)
    """PEM of the kubeconfig's certificate authority; empty: none."""
    proxy: str | None = field(repr=False)
    """The kubeconfig's proxy-url."""
    generation: int


class Api:
    """Opened on first use; safe for many tasks at once."""

    def __init__(self, spec: KubernetesSpec, clock: Clock) -> None:
        self._spec = spec
        self._clock = clock
        self._lock = asyncio.Lock()
        self.listing = asyncio.Semaphore(LISTS_AT_ONCE)
        """Held while a page of a collection is read."""
        self._credentials: Credentials | None = None
        self._rest: Any = None
        self._generation = 0
        self._loaded_at = 0.0
        self._written: object = None
        """The kubeconfig that was loaded; see `credentials.written`."""
        self._closed = False

    @property
    def host(self) -> str:
        """https://10.0.0.1:6443; a word before the first connection."""
        return "the API server" if self._credentials is None else self._credentials.host

    @property
    def namespace(self) -> str | None:
        """The one that the kubeconfig's context names."""
        return None if self._credentials is None else self._credentials.namespace

    async def close(self) -> None:
        self._closed = True
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest.close()

    async def get(
        self, path: str, query: Mapping[str, str | int] | None = None, *, accept: str = JSON
    ) -> dict[str, Any]:
        """The object at `path`; waits a few times when the server asks for patience. Raises `GpudeckError`."""
        return await self.send("GET", path, query=query, accept=accept, patience=READ_PATIENCE)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | int] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        patience: float = 0.0,
    ) -> dict[str, Any]:
        """One request and its JSON answer. Raises `GpudeckError`.

        While the server asks to come back later it does, a few times and at most `patience` seconds in all; then it
        raises Throttled, and nothing was done.
        """
        left = patience
        for attempt in range(1, PATIENT_TRIES + 1):
            try:
                raw = await self.raw(method, path, body, query=query, content_type=content_type, accept=accept)
            except Throttled as error:
                if attempt == PATIENT_TRIES or error.retry_after > left or not patience:
                    raise
                left -= error.retry_after
                await self._clock.sleep(error.retry_after)
            else:
                if len(raw) > THREAD_BYTES:
                    return await asyncio.to_thread(_parse, raw)
                return _parse(raw)
        raise AssertionError("unreachable")

    async def raw(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | int] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        """One request and the bytes of its answer."""
        async with self.response(
            method, path, body, query=query, content_type=content_type, accept=accept, read_seconds=ANSWER_SECONDS
        ) as response:
            try:
                return await response.read()
            except (OSError, TimeoutError, _client_error()) as error:
                raise from_exception(error, self.host) from None

    @contextlib.asynccontextmanager
    async def response(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | int] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        read_seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer whose body is still to be read: for watches and logs. Refused credentials are renewed once."""
        response = await self._request(method, path, body, query, content_type, accept, read_seconds)
        if response.status == 401:
            generation = self._generation
            _hang_up(response)
            await self._renew(generation)
            response = await self._request(method, path, body, query, content_type, accept, read_seconds)
        try:
            if response.status >= 400:
                raise await self._failure(response)
            yield response
        finally:
            _hang_up(response)

    async def bearer(self, refused: Bearer | None = None) -> Bearer:
        """The user's own token as it is now; after `refused` was not accepted from credentials that are loaded anew.

        Raises `GpudeckError`.
        """
        if refused is not None:
            await self._renew(refused.generation)
        _, who = await self._connect()
        generation = self._generation
        settings = await who.configuration.auth_settings()
        scheme, _, token = str(settings.get("BearerToken", {}).get("value") or "").partition(" ")
        return Bearer(
            token=token if scheme == "Bearer" and token else None,
            acts_for_another=bool(who.headers),
            ca=who.ca,
            proxy=who.configuration.proxy,
            generation=generation,
        )

    async def exists(self, resource: Resource) -> bool:
        """Whether the server has that resource at that version at all."""
        root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        try:
            listing = await self.get(root)
        except Gone:
            return False
        return any(entry.get("name") == resource.plural for entry in listing.get("resources") or ())

    async def _request(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, str | int] | None,
        content_type: str,
        accept: str,
        read_seconds: float | None,
    ) -> aiohttp.ClientResponse:
        rest, who = await self._connect()
        generation = self._generation
        import aiohttp
        from multidict import CIMultiDict

        headers = CIMultiDict(
            [("Accept", accept), ("Content-Type", content_type), ("User-Agent", "gpudeck"), *who.headers]
        )
        for setting in (await who.configuration.auth_settings()).values():
            headers[setting["key"]] = setting["value"]
        url = who.host + path + (f"?{urlencode(query)}" if query else "")
        timeout = aiohttp.ClientTimeout(
            total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=read_seconds
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
                answer = await rest.request(method, url, headers=headers, body=body, _request_timeout=timeout)
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            await self._follow_kubeconfig(generation)
            raise from_exception(error, who.host) from None
        except RuntimeError as error:
            # aiohttp raises this for a session that was closed: by a renewal in between, or by `close`.
            raise from_exception(ConnectionError(str(error)), who.host) from None
        return answer.response  # type: ignore[no-any-return]

    async def _failure(self, response: aiohttp.ClientResponse) -> Exception:
        try:
            body = await response.content.read(ERROR_BYTES)
        except (OSError, TimeoutError, _client_error()):
            body = b""
        return from_status(response.status, body, response.headers.get("Retry-After"))

    async def _connect(self) -> tuple[Any, Credentials]:
        async with self._lock:
            if self._closed:
                raise from_exception(ConnectionError("it was closed"), self.host)
            if self._rest is None or self._expires_soon():
                await self._load()
            assert self._credentials is not None
            return self._rest, self._credentials

    def _expires_soon(self) -> bool:
        """A login plug-in may hand out the same short-lived token again: it is not asked with every request."""
        expires = None if self._credentials is None else self._credentials.expires_at
        young = self._clock.monotonic() - self._loaded_at < RENEW_AGAIN_SECONDS
        return expires is not None and not young and expires - RENEW_SECONDS <= self._clock.now()

    async def _renew(self, generation: int) -> None:
        """Loads the credentials again, once for all who were refused with those of `generation`, and not in a loop."""
        async with self._lock:
            fresh = self._clock.monotonic() - self._loaded_at < RENEW_AGAIN_SECONDS
            if fresh:
                fresh = not await self._is_rewritten()
            if generation == self._generation and not fresh and not self._closed:
                await self._load()

    async def _follow_kubeconfig(self, generation: int) -> None:
        """The server that `generation` names cannot be reached: the kubeconfig may name another one since.

        Raises ConfigError where it is written anew and cannot be right.
        """
        async with self._lock:
            if generation == self._generation and not self._closed and await self._is_rewritten():
                await self._load()

    async def _is_rewritten(self) -> bool:
        return await asyncio.to_thread(credentials.written, self._spec) != self._written

    async def _load(self) -> None:
        await load_sdk()
        # Before it is read: what is written meanwhile is another one.
        written = await asyncio.to_thread(credentials.written, self._spec)
        private = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="gpudeck-"))
        try:
            fresh = await credentials.load(self._spec, private)
            # A new token alone leaves the connections, and the watches on them, as they are.
            same = self._credentials is not None and fresh.connection == self._credentials.connection
            rest = self._rest if same and self._rest is not None else await asyncio.to_thread(_rest_client, fresh)
        except OSError as error:
            raise AuthRefused(f"the kubeconfig's certificates cannot be read: {error.strerror}", "") from None
        finally:
            await asyncio.to_thread(shutil.rmtree, private, True)
        former, self._rest = self._rest, rest
        self._credentials = fresh
        self._generation += 1
        self._written = written
        self._loaded_at = self._clock.monotonic()
        if former is not None and former is not rest:
            await former.close()


async def load_sdk() -> None:
    """Imports the SDK off the event loop; its loggers stay silent, the errors say it all."""
    await asyncio.to_thread(_import_sdk)
    for name in ("kubernetes", "aiohttp", "aiohttp_retry", "client"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _import_sdk() -> None:
    with no_collection():
        for name in ("kubernetes.aio.client.rest", "kubernetes.aio.config"):
            importlib.import_module(name)
        spare_what_is_there()


def _rest_client(who: Credentials) -> Any:
    """The SDK's REST client with TCP keepalive; its TLS context reads the key files here, and never again.

    Its connections have no limit: each watch holds one for minutes, and a request is not to wait for one of those.
    """
    import aiohttp
    from kubernetes.aio.client.rest import RESTClientObject

    class Rest(RESTClientObject):
        def _create_connector(self) -> aiohttp.TCPConnector:
            return aiohttp.TCPConnector(limit=0, ssl=self.ssl_context, socket_factory=_socket)

    who.configuration.client_session_kwargs = {"trust_env": False}
    made = Rest(who.configuration)
    made.proxy = who.configuration.proxy or proxy_for(who.configuration.host)
    return made


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Ends an answer that was not read to its end at once: a polite end of TLS would wait for a server that may be
    dead. One that was read gives its connection back."""
    connection = response.connection
    transport = None if connection is None or response.content.at_eof() else connection.transport
    response.close()
    if transport is not None:
        transport.abort()


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _client_error() -> type[Exception]:
    import aiohttp

    return aiohttp.ClientError


def _parse(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`; an answer that is none counts as a lost connection."""
    try:
        document = json.loads(raw)
    except ValueError:
        raise from_status(502, b"") from None
    if not isinstance(document, dict):
        raise from_status(502, b"")
    return document
