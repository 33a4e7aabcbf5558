"""PromQL over the cluster's own monitoring: instant queries to thanos-querier, with the user's token.

The token goes to nobody whose certificate does not verify, and follows no redirect. `insecure-skip-tls-verify` of a
kubeconfig is about the API server, and changes nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from backends.contract import AuthRefused, Gone, GpudeckError, NotAllowed, Refused, Unreachable
from backends.domain import clean
from backends.kubernetes.api import Api, Bearer
from backends.kubernetes.errors import from_exception
from backends.kubernetes.fields import entries, table, text
from backends.kubernetes.proxies import proxy_for
from backends.kubernetes.resources import CONFIG_MAPS, Resource

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 5.0
ASK_SECONDS = 20.0
"""For all queries of one turn."""
MOST_BYTES = 8 << 20
"""Of one answer: some 15,000 series with all labels of the operator's ServiceMonitor."""
MESSAGE_LIMIT = 200
UNKNOWN_SIGNER = frozenset({18, 19, 20, 21})
"""OpenSSL's X509_V_ERR_*: signed by itself, or by somebody who is not at hand."""
ELSEWHERE = "where it is reached by another name, set monitoring_url"
LABEL_LIMIT = 128
CERTIFICATES = ("default-ingress-cert", "oauth-serving-cert")
"""ConfigMaps with `ca-bundle.crt` of the routers. The first is for those who may read ConfigMaps there; the second,
which has the same unless the OAuth route has a certificate of its own, is for every user who is logged in
(cluster-authentication-operator, oauth-servercert-trust)."""
CERTIFICATES_SPACE = "openshift-config-managed"
NEEDS = Resource("prometheuses", "monitoring.coreos.com").permission("get", "openshift-monitoring", "k8s", "api")
"""What kube-rbac-proxy asks of a reader (cluster-monitoring-operator, kube-rbac-proxy-web)."""
ROLE = "cluster-monitoring-view"
"""The ClusterRole that OpenShift ships with that right."""


class Sample(NamedTuple):
    """One series of an instant vector."""

    labels: Mapping[str, str]
    value: float


class Querier:
    """Asks on behalf of `api`'s user. A connection lasts for one turn of queries."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._routers: tuple[str, ...] | None = None
        """PEM of the routers' certificates; None: not looked for yet."""
        self._context: tuple[tuple[str, ...], ssl.SSLContext] | None = None
        """With what it trusts besides the system's authorities."""

    async def ask(self, url: str, queries: Sequence[str]) -> list[list[Sample]]:
        """The answers in the order of `queries`, one after the other. Raises `GpudeckError`.

        `url` is that of the route, or of whatever stands before it, with or without its path /api.
        """
        if not url.startswith("https://"):
            raise Refused("it is no https: the token is not sent there", "")
        who = await self._bearer()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                try:
                    return await self._turn(url, queries, who)
                except AuthRefused:
                    return await self._turn(url, queries, await self._bearer(refused=who))
        except TimeoutError as error:
            raise Unreachable(from_exception(error, _host(url)).message, ELSEWHERE) from None

    async def _bearer(self, refused: Bearer | None = None) -> Bearer:
        who = await self._api.bearer(refused)
        if who.token is None:
            raise AuthRefused("the kubeconfig's user has no token, which is all that it takes", "log in with oc login")
        if who.acts_for_another:
            raise AuthRefused("the kubeconfig impersonates a user, which only the API server understands", "")
        return who

    async def _turn(self, url: str, queries: Sequence[str], who: Bearer) -> list[list[Sample]]:
        import aiohttp

        connector = aiohttp.TCPConnector(ssl=await self._trusted(who.ca))
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS, sock_connect=CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {who.token}", "Accept": "application/json", "User-Agent": "gpudeck"}
        proxy = who.proxy or proxy_for(url)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
            return [await self._query(session, url, query, proxy) for query in queries]

    async def _query(self, session: aiohttp.ClientSession, url: str, query: str, proxy: str | None) -> list[Sample]:
        import aiohttp

        host = _host(url)
        try:
            async with session.get(
                f"{_api_of(url)}/v1/query", params={"query": query}, proxy=proxy, allow_redirects=False
            ) as answer:
                body = await _read(answer)
                status = answer.status
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
            self._routers = None
            said = from_exception(error, host).message
            raise Unreachable(f"{said}; the token was not sent", _certificate_hint(error)) from None
        except (OSError, TimeoutError, ValueError, aiohttp.ClientError) as error:
            raise Unreachable(from_exception(error, host).message, ELSEWHERE) from None
        if status != 200:
            raise _failure(status, body)
        if len(body) > 65_536:
            return await asyncio.to_thread(samples_of, body)
        return samples_of(body)

    async def _trusted(self, ca: str) -> ssl.SSLContext:
        """The system's authorities, the kubeconfig's and the routers'."""
        if self._routers is None:
            self._routers = await self._read_routers()
        bundles = (ca, *self._routers)
        if self._context is None or self._context[0] != bundles:
            self._context = bundles, await asyncio.to_thread(_context, bundles)
        return self._context[1]

    async def _read_routers(self) -> tuple[str, ...]:
        found = []
        for name in CERTIFICATES:
            try:
                raw = await self._api.get(CONFIG_MAPS.path(CERTIFICATES_SPACE, name))
            except (NotAllowed, Gone):
                continue
            pem = table(raw, "data").get("ca-bundle.crt")
            found += [pem] if isinstance(pem, str) else []
        return tuple(found)


def samples_of(body: bytes) -> list[Sample]:
    """The series of an instant vector, labels cleaned and bounded; NaN and what is no number are left out.

    Raises Unreachable for what is no answer of Prometheus.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    told = document.get("data") if isinstance(document, dict) and document.get("status") == "success" else None
    if not isinstance(told, dict) or told.get("resultType") != "vector":
        raise Unreachable("it answers something else than Prometheus does", "is it the right address?")
    found = []
    for series in entries(told, "result"):
        value = _number(series.get("value"))
        if value is not None:
            metric = table(series, "metric")
            labels = {clean(key, LABEL_LIMIT): clean(str(each), LABEL_LIMIT) for key, each in metric.items()}
            found.append(Sample(labels, value))
    return found


def _number(pair: object) -> float | None:
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    try:
        value = float(pair[1])
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """Raises Refused for more than `MOST_BYTES`."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Refused(f"it answers with more than {MOST_BYTES >> 20} MiB", "")
    return bytes(body)


def _failure(status: int, body: bytes) -> GpudeckError:
    match status:
        case 401:
            return AuthRefused("it does not accept the token (HTTP 401)", "log in to the cluster again")
        case 403:
            return NotAllowed(f"not permitted: the ClusterRole {ROLE} is missing", f"needs: {NEEDS}", permission=NEEDS)
        case 301 | 302 | 303 | 307 | 308:
            return Refused(f"it sends elsewhere (HTTP {status}), as a login page does", "is it the right address?")
    said = _error_of(body)
    return Unreachable(f"it answers HTTP {status}" + (f": {said}" if said else ""), "")


def _error_of(body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return clean(body[: MESSAGE_LIMIT * 2].decode("utf-8", "replace"), MESSAGE_LIMIT) or None
    return text(document, "error", MESSAGE_LIMIT) if isinstance(document, dict) else None


def _context(bundles: Iterable[str]) -> ssl.SSLContext:
    """Also a certificate that stands in a bundle itself is trusted, without who signed it: as Go's clients do."""
    context = ssl.create_default_context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    for pem in bundles:
        # What is no certificate vouches for nobody.
        with contextlib.suppress(ssl.SSLError, ValueError):
            context.load_verify_locations(cadata=pem)
    return context


def _certificate_hint(error: Exception) -> str:
    """Empty for a certificate that is expired, or of another name: who signed it is known then."""
    refused = getattr(error, "certificate_error", error)
    if getattr(refused, "verify_code", None) not in UNKNOWN_SIGNER:
        return ""
    told = " or ".join(CERTIFICATES)
    return f"who signed it is known neither to this machine nor to {told} in {CERTIFICATES_SPACE}"


def _api_of(url: str) -> str:
    """The route has the path /api; a proxy before it may have another in front."""
    return url.rstrip("/").removesuffix("/api") + "/api"


def _host(url: str) -> str:
    return clean(url.removeprefix("https://").partition("/")[0])
