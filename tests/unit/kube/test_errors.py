"""HTTP answers and lost connections as errors of the console's tree."""

from __future__ import annotations

import json

import pytest

from backends.contract import AuthRefused, Gone, GpudeckError, Held, NotAllowed, Refused, Unreachable
from backends.domain import Permission
from backends.kubernetes.errors import Conflict, Expired, Throttled, from_exception, from_status

FORBIDDEN = 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "gpu-operator"'
CLUSTER = (
    'clusterpolicies.nvidia.com is forbidden: User "jane" cannot list resource "clusterpolicies" in API group '
    '"nvidia.com" at the cluster scope'
)
EVICTION = (
    'pods "a" is forbidden: User "jane" cannot create resource "pods/eviction" in API group "" in the namespace "t"'
)


def body(message: str) -> bytes:
    return json.dumps({"kind": "Status", "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, AuthRefused),
        (403, NotAllowed),
        (404, Gone),
        (409, Conflict),
        (410, Expired),
        (422, Refused),
        (429, Throttled),
        (500, Unreachable),
        (503, Unreachable),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[GpudeckError]) -> None:
    error = from_status(status, body("because"))
    assert type(error) is kind
    assert "because" in error.message


@pytest.mark.parametrize(
    ("message", "permission"),
    [
        (FORBIDDEN, Permission("list", "pods", "gpu-operator")),
        (CLUSTER, Permission("list", "clusterpolicies.nvidia.com")),
        (EVICTION, Permission("create", "pods/eviction", "t")),
        ("no", None),
    ],
)
def test_a_403_names_the_right_that_is_missing(message: str, permission: Permission | None) -> None:
    error = from_status(403, body(message))
    assert isinstance(error, NotAllowed)
    assert error.permission == permission
    if permission is not None:
        assert error.hint == f"needs: {permission}"


def test_the_429_of_a_budget_is_told_from_that_of_a_busy_server() -> None:
    cause = {"reason": "DisruptionBudget", "message": "The disruption budget keep needs 1 healthy pods and has 1"}
    said = "Cannot evict pod as it would violate the pod's disruption budget."
    error = from_status(429, json.dumps({"message": said, "details": {"causes": [cause]}}).encode())
    assert isinstance(error, Held)
    assert error.message == cause["message"]
    del cause["message"]
    assert from_status(429, {"message": said, "details": {"causes": [cause]}}).message == said
    # What API Priority and Fairness answers, and what the API server itself does for its limit of requests in flight.
    assert isinstance(from_status(429, b"Too many requests, please try again later.\n", "1"), Throttled)
    assert isinstance(from_status(429, {"details": {"causes": [7, {"reason": "other"}]}}), Throttled)


def test_two_budgets_over_a_pod_are_no_outage_of_the_server() -> None:
    said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    error = from_status(500, body(said))
    assert type(error) is Refused
    assert "more than one PodDisruptionBudget covers it" in error.message
    assert "pdb" in error.hint


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), (None, 1.0), ("soon", 1.0), ("99999", 120.0), ("-3", 0.0)])
def test_retry_after_is_taken_and_bounded(header: str | None, seconds: float) -> None:
    error = from_status(429, body(""), header)
    assert isinstance(error, Throttled)
    assert error.retry_after == seconds


@pytest.mark.parametrize("raw", [b"", b"<html>\x1b[2J502 Bad Gateway</html>", b"[1]", b'{"message": 5}', b"\xff\xfe"])
def test_a_body_that_is_no_status_breaks_nothing(raw: bytes) -> None:
    error = from_status(502, raw)
    assert isinstance(error, Unreachable)
    assert "502" in error.message
    assert "\x1b" not in error.message


def test_messages_are_bounded() -> None:
    assert len(from_status(409, body("x" * 100_000)).message) <= 300


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "does not answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached: Connection refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "was lost: Connection reset by peer"),
        (ValueError("Chunk too big"), "was lost"),
    ],
)
def test_lost_connections_name_the_host(error: Exception, words: str) -> None:
    found = from_exception(error, "https://10.0.0.1:6443")
    assert isinstance(found, Unreachable)
    assert words in found.message
    assert "10.0.0.1" in found.message
