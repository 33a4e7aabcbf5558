"""The most GPUs that a node has shown: what it is held against when it shows fewer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from backends.domain import Node


class Board(NamedTuple):
    key: str
    """`Gpu.key`"""
    bus_id: str | None


@dataclass(frozen=True, slots=True)
class Boards:
    """Times are in seconds since the epoch."""

    boards: tuple[Board, ...]
    at: float
    """When it last showed so many."""
    fewer_at: float | None = None
    """The first reading with fewer after that; None while it shows them all."""
    forgotten_at: float | None = None
    """When somebody said that what was seen before counts no more."""

    @property
    def count(self) -> int:
        return len(self.boards)

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(board.key for board in self.boards)

    def gone(self, node: Node) -> tuple[Board, ...]:
        """Those that `node` no longer lists."""
        keys, slots = {gpu.key for gpu in node.gpus}, {gpu.pci_bus_id for gpu in node.gpus}
        return tuple(board for board in self.boards if board.key not in keys and board.bus_id not in slots)


def shown(known: Boards | None, node: Node, now: float) -> Boards | None:
    """What is known after `node` was read at `now`; other boards altogether are another machine of the same name."""
    keys = tuple(gpu.key for gpu in node.gpus)
    if known is None or (keys and known.keys.isdisjoint(keys)):
        return _listed(node, now, known) if keys else None
    if len(keys) < known.count:
        # Without a driver nothing is listed, and nothing is missing.
        return replace(known, fewer_at=now) if known.fewer_at is None and node.driver is not None else known
    if keys == tuple(board.key for board in known.boards):
        return replace(known, at=now, fewer_at=None)
    return _listed(node, now, known)


def _listed(node: Node, now: float, known: Boards | None) -> Boards:
    boards = tuple(Board(gpu.key, gpu.pci_bus_id) for gpu in node.gpus)
    return Boards(boards, now, forgotten_at=None if known is None else known.forgotten_at)


def forgotten(now: float) -> Boards:
    """Nothing is known of what a node had until `now`."""
    return Boards((), now, forgotten_at=now)


def merged(one: Boards | None, other: Boards) -> Boards:
    """What two readers know of a node together, whoever wrote first."""
    if one is None:
        return other
    said = [each.forgotten_at for each in (one, other) if each.forgotten_at is not None]
    if said:
        standing = [each for each in (one, other) if each.at >= max(said)]
        one, other = (replace(each, forgotten_at=max(said)) for each in (standing[0], standing[-1]))
    later = max((one, other), key=lambda each: each.at)
    if one.keys.isdisjoint(other.keys):
        return later
    if one.count != other.count:
        return max((one, other), key=lambda each: each.count)
    after = [each.fewer_at for each in (one, other) if each.fewer_at is not None and each.fewer_at > later.at]
    return replace(later, fewer_at=min(after, default=None))
