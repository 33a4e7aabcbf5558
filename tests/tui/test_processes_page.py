"""The page of processes: what a row says, sorting, a selection that follows its process, what could not be read."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, cast

import pytest
from rich.cells import cell_len

from backends.domain import Gpu, GpuProcess, Mig, MigInstance, Node, Vgpu, clean
from screens.node_pages.processes import DETAILS, ProcessesPage
from screens.process_rows import COLUMNS, SORTABLE, Listed, Order, details, empty_text, listed, process_row, summary
from tests.simulated import NOW, simulated
from tests.tui.fleets import HOSTILE
from tests.tui.node_pages import OnPage, live, never, on_page, stale, with_gpu
from tui.widgets.columns import Cell
from tui.widgets.glyphs import UNICODE
from tui.widgets.grid import Grid

GIB = 1 << 30
ID = "3f" * 32


def process(
    pid: int, user: str | None = "alice", gib: int | None = 10, age: float | None = 60.0, **more: Any
) -> GpuProcess:
    return GpuProcess(
        pid,
        "compute",
        user,
        f"python job{pid}.py",
        None if gib is None else gib * GIB,
        started_at=None if age is None else NOW - age,
        **more,
    )


def gpu(index: int, *processes: GpuProcess, **more: Any) -> Gpu:
    return Gpu(index=index, uuid=f"GPU-{index}", processes=processes, **more)


NODE = Node(
    name="dgx01",
    privileged=True,
    gpus=(
        gpu(0, process(300, "bob", 20), process(100, "alice", 40, 7200.0, container_id=ID)),
        gpu(1, process(200, "carol", 5, 90_000.0)),
        gpu(
            2,
            process(400, None, None, None, gi=3, ci=0),
            mig=Mig(True, True, 7, (MigInstance(3, 0, "MIG-1", "2g.20gb"),)),
        ),
        gpu(3),
    ),
)


def texts(each: Listed, now: float = NOW) -> list[str]:
    return [cell.text if isinstance(cell, Cell) else cell for cell in process_row(each, "dgx01", now, False).cells]


def pids(node: Node, order: Order) -> list[int]:
    return [each.process.pid for each in listed(node, order)]


def said(node: Node) -> str:
    return "  ".join(cell.text for cell in summary(node, listed(node, Order()), UNICODE))


# Rows


def test_a_row_says_who_where_how_much_and_since_when() -> None:
    first, second, third, last = listed(NODE, Order())
    assert texts(first) == [
        "    100",
        "alice",
        "0",
        "40.0",
        "2 h 00 m",
        "compute",
        "n/a",
        "n/a",
        ID[:12],
        "python job100.py",
    ]
    assert texts(second)[1:5] == ["bob", "0", "20.0", "1 m"]
    assert texts(third)[4] == "1 d 01 h"
    assert texts(last) == ["    400", "n/a", "2 3/0", "n/a", "n/a", "compute", "n/a", "n/a", "", "python job400.py"]


def test_every_field_of_a_process_is_shown() -> None:
    """A new field of the domain must be shown, or named here with the reason."""
    import screens.process_rows as module

    source = module.__loader__.get_source(module.__name__)  # type: ignore[union-attr]
    for each in fields(GpuProcess):
        assert f"process.{each.name}" in source, each.name


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order(), [100, 300, 200, 400]),
        (Order("pid"), [100, 200, 300, 400]),
        (Order("pid", True), [400, 300, 200, 100]),
        (Order("user"), [100, 300, 200, 400]),
        (Order("memory", True), [100, 300, 200, 400]),
        (Order("memory"), [200, 300, 100, 400]),
        (Order("age"), [300, 100, 200, 400]),
        (Order("age", True), [200, 100, 300, 400]),
        (Order("container"), [100, 300, 200, 400]),
        (Order("gpu", True), [400, 200, 100, 300]),
    ],
)
def test_sorting_puts_what_was_not_measured_last(order: Order, expected: list[int]) -> None:
    assert pids(NODE, order) == expected


def test_the_details_say_it_in_full() -> None:
    first, *_, last = listed(NODE, Order())
    lines = ["".join(cell.text for cell in line) for line in details(first)]
    assert lines == [f"GPU 0  compute  since {lines[0][-19:]}", f"container {ID}", "python job100.py"]
    lines = ["".join(cell.text for cell in line) for line in details(last)]
    assert lines[:2] == ["GPU 2 MIG 2g.20gb  compute  since n/a", "in no container"]
    assert [*details(None)] == [(), (), ()]


def test_the_summary_counts_processes_and_not_their_gpus() -> None:
    assert said(NODE) == "4 processes  3 users  65.0 GiB  1 in containers"
    twice = Node(gpus=(gpu(0, process(1)), gpu(1, process(1))))
    assert said(twice) == "1 process  1 user  20.0 GiB  0 in containers"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (Node(gpus=(Gpu(vgpu=Vgpu(mode="vgpu")),)), "▲ processes n/a (a vGPU guest)"),
        (Node(gpus=(gpu(0), Gpu(index=1))), "▲ processes of GPU 1 n/a"),
        (Node(gpus=(gpu(0, process(1)), replace(gpu(1), processes_omitted=12))), "▲ 12 more not read"),
        (Node(privileged=False, gpus=(gpu(0, process(1, None)),)), "▲ not root: what others run n/a"),
    ],
)
def test_what_could_not_be_read_is_said(node: Node, words: str) -> None:
    assert said(node).endswith(words)


def test_an_empty_list_says_what_was_looked_at() -> None:
    assert empty_text(None) == "No value was read yet."
    assert empty_text(Node()) == "The node reports no GPU."
    assert empty_text(Node(gpus=(Gpu(),))) == "NVML lists no processes here."
    assert empty_text(Node(gpus=(gpu(0), gpu(1)))) == "No process uses the 2 GPUs of this node."


def test_a_lost_gpu_shows_its_last_processes_dimmed() -> None:
    lost = replace(gpu(0, process(1)), lost=True)
    assert process_row(Listed(lost, process(1)), "dgx01", NOW, False).dim
    assert said(Node(gpus=(replace(lost, processes=None),))) == ""


# The page


def grid(page: OnPage) -> Grid:
    return page.screen.query_one(ProcessesPage).query_one(Grid)


def shown(page: OnPage) -> list[int]:
    return [int(cast(str, row.cells[0])) for row in grid(page).rows]


def chosen(page: OnPage) -> int:
    row = grid(page).cursor_row
    assert row is not None
    return int(cast(str, row.cells[0]))


async def test_the_list_and_the_details_of_the_chosen_process() -> None:
    async with on_page("p", live(NODE)) as page:
        assert shown(page) == [100, 300, 200, 400]
        assert page.line("processes-summary").startswith("4 processes")
        assert page.line("processes-container") == f"container {ID}"
        await page.console.press("enter", "j", "j")
        assert page.line("processes-command") == "python job200.py"
        assert page.screen.gpu is not None
        assert page.screen.gpu.index == 0, "the list of GPUs stays where it was"


async def test_keys_sort_by_each_column_in_sight_and_back() -> None:
    async with on_page("p", live(NODE)) as page:
        columns = []
        for _ in range(6):
            await page.console.press("greater_than_sign")
            columns.append(page.screen.query_one(ProcessesPage).order.column)
        assert columns == ["pid", "user", "gpu", "memory", "age", "command"]
        await page.console.press("less_than_sign", "less_than_sign")
        assert shown(page) == [100, 300, 200, 400], "memory, largest first"
        await page.console.press("r")
        assert shown(page) == [200, 300, 100, 400]
        await page.console.press("u")
        assert page.screen.query_one(ProcessesPage).order == Order()


async def test_a_wide_terminal_has_the_container_and_the_kind() -> None:
    async with on_page("p", live(NODE), (200, 50)) as page:
        assert grid(page).visible_columns == tuple(key for key in SORTABLE if key not in ("workload", "owner"))
        assert ID[:12] in page.console.text


async def test_a_click_on_a_title_sorts_and_turns() -> None:
    async with on_page("p", live(NODE)) as page:
        user = next(placed for placed in grid(page)._placed if placed.column.key == "user")
        await page.console.pilot.click(grid(page), offset=(user.x + 1, 0))
        await page.console.pilot.pause()
        assert shown(page) == [100, 300, 200, 400]
        await page.console.pilot.click(grid(page), offset=(user.x + 1, 0))
        await page.console.pilot.pause()
        assert shown(page) == [200, 300, 100, 400]


async def test_the_selection_follows_its_process() -> None:
    async with on_page("p", live(NODE)) as page:
        await page.console.press("enter", "j", "j")
        assert chosen(page) == 200
        await page.publish(live(with_gpu(NODE, 0, processes=())))
        assert (chosen(page), shown(page)) == (200, [200, 400])
        await page.publish(live(with_gpu(NODE, 0, processes=(process(1), process(2), process(3)))))
        assert chosen(page) == 200
        await page.console.press("r")
        assert chosen(page) == 200


async def test_a_number_that_was_given_again_is_another_process() -> None:
    async with on_page("p", live(NODE)) as page:
        await page.console.press("enter", "j", "j")
        before = grid(page).cursor_row
        await page.publish(live(with_gpu(NODE, 1, processes=(process(200, "dave", 5, 3.0),))))
        after = grid(page).cursor_row
        assert before is not None
        assert after is not None
        assert before.key != after.key


async def test_the_keys_of_this_page_mean_nothing_on_another() -> None:
    async with on_page("p", live(NODE)) as page:
        await page.console.press("o", "greater_than_sign", "r")
        assert page.screen.query_one(ProcessesPage).order == Order()


async def test_the_palette_opens_a_page_and_sorts() -> None:
    async with on_page("v", live(NODE)) as page:
        await page.console.app.run_action_id("node.page_processes")
        await page.console.pilot.pause()
        assert page.screen.page.id == "processes"
        await page.console.app.run_action_id("node.processes_sort_next")
        assert page.screen.query_one(ProcessesPage).order == Order("pid")


async def test_the_help_names_the_keys() -> None:
    async with on_page("p", live(NODE), (200, 60)) as page:
        await page.console.press("question_mark")
        assert "Every process on the GPUs" in page.console.text
        assert "Back to the order of the GPUs" in page.console.text


async def test_an_empty_list_gives_the_keys_back() -> None:
    async with on_page("p", live(NODE)) as page:
        await page.console.press("enter")
        assert grid(page).has_focus
        await page.publish(live(replace(NODE, gpus=(gpu(0), gpu(1)))))
        assert not grid(page).display
        assert "No process uses the 2 GPUs of this node." in page.console.text
        assert page.screen.focused is not None
        assert page.screen.focused.id == "node-gpus"
        assert [page.line(name) for name in DETAILS] == ["", "", ""]
        await page.publish(live(NODE))
        assert grid(page).display


async def test_a_node_that_was_never_read() -> None:
    async with on_page("p", never()) as page:
        assert "No value was read yet." in page.console.text


async def test_ages_stand_still_with_a_stale_node() -> None:
    async with on_page("p", stale(NODE, seconds=3600.0)) as page:
        assert all(row.dim for row in grid(page).rows)
        ages = [cast(Cell, row.cells[4]).text for row in grid(page).rows]
        await page.console.site.clock.advance(7200)
        page.screen.redraw()
        assert [cast(Cell, row.cells[4]).text for row in grid(page).rows] == ages
        assert ages[0] == "1 h 00 m", "as old as it was when the node was read last"


async def test_ages_are_counted_on_the_nodes_clock() -> None:
    async with on_page("p", live(replace(NODE, clock_skew_seconds=3600.0))) as page:
        assert cast(Cell, grid(page).rows[0].cells[4]).text == "3 h 00 m"


async def test_the_same_processes_are_not_drawn_again() -> None:
    async with on_page("p", live(NODE), (200, 50)) as page:
        before = grid(page).repaints
        await page.publish(live(replace(NODE, load_1m=3.0)))
        assert grid(page).repaints == before
        await page.publish(live(with_gpu(NODE, 1, processes=(process(200, "carol", 6, 90_000.0),))))
        assert grid(page).repaints == before + 1


async def test_hostile_commands_and_users_stay_in_their_columns() -> None:
    evil = tuple(
        GpuProcess(number, clean(text), clean(text), clean(text), GIB, container_id=clean(text))
        for number, text in enumerate(HOSTILE)
    )
    async with on_page("p", live(replace(NODE, gpus=(gpu(0, *evil),))), (120, 30)) as page:
        assert all(cell_len(line) == 120 for line in page.console.lines)
        assert all(line.isprintable() for line in page.console.lines)
        assert page.console.app.is_running


async def test_the_labs_processes_are_all_listed() -> None:
    node = simulated("dgx-a100-01")
    async with on_page("p", live(node), (200, 50)) as page:
        assert sorted(shown(page)) == sorted(each.pid for one in node.gpus for each in one.processes or ())
        told = [place.source for place in grid(page)._placed]
        assert "n/a" not in "".join(str(row.cells[source]) for row in grid(page).rows for source in told)


def test_the_columns_fit_beside_the_list_of_gpus() -> None:
    narrow = [column for column in COLUMNS if column.min_terminal_width <= 54]
    assert sum(column.width + 1 for column in narrow) - 1 <= 54
