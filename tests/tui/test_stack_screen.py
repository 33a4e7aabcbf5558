"""The stack screen: what blocks first is seen first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from backends.domain import (
    ClusterRelease,
    Component,
    DriverUpgradeState,
    Fleet,
    GpuProcess,
    MigManagerState,
    NodeGpuCapacity,
    NotPermitted,
    OperandPhase,
    Permission,
    Problem,
    ResourceCount,
    Since,
    Stack,
    StackHealth,
)
from screens.node import NodeScreen
from screens.stack import StackScreen
from screens.stack_rows import NODE_WIDTH, columns, rows
from tests.tui.consoles import Opened, build, build_on, grid, opened, settled, spec_of
from tests.tui.fleets import HOSTILE, NOW, h100, reading
from tests.tui.stacks import blocked, changing, stack, well
from tests.tui.test_snapshots import LARGE, SMALL, SnapCompare, one_terminal  # noqa: F401 - an autouse fixture
from tests.workloads import container_id, owned, pod
from tui.app import Console
from tui.widgets.columns import Cell
from tui.widgets.glyphs import UNICODE
from tui.widgets.grid import Grid
from tui.widgets.sheet import Sheet

FLEET = Fleet((reading("dgx01", h100()), reading("dgx02", h100()), reading("dgx03", h100())))


def console(platform: str | None = "kubernetes") -> Console:
    return build(spec_of(FLEET, platform=platform), values={"lab": FLEET})


async def to_stack(on: Opened, value: Stack | None) -> None:
    await on.press("3")
    if value is not None:
        on.site.stack.publish(value, NOW)
        await on.until(lambda: on.screen.query("#stack-grid"), "the grid")
        await on.until(lambda: len(grid(on).rows) == len(value.nodes), "the rows")


def selected(on: Opened) -> str | None:
    row = grid(on).cursor_row
    return None if row is None else row.key


def page(on: Opened) -> str:
    return "\n".join(on.screen.query_one(Sheet).text_lines)


async def test_the_blocked_node_comes_first_with_its_log_line() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(well("dgx01"), blocked("dgx02"), changing("dgx03")))
        assert [row.key for row in grid(on).rows] == ["dgx02", "dgx03", "dgx01"]
        assert "WHAT BLOCKS" in page(on)
        assert "Unable to locate package linux-headers" in page(on)
        assert "nvidia-driver-ctr, 6 restarts" in page(on)
        assert "waits for the driver" in page(on)


@pytest.mark.parametrize(
    ("changes", "column", "said"),
    [
        ({"mig": MigManagerState("all-1g.10gb", "failed")}, "mig-manager", "✖ fail"),
        ({"mig": MigManagerState("all-1g.10gb", "pending", Since(NOW - 500))}, "mig-manager", "✖ stuck"),
        ({"mig": MigManagerState("all-1g.10gb", "pending", Since(NOW - 5))}, "mig-manager", "● chng"),
        ({"upgrade": DriverUpgradeState("pod-restart-required", Since(NOW - 5))}, "driver", "● upgr"),
        ({"mig": MigManagerState("all-1g.10gb", "success")}, "mig-manager", "✓ ok"),
        ({"upgrade": DriverUpgradeState("upgrade-failed")}, "driver", "✖ upgr"),
    ],
)
def test_the_row_shows_the_change_that_blocks_where_every_operand_runs(
    changes: dict[str, Any], column: str, said: str
) -> None:
    node = replace(well("dgx01"), health=StackHealth.BLOCKED, **changes)
    (row,) = rows(stack(node), UNICODE, NOW)
    place = [each.key for each in columns(stack(node).operands)].index(column)
    assert [cell.text for cell in row.cells if isinstance(cell, Cell)].count("✓ ok") == 7 - (said != "✓ ok")
    assert isinstance(cell := row.cells[place], Cell)
    assert cell.text == said


def test_a_node_that_is_well_and_cordoned_says_so_in_its_state() -> None:
    (row,) = rows(stack(replace(well("dgx01"), schedulable=False)), UNICODE, NOW)
    assert isinstance(state := row.cells[1], Cell)
    assert state.text == "▲ cordon"


async def test_the_selection_stays_on_its_node_when_others_get_worse() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(well("dgx01"), well("dgx02")))
        await on.press("down")
        on.site.stack.publish(stack(well("dgx01"), well("dgx02"), blocked("dgx03")), NOW)
        await on.until(lambda: len(grid(on).rows) == 3, "three rows")
        assert selected(on) == "dgx02"
        await on.press("n")
        assert selected(on) == "dgx03"


async def test_the_node_opens_though_the_platform_calls_it_by_its_long_name() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(well("dgx02.example.com")))
        await on.press("o")
        await on.until(lambda: isinstance(on.screen, NodeScreen), "the node screen")
        assert on.screen.node_name == "dgx02"


async def test_mig_and_driver_upgrade_say_how_long() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(changing("dgx03")))
        assert "8 m or longer" in page(on)
        assert "drain-required" in page(on)
        assert "a pod with a disruption budget" in page(on)
        assert "approve install-2631" in page(on)
        assert "list pods in team-a" in page(on)


async def test_a_change_that_came_to_nothing_stands_before_a_waterfall_that_is_well() -> None:
    reason = "Unable to enable MIG mode: In use by another client"
    mig = MigManagerState("all-1g.10gb", "failed", Since(NOW - 60), reason)
    async with opened(console()) as on:
        await to_stack(on, stack(replace(well("dgx01"), health=StackHealth.BLOCKED, mig=mig), well("dgx02")))
        assert page(on).index(reason) < page(on).index("THE STACK, IN THE ORDER IT COMES UP")
        await on.press("down")
        assert "MIG MANAGER" not in page(on)


async def test_nothing_to_see_says_why() -> None:
    async with opened(console(None)) as on:
        await to_stack(on, None)
        assert "names no platform" in on.text
    async with opened(console()) as on:
        await to_stack(on, None)
        assert "Reading the GPU stack of kubernetes" in on.text
        on.site.stack.fail(Problem("unreachable", "connection refused by 127.0.0.1:6443", "is it up?", NOW))
        await on.until(lambda: "connection refused" in on.text, "the error")
        assert "is it up?" in on.text


async def test_gpus_and_mig_instances_are_two_columns_and_what_is_used_stands_beside_what_is_asked_for() -> None:
    pod_on_gpu = replace(
        h100(), processes=(GpuProcess(7, "compute", "root", "python", container_id=container_id("a")),)
    )
    fleet = Fleet((reading("dgx01", pod_on_gpu),))
    counts = (ResourceCount("nvidia.com/gpu", 7, 7, 6), ResourceCount("nvidia.com/mig-3g.40gb", 4, 3, 1))
    cut = replace(well("dgx01"), capacity=NodeGpuCapacity(counts, mig_strategy="mixed"))
    async with opened(build(spec_of(fleet, platform="kubernetes"), values={"lab": fleet}), size=LARGE) as on:
        on.site.ownership.publish(owned(pod("a", node="dgx01")), NOW)
        await to_stack(on, stack(cut))
        cells = [cell if isinstance(cell, str) else cell.text for cell in grid(on).rows[0].cells]
        assert "6 of 7" in cells
        assert "1 of 3!" in cells
        assert "GPU REQ" in on.text
        await on.until(lambda: "in use by pods     1 GPU, 0 MIG instances" in page(on), "what is in use")
        on.site.stack.publish(stack(well("dgx01")), NOW)
        await on.until(lambda: "MIG REQ" not in on.text, "no node has instances any more")


async def test_what_blocks_has_the_room_that_names_do_not_need() -> None:
    async with opened(console(), size=LARGE) as on:
        await to_stack(on, stack(well("dgx-h100-05"), replace(changing("dgx01"), schedulable=True)))
        assert "driver upgrade: drain-required, for 1 h 06 m" in on.text
        (header,) = (text for text in on.lines if text.startswith("NODE"))
        assert header.index("STATE") == NODE_WIDTH + 1


async def test_no_title_of_the_waterfall_is_cut() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(well("dgx01")))
        assert "GPU feature discovery" in page(on)


async def test_openshift_tells_its_release_what_it_fails_at_and_where_its_metrics_are() -> None:
    async with opened(console("openshift"), size=LARGE) as on:
        release = ClusterRelease("4.20.4", "4.20.5", True, True, True, "Cluster operator etcd is degraded")
        told = replace(
            stack(well("dgx01")), platform="openshift", cluster=release, monitoring_url="https://thanos.example.com"
        )
        await to_stack(on, told)
        assert "openshift 4.20.4 (kubernetes v1.33.4)" in on.text
        assert "cluster failing" in on.text
        assert "failing, upgrading to 4.20.5: Cluster operator etcd is degraded" in page(on)
        assert "https://thanos.example.com" in page(on)


async def test_who_may_not_read_nodes_is_told_the_right_and_sees_the_rest() -> None:
    refused = (NotPermitted("nodes of the cluster", Permission("list", "nodes")),)
    operator = Component("gpu-operator", 1, 1)
    async with opened(console()) as on:
        await on.press("3")
        on.site.stack.publish(replace(stack(), not_permitted=refused, components=(operator,)), NOW)
        await on.until(lambda: "Not permitted: list nodes." in on.text, "the right")
        assert "GPU-OPERATOR" in page(on).upper()
        assert "nodes of the cluster: needs list nodes" in page(on)
        assert "ClusterPolicy notReady" in on.text


async def test_a_log_that_may_not_be_found_is_not_called_absent() -> None:
    hidden = "not permitted: list pods"
    operands = tuple(replace(each, phase=OperandPhase.UNKNOWN, reason=hidden) for each in well("dgx01").operands)
    async with opened(console()) as on:
        await to_stack(on, stack(replace(well("dgx01"), operands=operands)))
        await on.press("l")
        await on.until(lambda: "No log can be shown; not permitted: list pods." in on.notices, "why")


async def test_an_error_after_a_value_stands_beside_it() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(well("dgx01")))
        on.site.stack.fail(Problem("unreachable", "the watch was cut", "", NOW))
        await on.until(lambda: "the watch was cut" in on.text, "the error")
        row = on.screen.query_one("#stack-grid", Grid).rows[0]
        assert row.dim
        assert all(cell.style == "stale" for cell in row.cells if isinstance(cell, Cell))
        assert row.cells[1].text.startswith(UNICODE.stale), "and not by colour alone"
        on.site.stack.publish(stack(well("dgx01")), NOW)
        await on.until(lambda: "the watch was cut" not in on.text, "it answers again")
        assert not on.screen.query_one("#stack-grid", Grid).rows[0].dim


async def test_hostile_text_is_inert() -> None:
    from backends.domain import clean

    for evil in HOSTILE:
        said = clean(evil)
        async with opened(console(), size=LARGE) as on:
            await to_stack(on, stack(blocked(said[:60] or "x", said, (said,))))
            assert all(line.isprintable() for line in on.lines)


async def test_an_equal_stack_repaints_nothing() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(well("dgx01"), blocked("dgx02")))
        before = grid(on).repaints
        on.site.stack.publish(stack(well("dgx01"), blocked("dgx02")), NOW)
        await on.pilot.pause(0.4)
        assert grid(on).repaints == before


# Looks


def shown(value: Stack | None) -> Any:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        on = Opened(pilot.app, pilot)  # type: ignore[arg-type]
        await to_stack(on, value)
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
@pytest.mark.parametrize(
    "value",
    [stack(well("dgx01"), blocked("dgx02"), changing("dgx03")), stack(well("dgx01"), well("dgx02")), None],
    ids=["blocked", "well", "waiting"],
)
def test_looks(snap_compare: SnapCompare, size: tuple[int, int], value: Stack | None) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=shown(value))


def test_looks_ascii(snap_compare: SnapCompare) -> None:
    app = build(spec_of(FLEET, platform="kubernetes"), values={"lab": FLEET}, ascii_only=True)
    value = stack(well("dgx01"), blocked("dgx02"), changing("dgx03"))
    assert snap_compare(app, terminal_size=SMALL, run_before=shown(value))


def test_looks_without_a_platform(snap_compare: SnapCompare) -> None:
    assert snap_compare(build_on(FLEET), terminal_size=SMALL, run_before=shown(None))


async def test_opened_at_a_node_it_is_the_selected_one_and_escape_comes_back() -> None:
    async with opened(console()) as on:
        on.site.stack.publish(stack(well("dgx01"), blocked("dgx02"), changing("dgx03")), NOW)
        await on.app.push_screen(StackScreen("dgx03"))
        await on.until(lambda: on.screen.query("#stack-grid"), "the grid")
        await on.until(lambda: selected(on) == "dgx03", "the node")
        await on.press("up")
        on.site.stack.publish(stack(well("dgx01"), blocked("dgx02"), changing("dgx03")), NOW)
        on.screen.redraw()
        assert selected(on) == "dgx02"
        await on.press("escape")
        assert not isinstance(on.screen, StackScreen)
