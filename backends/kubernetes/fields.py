"""Reads one field of the API's JSON: missing, null and of another type are all told apart from a value, never raised.

Text is cleaned here, once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backends.domain import Condition, clean

MESSAGE_LIMIT = 300
WORD_LIMIT = 128


def time_of(value: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def labels_of(labels: Mapping[str, Any]) -> dict[str, str]:
    return {sys.intern(clean(key)): sys.intern(clean(str(value))) for key, value in labels.items()}


def maps(raw: Mapping[str, Any], *keys: str) -> list[Mapping[str, Any]]:
    return [table(raw, key) for key in keys]


def table(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def entries(raw: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = raw.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def word(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return clean(value) if isinstance(value, str) else ""


def text(raw: Mapping[str, Any], key: str, limit: int = WORD_LIMIT) -> str | None:
    value = raw.get(key)
    return clean(value, limit) if isinstance(value, str) and value else None


def whole(value: object) -> int:
    if isinstance(value, bool):
        return 0
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError):
        return 0


def conditions_of(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            type=word(entry, "type"),
            status=word(entry, "status"),
            reason=text(entry, "reason"),
            message=text(entry, "message", 2 * MESSAGE_LIMIT),
            at=time_of(entry.get("lastTransitionTime")),
        )
        for entry in entries(status, "conditions")
    )
