"""The lab's Kubernetes API over HTTP: discovery, CRUD, watch, logs, eviction, access reviews, and faults on demand."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from backends.feed import Clock
from backends.lab.kube import discovery, patches, selectors
from backends.lab.kube.access import Ask, User
from backends.lab.kube.kinds import Kind
from backends.lab.kube.logs import Container, LogBook, formatted
from backends.lab.kube.paths import Target, parse
from backends.lab.kube.status import (
    Refusal,
    bad_request,
    forbidden,
    gone,
    held,
    too_many,
    two_budgets,
    unauthorized,
)
from backends.lab.kube.store import Change, Object, Store

BOOKMARK_SECONDS = 15.0
WATCH_SECONDS = 300.0
"""The longest watch without `timeoutSeconds`."""


_SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


@dataclass(slots=True)
class Faults:
    """What the API does wrong at the moment; the defaults are a well server."""

    unauthorized: bool = False
    """401 for every request, as with an expired token."""
    too_many: int = 0
    """So many requests are answered with 429."""
    retry_after: int = 1
    expired: int = 0
    """So many watches end at once with an ERROR event that carries 410."""
    errors: int = 0
    """So many requests are answered with 500."""


class KubeApi:
    """Serves `store` on loopback. `url` is known once it is started."""

    def __init__(
        self, store: Store, kinds: tuple[Kind, ...], users: tuple[User, ...], logs: LogBook, clock: Clock
    ) -> None:
        self.store, self.kinds, self.logs, self.clock = store, kinds, logs, clock
        self.faults = Faults()
        self.url = ""
        self.bookmark_seconds = BOOKMARK_SECONDS
        self._users = {user.token: user for user in users}
        self._cut = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        application = web.Application(client_max_size=4 << 20)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def cut_watches(self) -> None:
        """Ends every watch that runs, as a restarted load balancer does."""
        cut, self._cut = self._cut, asyncio.Event()
        cut.set()

    # One request

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Refusal as refusal:
            headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
            return web.json_response(refusal.body, status=refusal.code, headers=headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._fail_on_demand()
        user = self._user(request)
        target = parse(request.path, self.kinds)
        if target is None:
            return await self._no_resource(request, user)
        verb = _verb(request, target)
        ask = Ask(verb, target.kind.group, target.resource, _scope(target))
        if not user.may(ask):
            raise forbidden(user.name, verb, target.resource, target.kind.group, ask.namespace)
        if target.sub in _SUBRESOURCES:
            return await _SUBRESOURCES[target.sub](self, request, target)
        if verb == "watch":
            return await self._watch(request, target)
        return web.json_response(await _VERBS[verb](self, request, target), status=201 if verb == "create" else 200)

    def _fail_on_demand(self) -> None:
        faults = self.faults
        if faults.too_many > 0:
            faults.too_many -= 1
            raise too_many("too many requests, please try again later", faults.retry_after)
        if faults.errors > 0:
            faults.errors -= 1
            raise Refusal(500, "InternalError", "etcdserver: request timed out")
        if faults.unauthorized:
            raise unauthorized()

    def _user(self, request: web.Request) -> User:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user = self._users.get(token) if scheme == "Bearer" else None
        if user is None:
            raise unauthorized()
        return user

    async def _no_resource(self, request: web.Request, user: User) -> web.StreamResponse:
        review = discovery.review_kind(request.path)
        if review is not None and request.method == "POST":
            return web.json_response(_reviewed(await _body(request), user, self.kinds), status=201)
        document = discovery.document(request.path, self.kinds)
        if document is None:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        return web.json_response(document)

    # Verbs

    async def get(self, _request: web.Request, target: Target) -> Object:
        return self.store.get(target.kind, target.namespace, target.name or "")

    async def list(self, request: web.Request, target: Target) -> Object:
        """A page of the objects that match; raises Refusal 410 for a page of a list that is too old."""
        match = _match(request.query)
        items = [each for each in self.store.select(target.kind, target.namespace) if match(each)]
        start, version = _continued(request.query.get("continue", ""), self.store)
        limit = _integer(request.query, "limit") or 0
        page = items[start : start + limit] if limit else items[start:]
        left = len(items) - start - len(page)
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if left > 0:
            metadata["continue"] = base64.urlsafe_b64encode(f"{version}:{start + len(page)}".encode()).decode()
            metadata["remainingItemCount"] = left
        return {
            "apiVersion": target.kind.api_version,
            "kind": target.kind.list_kind,
            "metadata": metadata,
            "items": page,
        }

    async def create(self, request: web.Request, target: Target) -> Object:
        body = await _body(request)
        if target.kind.namespaced:
            body.setdefault("metadata", {})["namespace"] = target.namespace
        return self.store.create(target.kind, body, dry_run=_dry_run(request, body))

    async def update(self, request: web.Request, target: Target) -> Object:
        body = await _body(request)
        body.setdefault("metadata", {})["name"] = target.name
        return self.store.replace(
            target.kind,
            body,
            status=target.sub == "status",
            expected=body["metadata"].get("resourceVersion"),
            dry_run=_dry_run(request, {}),
        )

    async def patch(self, request: web.Request, target: Target) -> Object:
        apply = patches.FORMATS.get(request.content_type)
        if apply is None:
            raise Refusal(415, "UnsupportedMediaType", f"the body of the request was in {request.content_type}")
        old = self.store.get(target.kind, target.namespace, target.name or "")
        change = await _json(request)
        fresh = apply(old, change)
        expected = change.get("metadata", {}).get("resourceVersion") if isinstance(change, dict) else None
        return self.store.replace(
            target.kind, fresh, status=target.sub == "status", expected=expected, dry_run=_dry_run(request, {})
        )

    async def delete(self, request: web.Request, target: Target) -> Object:
        options = await _body(request) if request.can_read_body else {}
        _need_uid(self.store.get(target.kind, target.namespace, target.name or ""), target, options)
        # As the real one: a body of DeleteOptions is all that counts, the query is not looked at then.
        dry_run = options.get("dryRun") == ["All"] if options else _dry_run(request, {})
        gone_object = self.store.delete(target.kind, target.namespace, target.name or "", dry_run=dry_run)
        return (
            gone_object if target.kind.plural == "pods" else {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        )

    # Streams

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        query, kind = request.query, target.kind
        match = _match(query)
        after = _integer(query, "resourceVersion") or 0
        if after:
            self.store.changes_after(after, kind)  # a stale version is an HTTP 410, before the first byte
        response = web.StreamResponse(headers={"Content-Type": "application/json;stream=watch"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            async for line in self._events(query, target, match, after):
                await response.write(line)
        return response

    async def _events(
        self, query: Mapping[str, str], target: Target, match: selectors.Match, after: int
    ) -> AsyncIterator[bytes]:
        kind, version = target.kind, after or self.store.version
        if not after:
            for each in [each for each in self.store.select(kind, target.namespace) if match(each)]:
                yield _event("ADDED", each)
        if self.faults.expired > 0:
            self.faults.expired -= 1
            yield _event("ERROR", gone(version, self.store.version).body)
            return
        ends = asyncio.get_running_loop().time() + float(_integer(query, "timeoutSeconds") or WATCH_SECONDS)
        bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        cut = self._cut
        while True:
            try:
                changes = self.store.changes_after(version, kind)
            except Refusal as refusal:
                yield _event("ERROR", refusal.body)
                return
            for change in changes:
                version = change.version
                if target.namespace is None or change.object["metadata"].get("namespace") == target.namespace:
                    what = _as_seen(change, match)
                    if what is not None:
                        yield _event(what, change.object)
            left = ends - asyncio.get_running_loop().time()
            if left <= 0 or cut.is_set():
                return
            if not await _first(min(left, self.bookmark_seconds), self.store.wait(), cut.wait()):
                version = max(version, self.store.version)
                if bookmarks:
                    yield _event("BOOKMARK", _bookmark(kind, version))

    async def log(self, request: web.Request, target: Target) -> web.StreamResponse:
        """`pods/NAME/log` with container, tailLines, since*, previous, timestamps, limitBytes and follow."""
        pod = self.store.get(target.kind, target.namespace, target.name or "")
        query = request.query
        container = Container(target.namespace or "", target.name or "", _container(pod, query.get("container")))
        since = _integer(query, "sinceSeconds")
        begin = _moment(query.get("sinceTime")) if since is None else self.clock.now() - since
        lines = self.logs.read(
            container,
            tail=_integer(query, "tailLines"),
            since=begin,
            previous=query.get("previous") == "true",
        )
        if query.get("previous") == "true" and not lines:
            raise bad_request(f'previous terminated container "{container.name}" in pod "{container.pod}" not found')
        stamped = query.get("timestamps") == "true"
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            said = b"".join(formatted(line, stamped) for line in lines)
            await response.write(said[: _integer(query, "limitBytes") or len(said)])
            if query.get("follow") == "true":
                async for line in self.logs.follow(container, lines[-1][0] if lines else 0):
                    await response.write(formatted(line, stamped))
        return response

    async def evict(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Deletes the pod, unless its PodDisruptionBudget has no disruption left, or it has two: as the API server."""
        pod = self.store.get(target.kind, target.namespace, target.name or "")
        body = await _body(request)
        _need_uid(pod, target, body.get("deleteOptions") or {})
        budgets = next(kind for kind in self.kinds if kind.plural == "poddisruptionbudgets")
        own = pod["metadata"].get("labels") or {}
        over = []
        for budget in self.store.select(budgets, target.namespace):
            wanted = budget.get("spec", {}).get("selector", {}).get("matchLabels", {})
            over += [budget] if wanted and wanted.items() <= own.items() else []
        if len(over) > 1:
            raise two_budgets()
        for budget in over:
            status = budget.get("status", {})
            if not status.get("disruptionsAllowed"):
                raise held(budget["metadata"]["name"], status)
        dry_run = _dry_run(request, body.get("deleteOptions") or {})
        self.store.delete(target.kind, target.namespace, target.name or "", dry_run=dry_run)
        return web.json_response(_SUCCESS, status=201)

    async def status(self, request: web.Request, target: Target) -> web.StreamResponse:
        verb = {"GET": KubeApi.get, "PUT": KubeApi.update, "PATCH": KubeApi.patch}.get(request.method)
        if verb is None:
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        return web.json_response(await verb(self, request, target))


_VERBS: dict[str, Callable[[KubeApi, web.Request, Target], Awaitable[Object]]] = {
    "get": KubeApi.get,
    "list": KubeApi.list,
    "create": KubeApi.create,
    "update": KubeApi.update,
    "patch": KubeApi.patch,
    "delete": KubeApi.delete,
}
_SUBRESOURCES: dict[str | None, Callable[[KubeApi, web.Request, Target], Awaitable[web.StreamResponse]]] = {
    "log": KubeApi.log,
    "eviction": KubeApi.evict,
    "status": KubeApi.status,
}


def _moment(stamp: str | None) -> float | None:
    """Seconds since the epoch, whole ones as a kubelet takes them; raises Refusal for what is no time."""
    if stamp is None:
        return None
    try:
        return float(int(datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC).timestamp()))
    except ValueError:
        raise bad_request(f"sinceTime {stamp[:40]!r} is no time") from None


def _verb(request: web.Request, target: Target) -> str:
    if request.method == "GET":
        if target.name is not None:
            return "get"
        return "watch" if request.query.get("watch") in ("true", "1") else "list"
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(request.method)
    if verb is None or (verb != "create" and target.name is None):
        raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return verb


def _scope(target: Target) -> str | None:
    return target.namespace if target.kind.namespaced else None


def _match(query: Mapping[str, str]) -> selectors.Match:
    by_label = selectors.labels(query.get("labelSelector", ""))
    by_field = selectors.fields(query.get("fieldSelector", ""))
    return lambda each: by_label(each) and by_field(each)


def _as_seen(change: Change, match: selectors.Match) -> str | None:
    """What a change is to a watcher with a selector: an object that no longer matches is deleted for it."""
    known = change.before is not None and match(change.before)
    if change.what == "DELETED" or not match(change.object):
        return "DELETED" if known else None
    return "MODIFIED" if known else "ADDED"


def _event(what: str, each: Object) -> bytes:
    return json.dumps({"type": what, "object": each}, separators=(",", ":")).encode() + b"\n"


def _bookmark(kind: Kind, version: int) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
    }


async def _first(seconds: float, *waits: Any) -> bool:
    """Whether one of `waits` was over within `seconds`."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()


def _continued(token: str, store: Store) -> tuple[int, int]:
    """Where a list goes on, and the version it was begun at."""
    if not token:
        return 0, store.version
    try:
        version, start = (int(part) for part in base64.urlsafe_b64decode(token).decode().split(":"))
    except ValueError:
        raise bad_request("continue key is not valid") from None
    if version < store.oldest:
        raise gone(version, store.oldest)
    return start, version


def _integer(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() else None


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.text() or "{}")
    except ValueError:
        raise bad_request("the body of the request is no JSON") from None


async def _body(request: web.Request) -> dict[str, Any]:
    body = await _json(request)
    if not isinstance(body, dict):
        raise bad_request("the body of the request is no object")
    return body


def _need_uid(found: Object, target: Target, options: Mapping[str, Any]) -> None:
    """`preconditions` of DeleteOptions; raises Refusal 409."""
    wanted = (options.get("preconditions") or {}).get("uid")
    if wanted is not None and wanted != found["metadata"]["uid"]:
        said = (
            f'Operation cannot be fulfilled on {target.kind.plural} "{target.name}": Precondition failed: UID in '
            f"precondition: {wanted}, UID in object meta: {found['metadata']['uid']}"
        )
        raise Refusal(409, "Conflict", said)


def _dry_run(request: web.Request, options: Mapping[str, Any]) -> bool:
    return request.query.get("dryRun") == "All" or options.get("dryRun") == ["All"]


def _container(pod: Object, named: str | None) -> str:
    spec = pod.get("spec", {})
    names = [each["name"] for each in (*spec.get("initContainers", ()), *spec.get("containers", ()))]
    own = [each["name"] for each in spec.get("containers", ())]
    if named is None:
        if len(own) != 1:
            raise bad_request(
                f"a container name must be specified for pod {pod['metadata']['name']}, choose one of: {own}"
            )
        return str(own[0])
    if named not in names:
        raise bad_request(f"container {named} is not valid for pod {pod['metadata']['name']}")
    return named


def _reviewed(body: dict[str, Any], user: User, kinds: tuple[Kind, ...]) -> Object:
    """The answer of a SelfSubjectAccessReview; raises Refusal for another review."""
    wanted = body.get("spec", {}).get("resourceAttributes")
    if not isinstance(wanted, dict):
        raise bad_request("only a review of resourceAttributes is answered")
    plural, sub = wanted.get("resource", ""), wanted.get("subresource")
    kind = next((kind for kind in kinds if (kind.group, kind.plural) == (wanted.get("group", ""), plural)), None)
    namespace = wanted.get("namespace") or None
    ask = Ask(
        wanted.get("verb", ""),
        wanted.get("group", ""),
        f"{plural}/{sub}" if sub else plural,
        namespace if kind is None or kind.namespaced else None,
    )
    return {**body, "status": {"allowed": user.may(ask), "reason": ""}}
