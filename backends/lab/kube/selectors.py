"""Label and field selectors, as `kubectl -l` and `--field-selector` write them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from backends.lab.kube.status import bad_request

Match = Callable[[Mapping[str, Any]], bool]

_SET = re.compile(r"^\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_EQUALS = re.compile(r"^\s*([^!=\s]+)\s*(==|=|!=)\s*(\S*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([^!=\s()]+)\s*$")

FIELDS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "metadata.name": lambda each: each["metadata"].get("name"),
    "metadata.namespace": lambda each: each["metadata"].get("namespace"),
    "spec.nodeName": lambda each: each.get("spec", {}).get("nodeName", ""),
    "spec.unschedulable": lambda each: str(each.get("spec", {}).get("unschedulable", False)).lower(),
    "status.phase": lambda each: each.get("status", {}).get("phase", ""),
    "involvedObject.name": lambda each: each.get("involvedObject", {}).get("name", ""),
    "involvedObject.kind": lambda each: each.get("involvedObject", {}).get("kind", ""),
    "involvedObject.namespace": lambda each: each.get("involvedObject", {}).get("namespace", ""),
    "involvedObject.uid": lambda each: each.get("involvedObject", {}).get("uid", ""),
    "reason": lambda each: each.get("reason", ""),
    "type": lambda each: each.get("type", ""),
}
"""The fields that may be selected by."""


def labels(text: str) -> Match:
    """Whether an object's labels satisfy all of `text`; raises Refusal for what is no selector."""
    tests = [_label(part) for part in _split(text)]
    return lambda each: all(test(each["metadata"].get("labels") or {}) for test in tests)


def fields(text: str) -> Match:
    """Whether an object's fields satisfy all of `text`; raises Refusal for a field that cannot be selected by."""
    tests: list[Match] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _EQUALS.match(part)
        if found is None or found[1] not in FIELDS:
            raise bad_request(f"field label not supported: {part}")
        tests.append(_field(FIELDS[found[1]], found[3], wanted=found[2] != "!="))
    return lambda each: all(test(each) for test in tests)


def _field(value: Callable[[Mapping[str, Any]], Any], text: str, *, wanted: bool) -> Match:
    return lambda each: (str(value(each) or "") == text) is wanted


def _label(part: str) -> Match:
    found = _SET.match(part)
    if found is not None:
        choices = {choice.strip() for choice in found[3].split(",")}
        wanted = found[2] == "in"
        # `notin` also takes what lacks the label.
        return lambda own, key=found[1]: (own.get(key) in choices) is wanted  # type: ignore[misc]
    found = _EQUALS.match(part)
    if found is not None:
        wanted = found[2] != "!="
        return lambda own, key=found[1], text=found[3]: (own.get(key) == text) is wanted  # type: ignore[misc]
    found = _EXISTS.match(part)
    if found is not None:
        wanted = not found[1]
        return lambda own, key=found[2]: (key in own) is wanted  # type: ignore[misc]
    raise bad_request(f"unable to parse requirement: {part}")


def _split(text: str) -> list[str]:
    """At the commas outside parentheses."""
    return [part for part in re.split(r",(?![^(]*\))", text) if part.strip()]
