"""`gpudeck inventory`: which GPUs each node has shown."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from backends.contract import GpudeckError
from backends.domain import clean
from tui.commands.snapshot import site_of

if TYPE_CHECKING:
    from backends.triage.boards import Boards
    from backends.triage.inventory import Inventory

SCHEMA = "gpudeck/inventory/1"


def inventory(arguments: argparse.Namespace) -> int:
    """Lists, or forgets a node; 1 where there was nothing to forget."""
    from backends.triage.inventory import Inventory
    from tui.paths import state_path

    site = site_of(arguments)
    known = Inventory(site.name, state_path())
    if known.warning is not None:
        print(f"gpudeck: {known.warning}", file=sys.stderr)
    if site.demo:
        print(f"gpudeck: {site.name} is a demo site: what its nodes have shown is not kept", file=sys.stderr)
    return _forget(known, arguments.node) if arguments.inventory_command == "forget" else _list(known, arguments.json)


def _list(known: Inventory, as_json: bool) -> int:
    nodes = [(node, boards) for node, boards in sorted(known.nodes.items()) if boards.count]
    if as_json:
        print(json.dumps({"schema": SCHEMA, "site": known.site, "at": time.time(), "nodes": _entries(nodes)}, indent=1))
        return 0
    print(f"{known.site}: {len(nodes)} node{'' if len(nodes) == 1 else 's'} seen before")
    width = max((len(node) for node, _ in nodes), default=0)
    for node, boards in nodes:
        fewer = "" if boards.fewer_at is None else f"; fewer since {_moment(boards.fewer_at)} at the latest"
        print(f"{clean(node):<{width}}  {boards.count:>2} GPUs, last seen all {_moment(boards.at)}{fewer}")
    return 0


def _entries(nodes: list[tuple[str, Boards]]) -> list[dict[str, Any]]:
    return [
        {
            "node": node,
            "gpus": [{"key": board.key, "pci_bus_id": board.bus_id} for board in boards.boards],
            "at": boards.at,
            "fewer_at": boards.fewer_at,
        }
        for node, boards in nodes
    ]


def _forget(known: Inventory, node: str) -> int:
    try:
        was_known = known.forget(node, time.time())
    except OSError as error:
        raise GpudeckError(f"{known.file} cannot be written: {error.strerror or error}", "") from None
    if not was_known:
        print(f"gpudeck: nothing was known of {clean(node)} in {known.site}", file=sys.stderr)
        return 1
    print(f"{clean(node)}: forgotten; it is held against what it shows from now on")
    return 0


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
