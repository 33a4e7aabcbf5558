"""The nodes of the GPU stack are filtered like every other list, and each operand is a field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from backends.allocation import InUse
from backends.docker.checks import CHECKS
from backends.domain import (
    DriverUpgradeState,
    Fleet,
    GpuProcess,
    MigManagerState,
    NodeGpuCapacity,
    Operand,
    OperandPhase,
    OperandState,
    Problem,
    ResourceCount,
    Since,
    Stack,
    StackHealth,
    StackNode,
)
from backends.kubernetes.operands import OPERANDS as KUBERNETES_OPERANDS
from screens.help import HelpScreen
from screens.stack_fields import STACK_FIELDS, stack_fields, stack_subject, stack_values
from screens.stack_rows import OPERAND_WIDTH, SHORT
from tests.tui.consoles import Opened, build, grid, opened, settled, spec_of
from tests.tui.fleets import HOSTILE, NOW, h100, reading
from tests.tui.stacks import OPERANDS, blocked, changing, stack, well
from tests.tui.test_snapshots import LARGE, SMALL, SnapCompare, one_terminal  # noqa: F401 - an autouse fixture
from tests.tui.test_stack_screen import console, selected, to_stack
from tests.workloads import container_id, owned, pod
from tui.chrome.command_line import CommandLine
from tui.chrome.footer import Footer
from tui.widgets.filter import FilterError, parse


def waits(name: str) -> StackNode:
    """The exporter is missing, and may do without what comes before it; what pods hold may not be read."""
    states = (
        OperandState("driver", OperandPhase.READY),
        OperandState("gfd", OperandPhase.UNKNOWN),
        OperandState("dcgm-exporter", OperandPhase.MISSING),
    )
    return StackNode(
        name,
        StackHealth.WARNING,
        states,
        capacity=NodeGpuCapacity((ResourceCount("nvidia.com/gpu", 4, 3),)),
        mig=MigManagerState(),
        notes=("the kubelet does not answer",),
        driver_version="575.57.08",
        os="Ubuntu 24.04.2 LTS",
        runtime="containerd://2.0.5",
    )


def cut(name: str) -> StackNode:
    """All of its whole GPUs are held, of its MIG instances some are free and one is out."""
    counts = (ResourceCount("nvidia.com/gpu", 4, 4, 4), ResourceCount("nvidia.com/mig-1g.10gb", 28, 27, 3))
    return replace(well(name), capacity=NodeGpuCapacity(counts, mig_strategy="mixed"))


NODES = (well("dgx01"), blocked("dgx02"), changing("dgx03"), waits("hgx04"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("driver!=ready", "dgx02 dgx03"),
        ("driver=fail | dcgm-exporter=none", "dgx02 hgx04"),
        ("toolkit=waiting", "dgx02"),
        ("toolkit=wait", "dgx02"),
        ("toolkit=na", "hgx04"),
        ("gfd=na", "hgx04"),
        ("gfd!=ready", "dgx02 dgx03"),
        ("blocked", "dgx02"),
        ("blocked=driver", "dgx02"),
        ("blocked=na", "dgx01 dgx03 hgx04"),
        ("failing~dcgm", "hgx04"),
        ("reason~crashloop", "dgx02"),
        ('reason~"5m0s restarting"', "dgx02"),
        ("restarts>5", "dgx02"),
        ("mig~3g.40gb", "dgx03"),
        ("mig=pending", "dgx03"),
        ("mig=na", "dgx01 dgx02 hgx04"),
        ("upgrade~drain", "dgx03"),
        ("schedulable=no", "dgx03"),
        ("cordoned", "dgx03"),
        ("ready", "dgx01"),
        ("!ready", "dgx02 dgx03 hgx04"),
        ("state=warning", "hgx04"),
        ("state=change", "dgx03"),
        ("gpus=8", "dgx01 dgx02"),
        ("gpus=na", "dgx03"),
        ("allocatable<4", "dgx02 hgx04"),
        ("requested>0", "dgx01"),
        ("requested=na", "dgx03 hgx04"),
        ("free>1", "dgx01"),
        ("instances=na", "dgx03"),
        ("used=na", "dgx01 dgx02 dgx03 hgx04"),
        ("version<580", "hgx04"),
        ("kernel~nvidia", "dgx02"),
        ("os~ubuntu runtime~containerd", "hgx04"),
        ("node~gx0 & !dgx01", "dgx02 dgx03 hgx04"),
        ("hgx4", "hgx04"),
        ("kubelet", "hgx04"),
        ("driver", "dgx02 dgx03"),
        ("nvidia-driver-daemonset", "dgx02"),
    ],
)
def test_a_filter_narrows_the_nodes(text: str, names: str) -> None:
    match = parse(text, stack_fields(OPERANDS))
    assert [node.name for node in NODES if match.matches(stack_subject(node))] == names.split()


def test_what_a_cell_shows_of_a_broken_change_is_what_its_field_says() -> None:
    late = replace(well("dgx05"), upgrade=DriverUpgradeState("drain-required", Since(NOW - 4000), 300.0))
    fields = stack_fields(OPERANDS)
    for text in ("driver!=ready", "driver=upgr", "driver=failing", "failing=driver"):
        assert parse(text, fields).matches(stack_subject(late, now=NOW)), text
        assert not parse(text, fields).matches(stack_subject(late, now=NOW - 3900)), "within its time"


def test_a_cordoned_node_has_no_gpu_to_give() -> None:
    closed = replace(well("dgx01"), schedulable=False)
    assert not parse("free>=1 | state=ready & !state=cordon", stack_fields(OPERANDS)).matches(stack_subject(closed))
    assert parse("free=0 & allocatable=8 & cordoned", stack_fields(OPERANDS)).matches(stack_subject(closed))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("gpus=4 & allocatable=4 & requested=4 & free=0", True),
        ("instances=28 & allocatable_instances=27 & requested_instances=3 & free_instances=24", True),
        ("used=1 & used_instances=2", True),
        ("gpus=32 | free>=1", False),
    ],
)
def test_gpus_and_mig_instances_are_never_added_up(text: str, holds: bool) -> None:
    assert parse(text, STACK_FIELDS).matches(stack_subject(cut("hgx05"), InUse(1, 2))) is holds


def test_under_the_single_strategy_an_instance_is_a_gpu() -> None:
    counts = (ResourceCount("nvidia.com/gpu", 7, 7, 3),)
    node = replace(well("hgx06"), capacity=NodeGpuCapacity(counts, gpus=7, mig_strategy="single"))
    subject = stack_subject(node, InUse(0, 2))
    assert parse("gpus=7 & free=4 & used=2 & instances=0 & used_instances=0", STACK_FIELDS).matches(subject)


def test_a_site_has_the_operands_that_are_deployed_there() -> None:
    fields = stack_fields((Operand("engine", "container engine"),))
    assert fields.find("engine") is not None
    with pytest.raises(FilterError, match="mig-manager"):
        parse("mig-manager!=ready", fields)


def test_every_operand_of_our_platforms_has_a_column_title_and_can_be_saved_in_a_filter() -> None:
    keys = {kind.key for kind in KUBERNETES_OPERANDS} | {check.operand.key for check in CHECKS}
    assert keys <= set(SHORT)
    assert all(STACK_FIELDS.find(key) for key in keys)
    assert len(set(SHORT.values())) == len(SHORT)
    assert max(map(len, SHORT.values())) <= OPERAND_WIDTH


@pytest.mark.parametrize("key", ["node", "na", "Driver", "two words", "a=b", "", "blocker", *HOSTILE])
def test_a_strange_operand_is_left_out_or_found_and_breaks_nothing(key: str) -> None:
    fields = stack_fields((Operand(key, key), Operand("driver", "driver")))
    assert fields.find("driver") is not None
    assert all(name == name.lower() and name.isprintable() for name in fields.names)


def test_completion_offers_what_the_nodes_say() -> None:
    assert stack_values("node", NODES) == ["dgx01", "dgx02", "dgx03", "hgx04"]
    assert stack_values("version", NODES) == ["575.57.08", "590.48.01"]
    assert stack_values("mig", NODES) == ["all-3g.40gb", "pending"]
    assert stack_values("gpus", NODES) == stack_values("nothing", NODES) == []


# On the screen


async def typed(on: Opened, text: str) -> None:
    await on.press("slash")
    on.screen.query_one(CommandLine).query_one(Input).value = text
    await on.pilot.pause()


async def test_it_narrows_while_typing_and_an_error_is_told_in_place() -> None:
    async with opened(console(), size=(120, 24)) as on:
        await to_stack(on, stack(*NODES))
        assert "/ Filter" in on.screen.query_one(Footer).text
        await typed(on, "driver!=ready")
        assert [row.key for row in grid(on).rows] == ["dgx02", "dgx03"]
        assert "/driver!=ready/ shows 2 of 4" in on.text
        on.screen.query_one(CommandLine).query_one(Input).value = "drivr!=ready"
        await on.pilot.pause()
        assert 'no field "drivr": did you mean driver?' in on.lines[-1]
        assert len(grid(on).rows) == 2, "the last good filter stays"
        await on.press("escape")
        assert len(grid(on).rows) == 4


async def test_it_stays_in_force_when_the_stack_changes_and_escape_ends_it() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(*NODES))
        await typed(on, "blocked")
        await on.press("enter")
        assert grid(on).has_focus
        on.site.stack.publish(stack(*NODES, blocked("dgx05")), NOW)
        await on.until(lambda: [row.key for row in grid(on).rows] == ["dgx02", "dgx05"], "the other one")
        await on.press("n")
        assert selected(on) == "dgx05"
        await on.press("escape")
        assert len(grid(on).rows) == 5


async def test_a_filter_is_told_beside_a_platform_that_does_not_answer() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(*NODES))
        await typed(on, "blocked")
        await on.press("enter")
        on.site.stack.fail(Problem("unreachable", "the watch was cut", "", NOW))
        await on.until(lambda: "the watch was cut" in on.text, "the error")
        assert "/blocked/ shows 1 of 4" in on.text


async def test_nothing_left_says_so_and_the_keys_stay_where_they_are() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(*NODES))
        await typed(on, "version>=600")
        await on.press("enter")
        assert "Nothing matches /version>=600/ in 4 nodes." in on.text
        assert "/version>=600/ shows 0 of 4" in on.text
        assert grid(on).has_focus
        await on.press("n", "o", "l")
        assert on.notices == ["No node is selected.", "No node is selected."]
        on.site.stack.publish(stack(replace(NODES[0], driver_version="610.1")), NOW)
        await on.until(lambda: [row.key for row in grid(on).rows] == ["dgx01"], "the upgraded node")
        assert grid(on).has_focus


async def test_the_help_names_the_operands_that_are_here_and_their_states() -> None:
    async with opened(console(), size=(120, 60)) as on:
        await to_stack(on, stack(*NODES))
        await on.press("question_mark")
        await on.until(lambda: isinstance(on.screen, HelpScreen), "the help")
        said = str(on.screen.query_one("#help-text", Static).content)
        assert "dcgm-exporter!=ready" in said
        assert "engine!=ready" not in said
        assert said.count("waiting failing") == 1
        assert "ready starting waiting failing missing paused off" in said


async def test_a_saved_filter_of_operands_works_here() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(*NODES))
        await on.press("colon", *"save nodriver driver!=ready", "enter")
        await on.until(lambda: any("Saved as @nodriver" in each for each in on.notices), "saved")
        await typed(on, "@nodriver")
        assert [row.key for row in grid(on).rows] == ["dgx02", "dgx03"]


async def test_what_is_used_is_what_has_a_process_of_a_pod() -> None:
    busy = replace(h100(), processes=(GpuProcess(7, "compute", "root", "python", container_id=container_id("a")),))
    fleet = Fleet((reading("dgx01", busy), reading("dgx02", replace(h100(), processes=()))))
    async with opened(build(spec_of(fleet, platform="kubernetes"), values={"lab": fleet})) as on:
        on.site.ownership.publish(owned(pod("a", node="dgx01")), NOW)
        await to_stack(on, stack(well("dgx01"), well("dgx02"), well("dgx03")))
        for text, names in (("used=0", ["dgx02"]), ("used>=1", ["dgx01"]), ("used=na", ["dgx03"])):
            await typed(on, text)
            await on.until(lambda names=names: [row.key for row in grid(on).rows] == names, text)  # type: ignore[misc]
            await on.press("escape")


async def test_a_filter_before_the_first_reading_waits_for_it() -> None:
    async with opened(console()) as on:
        await on.press("3")
        await typed(on, "driver!=ready")
        await on.press("enter")
        assert "Reading the GPU stack" in on.text
        on.site.stack.publish(stack(*NODES), NOW)
        await on.until(lambda: on.screen.query("#stack-grid") and len(grid(on).rows) == 2, "the rows")


@pytest.mark.parametrize("platform", ["docker", "openshift"])
async def test_on_every_platform(platform: str) -> None:
    async with opened(console(platform)) as on:
        value = replace(stack(*NODES), platform=platform)
        await to_stack(on, value)
        await typed(on, "blocked=driver")
        assert [row.key for row in grid(on).rows] == ["dgx02"]


@pytest.mark.parametrize("evil", HOSTILE)
async def test_a_hostile_filter_is_inert(evil: str) -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(*NODES))
        await typed(on, evil)
        await on.press("enter")
        assert all(line.isprintable() for line in on.lines)
        assert on.app.return_code is None


# Looks


def narrowed(text: str, *, value: Stack | None = None) -> Any:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        on = Opened(pilot.app, pilot)  # type: ignore[arg-type]
        await to_stack(on, value or stack(*NODES))
        await typed(on, text)
        await on.press("enter")
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_looks(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=narrowed("driver!=ready"))


def test_looks_when_nothing_is_left(snap_compare: SnapCompare) -> None:
    assert snap_compare(console(), terminal_size=SMALL, run_before=narrowed("version>=600"))
