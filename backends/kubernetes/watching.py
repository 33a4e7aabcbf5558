"""One collection of the API kept in step: read in pages, then watched.

The SDK's asyncio half has no informer, so this is one. What it survives: a watch that is cut, one that is silent, an
event that says 410 (the list is read anew), a continuation that expired in the middle of a list, 429 with Retry-After,
5xx, credentials that ran out (`Api` renews them), and 403: then the collection is not permitted, is looked at again
after a minute, and nothing else is disturbed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

from backends.contract import Clock, Gone, GpudeckError, NotAllowed, Unreachable
from backends.domain import NotPermitted, Problem
from backends.feed import Backoff, problem_of
from backends.kubernetes.api import Api
from backends.kubernetes.errors import Expired, Throttled, from_exception, from_status
from backends.kubernetes.memory import no_collection, spare_what_is_there
from backends.kubernetes.resources import Resource

PAGE = 200
"""Objects of one page: parsing one holds up the interpreter for a few milliseconds only."""
WATCH_SECONDS = (240, 480)
"""How long the server is asked to let a watch live; drawn at random, so that watches do not all end together."""
SILENCE_SECONDS = 60.0
"""A watch that outlives its time by this much is dead."""
RECHECK_SECONDS = 60.0
"""Of what is not permitted or not there: rights are granted and CRDs installed while the console runs."""
SHORT_WATCH_SECONDS = 1.0
"""A watch that ends sooner without a word counts as a failure, so that it is not asked for in a loop."""
BREATH_EVENTS = 50
"""After so many buffered events the event loop gets a turn."""

V = TypeVar("V")


class Sync(StrEnum):
    """How well a collection is known."""

    STARTING = "starting"
    LIVE = "live"
    RETRYING = "retrying"
    """What was read last is kept; `problem` says why it may be old."""
    NOT_PERMITTED = "not permitted"
    ABSENT = "absent"
    """The API server has no such resource."""


class Watch(Generic[V]):
    """`objects` by uid, as `keep` made them of the API's JSON; `changed` is called after each change of anything."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        keep: Callable[[Mapping[str, Any]], V],
        changed: Callable[[], None],
        clock: Clock,
        *,
        namespace: str | None = None,
        selector: Mapping[str, str] | None = None,
        on_object: Callable[[V | None, V | None], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """`on_object(before, after)` hears of every object that came, changed or went (None); `selector` is added to
        the query: labelSelector, fieldSelector."""
        self.resource = resource
        self.namespace = namespace
        self.objects: dict[str, V] = {}
        self.state = Sync.STARTING
        self.problem: Problem | None = None
        self.error: GpudeckError | None = None
        """What `problem` tells in words; None as soon as the server answers again."""
        self.denied: NotPermitted | None = None
        self.polled: NotPermitted | None = None
        """It may be listed and not watched: it is read anew at every recheck, and this right would spare that."""
        self.relists = 0
        """How often the whole collection was read."""
        self.recheck_seconds = RECHECK_SECONDS
        self._api = api
        self._keep = keep
        self._changed = changed
        self._clock = clock
        self._selector = selector
        self._on_object = on_object
        self._backoff = backoff or Backoff(first=0.5, most=30.0)
        self._version: str | None = None
        self._spread = random.Random()  # noqa: S311 - spreads load, guards nothing

    @property
    def settled(self) -> bool:
        """It was read, or it is known why it cannot be."""
        return self.state in {Sync.LIVE, Sync.NOT_PERMITTED, Sync.ABSENT} or self.relists > 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except GpudeckError as error:
                wait = self._failed(error)
                self._changed()
                await self._clock.sleep(wait)
            except Exception as error:  # noqa: BLE001 - one odd object must not end the watch
                self._version = None
                self._retry(GpudeckError(problem_of(error, 0.0).message, "this is a defect in gpudeck"))
                self._changed()
                await self._clock.sleep(self._backoff.next())

    def _failed(self, error: GpudeckError) -> float:
        """Notes the failure; seconds to wait before the next try."""
        match error:
            case Expired():
                self._version = None
                # The first time at once: that is the protocol. In a row: like any failure.
                return self._backoff.next() if self._backoff.failures else self._count_failure()
            case NotAllowed():
                verb = error.permission.verb if error.permission else "list"
                denied = NotPermitted(self._what(), self.resource.permission(verb, self.namespace))
                if verb == "watch":
                    # At once the first time: the right to list may have gone together with this one.
                    wait = self.recheck_seconds if self.polled is not None else 0.0
                    self.polled, self._version = denied, None
                    return wait
                self.denied, self.polled = denied, None
                self._forget(Sync.NOT_PERMITTED)
                return self.recheck_seconds
            case Gone():
                self._forget(Sync.ABSENT)
                return self.recheck_seconds
            case Throttled():
                wait = max(0.2, error.retry_after) * (1.0 + self._spread.random() / 4)
            case _:
                wait = self._backoff.next()
        self._retry(error)
        return wait

    def _retry(self, error: GpudeckError) -> None:
        self.state, self.error = Sync.RETRYING, error
        self.problem = problem_of(error, self._clock.now(), self.problem)

    def _count_failure(self) -> float:
        self._backoff.next()
        return 0.0

    def _forget(self, state: Sync) -> None:
        self.state, self.problem, self.error, self._version = state, None, None, None
        self._replace({})

    def _live(self) -> None:
        if self.state is not Sync.LIVE:
            self._good()
            self._changed()

    def _good(self) -> None:
        self.state, self.problem, self.error, self.denied = Sync.LIVE, None, None, None

    async def _list(self) -> None:
        """The whole collection in pages; the former objects stay until the last page is in."""
        fresh: dict[str, V] = {}
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            async with self._api.listing:
                raw = await self._api.raw("GET", self._path(), query=self._query(query))
            version, following, objects = await asyncio.to_thread(_page, raw, self._keep)
            fresh.update(objects)
            if not following:
                break
            query = {"limit": PAGE, "continue": following}
        spare_what_is_there()
        self.relists += 1
        self._version = version
        self._replace(fresh)
        self._good()
        self._changed()

    async def _watch(self) -> None:
        """One watch until the server ends it."""
        started = self._clock.monotonic()
        seconds = self._spread.randint(*WATCH_SECONDS)
        query = self._query(
            {
                "watch": 1,
                "allowWatchBookmarks": "true",
                "resourceVersion": self._version or "",
                "timeoutSeconds": seconds,
            }
        )
        heard = 0
        async with self._api.response("GET", self._path(), query=query, read_seconds=None) as response:
            self.polled = None
            self._live()
            try:
                async with asyncio.timeout(seconds + SILENCE_SECONDS):
                    while line := await response.content.readline():
                        self._event(line)
                        self._backoff.reset()
                        heard += 1
                        if heard % BREATH_EVENTS == 0:
                            await asyncio.sleep(0)
            except (OSError, TimeoutError, ValueError, _client_error()) as error:
                raise from_exception(error, self._api.host) from None
        if not heard and self._clock.monotonic() - started < SHORT_WATCH_SECONDS:
            raise Unreachable("the API server ends watches at once", "it is tried again")

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, raw = event["type"], event["object"]
            metadata = raw.get("metadata") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreachable("the API server sent half an event", "the watch is opened again") from None
        if kind == "ERROR":
            code = raw.get("code")
            raise from_status(code if isinstance(code, int) else 500, raw)
        if kind != "BOOKMARK":
            uid = str(metadata.get("uid"))
            before = self.objects.get(uid)
            after = None if kind == "DELETED" else self._keep(raw)
            if after is None:
                if uid in self.objects:
                    del self.objects[uid]
            else:
                self.objects[uid] = after
            self._tell(before, after)
        # Only now: an event that could not be read is asked for again.
        self._version = metadata.get("resourceVersion") or self._version

    def _tell(self, before: V | None, after: V | None) -> None:
        if before == after:
            return
        if self._on_object is not None:
            self._on_object(before, after)
        self._changed()

    def _replace(self, fresh: dict[str, V]) -> None:
        """Keeps what did not change as the same object, so that later stages can tell by identity."""
        former, self.objects = self.objects, fresh
        for uid, before in former.items():
            after = fresh.get(uid)
            if after == before and after is not None:
                fresh[uid] = before
            elif self._on_object is not None:
                self._on_object(before, after)
        if self._on_object is not None:
            for uid, after in fresh.items():
                if uid not in former:
                    self._on_object(None, after)

    def _path(self) -> str:
        return self.resource.path(self.namespace)

    def _query(self, query: Mapping[str, str | int]) -> dict[str, str | int]:
        return {**query, **(self._selector or {})}

    def _what(self) -> str:
        return f"{self.resource.qualified} of {self.namespace or 'the cluster'}"


def _page(raw: bytes, keep: Callable[[Mapping[str, Any]], V]) -> tuple[str | None, str | None, list[tuple[str, V]]]:
    """Version, continuation and kept objects of one page. Runs in a thread."""
    with no_collection():
        try:
            document = json.loads(raw)
            metadata, items = document["metadata"], document.get("items") or ()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreachable("the API server sent a list that cannot be read", "it is tried again") from None
        kind = str(document.get("kind") or "").removesuffix("List")
        kept = list(_kept(items, kind, keep))
        del document, items
    return metadata.get("resourceVersion"), metadata.get("continue"), kept


def _kept(items: Iterable[Any], kind: str, keep: Callable[[Mapping[str, Any]], V]) -> Iterable[tuple[str, V]]:
    for item in items:
        if isinstance(item, dict):
            # In a list the items of built-in kinds do not say what they are; in a watch they do.
            item.setdefault("kind", kind)
            yield str((item.get("metadata") or {}).get("uid")), keep(item)


def _client_error() -> type[Exception]:
    import aiohttp

    return aiohttp.ClientError
