"""The lab's thanos-querier: the part of Prometheus' HTTP API that is asked of it, over TLS, for the lab's own users."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backends.feed import Clock
from backends.lab.kube.access import Ask, User
from backends.lab.kube.promql import NotUnderstood, Series, evaluate
from backends.lab.kube.series import Scraped

READS = Ask("get", "monitoring.coreos.com", "prometheuses/api", "openshift-monitoring")
"""What kube-rbac-proxy asks before it lets somebody through."""
VALID = datetime.timedelta(days=30)


class Thanos:
    """Listens on loopback once it is started; `certificate` is what it shows, signed by itself."""

    def __init__(self, scraped: Scraped, users: Iterable[User], clock: Clock) -> None:
        self.scraped = scraped
        self._users = {user.token: user for user in users}
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self.certificate, self._key = _self_signed()
        self.url = ""
        self.requests = 0

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/api/v1/query", self._query)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=_server_context(self.certificate, self._key))
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for connection in runner.server.connections if runner.server is not None else ():
            # A polite end of TLS would outlive the lab.
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()

    async def _query(self, request: web.Request) -> web.Response:
        self.requests += 1
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user = self._users.get(token) if scheme == "Bearer" else None
        if user is None:
            return web.Response(status=401, text="Unauthorized\n")
        if not user.may(READS):
            said = f"Forbidden (user={user.name}, verb=get, resource=prometheuses, subresource=api)\n"
            return web.Response(status=403, text=said)
        try:
            found = evaluate(request.query.get("query", ""), self.scraped.series())
        except NotUnderstood as error:
            told = {"status": "error", "errorType": "bad_data", "error": f'invalid parameter "query": {error}'}
            return web.json_response(told, status=400)
        result = [_row(each, self._clock.now()) for each in found]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


def _row(series: Series, now: float) -> dict[str, Any]:
    return {"metric": dict(series.labels), "value": [now, f"{series.value:.10g}"]}


def _self_signed() -> tuple[str, str]:
    """Certificate and key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gpudeck lab router")])
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - VALID)
        .not_valid_after(now + VALID)
        .add_extension(loopback, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def _server_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory(prefix="gpudeck-lab-") as directory:
        # OpenSSL reads keys from files alone.
        both = Path(directory) / "router.pem"
        both.touch(mode=0o600)
        both.write_text(certificate + key)
        context.load_cert_chain(both)
    return context
