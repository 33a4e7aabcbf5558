"""What the sheet and the line over the stack say first: what keeps a node from its work, be it no operand at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.allocation import InUse
from backends.domain import (
    ClusterRelease,
    Component,
    FiringAlert,
    Monitoring,
    NodeMetrics,
    SccClause,
    SccRefusal,
    Stack,
    StackHealth,
    StackNode,
)
from screens.stack_gpus import gpus_section
from screens.stack_rows import blocker_text, summary
from screens.stack_sheet import node_sections, site_sections
from tests.tui.consoles import opened
from tests.tui.fleets import NOW
from tests.tui.sheets import lines_of
from tests.tui.stacks import OPERANDS, blocked, changing, stack, well
from tests.tui.test_stack_screen import console, page, to_stack
from tui.widgets.glyphs import UNICODE
from tui.widgets.sheet import Prose, Section, Sheet


def titles(node: StackNode) -> list[str]:
    return [section.title for section in node_sections(stack(node), node, NOW, UNICODE) if section.lines]


def line(value: Stack) -> str:
    return "  ".join(cell.text for cell in summary(value, UNICODE))


def test_a_change_that_holds_a_node_up_comes_before_the_operands_that_are_well() -> None:
    found = titles(replace(changing("dgx03"), notes=("stuck",)))
    assert found[:3] == ["MIG MANAGER", "DRIVER UPGRADE", "NOTES"]
    done = replace(changing("dgx03"), health=StackHealth.READY)
    assert titles(done)[0].startswith("THE STACK")


@pytest.mark.parametrize(("waiting", "said"), [(1, "; 1 operand waits for it"), (6, "; 6 operands wait for it")])
def test_how_many_wait_stands_beside_what_blocks(waiting: int, said: str) -> None:
    node = blocked("dgx02")
    few = replace(node, operands=node.operands[: waiting + 1])
    (head, *_) = node_sections(stack(few), few, NOW, UNICODE)
    assert said in "".join(cell.text for cell in lines_of(head)[0])


def test_a_check_without_a_log_is_not_said_to_be_unread() -> None:
    node = blocked("dgx02", log=())
    assert node.blocker is not None
    assert "ITS LAST LOG LINES" in titles(node)
    check = replace(node.blocker, log=None, state=replace(node.blocker.state, pod=None))
    assert "ITS LAST LOG LINES" not in titles(replace(node, blocker=check))


def test_a_cordoned_node_keeps_its_name_and_is_told_in_words() -> None:
    assert blocker_text(changing("dgx03")) == "cordoned"
    assert blocker_text(replace(blocked("dgx02"), schedulable=False)).endswith("CrashLoopBackOff; cordoned")
    assert "▲ 1 cordoned" in line(stack(well("dgx01"), changing("dgx03")))


def test_the_line_names_what_is_about_no_node_and_the_release_last() -> None:
    value = stack(well("dgx01"))
    assert line(value).endswith("▲ 1 to approve  ▲ 1 not permitted  kubernetes v1.33.4")
    openshift = replace(
        value,
        platform="openshift",
        cluster=ClusterRelease("4.20.3"),
        components=(Component("node feature discovery", 0, 3),),
        operators=tuple(replace(each, install_plan_phase="Failed") for each in value.operators),
    )
    assert line(openshift).endswith(
        "▲ 1 unwell by OLM  ▲ 1 short of pods  ▲ 1 not permitted  openshift 4.20.3 (kubernetes v1.33.4)"
    )


def test_who_waits_for_an_approval_is_told_in_full() -> None:
    (operators, *_) = site_sections(stack(well("dgx01")))
    (said,) = operators.lines
    assert isinstance(said, Prose), "folded, not cut"
    assert said.text.endswith("waits for somebody to approve install-2631")


def test_a_route_that_is_not_served_is_no_place_for_metrics() -> None:
    value = Stack("openshift", monitoring_problem="route openshift-monitoring/thanos-querier: not admitted: taken")
    (cluster,) = [each for each in site_sections(value) if each.lines]
    said = cluster.lines[-1]
    assert isinstance(said, Prose)
    assert said.text == "metrics n/a: route openshift-monitoring/thanos-querier: not admitted: taken"


def test_alerts_that_fire_are_listed_and_gpus_that_are_busy_where_it_is_not_known_what_is_used() -> None:
    alerts = tuple(FiringAlert(f"GPUAlert{number:02}", "critical", NOW, "dgx01") for number in range(18))
    value = replace(stack(well("dgx01")), monitoring=Monitoring(alerts, nodes=(NodeMetrics("dgx01", 8, 3),)))
    (section,) = [each for each in site_sections(value) if each.title == "ALERTS OF THE CLUSTER'S MONITORING"]
    assert "▲ 18 firing" in line(value)
    first, last = section.lines[0], section.lines[-1]
    assert isinstance(first, Prose)
    assert isinstance(last, Prose)
    assert first.text.startswith("GPUAlert00 (critical) on dgx01; active since ")
    assert (first.style, last.text) == ("bad", "and 2 more")
    metrics = NodeMetrics("dgx01", 8, 3)
    assert words(gpus_section(well("dgx01").capacity, None, metrics))["busy, by DCGM"] == "3 of 8 GPUs"
    assert words(gpus_section(well("dgx01").capacity, None, replace(metrics, busy=None)))["busy, by DCGM"] == "n/a"
    assert "busy, by DCGM" not in words(gpus_section(well("dgx01").capacity, InUse(1, 0), metrics))


def words(section: Section) -> dict[str, str]:
    """The lines of two cells, by the first."""
    return {line[0].text.strip(): line[1].text for line in section.lines if isinstance(line, tuple) and len(line) == 2}


def test_whom_sccs_refuse_is_told_in_full() -> None:
    clause = SccClause("Privileged containers are not allowed", "restricted-v2", ".containers[0].privileged")
    refused = SccRefusal("Job", "team-a", "train", (clause,))
    (section,) = [each for each in site_sections(Stack("openshift", refused=(refused,))) if each.lines]
    (said,) = section.lines
    assert isinstance(said, Prose)
    assert (section.title, said.text) == ("REFUSED BY SCCS", f"Job team-a/train: {clause.words}")


async def test_another_node_is_shown_from_its_top() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(blocked("dgx02"), changing("dgx03")))
        sheet = on.screen.query_one(Sheet)
        await on.press("tab", "end")
        await on.until(lambda: sheet.scroll_y > 0, "its end")
        on.site.stack.publish(stack(blocked("dgx02", "again"), changing("dgx03")), NOW)
        await on.until(lambda: "again" in page(on), "what is new")
        assert sheet.scroll_y > 0, "the same node stays where it is"
        await on.press("n")
        await on.until(lambda: sheet.scroll_y == 0, "the top of the other node")


async def test_few_nodes_leave_the_room_to_what_blocks() -> None:
    async with opened(console()) as on:
        await to_stack(on, stack(blocked("dgx02")))
        few = on.screen.query_one(Sheet).size.height
        on.site.stack.publish(stack(*(blocked(f"dgx{number:02}") for number in range(30))), NOW)
        await on.until(lambda: on.screen.query_one(Sheet).size.height < few, "a longer list")
        assert on.screen.query_one("#stack-list").size.height <= 9
        assert len(OPERANDS) == 7
