"""What the node's pages look like: pytest tests/tui/test_node_pages_snapshots.py --snapshot-update, and look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from backends.domain import Host, Node, NodeReading, Topology
from backends.lab.hardware import SimNode
from screens.node import NodeScreen
from tests.simulated import simulated
from tests.tui.consoles import settled
from tests.tui.node_pages import console_on, live, never, stale
from tests.tui.test_snapshots import LARGE, SIZES, SMALL, SnapCompare, one_terminal

__all__ = ["one_terminal"]

PAGES = pytest.mark.parametrize("key", ["x", "p", "o"], ids=["links", "processes", "host"])


def trouble(node: SimNode) -> None:
    node.gpus[4].faults.links_down = frozenset({7})
    node.gpus[4].faults.link_errors = 211
    node.gpus[6].faults.lost = True
    node.host_faults.ports_down = frozenset({"mlx5_2"})
    node.host_faults.services_down = frozenset({"nvidia-fabricmanager"})
    node.host_faults.scratch_used_percent = 98.7


def bare(node: Node) -> Node:
    """A node of which little is known: read by nvidia-smi."""
    gpus = tuple(replace(gpu, processes=None, links=None, numa_node=None, cpu_affinity=None) for gpu in node.gpus)
    return replace(
        node, gpus=gpus, host=Host(), topology=None, transport="nvidia-smi", boot_at=None, os=None, kernel=None
    )


STATES: dict[str, NodeReading] = {
    "trouble": live(simulated("dgx-h100-01", trouble)),
    "stale": stale(simulated("dgx-h100-01")),
    "unread": live(bare(simulated("dgx-h100-01"))),
    "guest": live(simulated("vm-01")),
    "empty": live(Node(name="cpu01", hostname="cpu01", host=Host((), (), (), ()), topology=Topology())),
    "never": never(),
}


def at_page(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, NodeScreen)
        await pilot.press(*keys)
        await pilot.pause()

    return run


@PAGES
@SIZES
def test_page(snap_compare: SnapCompare, key: str, size: tuple[int, int]) -> None:
    app = console_on(live(simulated("dgx-h100-01")))
    assert snap_compare(app, terminal_size=size, run_before=at_page(key))


@PAGES
@pytest.mark.parametrize("state", STATES)
def test_page_states(snap_compare: SnapCompare, key: str, state: str) -> None:
    assert snap_compare(console_on(STATES[state]), terminal_size=SMALL, run_before=at_page(key))


@PAGES
def test_page_trouble_large(snap_compare: SnapCompare, key: str) -> None:
    assert snap_compare(console_on(STATES["trouble"]), terminal_size=LARGE, run_before=at_page(key))


@PAGES
def test_page_ascii(snap_compare: SnapCompare, key: str) -> None:
    app = console_on(STATES["trouble"], ascii_only=True)
    assert snap_compare(app, terminal_size=LARGE, run_before=at_page(key))


@PAGES
def test_page_no_color(snap_compare: SnapCompare, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = console_on(STATES["trouble"], theme=None)
    assert snap_compare(app, terminal_size=SMALL, run_before=at_page(key))


def test_links_scrolled_to_the_drawing(snap_compare: SnapCompare) -> None:
    run = at_page("x", "enter", "pagedown")
    assert snap_compare(console_on(STATES["trouble"]), terminal_size=SMALL, run_before=run)


def test_links_of_mig_and_many_nics(snap_compare: SnapCompare) -> None:
    app = console_on(live(simulated("dgx-a100-01")))
    assert snap_compare(app, terminal_size=LARGE, run_before=at_page("x"))


def test_processes_of_mig(snap_compare: SnapCompare) -> None:
    app = console_on(live(simulated("dgx-a100-01")))
    assert snap_compare(app, terminal_size=LARGE, run_before=at_page("p", "greater_than_sign", "r"))
