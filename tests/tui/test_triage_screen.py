"""The home screen: what it lists and tells, where `enter` leads, what is acknowledged, and what it costs."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from textual.widgets import Input

from backends.contract import GpudeckError
from backends.domain import (
    Acknowledgement,
    Check,
    Earlier,
    Evidence,
    Fleet,
    Gpu,
    Hit,
    NextStep,
    NodeReading,
    NodeState,
    Problem,
    Severity,
    Stack,
    Subject,
    Triage,
)
from screens import MODES
from screens.acknowledge import AcknowledgeDialog, TakeBackDialog
from screens.fleet import FleetScreen
from screens.node import NodeScreen
from screens.triage import TriageScreen, copied_to
from screens.triage_body import BESIDE_FROM, EvidencePane
from screens.triage_clear import clear_sections
from screens.triage_evidence import finding_text
from tests.triage.makers import told
from tests.tui.consoles import Opened, build, build_on, grid, lines, node_names, opened
from tests.tui.findings import ACKED, DISK, DRIFT, HOT, LOST, RECOVERED, SETTLED, SEVERAL, triage
from tests.tui.fleets import HOSTILE, NOW, fleet, h100, reading, refused
from tests.tui.sheets import lines_of
from tests.tui.stacks import blocked
from tui.widgets.columns import Cell
from tui.widgets.glyphs import UNICODE
from tui.widgets.grid import Grid

SMALL, WIDE = (80, 24), (200, 50)
SIZES = pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "200x50"])


@asynccontextmanager
async def triaged(value: Triage | None, size: tuple[int, int] = SMALL, **options: Any) -> AsyncIterator[Opened]:
    """The home screen with `value` drawn on it."""
    async with opened(build_on(options.pop("on", fleet()), **options), size, mode="triage") as console:
        if value is not None:
            await found(console, value)
        yield console


async def found(console: Opened, value: Triage) -> None:
    """Publishes `value` and waits until the screen shows it."""
    console.site.find(value)
    await console.until(lambda: console.screen.query(EvidencePane), "the panes")
    await console.until(lambda: console.screen._listed_from[:1] == (value,), "the findings")
    await console.pilot.pause()


def with_log(name: str, *gpus: Gpu) -> NodeReading:
    """A node whose kernel log may be read."""
    value = reading(name, *gpus)
    assert value.node is not None
    return replace(value, node=replace(value.node, kernel_log="kmsg"))


def listed(console: Opened) -> list[str]:
    """The ids in the list, in its order."""
    return [row.key for row in grid(console).rows] if grid(console).display else []


def selected(console: Opened) -> str:
    return cast(str, console.screen.selected.id)


def evidence(console: Opened) -> str:
    """Everything the evidence says, in view or not, in one line."""
    return " ".join(" ".join(console.screen.query_one(EvidencePane).text_lines).split())


async def select(console: Opened, finding_id: str) -> None:
    assert grid(console).select(finding_id)
    await console.pilot.pause()


# What is in the list


def test_triage_is_the_home_screen() -> None:
    assert (MODES[0].id, MODES[0].key) == ("triage", "1")


async def test_the_console_opens_on_triage() -> None:
    async with build_on(fleet()).run_test(size=SMALL) as pilot:
        await pilot.pause()
        assert isinstance(pilot.app.screen, TriageScreen)
        assert "[1 Triage]" in lines(cast(Any, pilot.app))[1]


@SIZES
async def test_the_worst_is_first_and_among_equals_the_newest(size: tuple[int, int]) -> None:
    older = replace(LOST, id="older", since=LOST.since - 60)
    async with triaged(triage(DRIFT, DISK, older, HOT, LOST), size) as console:
        assert listed(console) == [LOST.id, "older", HOT.id, DISK.id, DRIFT.id]
        rows = console.text
        for words in ("✖ critical", "▲ warning", "● note", "dgx01 gpu2", "lost from the bus (XID 79)"):
            assert words in rows


async def test_times_are_local_and_a_date_when_they_are_older_than_a_day() -> None:
    async with triaged(triage(LOST, DISK)) as console:
        since = [row.cells[1] for row in grid(console).rows]
        assert since == ["22:00", "11-11"]


async def test_acknowledged_come_after_open_and_recovered_last_with_their_end() -> None:
    async with triaged(triage(ACKED, HOT, recovered=(RECOVERED,))) as console:
        assert listed(console) == [HOT.id, ACKED.id, RECOVERED.id]
        assert "✖ acked" in console.text
        assert "✓ recovered" in console.text
        assert "to 20:43  3 of 18 NVLinks are down" in console.text
        assert [row.dim for row in grid(console).rows] == [False, True, True]


async def test_what_was_given_up_is_no_recovery() -> None:
    async with triaged(triage(recovered=(replace(RECOVERED, closed_as="abandoned"),))) as console:
        assert "abandoned" in console.text
        assert "✓ recovered" not in console.text


async def test_a_finding_that_came_back_is_listed_once() -> None:
    async with triaged(triage(HOT, recovered=(replace(HOT, recovered_at=NOW - 5),))) as console:
        assert listed(console) == [HOT.id]
        assert "recovered" not in str(grid(console).rows[0].cells[0])


async def test_a_long_node_name_keeps_the_number_of_its_gpu() -> None:
    subject = Subject("dgx-h100-production-0007", "GPU-x", 3)
    async with triaged(triage(replace(LOST, subject=subject))) as console:
        assert "… gpu3" in str(grid(console).rows[0].cells[2])


async def test_a_wide_terminal_says_whose_work_is_hit() -> None:
    async with triaged(triage(LOST, HOT), WIDE) as console:
        assert [cast(Any, row.cells[4]).text for row in grid(console).rows] == ["alice +1", "alice"]
        assert "alice +1" in console.lines[4]


async def test_whom_nobody_can_tell_any_more_is_not_nobody() -> None:
    async with triaged(triage(replace(LOST, hits=(), hits_known=False)), WIDE) as console:
        assert "hits not known: what ran there cannot be read any more" in evidence(console)
        assert cast(Cell, grid(console).rows[0].cells[-1]).text == "not known"


@SIZES
async def test_the_summary_counts_and_says_how_many_nodes_were_looked_at(size: tuple[int, int]) -> None:
    async with triaged(replace(SEVERAL, nodes_seen=5), size) as console:
        assert console.lines[2].startswith("✖ 1 critical  ▲ 2 warnings  ● 1 note")
        assert "▲ 5/6 nodes looked at" in console.lines[2]


# The evidence


@SIZES
async def test_the_evidence_tells_the_whole_finding(size: tuple[int, int]) -> None:
    async with triaged(SEVERAL, size) as console:
        said = evidence(console)
        wanted: tuple[str, ...] = (
            "dgx01 gpu2 H100 80GB HBM3",
            "✖ critical lost from the bus (XID 79)",
            "since 22:00:50, 12 min ago",
            "alice: python train.py, 60.0 GiB, pid 4242",
            "container 0123456789ab",
            "cause likely the board lost power or its PCIe link",
            "22:00:50 XID 79: GPU has fallen off the bus (kernel log)",
            "now NVML: GPU is lost (nvml)",
            "then 18 NVLinks of GPU 2 are down 2 processes died",
            "next [enter] the GPU's last values",
            "sudo nvidia-bug-report.sh --safe-mode",
            "kubectl drain dgx01 --ignore-daemonsets",
            "if it returns after the reset: RMA",
            "source NVIDIA XID catalogue",
        )
        for words in wanted:
            assert words in said, words


async def test_the_worst_is_selected_until_somebody_moves() -> None:
    async with triaged(triage(DRIFT)) as console:
        await found(console, triage(HOT, DRIFT))
        await console.pilot.pause()
        await found(console, triage(LOST, HOT, DRIFT))
        assert selected(console) == LOST.id
        await console.press("j")
        await found(console, triage(replace(LOST, id="another"), LOST, HOT))
        assert selected(console) == HOT.id


async def test_what_enter_opens_is_the_first_step_and_the_rest_keeps_its_order() -> None:
    look = NextStep("screen", "look at it", "dgx01/GPU-lost")
    steps = (NextStep("command", "drain it"), NextStep("command", "reset it", "nvidia-smi -r -i 2"), look)
    async with triaged(triage(replace(LOST, steps=steps))) as console:
        assert "next [enter] look at it drain it reset it nvidia-smi -r -i 2" in evidence(console)
        await found(console, triage(replace(LOST, steps=())))
        assert "next [enter] opens dgx01 gpu2 evidence" in evidence(console)


async def test_a_command_too_long_to_show_says_so_and_is_copied_whole() -> None:
    long = "echo " + " ".join(f"argument-{n:03d}" for n in range(200))
    async with triaged(triage(replace(LOST, steps=(NextStep("command", "run", long),)))) as console:
        assert "more lines; copy has them all" in evidence(console)
        await console.press("c")
        assert long in console.app.clipboard


async def test_the_panes_stand_beside_each_other_where_there_is_room() -> None:
    for width, beside in ((BESIDE_FROM - 1, False), (BESIDE_FROM, True)):
        async with triaged(SEVERAL, (width, 30)) as console:
            left, right = grid(console).region, console.screen.query_one(EvidencePane).region
            assert (left.right <= right.x) is beside
            assert (left.bottom <= right.y) is not beside


async def test_few_findings_leave_the_room_to_the_evidence() -> None:
    async with triaged(triage(LOST)) as console:
        assert grid(console).size.height == 2
        many = triage(*(replace(LOST, id=f"{n}") for n in range(50)))
        await found(console, many)
        assert grid(console).size.height == 9
        assert console.screen.query_one(EvidencePane).size.height >= 10


@pytest.mark.parametrize("size", [(60, 15), (40, 15), (60, 9)], ids=["60x15", "40x15", "60x9"])
async def test_the_smallest_terminal_shows_the_findings_and_not_only_their_columns(size: tuple[int, int]) -> None:
    async with triaged(triage(LOST), size) as console:
        assert grid(console).show_horizontal_scrollbar == (size[0] < 48)
        for told in ([LOST], [LOST, HOT, DISK, DRIFT]):
            await found(console, triage(*told))
            region = grid(console).region
            rows = console.lines[region.y + 1 : region.bottom]
            assert sum("dgx0" in row for row in rows) == min(3, len(told)), console.text


async def test_the_evidence_follows_the_selection_and_starts_at_its_top() -> None:
    async with triaged(SEVERAL) as console:
        pane = console.screen.query_one(EvidencePane)
        await console.press("J", "J", "shift+down")
        assert pane.scroll_offset.y == 3
        await console.press("K")
        assert pane.scroll_offset.y == 2
        await console.press("down")
        await console.until(lambda: "hardware thermal slowdown" in evidence(console), "the second finding")
        assert pane.scroll_offset.y == 0


async def test_tab_goes_into_the_evidence_and_back() -> None:
    async with triaged(SEVERAL) as console:
        await console.press("tab")
        assert console.app.focused is console.screen.query_one(EvidencePane)
        await console.press("down")
        assert console.screen.query_one(EvidencePane).scroll_offset.y == 1
        await console.press("tab")
        assert console.app.focused is grid(console)


async def test_the_evidence_of_what_recovered_says_from_when_to_when() -> None:
    async with triaged(SETTLED) as console:
        await select(console, RECOVERED.id)
        assert "was so 19:43:20 to 20:43:20, for 1 h 00 m" in evidence(console)
        assert "now ✓ recovered" in evidence(console)
        assert "next [enter] the GPU's last values advised collect the report" in evidence(console)
    assert "advised: collect the report" in finding_text(RECOVERED)


async def test_the_evidence_of_what_is_acknowledged_says_who_and_why() -> None:
    async with triaged(SETTLED) as console:
        await select(console, ACKED.id)
        assert "acked 22:03:20 by carol: fan ordered, ticket 4711" in evidence(console)


async def test_what_came_again_tells_which_time_it_is_and_when_it_was_so_before() -> None:
    once, point = Earlier(NOW - 7200, NOW - 7000), Earlier(NOW - 3600, NOW - 3600)
    async with triaged(triage(replace(LOST, again_at=NOW - 60, earlier=(once, point)))) as console:
        assert "since 22:12:20, 1 min ago" in evidence(console)
        assert "again third time; before: 20:13:20 to 20:16:40, 21:13:20" in evidence(console)
        assert grid(console).rows[0].cells[1] == "22:12"
        assert "so before from 2023" in finding_text(replace(LOST, earlier=(once,)))


async def test_what_is_no_longer_so_is_clearing_until_it_counts_as_recovered() -> None:
    clearing = replace(LOST, gone_at=NOW - 3, settles_at=NOW + 2)
    async with triaged(triage(clearing)) as console:
        assert "✖ clearing" in console.text
        assert "now no longer so since 22:13:17; recovered if that holds until 22:13:22" in evidence(console)


async def test_what_nobody_can_look_at_now_says_when_it_was_last_looked_at() -> None:
    async with triaged(triage(replace(LOST, unseen_since=NOW - 600))) as console:
        assert "✖ unseen" in console.text
        assert "last look 22:03:20: it could not be looked at since" in evidence(console)
        over = replace(LOST, unseen_since=NOW - 600, gone_at=NOW - 605, settles_at=NOW - 585)
        await found(console, triage(over))
        assert "✖ unseen" in console.text
        assert "last look 22:03:20: no longer so; it could not be looked at since" in evidence(console)
        assert "now no longer so" not in evidence(console)
        assert "recovered if" not in evidence(console)


async def test_the_evidence_is_folded_anew_for_another_size() -> None:
    async with triaged(triage(replace(LOST, cause="word " * 40))) as console:
        await console.pilot.resize_terminal(200, 50)
        await console.until(lambda: console.screen.query_one(EvidencePane).region.x > 0, "the panes side by side")
        await console.pilot.pause()
        width = console.screen.query_one(EvidencePane).scrollable_content_region.width
        texts = console.screen.query_one(EvidencePane).text_lines
        assert max(map(cell_len, texts)) <= width
        assert any("word word word word word word word word word word word word word word" in text for text in texts)


# The selection


async def test_the_selection_stays_on_its_finding() -> None:
    async with triaged(triage(HOT, DISK)) as console:
        await console.press("j")
        assert selected(console) == DISK.id
        await found(console, triage(LOST, HOT, DISK))
        assert selected(console) == DISK.id
        await found(console, triage(LOST, HOT, recovered=(replace(DISK, recovered_at=NOW - 1),)))
        assert selected(console) == DISK.id, "and goes with it among the recovered"


async def test_a_click_selects_and_a_double_click_opens() -> None:
    async with triaged(SEVERAL) as console:
        await console.pilot.click(offset=(30, 6))
        await console.until(lambda: selected(console) == DISK.id, "the third finding")
        await console.pilot.click(offset=(30, 4), times=2)
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node")


# Nothing found, nothing read


@SIZES
async def test_no_findings_says_what_was_checked_on_what_and_how_fresh(size: tuple[int, int]) -> None:
    healthy = Fleet((with_log("dgx01", h100(0), h100(1)), with_log("dgx02", h100(0, node="dgx02"))))
    async with triaged(triage(seen=2, total=2), size, on=healthy) as console:
        said = evidence(console)
        assert "✓ Nothing is wrong on 2 nodes with 3 GPUs; the oldest reading is <10 s old." in said
        for words in ("8 lost GPUs", "6 ECC errors", "4 PCIe width and speed", "3 XID events"):
            assert words in said
        assert "nothing to judge: vGPU licences, NVSwitch fabric" in said
        assert "NOT LOOKED AT" not in said
        assert not grid(console).display
        assert console.lines[1].rstrip().endswith("no findings")


async def test_what_is_just_seen_is_no_all_clear() -> None:
    healthy = Fleet((with_log("dgx01", h100(0)),))
    async with triaged(replace(triage(seen=1, total=1), just_seen=2), on=healthy) as console:
        said = evidence(console)
        assert "▲ 2 just seen, looked at again. Nothing else is wrong on 1 node with 1 GPU" in said
        assert "▲ 2 just seen, looked at again" in console.lines[2]
        assert console.lines[1].rstrip().endswith("▲ 2 just seen")
        assert "✓" not in said + console.lines[1] + console.lines[2]


async def test_a_stack_that_triage_has_not_judged_yet_is_not_called_well() -> None:
    async with triaged(triage(seen=1, total=1), on=Fleet((with_log("dgx01", h100(0)),))) as console:
        console.site.spec = replace(console.site.spec, platform="kubernetes")
        console.site.stack.publish(Stack("kubernetes", nodes=(blocked("dgx01"),)), NOW)
        console.screen.redraw()
        await console.pilot.pause()
        assert "The GPU stack of kubernetes is not read." in evidence(console)
        judged = Check("operand", "operands of the GPU stack", 1)
        value = triage(seen=1, total=1)
        await found(console, replace(value, checks=(*value.checks, judged)))
        assert "is not read" not in evidence(console)


async def test_freshness_is_the_age_of_the_oldest_reading() -> None:
    old = replace(triage(seen=1, total=1), oldest_reading_at=NOW - 130)
    async with triaged(old, on=Fleet((reading("dgx01", h100(0)),))) as console:
        assert "the oldest reading is 2 m old" in evidence(console)


@SIZES
@pytest.mark.parametrize("seen", [3, 6], ids=["told by triage", "told by the fleet alone"])
async def test_a_site_with_unread_nodes_is_never_well(size: tuple[int, int], seen: int) -> None:
    async with triaged(triage(seen=seen), size) as console:
        said = evidence(console)
        assert "▲ Nothing is wrong on the 3 nodes that answer (7 GPUs)" in said
        assert "3 of 6 could not be looked at" in said
        assert "NOT LOOKED AT dgx07 ◌ stale connection refused by 192.0.2.7 dgx08 ✖ down" in said
        assert "✓" not in said
        assert console.lines[1].rstrip().endswith("no findings, 3 unread" if seen == 3 else "no findings")


async def test_a_site_of_which_nothing_was_read_says_so() -> None:
    async with triaged(triage(seen=0, total=1), on=Fleet((refused("dgx08"),))) as console:
        assert "◌ Nothing was looked at: none of 1 node answers." in evidence(console)


async def test_when_all_is_acknowledged_the_checks_are_still_told() -> None:
    async with triaged(triage(ACKED, seen=3)) as console:
        assert "NO OPEN FINDINGS ▲ Nothing else is wrong" in evidence(console)
        assert "no open findings  1 acked" in console.lines[2]


async def test_before_the_first_triage_it_says_what_it_waits_for() -> None:
    async with triaged(None) as console:
        assert "Waiting for the first readings. 6 nodes: 3 live, 1 stale, 1 down, 1 connecting." in console.text
        assert not console.screen.query(Grid)
        await console.press("space", "c", "a", "J", "enter")
        assert console.app.is_running
        await found(console, SEVERAL)
        assert "Waiting" not in console.text
        assert console.app.focused is grid(console), "the list has the keys"


async def test_while_all_nodes_connect_a_triage_of_nothing_is_no_all_clear() -> None:
    value = Fleet((NodeReading("dgx09", NodeState.CONNECTING, None, None, None),))
    async with triaged(None, on=value) as console:
        console.site.find(triage(seen=0, total=1))
        console.screen.redraw()
        await console.pilot.pause()
        assert "Waiting for the first readings. 1 node: 1 connecting." in console.text
        assert "no findings" not in console.text


async def test_without_nodes_it_says_how_to_name_them() -> None:
    async with triaged(None, on=Fleet()) as console:
        assert "No nodes configured" in console.text


async def test_triage_that_fails_is_told_beside_its_last_findings() -> None:
    async with triaged(SEVERAL) as console:
        console.site.triage.fail(Problem("internal", "a rule failed", "", NOW))
        await console.until(lambda: "not looked at again: a rule failed" in console.lines[2], "the error")
        assert listed(console) == [LOST.id, HOT.id, DISK.id, DRIFT.id]


async def test_another_site_starts_without_the_findings_of_the_one_before() -> None:
    from tests.tui.consoles import spec_of

    specs = (spec_of(fleet(), "one"), spec_of(fleet(), "two"))
    app = build(*specs, values={"one": fleet(), "two": fleet()})
    async with opened(app, mode="triage") as console:
        await found(console, SEVERAL)
        assert "✖1 ▲2" in console.lines[1]
        await console.press("s")
        await console.until(lambda: "  two  " in console.lines[0], "the second site")
        await console.until(lambda: "Waiting for the first readings" in console.text, "the wait")
        assert "✖1" not in console.text
        assert not grid(console).display or not grid(console).parent.display  # type: ignore[union-attr]


# enter


async def test_enter_opens_the_gpu_and_escape_comes_back_to_the_finding() -> None:
    async with triaged(SEVERAL) as console:
        await console.press("down", "enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node")
        await console.until(lambda: "GPU 1" in console.lines[1], "the GPU")
        assert (console.screen.node_name, console.screen.gpu_key) == ("dgx01", "GPU-dgx01-1")
        assert "[1 Triage]" in console.lines[1]
        assert "› dgx01 › GPU 1" in console.lines[1]
        await console.press("escape")
        assert isinstance(console.screen, TriageScreen)
        assert selected(console) == HOT.id
        await console.press("down")
        assert selected(console) == DISK.id, "the list has the keys again"


async def test_enter_opens_from_the_evidence_too_and_the_list_has_the_keys_afterwards() -> None:
    async with triaged(SEVERAL) as console:
        await console.press("tab")
        assert isinstance(console.screen.focused, EvidencePane)
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node")
        await console.press("escape")
        await console.until(lambda: isinstance(console.screen, TriageScreen), "the findings")
        first = selected(console)
        await console.press("j")
        assert selected(console) != first


async def test_enter_opens_the_page_that_a_step_names() -> None:
    async with triaged(triage(DISK)) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node")
        assert (console.screen.node_name, console.screen.page.id) == ("dgx02", "host")


async def test_enter_on_a_node_opens_the_fleet_narrowed_to_it() -> None:
    async with triaged(triage(replace(DRIFT, subject=Subject("dgx02")))) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, FleetScreen), "the fleet")
        await console.until(lambda: node_names(console) == ["dgx02"], "the filter")
        assert "› Fleet › dgx02" in console.lines[1]
        await console.press("slash", *"x", "enter")
        assert node_names(console) == []
        await console.press("escape")
        assert len(node_names(console)) == 6, "what was typed is cleared first"
        await console.press("escape")
        assert isinstance(console.screen, TriageScreen)


async def test_one_escape_leaves_the_narrowed_fleet() -> None:
    async with triaged(triage(DRIFT)) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, FleetScreen), "the fleet")
        await console.press("escape")
        assert isinstance(console.screen, TriageScreen)
        assert selected(console) == DRIFT.id


async def test_enter_on_a_finding_about_the_site_opens_the_whole_fleet() -> None:
    async with triaged(triage(replace(DRIFT, subject=Subject()))) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, FleetScreen), "the fleet")
        assert len(node_names(console)) == 6
        assert "› Fleet" in console.lines[1]


# space


async def test_space_asks_why_and_keeps_who_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("USER", "dora")
    async with triaged(triage(LOST, HOT)) as console:
        await console.press("space")
        assert isinstance(console.screen, AcknowledgeDialog)
        assert "lost from the bus (XID 79)" in console.text
        await console.press(*"vendor", "space", *"called", "enter")
        assert isinstance(console.screen, TriageScreen)
        kept = console.site.triage.reading.value
        assert kept is not None
        lost = next(each for each in kept.findings if each.id == LOST.id)
        assert lost.acknowledged is not None
        assert (lost.acknowledged.who, lost.acknowledged.why) == ("dora", "vendor called")
        await console.until(lambda: listed(console) == [HOT.id, LOST.id], "it goes behind the open ones")
        assert selected(console) == LOST.id


async def test_the_person_behind_sudo_is_who_acknowledges(monkeypatch: pytest.MonkeyPatch) -> None:
    from screens.acknowledge import login_name

    assert login_name({"SUDO_USER": "dora", "USER": "root"}) == "dora"
    assert login_name({"USER": "root"}) == "root"
    assert login_name({"LOGNAME": "eve\x1b[31m"}) == "eve"
    assert login_name({}), "the account of the process"


async def test_the_reason_may_be_empty_and_escape_leaves_it_open() -> None:
    async with triaged(triage(LOST)) as console:
        await console.press("space", "escape")
        assert isinstance(console.screen, TriageScreen)
        assert console.site.triage.reading.value == triage(LOST)
        await console.press("space", "enter")
        await console.until(lambda: "no reason given" in evidence(console), "the acknowledgement")


async def test_what_cannot_be_kept_is_said_in_the_dialog() -> None:
    async with triaged(triage(LOST)) as console:
        console.site.keep_error = GpudeckError("the state directory cannot be written [b]", "is the disk full?")
        await console.press("space", *"x", "enter")
        assert isinstance(console.screen, AcknowledgeDialog)
        assert "the state directory cannot be written [b]. is the disk full?" in " ".join(console.text.split())
        assert console.screen.query_one(Input).value == "x", "to be tried again"
        console.site.keep_error = None
        await console.press("enter")
        assert isinstance(console.screen, TriageScreen)


async def test_a_finding_that_is_gone_meanwhile_is_said_in_the_dialog() -> None:
    async with triaged(triage(LOST)) as console:
        await console.press("space")
        console.site.find(triage(HOT))
        await console.press("enter")
        assert isinstance(console.screen, AcknowledgeDialog)
        assert "It is no longer there" in console.text
        await console.press("escape")
        await console.until(lambda: listed(console) == [HOT.id], "what there is now")


async def test_space_on_an_acknowledged_one_asks_before_it_takes_that_back() -> None:
    async with triaged(triage(ACKED)) as console:
        for key in ("escape", "enter", "n", "space"):
            await console.press("space")
            assert isinstance(console.screen, TakeBackDialog)
            assert "Acknowledged by carol: fan ordered, ticket 4711" in console.text
            await console.press(key)
            assert isinstance(console.screen, TriageScreen), key
            assert console.site.triage.reading.value == triage(ACKED), key
        await console.press("space", "y")
        await console.until(lambda: "▲ " not in console.lines[2] and "✖ 1 critical" in console.lines[2], "it is open")


async def test_what_has_recovered_cannot_be_acknowledged() -> None:
    async with triaged(triage(recovered=(RECOVERED,))) as console:
        await console.press("space")
        assert isinstance(console.screen, TriageScreen)
        assert "nothing to acknowledge" in console.notices[-1]


# c, a, /


async def test_copy_sends_the_finding_with_whole_commands_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    async with triaged(SEVERAL) as console:
        written: list[str] = []
        monkeypatch.setattr(console.app._driver, "write", written.append)
        await console.press("c")
        sent = next(each for each in written if each.startswith("\x1b]52;c;"))
        copied = base64.b64decode(sent.removeprefix("\x1b]52;c;").removesuffix("\a")).decode()
        assert copied == console.app.clipboard
        assert "critical: dgx01 gpu2: lost from the bus (XID 79)\nsince 2023-11-14 22:00:50\n" in copied
        assert "\n    kubectl drain dgx01 --ignore-daemonsets\n" in copied
        assert "hits: alice: python train.py, 60.0 GiB, pid 4242" in copied


def test_a_copy_says_what_it_cannot_know() -> None:
    assert "OSC 52" in copied_to({})
    assert "set-clipboard on" in copied_to({"TMUX": "/tmp/tmux-0/default,1,0"})
    assert "screen" in copied_to({"STY": "1.pts"})


async def test_a_hides_what_is_acknowledged_or_recovered() -> None:
    async with triaged(SETTLED) as console:
        await console.press("a")
        assert listed(console) == [HOT.id]
        assert "2 hidden" in console.lines[2]
        await console.press("a")
        assert listed(console) == [HOT.id, ACKED.id, RECOVERED.id]


async def test_when_all_is_hidden_the_screen_says_so_and_the_keys_come_back() -> None:
    async with triaged(triage(ACKED, recovered=(RECOVERED,))) as console:
        await console.press("a")
        assert listed(console) == []
        assert "Nothing is open; 2 acknowledged or recovered are hidden." in evidence(console)
        await console.press("a")
        await console.pilot.pause()
        await console.press("down")
        assert selected(console) == RECOVERED.id


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("dgx02", [DISK.id]),
        ("gpu2", [LOST.id]),
        ("warning", [HOT.id, DISK.id]),
        ("alice", [LOST.id, HOT.id]),
        ("alice !critical", [HOT.id]),
        ("lost", [LOST.id]),
        ("thermal", [HOT.id]),
        ("power", [LOST.id]),
    ],
)
async def test_the_filter_finds_by_subject_severity_words_and_user(text: str, ids: list[str]) -> None:
    async with triaged(SEVERAL) as console:
        await console.press(
            "slash", *[{" ": "space", "!": "exclamation_mark"}.get(each, each) for each in text], "enter"
        )
        assert listed(console) == ids
        assert f"/{text}/ shows {len(ids)} of 4  " in console.lines[2]
        await console.press("escape")
        assert len(listed(console)) == 4


async def test_the_filter_asks_for_fields_and_an_error_leaves_the_one_before() -> None:
    async with triaged(SEVERAL) as console:
        await console.press("slash", *"severity=warning", "enter")
        assert listed(console) == [HOT.id, DISK.id]
        await console.press("slash", *"x", "backspace", "space", *"nod=dgx01")
        assert 'no field "nod": did you mean node?' in console.lines[-1]
        assert listed(console) == [HOT.id, DISK.id]
        assert console.screen.filter_text == "severity=warning"


async def test_a_filter_without_a_match_says_so() -> None:
    async with triaged(SEVERAL) as console:
        await console.press("slash", *"zebra", "enter")
        assert "Nothing matches /zebra/ in 4 findings." in evidence(console)


# What it costs


@SIZES
async def test_an_equal_triage_repaints_nothing(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    async with triaged(replace(SEVERAL, recovered=(RECOVERED,)), size) as console:
        asked: list[Any] = []
        drawn = grid(console).repaints
        for widget in console.screen.query("*"):
            monkeypatch.setattr(widget, "refresh", lambda *regions, **_: asked.append(regions))
        beat = replace(SEVERAL, recovered=(replace(RECOVERED),), oldest_reading_at=NOW + 1)
        console.site.publish(fleet())
        await found(console, beat)
        console.screen.redraw()
        assert asked == []
        assert grid(console).repaints == drawn


async def test_an_equal_triage_sends_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    async with triaged(SEVERAL) as console:
        written: list[str] = []
        monkeypatch.setattr(console.app._driver, "write", written.append)
        await found(console, replace(SEVERAL, oldest_reading_at=NOW))
        await console.pilot.pause()
        assert written == []


async def test_a_hidden_triage_screen_watches_nothing() -> None:
    async with triaged(SEVERAL) as console:
        assert (console.site.triage.demand, console.site.fleet.demand) == (2, 2), "the header and the list"
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node")
        assert (console.site.triage.demand, console.site.fleet.demand) == (2, 2), "the header and the node"


async def test_a_thousand_findings_are_drawn_in_time() -> None:
    many = triage(*(replace(HOT, id=f"{n:04d}", since=NOW - n) for n in range(1000)))
    async with triaged(many) as console:
        built = cast(Any, grid(console).rows)._built
        assert len(built) < 60, "rows out of view are not made"


# Hostile text


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=["80x24", "200x50"])
@pytest.mark.parametrize("evil", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
async def test_hostile_text_in_a_finding_is_inert(evil: str, size: tuple[int, int]) -> None:
    hostile = replace(
        LOST,
        subject=Subject(evil, evil, 0),
        claim=evil,
        cause=evil,
        evidence=(Evidence(evil, NOW, evil), Evidence(evil)),
        hits=(Hit(evil, evil, 1, evil),),
        steps=(NextStep("command", evil, evil), NextStep("screen", evil, "host")),
        advice_source=evil,
        folded=(evil, evil),
    )
    acknowledged = replace(HOT, acknowledged=Acknowledgement(evil, evil, NOW))
    async with triaged(triage(hostile, acknowledged), size) as console:
        for key in ("down", "up", "space", "escape"):
            await console.press(key)
            for line in console.lines:
                assert cell_len(line) == size[0], key
                assert line.isprintable()
        await console.press("down", "space")
        for line in console.lines:
            assert cell_len(line) == size[0]
            assert line.isprintable()
        await console.press("escape", "c")
        assert "\x1b" not in console.app.clipboard
        for x in range(10, 60, 7):
            await console.pilot.click(offset=(x, size[1] // 2))
        assert console.app.is_running
        assert console.app.return_code is None


@pytest.mark.parametrize("evil", HOSTILE, ids=["markup", "escape", "direction", "wide", "stacked", "long"])
async def test_hostile_text_in_an_all_clear_is_inert(evil: str) -> None:
    problem = Problem(evil, evil, evil, NOW)
    value = Fleet((NodeReading(evil, NodeState.DOWN, None, None, problem), reading("dgx01", h100(0))))
    checks = (Check(evil, evil, 3), Check(evil, evil, 0))
    async with triaged(replace(triage(seen=1, total=2), checks=checks), on=value) as console:
        assert "NOT LOOKED AT" in evidence(console)
        console.site.triage.fail(problem)
        console.screen.redraw()
        await console.pilot.pause()
        for line in console.lines:
            assert cell_len(line) == 80
            assert line.isprintable()


async def test_a_time_no_calendar_has_is_not_measured() -> None:
    async with triaged(triage(replace(LOST, since=1e300, evidence=(Evidence("x", -1e300),)))) as console:
        assert grid(console).rows[0].cells[1] == "n/a"


async def test_a_finding_about_a_node_that_is_not_in_the_site_says_so() -> None:
    async with triaged(triage(replace(LOST, subject=Subject("gone", "GPU-x", 0), steps=()))) as console:
        await console.press("enter")
        await console.until(lambda: isinstance(console.screen, NodeScreen), "the node")
        await console.until(lambda: "gone is not in this site" in console.text, "what is wrong")


def test_severities_have_their_signs() -> None:
    from tui.widgets.glyphs import SEVERITIES

    assert set(SEVERITIES) == {each.value for each in Severity}


async def test_a_node_still_connecting_is_not_looked_at() -> None:
    value = Fleet((NodeReading("dgx09", NodeState.CONNECTING, None, None, None), reading("dgx01", h100(0))))
    async with triaged(triage(seen=1, total=2), on=value) as console:
        assert "NOT LOOKED AT dgx09 ◌ connecting" in evidence(console)


async def test_acknowledgements_that_cannot_be_kept_are_said_once() -> None:
    unkept = told("acknowledgements", None, severity=Severity.INFO, claim="/x/[b]acks cannot be written: read-only")
    async with triaged(Triage((unkept,), nodes_seen=1, nodes_total=1)) as console:
        assert console.notices == [unkept.claim]
        await found(console, Triage((LOST, unkept), nodes_seen=1, nodes_total=1))
        assert console.notices == [unkept.claim]


def test_an_all_clear_says_where_the_kernel_log_is_closed() -> None:
    closed, told_all = reading("n1", h100(0)), with_log("n2", h100(0))
    sections = clear_sections(Triage(nodes_seen=2, nodes_total=2), Fleet((closed, told_all)), NOW, 60, UNICODE)
    said = " ".join(cell.text for section in sections for line in lines_of(section) for cell in line)
    assert "kernel log closed on 1 node: past XIDs are unseen" in said


def test_an_all_clear_says_that_the_stack_was_not_read() -> None:
    fleet = Fleet((with_log("n1", h100(0)),))
    sections = clear_sections(Triage(nodes_seen=1, nodes_total=1), fleet, NOW, 60, UNICODE, "kubernetes")
    first = " ".join(cell.text for cell in lines_of(sections[0])[0])
    assert first.startswith(UNICODE.of("warn"))
    said = " ".join(cell.text for line in lines_of(sections[0]) for cell in line)
    assert "The GPU stack of kubernetes is not read." in " ".join(said.split())
