"""The log of somebody's work is one key away from where the work is seen; without one, a line says why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from backends.domain import (
    Container,
    Fleet,
    GpuProcess,
    Hit,
    LogSource,
    NextStep,
    NotPermitted,
    Permission,
    Problem,
    Subject,
    Unread,
)
from backends.ownership import Ownership
from screens.logs import LogsScreen
from screens.logs_rows import LogTarget, target_words
from screens.node import NodeScreen
from screens.node_pages.processes import ProcessesPage
from screens.pick import PickScreen
from screens.workload_logs import finding_targets, process_targets
from tests.scripted_logs import batch
from tests.tui.consoles import Opened, build, opened, settled, spec_of
from tests.tui.findings import LOST, triage
from tests.tui.fleets import GIB, NOW, h100, reading
from tests.tui.stacks import blocked, stack, well
from tests.tui.test_logs_screen import Platform, say
from tests.tui.test_snapshots import LARGE, SMALL, SnapCompare, one_terminal  # noqa: F401 - an autouse fixture
from tests.workloads import container_id, owned, pod
from tui.app import Console

LLAMA = replace(
    pod("llama-0"), containers=(Container("server", container_id("llama-0")), Container("proxy", container_id("proxy")))
)
PODS = owned(LLAMA, pod("train-0", namespace="team-vision"))
SILENT, ELSEWHERE = Unread("dgx01", "dgx01 does not answer"), Unread("dgx02", "dgx02 does not answer")
DENIED = NotPermitted("pods of team-b", Permission("list", "pods", "team-b"))
STACK_FINDING = replace(
    LOST, subject=Subject("dgx02"), hits=(), steps=(NextStep("screen", "look at the GPU stack", "stack"),)
)


def process(pid: int, inside: str | None, gib: int = 10) -> GpuProcess:
    identity = None if inside is None else container_id(inside)
    return GpuProcess(pid, "compute", "root", "python", gib * GIB, started_at=NOW - 900, container_id=identity)


def processes(*listed: GpuProcess) -> Fleet:
    return Fleet((reading("dgx01", replace(h100(0), processes=listed)),))


def console(value: Fleet, platform: str | None = "kubernetes") -> Console:
    return build(spec_of(value, platform=platform), values={"lab": value})


async def tells(on: Opened, ownership: Ownership) -> Platform:
    """The platform tells whose work it is, and its logs can be read."""
    on.site.platform = platform = Platform()
    on.site.ownership.publish(ownership, NOW)
    on.screen.redraw()
    await on.pilot.pause()
    return platform


async def to_processes(on: Opened) -> ProcessesPage:
    await on.press("enter")
    await on.until(lambda: isinstance(on.screen, NodeScreen), "the node screen")
    await on.press("p", "enter")
    page = cast(ProcessesPage, on.screen.query_one(ProcessesPage))
    await on.until(lambda: page.grid.has_focus, "the list of processes")
    return page


async def read_after(on: Opened, platform: Platform, key: str) -> LogSource:
    await on.press(key)
    await on.until(lambda: platform.scripted.asked, "the log")
    return platform.scripted.asked[0][0]


async def test_l_opens_the_container_that_a_process_runs_in() -> None:
    async with opened(console(processes(process(11, "llama-0", 40), process(12, "proxy", 20)))) as on:
        await to_processes(on)
        platform = await tells(on, PODS)
        assert "l its log" in on.text
        await on.press("down")
        assert await read_after(on, platform, "l") == LogSource("llama-0", "team-search", ("proxy",))
        assert "team-search/llama-0" in on.text
        await on.press("o")
        await on.until(lambda: isinstance(on.screen, PickScreen), "the other containers of the node")
        assert "server" in on.text
        await on.press("escape", "escape")
        assert isinstance(on.screen, NodeScreen)


@pytest.mark.parametrize(
    ("platform", "ownership", "inside", "said"),
    [
        (None, None, "llama-0", "This site names no platform: it has no log of a workload."),
        ("kubernetes", None, "llama-0", "kubernetes has told no workload yet."),
        ("kubernetes", PODS, None, "pid 11 runs in no container: kubernetes has no log of it."),
        ("docker", PODS, "gone", f"docker does not tell whose container {container_id('gone')[:12]} is"),
        ("kubernetes", owned(denied=(DENIED,)), "llama-0", "list pods in team-b is not permitted."),
        ("docker", owned(unread=(SILENT,)), "gone", f"{container_id('gone')[:12]} is: dgx01 does not answer."),
        ("docker", owned(unread=(ELSEWHERE,)), "gone", f"{container_id('gone')[:12]} is: it has no log of it."),
    ],
)
async def test_a_process_without_a_log_says_why_in_a_line(
    platform: str | None, ownership: Ownership | None, inside: str | None, said: str
) -> None:
    async with opened(console(processes(process(11, inside)), platform)) as on:
        await to_processes(on)
        if ownership is not None:
            await tells(on, ownership)
        assert "its log" not in on.text
        await on.press("l")
        assert len(on.notices) == 1
        assert said in on.notices[0]
        assert isinstance(on.screen, NodeScreen)


async def test_a_platform_that_cannot_be_read_is_named_with_its_problem() -> None:
    async with opened(console(processes(process(11, "llama-0")))) as on:
        on.site.ownership.fail(Problem("unreachable", "connection refused", "", NOW))
        await to_processes(on)
        await on.press("l")
        assert on.notices == ["kubernetes cannot be read: connection refused"]


async def test_on_docker_it_is_the_container_of_the_engine_of_its_node() -> None:
    there = replace(pod("triton", namespace="serving", platform="docker"), name="triton")
    async with opened(console(processes(process(11, "triton")), "docker")) as on:
        await to_processes(on)
        platform = await tells(on, owned(there))
        assert await read_after(on, platform, "l") == LogSource("triton", node="dgx01")


async def test_without_a_process_l_says_so() -> None:
    async with opened(console(processes())) as on:
        await on.press("enter")
        await on.until(lambda: isinstance(on.screen, NodeScreen), "the node screen")
        await on.press("p", "l")
        assert on.notices == ["No process is selected."]


async def test_from_the_fleet_the_work_of_a_gpu_opens_and_of_a_node_is_chosen() -> None:
    first = replace(h100(0), processes=(process(11, "llama-0"),))
    second = replace(h100(1), processes=(process(12, "train-0"),))
    idle = replace(h100(2, 0), processes=())
    async with opened(console(Fleet((reading("dgx01", first, second, idle),)))) as on:
        platform = await tells(on, PODS)
        await on.press("l")
        await on.until(lambda: isinstance(on.screen, PickScreen), "the choice")
        await on.press("escape", "down", "down", "down", "l")
        assert on.notices == ["kubernetes knows of no work here: there is no log."]
        await on.press("up")
        assert await read_after(on, platform, "l") == LogSource("train-0", "team-vision")


@pytest.mark.parametrize(
    ("hits", "names"),
    [
        ((Hit("x", container_id=container_id("proxy")),), ["llama-0"]),
        ((Hit("x", workload="team-vision/train-0", processes=0), Hit("y", pid=3)), ["train-0"]),
        ((Hit("x", workload="team-vision/train-0"),) * 2, ["train-0"]),
        ((Hit("x", workload="team-b/gone"), Hit("y", container_id="0123")), []),
    ],
)
def test_a_finding_leads_to_the_work_it_hits(hits: Iterable[Hit], names: list[str]) -> None:
    found = finding_targets(replace(LOST, hits=tuple(hits)), PODS, None)
    assert [each.source.name for each in found] == names


def test_a_finding_about_the_stack_leads_to_what_blocks() -> None:
    value = stack(well("dgx01"), blocked("dgx02"))
    (first, *_) = finding_targets(STACK_FINDING, PODS, value)
    assert first.source == LogSource("nvidia-driver-daemonset-7k2fp", "gpu-operator", ("nvidia-driver-ctr",))
    assert finding_targets(STACK_FINDING, PODS, stack(well("dgx01"))) == []
    assert finding_targets(STACK_FINDING, None, None) == []


async def test_l_on_a_finding_opens_the_log_or_says_why_not() -> None:
    value = processes(process(11, "llama-0"))
    hit = replace(LOST, hits=(Hit("llama", container_id=container_id("llama-0")),))
    async with opened(console(value), mode="triage") as on:
        platform = await tells(on, PODS)
        on.site.find(triage(replace(hit, hits=())))
        await on.until(lambda: on.screen.selected is not None, "the finding")
        await on.press("l")
        assert on.notices == ["It hits nothing that kubernetes has a log of."]
        on.site.find(triage(hit))
        await on.until(lambda: on.screen.selected == hit, "the finding with its hit")
        assert await read_after(on, platform, "l") == LogSource("llama-0", "team-search", ("server",))


def test_a_workload_is_told_once_in_the_list_to_choose_from() -> None:
    (llama,) = process_targets([process(1, "proxy"), process(2, "proxy")], PODS)
    other = LogTarget(LogSource("nvidia-driver-daemonset-7k2fp", "gpu-operator"), "driver on dgx02")
    assert target_words([llama, other]) == [
        "team-search/llama-0  proxy",
        "driver on dgx02      nvidia-driver-daemonset-7k2fp",
    ]


# Looks


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "200x50"])
def test_looks(snap_compare: SnapCompare, size: tuple[int, int]) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        on = Opened(cast(Console, pilot.app), pilot)
        await to_processes(on)
        await tells(on, PODS)

    value = processes(process(11, "llama-0", 40), process(12, "proxy", 20), process(13, None))
    assert snap_compare(console(value), terminal_size=size, run_before=run)


def test_looks_of_the_log(snap_compare: SnapCompare) -> None:
    async def run(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        on = Opened(cast(Console, pilot.app), pilot)
        await to_processes(on)
        platform = await tells(on, PODS)
        await on.press("l")
        await on.until(lambda: isinstance(on.screen, LogsScreen), "the log")
        await say(on, platform.scripted, batch("I1125 server.cc:214] loaded llama-70b", "W1125 slow", at=NOW))
        await pilot.pause()

    assert snap_compare(console(processes(process(11, "llama-0"))), terminal_size=SMALL, run_before=run)
