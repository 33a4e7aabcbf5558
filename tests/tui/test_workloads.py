"""Whose workload it is, on every list: named where the platform tells, n/a where it does not, nothing without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from backends.domain import (
    Fleet,
    Gpu,
    GpuProcess,
    GpuRequest,
    Hit,
    NodeReading,
    NodeState,
    NotPermitted,
    Permission,
    Problem,
    Route,
    Unread,
    clean,
)
from backends.ownership import Ownership
from screens.cells import CELL_INDEX
from screens.finding_fields import FINDING_FIELDS
from screens.node import NodeScreen
from screens.triage_evidence import hit_text
from screens.triage_rows import hits_text, subject_of
from screens.workloads import HOST, STRANGE, UNKNOWN, gpu_cell, label, missing, node_cell, process_cells, routes
from tests.tui.consoles import Opened, build, grid, opened, settled, spec_of, to_node
from tests.tui.findings import LOST
from tests.tui.fleets import GIB, HOSTILE, NOW, h100, reading
from tests.tui.test_snapshots import LARGE, SMALL, SnapCompare, one_terminal  # noqa: F401 - an autouse fixture
from tests.workloads import container_id, owned, pod
from tui.app import Console
from tui.widgets.columns import Cell
from tui.widgets.filter import parse
from tui.widgets.glyphs import UNICODE
from tui.widgets.line import StyledLine

ROUTES = (
    Route("team-search", "llama", "llama.example.com", termination="edge", admitted=True),
    Route("team-search", "old", "old.example.com", admitted=False, refusal="HostAlreadyClaimed: taken"),
    Route("team-search", "third", "third.example.com", admitted=True),
)
DENIED = NotPermitted("pods of the cluster", Permission("list", "pods"))


def process(of: str | None, pid: int, gib: int = 10, user: str = "root") -> GpuProcess:
    inside = None if of is None else container_id(of)
    return GpuProcess(pid, "compute", user, f"python {of}.py", gib * GIB, started_at=NOW - 900, container_id=inside)


FLEET = Fleet(
    (
        reading(
            "dgx01",
            replace(h100(0), processes=(process("llama-0", 11, 40), process("tokenizer", 12, 2))),
            replace(h100(1), processes=(process("llama-1", 13, 40),)),
            replace(h100(2), processes=(process(None, 14, 4, "jane"),)),
            replace(h100(3), processes=(process("gone", 15, 4),)),
            replace(h100(4, 0), processes=()),
            replace(h100(5), processes=None),
        ),
        reading("dgx02", replace(h100(0, node="dgx02"), processes=(process("train-0", 21, 70),))),
    )
)
PODS = owned(
    pod("llama-0", user="carla"),
    pod("llama-1", user="carla"),
    pod("tokenizer", owner=None, gpus=()),
    pod(
        "train-0",
        namespace="team-vision",
        node="dgx02",
        owner=("Job", "train-vit"),
        gpus=(GpuRequest("nvidia.com/gpu", 8),),
    ),
)


def console(platform: str | None = "kubernetes") -> Console:
    return build(spec_of(FLEET, platform=platform), values={"lab": FLEET})


async def told(on: Opened, ownership: Ownership = PODS) -> None:
    """The platform tells, and the screen has drawn it."""
    on.site.ownership.publish(ownership, NOW)
    on.screen.redraw()
    await on.pilot.pause()


def column(on: Opened, key: str) -> list[str]:
    cells = [row.cells[CELL_INDEX[key]] for row in grid(on).rows]
    return [cell.text if isinstance(cell, Cell) else cell for cell in cells]


def detail(on: Opened) -> str:
    line: StyledLine = on.screen.query_one("#fleet-detail", StyledLine)
    return line.text


# Cells


def test_each_gpu_names_who_holds_most_of_it_and_how_many_more() -> None:
    node = FLEET.nodes[0].node
    assert node is not None
    assert [gpu_cell(gpu, "dgx01", PODS).text for gpu in node.gpus] == [
        "team-search/llama-70b +1",
        "team-search/llama-70b",
        HOST.text,
        STRANGE.text,
        "",
        "n/a",
    ]
    assert node_cell(node.gpus, PODS).text == "2 owners"
    assert node_cell(node.gpus[1:2], PODS).text == "team-search/llama-70b"
    assert node_cell(node.gpus[4:5], PODS).text == ""


def test_not_told_and_not_permitted_are_not_nobody() -> None:
    node = FLEET.nodes[0].node
    assert node is not None
    assert {gpu_cell(gpu, "dgx01", None) for gpu in node.gpus} == {UNKNOWN}
    assert node_cell(node.gpus, None) is UNKNOWN
    untold = GpuProcess(16, "compute", None, "python")
    assert process_cells(untold, "dgx01", PODS) == (UNKNOWN, UNKNOWN), "nvidia-smi tells no container"
    partly = owned(denied=[DENIED])
    assert gpu_cell(node.gpus[3], "dgx01", partly) is UNKNOWN
    assert process_cells(process("gone", 1), "dgx01", partly) == (UNKNOWN, UNKNOWN)
    assert process_cells(process("gone", 1), "dgx01", PODS) == (STRANGE, Cell(""))
    assert process_cells(process("tokenizer", 1), "dgx01", PODS)[1] == Cell("none", "dim")


def test_what_was_left_out_is_told_and_makes_no_container_a_stranger() -> None:
    cut = [Unread("dgx01", "7 containers of dgx01 are left out"), Unread("dgx02", "dgx02 does not answer")]
    partly = owned(unread=cut)
    for node in ("dgx01", "dgx02"):
        assert process_cells(process("gone", 1), node, partly) == (UNKNOWN, UNKNOWN)
        assert process_cells(process(None, 1), node, partly)[0] is HOST
    strange = Gpu(processes=(process("gone", 1),))
    assert process_cells(process("gone", 1), "dgx03", partly)[0] is STRANGE, "what runs there is known"
    assert (gpu_cell(strange, "dgx02", partly), gpu_cell(strange, "dgx03", partly)) == (UNKNOWN, STRANGE)
    (cell,) = missing(partly, None, "docker", UNICODE)
    assert cell.text.endswith("7 containers of dgx01 are left out and 1 more")
    assert missing(owned(), None, "docker", UNICODE) == []


def test_a_pod_without_an_owner_is_called_by_its_own_name() -> None:
    assert label(pod("bare", owner=None)) == "team-search/bare"
    assert label(pod("c1", namespace=None, owner=None, platform="docker")) == "c1"


# The fleet


async def test_the_fleet_names_workloads_on_gpus_and_counts_owners_on_nodes() -> None:
    async with opened(console(), (200, 50)) as on:
        assert set(column(on, "workload")) == {"n/a"}
        assert "workloads: asking" in on.text
        await told(on)
        assert column(on, "workload")[:3] == ["2 owners", "team-search/llama-70b +1", "team-search/llama-70b"]
        assert "team-vision/train-vit" in column(on, "workload")
        assert "asking" not in on.text


async def test_a_node_that_was_never_read_names_what_the_platform_gave_its_gpus() -> None:
    silent = Fleet((NodeReading("dgx01", NodeState.CONNECTING, None, None, None),))
    async with opened(build(spec_of(silent, platform="kubernetes"), values={"lab": silent}), (120, 40)) as on:
        await on.press("enter")
        await on.until(lambda: isinstance(on.screen, NodeScreen), "the node screen")
        await on.press("p")
        await told(on)
        assert "No value was read yet. Its GPUs were given to team-search/llama-0, team-search/llama-1." in on.text


async def test_the_platform_is_wanted_while_the_fleet_is_shown_and_no_longer() -> None:
    async with opened(console()) as on:
        assert on.site.ownership.demand == 1
        await to_node(on)
        assert on.site.ownership.demand == 1
        await on.press("1")
        await on.until(lambda: on.site.ownership.demand == 0, "the demand")


async def test_without_a_platform_nothing_is_asked_and_no_column_is_lost() -> None:
    async with opened(console(None), (200, 50)) as on:
        assert on.site.ownership.demand == 0
        assert "WORKLOAD" not in on.text
        assert "workloads" not in on.text
        assert "USER" in on.text


async def test_a_narrow_terminal_has_the_workload_of_the_selected_gpu() -> None:
    async with opened(console()) as on:
        await told(on)
        assert "WORKLOAD" not in on.text
        await on.press("down")
        assert detail(on).split("  ")[:3] == ["team-search/llama-0", "Deployment llama-70b", "of carla"]
        assert "and 1 more" in detail(on)
        await on.press("down", "down")
        assert detail(on) == ""


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("owner=llama-70b", 3),
        ("namespace=team-vision", 2),
        ("project=team-vision", 2),
        ("pod=tokenizer", 2),
        ("workload~llama", 3),
        ("user=carla", 3),
        ("train-vit", 2),
        (f"container={container_id('gone')}", 2),
    ],
)
async def test_the_fleet_is_narrowed_to_whose_work_it_is(text: str, rows: int) -> None:
    async with opened(console()) as on:
        await told(on)
        on.screen.apply_filter(text)
        assert len(grid(on).rows) == rows


async def test_a_filter_for_workloads_waits_for_the_platform() -> None:
    async with opened(console()) as on:
        on.screen.apply_filter("owner=llama-70b")
        assert len(grid(on).rows) == 0
        assert list(on.screen.filter_values("owner")) == []
        await told(on)
        assert len(grid(on).rows) == 3
        assert list(on.screen.filter_values("owner")) == ["llama-70b", "train-vit"]
        assert list(on.screen.filter_values("namespace")) == ["team-search", "team-vision"]


async def test_the_fleet_is_sorted_by_workload_with_nobody_s_last() -> None:
    async with opened(console(), (200, 50)) as on:
        await told(on)
        await on.press("f")
        on.screen._change(sort="workload")
        assert column(on, "workload") == [
            HOST.text,
            "team-search/llama-70b",
            "team-search/llama-70b +1",
            "team-vision/train-vit",
            STRANGE.text,
            "",
            "n/a",
        ]


async def test_what_may_not_be_read_is_said_once_and_an_outage_keeps_the_last_names() -> None:
    async with opened(console(), (120, 30)) as on:
        await told(on, owned(pod("llama-0"), denied=[DENIED]))
        assert on.text.count("not permitted: list pods") == 1
        on.site.ownership.fail(Problem("unreachable", "the API server cannot be reached", "", NOW))
        on.screen.redraw()
        await on.pilot.pause()
        assert "workloads: the API server cannot be reached" in on.text
        await on.press("down")
        assert detail(on).startswith("team-search/llama-0")


async def test_the_same_workloads_told_again_draw_nothing() -> None:
    async with opened(console(), (200, 50)) as on:
        await told(on)
        before = grid(on).repaints
        await told(on, Ownership(PODS.workloads))
        assert grid(on).repaints == before


# The node


async def test_the_processes_page_leads_from_the_container_to_the_owner() -> None:
    async with opened(console(), (200, 50)) as on:
        await to_node(on)
        await told(on)
        await on.press("p")
        assert "WORKLOAD" in on.text
        assert "OWNER" in on.text
        assert "Deployment llama-70b" in on.text
        line = on.screen.query_one("#processes-container", StyledLine).text
        assert line.startswith("team-search/llama-0  Deployment llama-70b  of carla  container server")
        page = on.screen.filtered
        page.apply_filter("namespace=team-search container=server")
        assert len(page._listed) == 3
        assert list(page.filter_values("workload")) == ["llama-0", "llama-1", "tokenizer"]


async def test_a_narrow_processes_page_has_the_workload_of_the_selected_process() -> None:
    async with opened(console()) as on:
        await to_node(on)
        await told(on)
        await on.press("p")
        assert "WORKLOAD" not in on.text
        assert "team-search/llama-0" in on.text


async def test_the_values_page_names_the_workload_under_each_process() -> None:
    async with opened(console(), (120, 100)) as on:
        await to_node(on)
        await told(on)
        assert "team-search/tokenizer" in on.text
        assert "Deployment llama-70b" in on.text


async def test_the_routes_of_the_selected_process_are_a_line_of_their_own_and_below_it_among_the_values() -> None:
    served = owned(replace(pod("llama-0"), routes=ROUTES), pod("tokenizer", owner=None, gpus=()))
    async with opened(console(), (120, 100)) as on:
        await to_node(on)
        await told(on, served)
        assert "https://llama.example.com (edge)" in on.text
        await on.press("p")
        line = on.screen.query_one("#processes-routes", StyledLine)
        assert line.display
        assert line.text.startswith("https://llama.example.com (edge)  http://old.example.com not admitted: HostAlr")
        await on.press("tab", "down")
        await on.until(lambda: not line.display, "no line for a process without a route")


def test_routes_that_lead_nowhere_warn_and_many_are_counted() -> None:
    cells = [(cell.text, cell.style) for cell in routes(replace(pod("llama-1"), routes=ROUTES))]
    assert cells == [
        ("https://llama.example.com (edge)", "accent"),
        ("http://old.example.com not admitted: HostAlreadyClaimed: taken", "warn"),
        ("and 1 more route", "dim"),
    ]


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_names_of_workloads_are_text(text: str) -> None:
    said = clean(text)
    hostile = owned(pod("llama-0", namespace=said, owner=("Deployment", said), user=said))
    async with opened(console(), (200, 50)) as on:
        await told(on, hostile)
        await on.press("down")
        await to_node(on)
        await told(on, hostile)
        await on.press("p")
        assert isinstance(on.screen, NodeScreen)
        assert on.app.is_running


# How it looks


def looks(*keys: str, ownership: Ownership = PODS) -> Any:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        site: Any = getattr(pilot.app, "site", None)
        site.ownership.publish(ownership, NOW)
        await pilot.press(*keys)
        await pilot.pause()
        screen: Any = pilot.app.screen
        screen.redraw()
        await pilot.pause()

    return run


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_fleet_with_workloads(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=looks("down"))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_processes_with_workloads(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    assert snap_compare(console(), terminal_size=size, run_before=looks("enter", "p"))


# The findings


PODS_HIT = (
    Hit(
        "team-search/llama-0 (Deployment llama-70b)",
        "carla",
        workload="team-search/llama-0",
        owner="Deployment llama-70b",
    ),
    Hit("team-search/bare", workload="team-search/bare"),
    Hit("alice: python (pid 7)", "alice", 7),
)


def test_the_hits_of_a_finding_are_told_by_what_owns_them() -> None:
    assert hits_text(PODS_HIT) == "llama-70b +2"
    assert hits_text(PODS_HIT[1:]) == "bare +1"
    assert hits_text(PODS_HIT[2:]) == "alice"
    assert hits_text(PODS_HIT, 10) == "llama-… +2", "how many more is not cut off"
    assert hit_text(PODS_HIT[0]) == "team-search/llama-0 (Deployment llama-70b)"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("owner~llama", True),
        ("pod=team-search/bare", True),
        ("namespace=team-search", True),
        ("namespace=team-vision", False),
        ("user=alice", True),
    ],
)
def test_findings_are_narrowed_to_whom_they_hit(text: str, holds: bool) -> None:
    assert parse(text, FINDING_FIELDS).matches(subject_of(replace(LOST, hits=PODS_HIT), NOW)) is holds
