"""The three patch formats that `kubectl` and the Python client send. Pure: each returns a new object."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from backends.lab.kube.status import Refusal, bad_request

MERGE_KEYS: dict[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
}
"""Lists that a strategic merge patch merges by an item's key; every other list is replaced (`taints` too)."""


def merge(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Any, patch: Any, field: str = "") -> Any:
    """Strategic merge patch: as merge, with keyed lists merged, and `$patch: delete|replace`."""
    if isinstance(patch, list):
        key = MERGE_KEYS.get(field)
        if key is None or not all(isinstance(item, dict) for item in patch):
            return copy.deepcopy(patch)
        return _keyed(target if isinstance(target, list) else [], patch, key)
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if name.startswith(("$setElementOrder/", "$retainKeys")):
            continue
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategic(result.get(name), value, name)
    return result


def _keyed(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    result = list(target)
    for item in patch:
        at = next((index for index, own in enumerate(result) if own.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(copy.deepcopy(item))
        else:
            result[at] = strategic(result[at], item)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """JSON patch (RFC 6902): add, replace, remove and test; raises Refusal 422 where it does not apply."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    result = copy.deepcopy(target)
    for operation in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in str(operation.get("path", "")).split("/")[1:]]
        if not path:
            raise bad_request("a JSON patch of the whole object is not served")
        act = _OPERATIONS.get(str(operation.get("op")))
        if act is None:
            raise bad_request(f"unknown JSON patch operation {operation.get('op')!r}")
        act(_parent(result, path), path[-1], operation.get("value"))
    return result


def _parent(target: Any, path: list[str]) -> Any:
    here = target
    for part in path[:-1]:
        try:
            here = here[int(part)] if isinstance(here, list) else here[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise _unprocessable(f"the path /{'/'.join(path)} is not there") from None
    return here


def _add(parent: Any, key: str, value: Any) -> None:
    if isinstance(parent, list):
        parent.insert(len(parent) if key == "-" else int(key), value)
    else:
        parent[key] = value


def _remove(parent: Any, key: str, _value: Any) -> None:
    try:
        del parent[int(key) if isinstance(parent, list) else key]
    except (KeyError, IndexError, ValueError):
        raise _unprocessable(f"nothing to remove at {key}") from None


def _replace(parent: Any, key: str, value: Any) -> None:
    _remove(parent, key, None)
    _add(parent, key, value)


def _test(parent: Any, key: str, value: Any) -> None:
    found = parent[int(key)] if isinstance(parent, list) else parent.get(key)
    if found != value:
        raise _unprocessable(f"the test of {key} failed")


def _unprocessable(said: str) -> Refusal:
    return Refusal(422, "Invalid", said)


_OPERATIONS: dict[str, Callable[[Any, str, Any], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "test": _test,
}

FORMATS: dict[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": merge,
    "application/strategic-merge-patch+json": strategic,
    "application/json-patch+json": json_patch,
    "application/apply-patch+yaml": merge,
}
"""By content type. A server-side apply is merged without keeping managed fields."""
