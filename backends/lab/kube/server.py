"""The lab's Kubernetes API over HTTP: discovery, CRUD, watch, logs, eviction, access reviews, and faults on demand."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from backends.feed import Clock
from backends.lab.kube import discovery, patches
from backends.lab.kube.access import Ask, User
from backends.lab.kube.kinds import Kind
from backends.lab.kube.logs import Container, LogBook, formatted
from backends.lab.kube.paths import Target, parse
from backends.lab.kube.requests import (
    body_of,
    container_of,
    integer,
    is_dry_run,
    json_of,
    match_of,
    moment,
    need_uid,
    scope,
    verb_of,
)
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
from backends.lab.kube.store import Object, Store
from backends.lab.kube.watches import Watches

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
        self.watches = Watches(store)
        self._users = {user.token: user for user in users}
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
        self.watches.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

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
        verb = verb_of(request, target)
        ask = Ask(verb, target.kind.group, target.resource, scope(target))
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
            return web.json_response(_reviewed(await body_of(request), user, self.kinds), status=201)
        document = discovery.document(request.path, self.kinds)
        if document is None:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        return web.json_response(document)

    # Verbs

    async def get(self, _request: web.Request, target: Target) -> Object:
        return self.store.get(target.kind, target.namespace, target.name or "")

    async def list(self, request: web.Request, target: Target) -> Object:
        """A page of the objects that match; raises Refusal 410 for a page of a list that is too old."""
        match = match_of(request.query)
        items = [each for each in self.store.select(target.kind, target.namespace) if match(each)]
        start, version = _continued(request.query.get("continue", ""), self.store)
        limit = integer(request.query, "limit") or 0
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
        body = await body_of(request)
        if target.kind.namespaced:
            body.setdefault("metadata", {})["namespace"] = target.namespace
        return self.store.create(target.kind, body, dry_run=is_dry_run(request, body))

    async def update(self, request: web.Request, target: Target) -> Object:
        body = await body_of(request)
        body.setdefault("metadata", {})["name"] = target.name
        return self.store.replace(
            target.kind,
            body,
            status=target.sub == "status",
            expected=body["metadata"].get("resourceVersion"),
            dry_run=is_dry_run(request, {}),
        )

    async def patch(self, request: web.Request, target: Target) -> Object:
        apply = patches.FORMATS.get(request.content_type)
        if apply is None:
            raise Refusal(415, "UnsupportedMediaType", f"the body of the request was in {request.content_type}")
        old = self.store.get(target.kind, target.namespace, target.name or "")
        change = await json_of(request)
        fresh = apply(old, change)
        expected = change.get("metadata", {}).get("resourceVersion") if isinstance(change, dict) else None
        return self.store.replace(
            target.kind, fresh, status=target.sub == "status", expected=expected, dry_run=is_dry_run(request, {})
        )

    async def delete(self, request: web.Request, target: Target) -> Object:
        options = await body_of(request) if request.can_read_body else {}
        need_uid(self.store.get(target.kind, target.namespace, target.name or ""), target, options)
        # As the real one: a body of DeleteOptions is all that counts, the query is not looked at then.
        dry_run = options.get("dryRun") == ["All"] if options else is_dry_run(request, {})
        gone_object = self.store.delete(target.kind, target.namespace, target.name or "", dry_run=dry_run)
        return (
            gone_object if target.kind.plural == "pods" else {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        )

    # Streams

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        query = request.query
        after = integer(query, "resourceVersion") or 0
        if after:
            self.store.changes_after(after, target.kind)  # a stale version is an HTTP 410, before the first byte
        response = web.StreamResponse(headers={"Content-Type": "application/json;stream=watch"})
        await response.prepare(request)
        expired = self.faults.expired > 0
        self.faults.expired -= expired
        with contextlib.suppress(ConnectionError):
            async for line in self.watches.events(query, target, match_of(query), expired=expired):
                await response.write(line)
        return response

    async def log(self, request: web.Request, target: Target) -> web.StreamResponse:
        """`pods/NAME/log` with container, tailLines, since*, previous, timestamps, limitBytes and follow."""
        pod = self.store.get(target.kind, target.namespace, target.name or "")
        query = request.query
        container = Container(target.namespace or "", target.name or "", container_of(pod, query.get("container")))
        since = integer(query, "sinceSeconds")
        begin = moment(query.get("sinceTime")) if since is None else self.clock.now() - since
        lines = self.logs.read(
            container,
            tail=integer(query, "tailLines"),
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
            await response.write(said[: integer(query, "limitBytes") or len(said)])
            if query.get("follow") == "true":
                async for line in self.logs.follow(container, lines[-1][0] if lines else 0):
                    await response.write(formatted(line, stamped))
        return response

    async def evict(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Deletes the pod, unless its PodDisruptionBudget has no disruption left, or it has two: as the API server."""
        pod = self.store.get(target.kind, target.namespace, target.name or "")
        body = await body_of(request)
        need_uid(pod, target, body.get("deleteOptions") or {})
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
        dry_run = is_dry_run(request, body.get("deleteOptions") or {})
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
