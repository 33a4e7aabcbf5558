"""The fleet and the node on the screen of a real console, with a site that says what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

import screens.gpu_values
from backends.domain import (
    Event,
    Fabric,
    Fleet,
    Gpu,
    Link,
    NodeReading,
    NodeState,
    SiteSpec,
    Stall,
    Subject,
    Vgpu,
    clean,
)
from backends.feed import ManualClock
from backends.site import Site
from screens.fleet import FleetScreen, worst_of
from screens.node import NodeScreen, gpu_rows
from screens.node_pages.host import HostPage
from screens.node_pages.values import ValuesPage
from screens.node_pages.view import NodeView
from screens.rows import row_key
from tests.tui.consoles import PATIENCE_SECONDS, ScriptedSite, settled
from tests.tui.findings import ACKED, DISK, HOT, LOST, in_order, triage
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, hanging, mig_gpu, reading, refused
from tests.tui.sheets import lines_of
from tui.app import Console
from tui.config import Settings
from tui.widgets.columns import Cell
from tui.widgets.glyphs import UNICODE
from tui.widgets.grid import Grid
from tui.widgets.line import StyledLine
from tui.widgets.sheet import Section, Sheet, arrange

EVENT = Event(NOW - 50, "dgx01", "xid", "GPU has fallen off the bus", gpu_index=2, code=79, source="kernel")


@asynccontextmanager
async def console(first: Fleet, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Pilot[None], ScriptedSite]]:
    clock = ManualClock(NOW)
    spec = SiteSpec("lab")
    site = ScriptedSite(spec, clock, first)
    site.events.publish((EVENT,), NOW)
    app = Console((spec,), Settings(), theme="dark", site_factory=lambda _spec: cast(Site, site), clock=clock)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        yield pilot, site


def lines(sections: list[Section], width: int = 80) -> Iterator[str]:
    for line in arrange(sections, width):
        yield "".join(cell.text for cell in line)


def node_sections(each: NodeReading, gpu: Gpu | None, events: tuple[Event, ...] = ()) -> list[Section]:
    """What the pages of values and of the host say together."""
    view = NodeView(each, gpu, NOW, events)
    return [*ValuesPage().sections(view), *HostPage().sections(view)]


def page(each: NodeReading, gpu: Gpu | None) -> str:
    return "\n".join(lines(node_sections(each, gpu, (EVENT,))))


def grid(pilot: Pilot[None]) -> Grid:
    return pilot.app.screen.query_one(Grid)


def selected(pilot: Pilot[None]) -> str:
    row = grid(pilot).cursor_row
    return row.key if row else ""


# The page


def test_every_measured_value_is_on_the_page() -> None:
    gpu = replace(
        h100(0),
        fabric=Fabric("completed", 0, "healthy", 7, "cluster-1"),
        vgpu=Vgpu("vgpu", False, "RTX vWS", "2027-01-01"),
        unread=("power: NVML_ERROR_UNKNOWN",),
        recovery_action="gpu_reset",
    )
    text = page(reading("dgx01", gpu), gpu)
    wanted: tuple[str, ...] = (
        "GPU-dgx01-0",
        "1650",
        "3.0 GiB of 80.0",
        "658.0 W   of 700 limit",
        "slowdown at 92",
        "1980 MHz of 1980",
        "Software power cap",
    )
    wanted += (
        "cluster-1",
        "NOT LICENSED",
        "NVML_ERROR_UNKNOWN",
        "--gpu-reset -i GPU-dgx01-0",
        "26562 switch 07:00.0",
        "580.65.06",
    )
    wanted += ("4242 alice", "60.0 compute", "python train.py")
    for each in wanted:
        assert each in text, each


def test_a_gpu_that_measured_nothing_claims_nothing() -> None:
    said = list(lines(ValuesPage().sections(NodeView(reading("n", Gpu()), Gpu(), NOW))))
    assert said[0] == "GPU 0  n/a"
    assert not any(character.isdigit() for line in said[1:] for character in line)
    assert "nothing was measured" in said[1]
    for group in ("power", "temperature", "utilisation", "NVLink", "processes"):
        assert f"{group}," in " ".join(said[said.index("NOT MEASURED") :]) + ","


def test_mig_instances_and_a_hung_call() -> None:
    gpu = mig_gpu(0, "3g.20gb", "1c.2g.10gb")
    stuck = reading("n", gpu)
    assert stuck.node is not None
    text = page(replace(stuck, node=replace(stuck.node, stall=Stall(0, "nvmlDeviceGetPowerUsage", 12.0))), gpu)
    assert "1c.2g.10gb" in text
    assert "at 1+1" in text
    assert "nvmlDeviceGetPowerUsage on GPU 0 hangs for 12 s" in text


def test_hostile_text_keeps_two_columns_in_line() -> None:
    for evil in HOSTILE:
        said = clean(evil)
        gpu = replace(h100(0), name=said, uuid=said, unread=(said,), links=(Link(0, False, remote_kind=said),))
        for line in arrange(node_sections(reading("n", gpu), gpu, ()), 140):
            assert "".join(cell.text for cell in line[:-1]).isprintable()
        assert cell_len(next(lines(node_sections(reading("n", gpu), gpu, ()), 140))) < 140


def test_events_of_the_node_keep_their_count_and_how_grave_they_are() -> None:
    fatal = Event(
        NOW - 40, "dgx01", "sxid", "Link 30 LTSSM Fault Up", code=20034, fatal=True, pci_bus_id="0000:c1:00.0"
    )
    back = Event(NOW - 30, "dgx01", "gpu_back", "answers again", gpu_index=2, source="nvml")
    storm = replace(EVENT, count=500, first_at=NOW - 90)
    each = reading("dgx01", h100(0))
    text = " ".join("\n".join(lines(node_sections(each, None, (storm, fatal, back)))).split())
    assert "✖ GPU 2 XID 79 500 times: GPU has fallen off the bus" in text
    assert "✖ SXID 20034 0000:c1:00 fatal: Link 30 LTSSM Fault Up" in text
    assert "✓ GPU 2 back answers again" in text


def test_every_field_of_a_gpu_has_its_place() -> None:
    """A new field of the domain must be shown, or named here with the reason."""
    source = "".join(path.read_text() for path in Path(screens.gpu_values.__path__[0]).glob("*.py"))
    for each in fields(Gpu):
        assert f"gpu.{each.name}" in source, each.name


def test_the_list_of_gpus_is_stale_with_its_node() -> None:
    rows = gpu_rows(refused("n", h100(0)), UNICODE)
    assert rows[0].dim
    found = replace(HOT, subject=Subject("n", h100(0).key, 0))
    told = gpu_rows(reading("n", h100(0)), UNICODE, (found,))
    assert cast(Cell, told[0].cells[1]).text == "▲ triage", "as in the fleet"
    hung = gpu_rows(hanging(h100(0)), UNICODE)
    assert hung[0].dim
    assert cast(Cell, hung[0].cells[1]).text == "◌ stale"
    assert gpu_rows(NodeReading("n", NodeState.CONNECTING, None, None, None), UNICODE) == []


# The screens


async def test_the_fleet_opens_a_gpu_and_comes_back_to_it() -> None:
    async with console(fleet()) as (pilot, _):
        assert isinstance(pilot.app.screen, FleetScreen)
        await pilot.press("down", "enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, NodeScreen)
        assert pilot.app.screen.crumbs()[-2:] == ("dgx01", "GPU 0")
        assert "GPU-dgx01-0" in "\n".join(pilot.app.screen.query_one(Sheet).text_lines)
        await pilot.press("j")
        await pilot.pause()
        assert "GPU-dgx01-1" in "\n".join(pilot.app.screen.query_one(Sheet).text_lines)
        await pilot.press("right_square_bracket")
        await pilot.pause()
        assert "LOST: NVML: GPU is lost" in "\n".join(pilot.app.screen.query_one(Sheet).text_lines)
        await pilot.press("escape")
        await pilot.pause()
        assert selected(pilot) == row_key("dgx01", h100(0))


async def test_the_page_scrolls_while_the_list_of_gpus_has_the_keys() -> None:
    async with console(fleet(), (80, 24)) as (pilot, _):
        await pilot.press("down", "enter")
        await pilot.pause()
        page = pilot.app.screen.query_one(Sheet)
        chosen = grid(pilot).cursor
        await pilot.press("shift+down", "shift+down")
        assert page.scroll_offset.y == 2
        await pilot.press("pagedown")
        assert page.scroll_offset.y > 10
        await pilot.press("pageup", "shift+up", "shift+up", "shift+up")
        assert page.scroll_offset.y == 0
        assert grid(pilot).cursor == chosen


async def test_folding_sorting_and_the_flat_list_keep_the_selection() -> None:
    async with console(fleet(), (120, 30)) as (pilot, _):
        await pilot.press("down", "left")
        assert selected(pilot) == "dgx01"
        assert len([row for row in grid(pilot).rows if row.key.startswith("dgx01")]) == 1
        await pilot.press("right", "down", "down")
        held = selected(pilot)
        await pilot.press("greater_than_sign", "greater_than_sign", "greater_than_sign", "r", "f")
        assert selected(pilot) == held
        assert all(row.depth == 0 for row in grid(pilot).rows)
        await pilot.press("f", "u", "z")
        assert selected(pilot) == "dgx01"
        assert all(row.expanded is not True for row in grid(pilot).rows)


async def test_next_problem_goes_round() -> None:
    async with console(fleet()) as (pilot, _):
        found = []
        for _ in range(4):
            await pilot.press("n")
            found.append(selected(pilot).partition("\x1f")[0])
        assert found == ["dgx01", "dgx07", "dgx07", "dgx08"]
        assert "is sshd running there?" in pilot.app.screen.query_one("#fleet-detail", StyledLine).text


async def test_empty_states_say_what_was_looked_at() -> None:
    async with console(Fleet()) as (pilot, _):
        assert "No nodes configured" in str(pilot.app.screen.query_one("#fleet-empty").render())
    async with console(fleet()) as (pilot, _):
        screen = cast(FleetScreen, pilot.app.screen)
        screen.apply_filter("zebra [b]")
        assert "Nothing matches /zebra [b]/ in 6 nodes." in str(screen.query_one("#fleet-empty").render())
        assert not grid(pilot).display
        screen.apply_filter("")
        assert grid(pilot).display
        await pilot.pause()
        await pilot.press("down")
        assert grid(pilot).cursor == 1, "the grid has the keys again"


async def test_a_heartbeat_repaints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with console(fleet(), (200, 50)) as (pilot, site):
        screen = cast(FleetScreen, pilot.app.screen)
        asked: list[Any] = []
        for widget in screen.query("*"):
            monkeypatch.setattr(widget, "refresh", lambda *regions, **_: asked.append(regions))
        beat = Fleet(tuple(replace(each, at=None if each.at is None else each.at) for each in fleet().nodes))
        site.fleet.publish(Fleet(tuple(beat.nodes)), NOW + 1)
        screen.show()
        assert asked == []


async def test_a_dead_node_shows_a_banner_with_age_and_hint() -> None:
    async with console(Fleet((refused("dgx07", h100(0)),))) as (pilot, _):
        await pilot.press("enter")
        await pilot.pause()
        text = str(pilot.app.screen.query_one("#node-problem").render())
        assert "stale: 4 m old: connection refused by 192.0.2.7" in text
        assert "is sshd running there?" in text


async def test_a_driver_that_hangs_shows_a_banner_with_age_and_hint() -> None:
    async with console(Fleet((hanging(h100(0)),))) as (pilot, site):
        await pilot.press("enter")
        await pilot.pause()
        banner = pilot.app.screen.query_one("#node-problem")
        assert "stall: 4 m old: NVML hangs in nvmlDeviceGetPowerUsage of GPU 3" in str(banner.render())
        assert "does nvidia-smi hang there too?" in str(banner.render())
        site.publish(Fleet((reading("dgx01", h100(0)),)))
        cast(NodeScreen, pilot.app.screen).redraw()
        await pilot.pause()
        assert not banner.display


async def test_a_large_site_starts_folded() -> None:
    many = Fleet(tuple(reading(f"n{number:03d}", h100(0, node=f"n{number}")) for number in range(40)))
    async with console(many) as (pilot, _):
        assert len(grid(pilot).rows) == 40
        await pilot.press("space")
        assert len(grid(pilot).rows) == 41


async def test_trends_are_drawn_where_there_is_room() -> None:
    async with console(fleet(), (200, 50)) as (pilot, site):
        site.history.push(f"dgx01/{h100(0).key}", NOW - 30, 100.0)
        await site.clock.advance(5)
        cast(FleetScreen, pilot.app.screen).show()
        assert "█" in str(grid(pilot).rows[1].cells[-1])


# Findings


def test_the_page_of_values_begins_with_the_findings_of_the_node_and_the_gpu() -> None:
    found = (
        LOST,
        replace(DISK, subject=Subject("dgx01")),
        replace(ACKED, subject=Subject("dgx01", "GPU-lost", 2)),
        replace(HOT, subject=Subject("dgx01", "GPU-dgx01-1", 1)),
    )
    node = fleet().nodes[0]
    assert node.node is not None
    view = NodeView(node, node.node.gpus[2], NOW, findings=found)
    first = ValuesPage().sections(view)[0]
    assert first.title == "FINDINGS"
    assert ["".join(cell.text for cell in line) for line in lines_of(first)] == [
        "✖ critical 22:00  lost from the bus (XID 79)",
        "▲ warning  11-11  node: /raid is 96 % full: 612 GiB left of 15360",
        "✖ acked    21:43  hardware thermal slowdown at 87 °C",
        "1 more on its other GPUs",
    ]


def test_a_fault_that_is_part_of_another_gpus_finding_is_found_on_its_own_page() -> None:
    node = fleet().nodes[0]
    assert node.node is not None
    gpu = node.node.gpus[1]
    lost = replace(LOST, others=(Subject("dgx01", gpu.key, 1),))
    first = ValuesPage().sections(NodeView(node, gpu, NOW, findings=(lost,)))[0]
    assert ["".join(cell.text for cell in line) for line in lines_of(first)] == [
        "✖ critical 22:00  gpu2: lost from the bus (XID 79)"
    ]


def test_a_node_without_findings_or_gpus_has_no_such_section() -> None:
    assert "FINDINGS" not in page(reading("dgx01", h100(0)), h100(0))
    view = NodeView(reading("dgx01"), None, NOW, findings=(replace(DISK, subject=Subject("dgx01")),))
    assert [section.title for section in ValuesPage().sections(view) if section.lines] == ["FINDINGS", "GPUS"]


async def test_the_node_screen_shows_its_findings_as_they_come() -> None:
    async with console(fleet()) as (pilot, site):
        await pilot.press("enter")
        await pilot.pause()
        site.find(triage(replace(LOST, subject=Subject("dgx01")), replace(HOT, subject=Subject("dgx02"))))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any("lost from the bus" in line for line in pilot.app.screen.query_one(Sheet).text_lines):
                await pilot.pause(0.01)
        assert not any("thermal" in line for line in pilot.app.screen.query_one(Sheet).text_lines)


async def test_the_fleet_says_the_worst_finding_of_the_selected_row() -> None:
    def detail(pilot: Pilot[None]) -> str:
        return pilot.app.screen.query_one("#fleet-detail", StyledLine).text

    healthy = Fleet((reading("dgx01", h100(0), h100(1)), reading("dgx02", h100(0, node="dgx02"))))
    async with console(healthy) as (pilot, site):
        site.find(triage(replace(HOT, subject=Subject("dgx01", "GPU-dgx01-1", 1)), DISK))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "hardware thermal slowdown" not in detail(pilot):
                await pilot.pause(0.01)
        assert detail(pilot) == "▲ warning  dgx01 gpu1: hardware thermal slowdown at 87 °C"
        await pilot.press("down")
        assert detail(pilot) == "", "GPU 0 is well"
        await pilot.press("down")
        assert "hardware thermal slowdown" in detail(pilot)
        await pilot.press("down")
        assert detail(pilot) == "▲ warning  dgx02: /raid is 96 % full: 612 GiB left of 15360"


def test_an_acknowledged_finding_comes_after_the_open_ones_of_a_row() -> None:
    acked = replace(ACKED, subject=Subject("dgx01", "GPU-dgx01-1", 1))
    assert worst_of(in_order((acked, HOT, DISK)), "dgx01", None) == HOT
    assert worst_of((acked,), "dgx01", None) == acked
    assert worst_of((HOT,), "dgx01", "GPU-other") is None
