"""Refusals, as the API words them: a `Status` object and its HTTP code."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """Carries the HTTP code, the machine-readable reason and the sentence of a `Status`."""

    def __init__(self, code: int, reason: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds, for 429."""

    @property
    def body(self) -> dict[str, Any]:
        details = {} if self.retry_after is None else {"details": {"retryAfterSeconds": self.retry_after}}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
            **details,
        }


def not_found(plural: str, name: str, group: str = "") -> Refusal:
    where = f"{plural}.{group}" if group else plural
    return Refusal(404, "NotFound", f'{where} "{name}" not found')


def gone(version: int, oldest: int) -> Refusal:
    return Refusal(410, "Expired", f"too old resource version: {version} ({oldest})")


def conflict(plural: str, name: str) -> Refusal:
    said = (
        f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified; please apply your changes'
        " to the latest version and try again"
    )
    return Refusal(409, "Conflict", said)


def forbidden(user: str, verb: str, plural: str, group: str, namespace: str | None) -> Refusal:
    where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    said = f'{plural} is forbidden: User "{user}" cannot {verb} resource "{plural}" in API group "{group}"{where}'
    return Refusal(403, "Forbidden", said)


def unauthorized() -> Refusal:
    return Refusal(401, "Unauthorized", "Unauthorized")


def bad_request(said: str) -> Refusal:
    return Refusal(400, "BadRequest", said)


def too_many(said: str, retry_after: int) -> Refusal:
    return Refusal(429, "TooManyRequests", said, retry_after)
