"""What the API server answered, as errors of the console's tree."""

from __future__ import annotations

import json
import re
from typing import Any

from backends.contract import AuthRefused, Gone, GpudeckError, Held, NotAllowed, Refused, Unreachable
from backends.domain import Permission, clean

MESSAGE_LIMIT = 300
LONGEST_RETRY_AFTER = 120.0
_BUDGET_CAUSE = "DisruptionBudget"
"""Reason of a cause in the `Status` of a refused eviction (policy/v1 DisruptionBudgetCause); one of API Priority and
Fairness has no `Status` at all."""
_TWO_BUDGETS = "more than one PodDisruptionBudget"
"""In the message of the 500 to an eviction (pkg/registry/core/pod/storage/eviction.go)."""
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class Expired(Gone):
    """410: the resource version or the list's continuation is too old; the list has to be read anew."""

    code = "expired"


class Conflict(Refused):
    """409: the object is another by now than the one that is meant, by its resource version or its uid."""

    code = "conflict"


class Throttled(Unreachable):
    """429 of a busy API server: come back later; nothing was done. That of a PodDisruptionBudget is `Held`."""

    code = "throttled"

    def __init__(self, message: str, hint: str = "", *, retry_after: float = 1.0) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
        """Seconds, as the server wants it; bounded."""


def from_status(status: int, body: bytes | dict[str, Any], retry_after: str | None = None) -> GpudeckError:
    """The error for an HTTP status and the API's `Status` object; the server's own words are cleaned and bounded."""
    message = _message(body)
    said = f": {message}" if message else ""
    match status:
        case 401:
            return AuthRefused(f"the API server does not accept the credentials{said}", "log in to the cluster again")
        case 403:
            permission = forbidden(message)
            needs = f"needs: {permission}" if permission else "ask for the right"
            return NotAllowed(message or "the API server forbids it", needs, permission=permission)
        case 404:
            return Gone(message or "the API server knows no such object", "")
        case 409:
            return Conflict(message or "the API server says that the object is another by now", "")
        case 422 | 400:
            return Refused(message or f"the API server refused it (HTTP {status})", "")
        case 410:
            return Expired(message or "the resource version is too old", "it is read anew")
        case 429 if (budget := _budget(body)) is not None:
            return Held(budget, "a PodDisruptionBudget protects it: try again later")
        case 429:
            return Throttled(
                message or "the API server asks for fewer requests",
                "it is tried again",
                retry_after=_seconds(retry_after),
            )
        case 500 if _TWO_BUDGETS in message:
            return Refused(
                "more than one PodDisruptionBudget covers it, and the API server evicts no such pod",
                "let only one of them select it: kubectl get pdb",
            )
    return Unreachable(f"the API server answered HTTP {status}{said}", "see the API server's own log")


def forbidden(message: str) -> Permission | None:
    """The right that a 403 names; None when it is worded in another way."""
    match = _FORBIDDEN.search(message)
    if match is None:
        return None
    resource = match["resource"]
    if match["group"]:
        plural, _, subresource = resource.partition("/")
        resource = f"{plural}.{match['group']}" + (f"/{subresource}" if subresource else "")
    return Permission(match["verb"], resource, match["namespace"])


def from_exception(error: BaseException, host: str) -> GpudeckError:
    """The error for what aiohttp or the sockets raised while talking to `host`."""
    import ssl

    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return Unreachable(
            f"the certificate of {host} is not trusted: {_words(error)}",
            "the kubeconfig's certificate-authority must have signed it",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(f"{host} does not answer in time", "is the network or a firewall in between?")
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return Unreachable(f"{host} cannot be reached: {_words(error)}", "is the API server up, and the address right?")
    return Unreachable(f"the connection to {host} was lost: {_words(error)}", "it is opened again")


def _words(error: BaseException) -> str:
    cause = getattr(error, "os_error", None) or error
    text = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
    return clean(text, 160)


def _message(body: bytes | dict[str, Any]) -> str:
    document = _document(body)
    if document is None and isinstance(body, bytes):
        # A proxy in front of the API server speaks HTML; its first line says enough.
        return clean(body[:MESSAGE_LIMIT].decode("utf-8", "replace"), 120)
    message = document.get("message") if isinstance(document, dict) else None
    return clean(message, MESSAGE_LIMIT) if isinstance(message, str) else ""


def _document(body: bytes | dict[str, Any]) -> Any:
    """None for what is no JSON."""
    if not isinstance(body, bytes):
        return body
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _budget(body: bytes | dict[str, Any]) -> str | None:
    """What a PodDisruptionBudget has against an eviction, with its name; None where the refusal is not one's."""
    document = _document(body)
    details = document.get("details") if isinstance(document, dict) else None
    causes = details.get("causes") if isinstance(details, dict) else None
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict) and cause.get("reason") == _BUDGET_CAUSE:
            words = cause.get("message")
            return clean(words, MESSAGE_LIMIT) if isinstance(words, str) and words else _message(body)
    return None


def _seconds(retry_after: str | None) -> float:
    try:
        return min(LONGEST_RETRY_AFTER, max(0.0, float(retry_after or 1)))
    except ValueError:
        return 1.0
