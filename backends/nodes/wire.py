"""What the probe sends, turned into domain values.

The field names on the wire are the field names of `backends.domain`. A decoder is compiled once per dataclass from its
annotations. A field of the wrong type becomes None (or its default where None is not allowed): one bad field never
costs the others. Texts are cleaned, integers and lists bounded. Merging a delta touches only what it names.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from backends.contract import NoDriver, NoPython, ProbeCut, ProbeFailed, VersionMismatch
from backends.domain import Event, Gpu, GpuProcess, Node, Stall, clean, short_bus_id
from backends.domain.redact import shown

LINE_LIMIT = 1 << 20
"""Bytes of the longest line accepted from a probe."""
LIST_LIMIT = 512
MESSAGE_LIMIT = 300
_FOREVER = 1e11
"""Seconds; some 3,000 years."""

T = TypeVar("T")
_Decode = Callable[[Any, Any], Any]
"""(wire value, current value) -> domain value; raises TypeError for a value of the wrong type."""


def parse_line(line: bytes) -> dict[str, Any]:
    """One message of the probe; raises ProbeCut for anything but a JSON object with a type."""
    try:
        message = json.loads(line, parse_constant=_refused)
    except (ValueError, RecursionError):
        shown = clean(line[:200].decode("utf-8", "replace"), 60)
        raise ProbeCut(
            "the probe was cut off in the middle of a line", f'it is started again; it said "{shown}"'
        ) from None
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise ProbeCut("the probe sent something that is no message", "it is started again")
    return message


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_OWN = frozenset({"name", "transport", "transport_note", "clock_skew_seconds", "gpus", "stall"})
"""Fields of a node that the console sets, never the node."""


def _of_node(wire: Any) -> dict[str, Any]:
    return {name: value for name, value in wire.items() if name not in _OWN} if isinstance(wire, dict) else {}


_FATAL: dict[str, type[ProbeFailed]] = {
    "no-python": NoPython,
    "nvml-missing": NoDriver,
    "nvml-failed": NoDriver,
    "driver-mismatch": NoDriver,
    "version-mismatch": VersionMismatch,
}


def fatal(message: dict[str, Any]) -> ProbeFailed:
    """The error a `fatal` message stands for."""
    kind = _FATAL.get(str(message.get("code")), ProbeFailed)
    text = clean(str(message.get("text") or "the probe gave up"), MESSAGE_LIMIT)
    return kind(text, clean(str(message.get("hint") or ""), MESSAGE_LIMIT))


def decode(cls: type[T], wire: Any) -> T:
    """A new `cls` from a JSON object; anything else gives the empty value."""
    return merge(cls(), wire)


def merge(value: T, delta: Any) -> T:
    """`value` with the fields named in `delta` replaced; the same object when nothing changed."""
    if not isinstance(delta, dict) or not delta:
        return value
    table = _table(type(value))  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for name, wire in delta.items():
        entry = table.get(name)
        if entry is None:
            continue
        decoder, default = entry
        current = getattr(value, name)
        try:
            decoded = default if wire is None else decoder(wire, current)
        except (TypeError, ValueError, OverflowError):
            decoded = default
        if decoded is not current:
            changes[name] = decoded
    if not changes:
        return value
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def state(message: dict[str, Any], name: str, clock_skew: float) -> Node:
    """The node of a full `state` message."""
    gpus = message.get("gpus")
    listed = gpus[:LIST_LIMIT] if isinstance(gpus, list) else []
    node = decode(Node, _of_node(message.get("node")))
    return dataclasses.replace(
        node,
        name=name,
        transport="nvml",
        clock_skew_seconds=clock_skew,
        gpus=distinct(decode(Gpu, gpu) for gpu in listed),
    )


def distinct(gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """`gpus`, none with the identity of another: a second one of the same UUID or slot is known by what is left."""
    seen: set[str] = set()
    found = []
    for gpu in gpus:
        if gpu.key in seen:
            gpu = dataclasses.replace(gpu, uuid=None)
        if gpu.key in seen:
            gpu = dataclasses.replace(gpu, pci_bus_id=None)
        seen.add(gpu.key)
        found.append(gpu)
    return tuple(found)


def apply_delta(node: Node, message: dict[str, Any]) -> Node:
    """`node` after a `delta` message; the same object when the delta is empty. A stall ends with any delta."""
    changed = _of_node(message.get("node"))
    node = merge(node, changed) if changed else node
    gpu_changes = message.get("gpus")
    if not gpu_changes or not isinstance(gpu_changes, dict):
        return node if node.stall is None else dataclasses.replace(node, stall=None)
    gpus = list(node.gpus)
    for position, delta in gpu_changes.items():
        index = int(position) if position.isascii() and position.isdecimal() and len(position) < 6 else -1
        if not 0 <= index < len(gpus):
            raise ProbeCut("the probe sent a change of a GPU it never listed", "it is started again")
        gpus[index] = merge(gpus[index], delta)
    return dataclasses.replace(node, gpus=tuple(gpus), stall=None)


def stall(message: dict[str, Any]) -> Stall:
    return decode(Stall, message)


def ahead(message: dict[str, Any], now: float) -> float | None:
    """By how many seconds the node's clock seems ahead of `now`, as much too little as the message was late."""
    at = _number(message.get("at"))
    return None if at is None else at - now


def skew(seconds: float) -> float:
    """A clock's difference to a tenth of a second; 0.0 below half a second: a network and a busy node explain that."""
    return round(seconds, 1) if abs(seconds) >= 0.5 else 0.0


_EVENT_KINDS = frozenset({"xid", "sxid", "gpu_lost", "ecc_double_bit"})


def event(message: dict[str, Any], node: Node | None, name: str, clock_skew: float) -> Event | None:
    """The event of an `event` message in this machine's time; None for a kind this console does not know.

    Without a node, as when NVML hangs before it has listed a GPU, the event names its slot alone.
    """
    kind = message.get("kind")
    at = _number(message.get("at"))
    if not isinstance(kind, str) or kind not in _EVENT_KINDS or at is None:
        return None
    index = message.get("gpu_index")
    bus = message.get("pci_bus_id")
    bus = clean(bus) if isinstance(bus, str) else None
    code, process, fatal = message.get("code"), message.get("process"), message.get("fatal")
    first_at = _number(message.get("first_at"))
    gi, ci, pid, link = (_counting(message.get(number)) for number in ("gi", "ci", "pid", "link"))
    gpu = _find_gpu(node, index if type(index) is int else None, bus)
    return Event(
        at=at - clock_skew,
        node=name,
        kind=kind,
        text=clean(str(message.get("text") or ""), MESSAGE_LIMIT),
        gpu_index=gpu.index if gpu else (index if type(index) is int else None),
        gpu_uuid=gpu.uuid if gpu else None,
        pci_bus_id=gpu.pci_bus_id if gpu else bus,
        code=code if type(code) is int else None,
        source=clean(str(message.get("source") or ""), 16) or None,
        process=clean(process, 64) or None if isinstance(process, str) else None,
        fatal=fatal if isinstance(fatal, bool) else None,
        count=_count(message.get("count")),
        first_at=None if first_at is None else first_at - clock_skew,
        gi=gi,
        ci=ci,
        pid=pid,
        link=link,
    )


def _counting(wire: Any) -> int | None:
    """A number of something: 0 or more, in 32 bits."""
    return wire if type(wire) is int and 0 <= wire < 1 << 32 else None


def _count(wire: Any) -> int:
    return _counting(wire) or 1


def _find_gpu(node: Node | None, index: int | None, bus: str | None) -> Gpu | None:
    if node is None:
        return None
    for gpu in node.gpus:
        if bus is not None and gpu.pci_bus_id is not None:
            if short_bus_id(gpu.pci_bus_id) == short_bus_id(bus):
                return gpu
        elif index is not None and gpu.index == index:
            return gpu
    return None


def _number(wire: Any) -> float | None:
    """A moment or a duration in seconds; None for what no clock says (1e999 is infinite to a JSON reader)."""
    if not isinstance(wire, int | float) or isinstance(wire, bool) or not -_FOREVER < wire < _FOREVER:
        return None
    return float(wire)


@cache
def _table(cls: type[Any]) -> dict[str, tuple[_Decode, Any]]:
    hints = get_type_hints(cls)
    blank = cls()
    return {
        field.name: (_OF_FIELD.get((cls, field.name)) or _decoder(hints[field.name]), getattr(blank, field.name))
        for field in dataclasses.fields(cls)
    }


@cache
def _decoder(hint: Any) -> _Decode:
    """The decoder of an annotation: scalars, nested dataclasses, tuples of one type, pairs, and `X | None`."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        kind: type[Any] = hint
        return lambda wire, current: merge(current if isinstance(current, kind) else kind(), _object(wire))
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = [part for part in get_args(hint) if part is not type(None)]
        return _decoder(inner)
    if origin is tuple:
        parts = get_args(hint)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return _sequence(_decoder(parts[0]), optional=type(None) in get_args(parts[0]))
        return _fixed(tuple(_decoder(part) for part in parts))
    raise TypeError(f"no decoder for {hint!r}")


def _object(wire: Any) -> dict[str, Any]:
    if not isinstance(wire, dict):
        raise TypeError("object expected")
    return wire


def _sequence(item: _Decode, *, optional: bool) -> _Decode:
    def read(wire: Any, _current: Any) -> tuple[Any, ...]:
        if not isinstance(wire, list):
            raise TypeError("list expected")
        if optional:
            return tuple(None if part is None else item(part, None) for part in wire[:LIST_LIMIT])
        return tuple(item(part, None) for part in wire[:LIST_LIMIT])

    return read


def _fixed(items: tuple[_Decode, ...]) -> _Decode:
    def read(wire: Any, _current: Any) -> tuple[Any, ...]:
        if not isinstance(wire, list) or len(wire) != len(items):
            raise TypeError("list of another length expected")
        return tuple(item(part, None) for item, part in zip(items, wire, strict=True))

    return read


def _integer(wire: Any, _current: Any) -> int:
    # bool is an int to Python, never to the wire; 64 bits are what NVML has.
    if type(wire) is not int or not -(1 << 63) <= wire < 1 << 64:
        raise TypeError("integer expected")
    return wire


def _float(wire: Any, _current: Any) -> float:
    if type(wire) not in (int, float) or wire != wire or wire in (float("inf"), float("-inf")):
        raise TypeError("number expected")
    return float(wire)


def _boolean(wire: Any, _current: Any) -> bool:
    if type(wire) is not bool:
        raise TypeError("boolean expected")
    return wire


def _text(wire: Any, _current: Any) -> str:
    if type(wire) is not str:
        raise TypeError("text expected")
    return clean(wire)


def _command_line(wire: Any, _current: Any) -> str:
    if type(wire) is not str:
        raise TypeError("text expected")
    return shown(wire)


_SCALARS: dict[Any, _Decode] = {int: _integer, float: _float, bool: _boolean, str: _text}
_OF_FIELD: dict[tuple[type[Any], str], _Decode] = {(GpuProcess, "command"): _command_line}
"""Fields that are read otherwise than their type says: people give keys and passwords on command lines."""
