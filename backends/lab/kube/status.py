"""Refusals, as the API words them: a `Status` object and its HTTP code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """Carries the HTTP code, the machine-readable reason and the sentence of a `Status`."""

    def __init__(
        self, code: int, reason: str, message: str, retry_after: int | None = None, cause: tuple[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds, for 429."""
        self.cause = cause
        """Reason and sentence."""

    @property
    def body(self) -> dict[str, Any]:
        details: dict[str, Any] = {} if self.retry_after is None else {"retryAfterSeconds": self.retry_after}
        if self.cause is not None:
            details["causes"] = [{"reason": self.cause[0], "message": self.cause[1]}]
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
            **({"details": details} if details else {}),
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


def held(budget: str, status: Mapping[str, Any]) -> Refusal:
    """A PodDisruptionBudget forbids an eviction."""
    wanted, there = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
    cause = f"The disruption budget {budget} needs {wanted} healthy pods and has {there} currently"
    said = "Cannot evict pod as it would violate the pod's disruption budget."
    return Refusal(429, "TooManyRequests", said, cause=("DisruptionBudget", cause))


def two_budgets() -> Refusal:
    said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    return Refusal(500, "", said)
